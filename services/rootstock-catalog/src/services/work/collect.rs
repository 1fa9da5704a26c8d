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
    Error, convert,
    convert::digest_bytes,
    sync::v1::{
        ConfirmRemovalsRequest, FinishCollectRequest, ReportObjectsRequest, TakeRemovalsRequest,
        TakeRemovalsResponse,
    },
};

use crate::{
    Catalog,
    change::{self, Writer},
    failure::Failure,
    metrics,
    queries::{
        removals::{self, Candidates},
        settings,
    },
    work::{Kind, Lease, Subject, lease::fence_kind, schedule},
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

pub(super) async fn take(
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

pub(super) async fn confirm(catalog: &Catalog, request: ConfirmRemovalsRequest) -> Result<(), Failure> {
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

pub(super) async fn finish(catalog: &Catalog, request: FinishCollectRequest) -> Result<(), Failure> {
    let lease = Lease::from(request.lease);
    let mut writer = Writer::begin(&catalog.pool).await?;
    let guard = fence_kind(writer.connection(), lease, Kind::Collect).await?;
    removals::settle(writer.connection()).await?;
    let next_due = removals::next_due(writer.connection()).await?;
    let delay = next_due.map_or(INTERVAL, |due| due.min(INTERVAL));
    schedule::again_after(writer.connection(), &guard, delay).await?;
    change::commit(writer).await
}

/// Has objects removed that no blob, transfer or upload knows: what a worker left that died before it
/// could say that it had stored them. Answers how many.
pub(super) async fn report_objects(catalog: &Catalog, request: ReportObjectsRequest) -> Result<i64, Failure> {
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

fn bounded(field: &str, found: usize) -> Result<(), Error> {
    if found > MAX_TOLD {
        return Err(Error::invalid(
            field,
            format!("has {found} entries; it may have {MAX_TOLD}"),
        ));
    }
    Ok(())
}
