//! `FetchImage`: bring here what is only listed.

use rootstock_model::{Status, reference::Narrowing};
use rootstock_proto::{
    Error, Refusal, ResourceKind,
    catalog::v1::{self as wire, ChangeOperation, FetchImageRequest, FetchImageResponse},
};
use rootstock_runtime::propagate::current_traceparent;

use crate::{
    Catalog,
    change::{self, Writer, activation},
    failure::Failure,
    queries::{
        images,
        resolve::Found,
        settings,
        versions::{self, VersionRow},
    },
    request::{find_version, image_type, required},
    work::schedule,
};

/// Has a version brought here, and says which and where it stands.
pub(super) async fn image(
    catalog: &Catalog,
    request: FetchImageRequest,
) -> Result<FetchImageResponse, Failure> {
    let narrowing = Narrowing {
        image_type: image_type(request.r#type()),
        architecture: None,
    };
    let reference = required(&request.image)?;
    let mut writer = Writer::begin(&catalog.pool).await?;
    let Found { image, pinned, .. } =
        find_version(writer.connection(), reference, narrowing, request.version).await?;
    let rows = super::newest_first(versions::of_image(writer.connection(), &image.id).await?);
    let row = choose(&image, rows, request.version.or(pinned))?;
    let number = row.version.number;
    if matches!(
        row.version.status(),
        wire::Status::Available | wire::Status::Error
    ) {
        // Only what was asked for by a name follows; a fingerprint or a pinned alias means just that version.
        let follows = pinned.is_none() && settings::load(writer.connection()).await?.auto_update_cached;
        queue(&mut writer, &image, &row, follows, request.public).await?;
    }
    change::commit(writer).await?;
    let mut connection = catalog.pool.acquire().await?;
    let image = images::by_ids(&mut connection, &[image.id])
        .await?
        .into_iter()
        .next();
    let image = image.ok_or_else(|| Error::not_found(ResourceKind::Image, &request.image))?;
    let image = super::with_versions(&mut connection, image).await?;
    Ok(FetchImageResponse {
        image: Some(image),
        version: number,
    })
}

/// The version asked for; else the one that the image is held at, or the
/// newest that can be had.
fn choose(image: &wire::Image, rows: Vec<VersionRow>, number: Option<i32>) -> Result<VersionRow, Error> {
    let name = &image.name;
    match number.or(image.hold.as_ref().map(|hold| hold.version)) {
        Some(number) => {
            let row = rows.into_iter().find(|row| row.version.number == number);
            row.ok_or_else(|| Error::not_found(ResourceKind::Version, format!("{name} version {number}")))
        }
        None => {
            let fit = |row: &VersionRow| row.version.status() != wire::Status::Error;
            rows.into_iter().find(fit).ok_or_else(|| {
                let message =
                    format!("{name:?} has no version that can be fetched: see `rootstock image show`");
                Error::refused(Refusal::NotFetchable, message)
            })
        }
    }
}

/// Has a version fetched that is only known, or that failed before.
async fn queue(
    writer: &mut Writer,
    image: &wire::Image,
    row: &VersionRow,
    follows: bool,
    public: Option<bool>,
) -> Result<(), Failure> {
    if image.source.is_none() {
        let message = format!("{:?} has no remote to fetch it from", image.name);
        return Err(Error::refused(Refusal::NotFetchable, message).into());
    }
    let digests: Result<Vec<rootstock_model::Digest>, _> = row
        .version
        .artifacts
        .iter()
        .map(|artifact| artifact.sha256.parse())
        .collect();
    let digests = digests.map_err(|_| Failure::Corrupt(format!("artifacts of version {}", row.id)))?;
    versions::set_status(writer.connection(), &[row.id], Status::Queued, "").await?;
    let is_synced = image
        .source
        .as_ref()
        .is_some_and(|source| source.image_id.is_empty());
    if is_synced {
        images::set_cached(writer.connection(), &image.id, follows, public).await?;
    }
    writer.version(row.id, ChangeOperation::Updated);
    writer.image(&image.id, ChangeOperation::Updated);
    let traceparent = current_traceparent().unwrap_or_default();
    schedule::retry_now(writer.connection(), &digests, &traceparent).await?;
    activation::request_blobs(writer, &[digests], &traceparent).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_asked_for_is_fetched_or_the_held_or_the_newest_that_can_be_had() {
        use wire::Status::{Available, Error as Failed};
        // From the newest on, as the query has them.
        let rows = || {
            let rows = [(2, Failed), (1, Available), (0, Available)].map(|(number, status)| VersionRow {
                id: number.into(),
                image_id: "one".to_owned(),
                image_name: "base".to_owned(),
                version: wire::Version {
                    number,
                    status: status.into(),
                    ..wire::Version::default()
                },
            });
            Vec::from(rows)
        };
        let image = wire::Image {
            name: "base".to_owned(),
            ..wire::Image::default()
        };
        let held = wire::Image {
            hold: Some(wire::Hold {
                version: 0,
                ..wire::Hold::default()
            }),
            ..image.clone()
        };
        let number = |image, wanted| choose(image, rows(), wanted).map(|row| row.version.number);
        assert_eq!(number(&image, None).unwrap(), 1, "the newest failed");
        assert_eq!(number(&image, Some(2)).unwrap(), 2, "once more");
        assert_eq!(number(&held, None).unwrap(), 0);
        assert_eq!(number(&held, Some(1)).unwrap(), 1);
        assert!(matches!(number(&image, Some(7)), Err(Error::NotFound { .. })));
        assert!(matches!(
            choose(&image, vec![], None),
            Err(Error::Refused {
                reason: Refusal::NotFetchable,
                ..
            })
        ));
    }
}
