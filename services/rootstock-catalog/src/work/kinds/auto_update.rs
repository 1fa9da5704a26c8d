//! Automatic updates: images that follow by checks take their newest versions.
//!
//! A cached image takes what its remote offers by now; an added image what its synced image has, whose
//! bytes may have to be fetched. The version is queued like any other: it turns active when its bytes are
//! here, and displaces the old one then.

use std::time::Duration;

use rootstock_model::{plan, serial};
use rootstock_proto::catalog::v1::{ChangeOperation, Status as WireStatus};
use rootstock_runtime::propagate::current_traceparent;
use sqlx::PgConnection;

use crate::{
    Catalog,
    change::{self, Writer, activation},
    failure::Failure,
    queries::{
        followers, settings,
        versions::{self, VersionRow},
    },
    services::image::add,
    work::{Kind, Lease, lease::fence_kind, rules::CatalogKind},
};

/// Images looked at in one transaction.
const BATCH: i64 = 50;

/// The kind.
pub(crate) struct AutoUpdate;

#[tonic::async_trait]
impl CatalogKind for AutoUpdate {
    async fn round(&self, catalog: &Catalog, lease: Lease) -> Result<(), Failure> {
        let mut after = Some(String::new());
        let mut taken_versions = 0;
        while let Some(last) = after {
            let taken;
            (taken, after) = batch(catalog, lease, &last).await?;
            taken_versions += taken;
        }
        tracing::info!(taken_versions, "looked for newer versions");
        Ok(())
    }

    async fn next_round(
        &self,
        _catalog: &Catalog,
        connection: &mut PgConnection,
    ) -> Result<Duration, Failure> {
        Ok(settings::load(connection).await?.auto_update_interval)
    }
}

/// Looks at the images after this one. Returns how many versions were taken, and the last image when there
/// may be more.
async fn batch(catalog: &Catalog, lease: Lease, after: &str) -> Result<(i64, Option<String>), Failure> {
    let mut writer = Writer::begin(&catalog.pool).await?;
    fence_kind(writer.connection(), lease, Kind::AutoUpdate).await?;
    let images = followers::page(writer.connection(), after, BATCH).await?;
    let mut taken_versions = 0;
    for image in &images {
        let taken = match &image.origin_id {
            Some(origin_id) => follow_origin(&mut writer, &image.id, origin_id).await?,
            None => follow_remote(&mut writer, &image.id).await?,
        };
        taken_versions += i64::from(taken);
    }
    change::commit(writer).await?;
    let is_full = i64::try_from(images.len()).is_ok_and(|found| found == BATCH);
    let last = images.into_iter().next_back().filter(|_| is_full);
    Ok((taken_versions, last.map(|image| image.id)))
}

/// A cached image takes the newest version that its remote offers, if that is not here or on its way.
async fn follow_remote(writer: &mut Writer, image_id: &str) -> Result<bool, Failure> {
    let rows = versions::of_image(writer.connection(), image_id).await?;
    match newest(&rows).filter(|row| row.version.status() == WireStatus::Available) {
        Some(newest) => take(writer, newest).await.map(|()| true),
        None => Ok(false),
    }
}

/// An added image takes the newest version that its synced image shows or could, if it is newer than
/// all that it has or had deleted.
async fn follow_origin(writer: &mut Writer, image_id: &str, origin_id: &str) -> Result<bool, Failure> {
    let mut rows = versions::of_image(writer.connection(), origin_id).await?;
    rows.retain(|row| !row.version.hidden);
    let own = followers::own_serials(writer.connection(), image_id).await?;
    let is_newer = |row: &&VersionRow| {
        let serial = &row.version.serial;
        own.iter().all(|own| serial::compare(own, serial).is_lt())
    };
    match newest(&rows).filter(is_newer) {
        Some(newest) => add::take(writer, image_id, std::slice::from_ref(newest))
            .await
            .map(|()| true),
        None => Ok(false),
    }
}

/// The newest version that can be had.
fn newest(rows: &[VersionRow]) -> Option<&VersionRow> {
    let order = |a: &&VersionRow, b: &&VersionRow| {
        plan::order(
            (a.version.number, &a.version.serial),
            (b.version.number, &b.version.serial),
        )
    };
    let usable = rows
        .iter()
        .filter(|row| row.version.status() != WireStatus::Error);
    usable.max_by(order)
}

async fn take(writer: &mut Writer, row: &VersionRow) -> Result<(), Failure> {
    let digests = row
        .version
        .artifacts
        .iter()
        .map(|artifact| artifact.sha256.parse());
    let digests: Vec<rootstock_model::Digest> = digests
        .collect::<Result<_, _>>()
        .map_err(|_| Failure::Corrupt(format!("artifacts of version {}", row.id)))?;
    versions::set_status(
        writer.connection(),
        &[row.id],
        rootstock_model::Status::Queued,
        "",
    )
    .await?;
    writer.version(row.id, ChangeOperation::Updated);
    writer.image(&row.image_id, ChangeOperation::Updated);
    let traceparent = current_traceparent().unwrap_or_default();
    activation::request_blobs(writer, &[digests], &traceparent).await?;
    tracing::info!(
        image.id = row.image_id,
        version.serial = row.version.serial,
        "takes a newer version"
    );
    Ok(())
}
