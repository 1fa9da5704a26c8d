//! `DeleteImage` and `DeleteVersion` (semantics §5).

use rootstock_model::{
    Digest,
    deletion::{self, Candidate, Objection},
};
use rootstock_proto::{
    Error, Refusal,
    catalog::v1::{self as wire, DeleteImageRequest, DeleteVersionRequest},
};

use super::subject;
use crate::{
    Catalog,
    change::{self, Writer, retention},
    failure::Failure,
    queries::{images, transfers, versions, versions::VersionRow},
};

/// Deletes an image with all its versions; answers it as it last was.
pub(super) async fn image(catalog: &Catalog, request: DeleteImageRequest) -> Result<wire::Image, Failure> {
    let mut writer = Writer::begin(&catalog.pool).await?;
    let image = subject::find(&mut writer, &request.image, request.r#type(), &request.etag).await?;
    let candidate = Candidate {
        immutable: image.immutable,
        is_default: image.default,
        others_of_type: images::has_others_of_type(writer.connection(), &image.id).await?,
    };
    deletion::check_image(candidate, request.force).map_err(|objection| refuse(&image, None, objection))?;
    let rows = subject::rows(&mut writer, &image).await?;
    delete_versions(&mut writer, &image, &rows).await?;
    images::delete(writer.connection(), &image.id).await?;
    change::commit(writer).await?;
    tracing::info!(image.id = image.id, image.name = image.name, "image deleted");
    Ok(image)
}

/// Deletes one version; answers what remains.
pub(super) async fn version(
    catalog: &Catalog,
    request: DeleteVersionRequest,
) -> Result<wire::Image, Failure> {
    let mut writer = Writer::begin(&catalog.pool).await?;
    let image = subject::find(&mut writer, &request.image, request.r#type(), &request.etag).await?;
    let rows = subject::rows(&mut writer, &image).await?;
    let count = rows.len();
    let row = subject::version(rows, &image, request.version)?;
    let is_held = image
        .hold
        .as_ref()
        .is_some_and(|hold| hold.version == request.version);
    deletion::check_version(count, is_held)
        .map_err(|objection| refuse(&image, Some(request.version), objection))?;
    let rows = [row];
    delete_versions(&mut writer, &image, &rows).await?;
    versions::set_ignored(writer.connection(), &[rows[0].id]).await?;
    tracing::info!(
        image.name = image.name,
        version = request.version,
        "version deleted"
    );
    subject::commit(catalog, writer, &image.id).await
}

/// Deleted is as retired: hidden at once, and what was stored stays readable for the grace.
async fn delete_versions(
    writer: &mut Writer,
    image: &wire::Image,
    rows: &[VersionRow],
) -> Result<(), Failure> {
    let keys: Vec<_> = rows.iter().map(VersionRow::key).collect();
    retention::retire_versions(writer, &keys).await?;
    let files = rows.iter().flat_map(|row| &row.version.artifacts);
    let digests: Result<Vec<Digest>, _> = files.map(|artifact| artifact.sha256.parse()).collect();
    let digests = digests.map_err(|_| Failure::Corrupt(format!("artifacts of image {}", image.id)))?;
    transfers::remove_unwanted_transfers(writer.connection(), &digests).await
}

fn refuse(image: &wire::Image, version: Option<i32>, objection: Objection) -> Error {
    let name = &image.name;
    let kind = match image.r#type() {
        wire::ImageType::VirtualMachine => "virtual-machine",
        _ => "container",
    };
    let version = version.unwrap_or_default();
    match objection {
        Objection::IsDefault => Error::refused(
            Refusal::IsDefault,
            format!(
                "deleting {name:?} is not allowed: it is the default {kind} image, and there are others; make another \
                 one the default first (`rootstock image switch`)"
            ),
        ),
        Objection::Immutable => Error::refused(
            Refusal::Immutable,
            format!(
                "deleting {name:?} is not allowed: it comes from a remote and is immutable; use --force to delete it \
                 all the same"
            ),
        ),
        Objection::LastVersion => Error::refused(
            Refusal::LastVersion,
            format!(
                "deleting version {version} of {name:?} is not allowed: an image keeps at least one version; delete \
                 the image instead"
            ),
        ),
        Objection::Held => Error::refused(
            Refusal::Held,
            format!(
                "deleting version {version} of {name:?} is not allowed: the image is held at it; release it first \
                 (`rootstock image release`)"
            ),
        ),
    }
}
