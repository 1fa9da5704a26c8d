//! Collecting: blobs that nothing needs are deleted from the store.
//!
//! The catalog says which, and takes them out of its books before it does; a worker deletes them and
//! says so. A worker that lost its lease deletes nothing more, and what it did not report is another's.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use rootstock_blobs::{BlobError, BlobStore};
use rootstock_ingest::LeaseGuard;
use rootstock_model::Digest;
use rootstock_proto::{convert, sync::v1::CollectTask};

use crate::{work::WorkError, worker::Worker};

/// Deletes under way at a time.
const CONCURRENT: usize = 8;

/// Deletes batch after batch until the catalog has no more.
pub(crate) async fn collect(
    worker: &Worker,
    held: &LeaseGuard,
    CollectTask {}: CollectTask,
) -> Result<&'static str, WorkError> {
    let mut after = bytes::Bytes::new();
    let mut removed = 0_usize;
    loop {
        let batch = worker.catalog.take_removals(held.lease(), after).await?;
        if !batch.sha256.is_empty() {
            let digests = batch
                .sha256
                .iter()
                .map(|bytes| convert::digest("sha256", bytes))
                .collect::<Result<Vec<Digest>, _>>()
                .map_err(|error| WorkError::failed(error.to_string()))?;
            delete(&worker.blobs, &digests).await?;
            worker
                .catalog
                .confirm_removals(held.lease(), batch.sha256)
                .await?;
            removed += digests.len();
        }
        if batch.next.is_empty() {
            break;
        }
        after = batch.next;
    }
    if removed > 0 {
        tracing::info!(removed, "removed blobs that nothing needs");
    }
    held.reporting();
    worker.catalog.finish_collect(held.lease()).await?;
    Ok("collected")
}

/// Deletes all of them, or fails with the first that cannot be: then none is reported, and all are
/// handed out again. One that is gone already counts as deleted.
async fn delete(blobs: &BlobStore, digests: &[Digest]) -> Result<(), BlobError> {
    let deletes: Vec<_> = digests
        .iter()
        .map(|digest| delete_one(blobs.clone(), *digest))
        .collect();
    stream::iter(deletes)
        .buffer_unordered(CONCURRENT)
        .try_for_each(|()| std::future::ready(Ok(())))
        .await
}

async fn delete_one(blobs: BlobStore, digest: Digest) -> Result<(), BlobError> {
    blobs.delete(&digest).await
}
