//! Collection: blobs that nothing needs leave the store.
//!
//! Row first, object second: what is handed out is out of `blobs` by then, in a transaction of the
//! writer, which every need of a blob comes from too. So nothing can come to need a blob between the
//! look and the removal; what needs it from then on finds it missing, and its transfer waits until the
//! removal is over. A claim that was lost leaves what it was handed to the next one, and a blob that
//! its worker may yet be deleting is not stored again before that is certainly over.

use std::time::Duration;

use rootstock_model::Digest;
use rootstock_proto::{
    Error,
    convert::{self, digest_bytes},
    sync::v1::{
        CollectTask, ConfirmRemovalsRequest, FinishResponse, TakeRemovalsRequest, TakeRemovalsResponse,
        finish_request::Outcome, work::Task,
    },
};
use sqlx::PgConnection;

use crate::{
    Catalog,
    change::{self, Writer},
    failure::Failure,
    metrics,
    queries::{
        removals::{self, Candidates},
        settings,
    },
    work::{
        Kind, Lease, LeaseGuard,
        lease::fence_kind,
        rules::{WorkerKind, unfit_outcome},
        schedule::{self, Claimed},
    },
};

/// Time between two rounds. The blobs of a version that just ran out of its grace cost nothing worse
/// than space.
const INTERVAL: Duration = Duration::from_secs(10 * 60);
/// Blobs looked at for one batch, outside of any lock.
const LOOK: i64 = 1000;
/// Removals handed out again in one batch.
const BATCH: i64 = 500;
/// Objects and removals that one message may tell of.
const MAX_TOLD: usize = 1000;
/// Before the first blob: no blob has this digest, and an empty one says that there are no more.
const BEGINNING: [u8; 32] = [0; 32];

/// The kind.
pub(crate) struct Collect;

#[tonic::async_trait]
impl WorkerKind for Collect {
    async fn task(
        &self,
        _catalog: &Catalog,
        _connection: &mut PgConnection,
        _claimed: &Claimed,
    ) -> Result<Option<Task>, Failure> {
        Ok(Some(Task::Collect(CollectTask {})))
    }

    async fn finish(
        &self,
        _catalog: &Catalog,
        writer: &mut Writer,
        guard: &LeaseGuard,
        outcome: Outcome,
    ) -> Result<FinishResponse, Failure> {
        let Outcome::Collect(_) = outcome else {
            return Err(unfit_outcome(guard.kind));
        };
        removals::settle(writer.connection()).await?;
        let next_due = removals::next_due(writer.connection()).await?;
        let delay = next_due.map_or(INTERVAL, |due| due.min(INTERVAL));
        schedule::again_after(writer.connection(), guard, delay).await?;
        Ok(FinishResponse::default())
    }
}

/// Hands out blobs to be deleted from the store.
pub(crate) async fn take(
    catalog: &Catalog,
    request: TakeRemovalsRequest,
) -> Result<TakeRemovalsResponse, Failure> {
    let lease = Lease::from(request.lease);
    let after: &[u8] = if request.after.is_empty() {
        &BEGINNING
    } else {
        &request.after
    };
    let mut connection = catalog.pool.acquire().await?;
    let grace = settings::load(&mut connection).await?.deletion_grace;
    let Candidates { unneeded, next } = removals::candidates(&mut connection, after, grace, LOOK).await?;
    drop(connection);
    let mut writer = Writer::begin(&catalog.pool).await?;
    fence_kind(writer.connection(), lease, Kind::Collect).await?;
    removals::settle(writer.connection()).await?;
    let mut handed = removals::hand_again(writer.connection(), lease.epoch, BATCH).await?;
    let next = if handed.is_empty() {
        let grace = settings::load(writer.connection()).await?.deletion_grace;
        handed = removals::take(writer.connection(), &unneeded, grace, lease.epoch).await?;
        next.as_ref().map(digest_bytes).unwrap_or_default()
    } else {
        // What is left over goes first; the blobs that were looked at are looked at again.
        after.to_vec().into()
    };
    change::commit(writer).await?;
    if !handed.is_empty() {
        tracing::info!(blobs = handed.len(), "handed out blobs to be removed");
    }
    Ok(TakeRemovalsResponse {
        sha256: handed.iter().map(digest_bytes).collect(),
        next,
    })
}

/// Records that blobs are gone from the store.
pub(crate) async fn confirm(catalog: &Catalog, request: ConfirmRemovalsRequest) -> Result<(), Failure> {
    let lease = Lease::from(request.lease);
    bounded("sha256", request.sha256.len())?;
    let removed = request
        .sha256
        .iter()
        .enumerate()
        .map(|(index, sha256)| convert::digest(&format!("sha256[{index}]"), sha256));
    let removed: Vec<Digest> = removed.collect::<Result<_, _>>()?;
    let mut writer = Writer::begin(&catalog.pool).await?;
    fence_kind(writer.connection(), lease, Kind::Collect).await?;
    removals::confirm(writer.connection(), &removed, lease.epoch).await?;
    change::commit(writer).await?;
    metrics::removed(removed.len());
    Ok(())
}

/// Refuses a list that is too long for one message.
pub(super) fn bounded(field: &str, found: usize) -> Result<(), Error> {
    if found > MAX_TOLD {
        return Err(Error::invalid(
            field,
            format!("has {found} entries; it may have {MAX_TOLD}"),
        ));
    }
    Ok(())
}
