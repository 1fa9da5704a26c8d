//! What the writes of images have in common: the image that a request is about, and the answer.

use rootstock_proto::{Error, ResourceKind, catalog::v1 as wire};

use crate::{
    Catalog,
    change::{self, Writer},
    failure::Failure,
    queries::{images, versions, versions::VersionRow},
    request::{find_image, image_type},
};

/// The image that a request names, if it is still as the caller saw it.
pub(super) async fn find(
    writer: &mut Writer,
    reference: &str,
    r#type: wire::ImageType,
    etag: &str,
) -> Result<wire::Image, Failure> {
    let image = find_image(writer.connection(), reference, image_type(r#type)).await?;
    if etag.is_empty() || etag == image.etag {
        Ok(image)
    } else {
        Err(Error::StaleEtag {
            kind: ResourceKind::Image,
            name: image.name,
        }
        .into())
    }
}

/// One of an image's versions, by its number.
pub(super) fn version(rows: Vec<VersionRow>, image: &wire::Image, number: i32) -> Result<VersionRow, Error> {
    let row = rows.into_iter().find(|row| row.version.number == number);
    row.ok_or_else(|| {
        let name = format!("{} version {number}", image.name);
        Error::not_found(ResourceKind::Version, name)
    })
}

/// Ends the write, and answers the image with its versions as they are then.
pub(super) async fn commit(catalog: &Catalog, writer: Writer, id: &str) -> Result<wire::Image, Failure> {
    change::commit(writer).await?;
    let mut connection = catalog.pool.acquire().await?;
    let image = images::by_ids(&mut connection, &[id.to_owned()]).await?.pop();
    let image = image.ok_or_else(|| Error::not_found(ResourceKind::Image, id))?;
    super::with_versions(&mut connection, image).await
}

/// Numbers and serials of the active versions among these.
pub(super) fn active(rows: &[VersionRow]) -> impl Iterator<Item = (i32, &str)> {
    rows.iter()
        .filter(|row| row.version.status() == wire::Status::Active)
        .map(|row| (row.version.number, row.version.serial.as_str()))
}

/// An image's versions that are not deleted.
pub(super) async fn rows(writer: &mut Writer, image: &wire::Image) -> Result<Vec<VersionRow>, Failure> {
    versions::of_image(writer.connection(), &image.id).await
}
