//! Sweeps: abandoned uploads, and objects in the store that nothing knows.

use rootstock_model::Digest;
use rootstock_proto::{
    Error, convert,
    sync::v1::{FinishResponse, ReportObjectsRequest, SweepTask, finish_request::Outcome, work::Task},
};
use sqlx::PgConnection;

use super::collect::bounded;
use crate::{
    Catalog,
    change::{self, Writer},
    config::UPLOAD_ABANDONED_AFTER,
    failure::Failure,
    queries::{removals, settings, transfers, uploads},
    work::{
        Kind, Lease, LeaseGuard, Subject,
        lease::fence_kind,
        rules::{WorkerKind, unfit_outcome},
        schedule::{self, Claimed},
    },
};

/// The kind.
pub(crate) struct Sweep;

#[tonic::async_trait]
impl WorkerKind for Sweep {
    async fn task(
        &self,
        catalog: &Catalog,
        connection: &mut PgConnection,
        _claimed: &Claimed,
    ) -> Result<Option<Task>, Failure> {
        let min_age = catalog.sweep_min_age;
        // An object that nothing knows may be one that a database of yesterday does not know yet.
        let min_object_age = min_age.max(settings::load(connection).await?.deletion_grace);
        uploads::remove_abandoned(connection, UPLOAD_ABANDONED_AFTER).await?;
        Ok(Some(Task::Sweep(SweepTask {
            live_uploads: transfers::live_uploads(connection).await?,
            min_age: prost_types::Duration::try_from(min_age).ok(),
            min_object_age: prost_types::Duration::try_from(min_object_age).ok(),
        })))
    }

    async fn finish(
        &self,
        catalog: &Catalog,
        writer: &mut Writer,
        guard: &LeaseGuard,
        outcome: Outcome,
    ) -> Result<FinishResponse, Failure> {
        let Outcome::Sweep(_) = outcome else {
            return Err(unfit_outcome(guard.kind));
        };
        schedule::again_after(writer.connection(), guard, catalog.sweep_interval).await?;
        Ok(FinishResponse::default())
    }
}

/// Has objects removed that no blob, transfer or upload knows: what a worker left that died before it
/// could say that it had stored them. Answers how many.
pub(crate) async fn report_objects(catalog: &Catalog, request: ReportObjectsRequest) -> Result<i64, Failure> {
    let lease = Lease::from(request.lease);
    bounded("objects", request.objects.len())?;
    let objects = request.objects.iter().enumerate().map(|(index, object)| {
        let sha256 = convert::digest(&format!("objects[{index}].sha256"), &object.sha256)?;
        Ok((sha256, object.size_bytes))
    });
    let objects: Vec<(Digest, i64)> = objects.collect::<Result<_, Error>>()?;
    let mut connection = catalog.pool.acquire().await?;
    fence_kind(&mut connection, lease, Kind::Sweep).await?;
    let strangers = removals::strangers(&mut connection, &objects).await?;
    drop(connection);
    if strangers.is_empty() {
        return Ok(0);
    }
    let mut writer = Writer::begin(&catalog.pool).await?;
    fence_kind(writer.connection(), lease, Kind::Sweep).await?;
    // Again, now that nothing can come to want them.
    let strangers = removals::strangers(writer.connection(), &strangers).await?;
    removals::add(writer.connection(), &strangers).await?;
    schedule::wake(writer.connection(), Kind::Collect, &Subject::Store, "").await?;
    change::commit(writer).await?;
    tracing::info!(
        objects = strangers.len(),
        "found objects that nothing knows; they will be removed"
    );
    Ok(i64::try_from(strangers.len()).unwrap_or(i64::MAX))
}
