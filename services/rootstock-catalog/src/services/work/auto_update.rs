//! Automatic updates: images that follow by checks take their newest versions.
//!
//! A cached image takes what its remote offers by now. The version is queued like any other: it turns
//! active when its bytes are here, and displaces the old one then.

use rootstock_model::plan;
use rootstock_proto::{
    catalog::v1::{ChangeOperation, Status as WireStatus},
    sync::v1::{AutoUpdateRequest, AutoUpdateResponse, FinishAutoUpdateRequest, WorkKind},
};
use rootstock_runtime::propagate::current_traceparent;

use super::{expect_kind, lease};
use crate::{
    Catalog, activation,
    failure::Failure,
    queries::{
        followers, settings,
        versions::{self, VersionRow},
        work,
    },
    writer::Writer,
};

/// Images looked at in one transaction.
const BATCH: i64 = 50;

pub(super) async fn auto_update(
    catalog: &Catalog,
    request: AutoUpdateRequest,
) -> Result<AutoUpdateResponse, Failure> {
    let lease = lease(request.lease);
    let mut writer = Writer::begin(&catalog.pool).await?;
    expect_kind(
        &work::fence(writer.connection(), lease).await?,
        WorkKind::AutoUpdate,
    )?;
    let images = followers::page(writer.connection(), &request.after, BATCH).await?;
    let mut taken_versions = 0;
    for id in &images {
        let rows = versions::of_image(writer.connection(), id).await?;
        if let Some(newest) = newer(&rows) {
            take(&mut writer, newest).await?;
            taken_versions += 1;
        }
    }
    writer.commit().await?;
    let full = i64::try_from(images.len()).is_ok_and(|found| found == BATCH);
    Ok(AutoUpdateResponse {
        taken_versions,
        next: images
            .into_iter()
            .next_back()
            .filter(|_| full)
            .unwrap_or_default(),
    })
}

/// The newest version that can be had, if it is newer than every one that is here or on its way.
fn newer(rows: &[VersionRow]) -> Option<&VersionRow> {
    let order = |a: &&VersionRow, b: &&VersionRow| {
        plan::order(
            (a.version.number, &a.version.serial),
            (b.version.number, &b.version.serial),
        )
    };
    let usable = rows
        .iter()
        .filter(|row| row.version.status() != WireStatus::Error);
    usable
        .max_by(order)
        .filter(|row| row.version.status() == WireStatus::Available)
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

pub(super) async fn finish(catalog: &Catalog, request: FinishAutoUpdateRequest) -> Result<(), Failure> {
    let lease = lease(request.lease);
    let mut transaction = catalog.pool.begin().await?;
    expect_kind(&work::fence(&mut transaction, lease).await?, WorkKind::AutoUpdate)?;
    let interval = settings::load(&mut transaction).await?.auto_update_interval;
    work::again_after(&mut transaction, lease.work_id, interval).await?;
    transaction.commit().await?;
    Ok(())
}
