//! Collecting: blobs that nothing needs are deleted from the store.
//!
//! The catalog says which, and takes them out of its books before it does; a worker deletes them and
//! says so. A worker that lost its lease deletes nothing more, and what it did not report is another's.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use rootstock_blobs::{BlobError, BlobStore};
use rootstock_model::Digest;
use rootstock_proto::{
    convert,
    sync::v1::{CollectOutcome, CollectTask, WorkKind, finish_request::Outcome, work::Task},
};
use tracing::Span;

use crate::{
    config::SyncConfig,
    job::{Done, Job, JobContext, JobError},
};

/// Deletes under way at a time.
const CONCURRENT: usize = 8;

/// The kind.
pub(crate) struct Collect;

impl Job for Collect {
    const KIND: WorkKind = WorkKind::Collect;
    const LABEL: &'static str = "collect";

    type Task = CollectTask;

    fn task(task: Task) -> Option<CollectTask> {
        match task {
            Task::Collect(task) => Some(task),
            _ => None,
        }
    }

    fn slots(_config: &SyncConfig) -> usize {
        1
    }

    fn span(work_id: i64, _task: &CollectTask) -> Span {
        tracing::info_span!("collect", work.id = work_id)
    }

    /// Deletes batch after batch until the catalog has no more.
    async fn run(
        JobContext { worker, held }: JobContext<'_>,
        CollectTask {}: CollectTask,
    ) -> Result<Done, JobError> {
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
                    .map_err(|error| JobError::failed(error.to_string()))?;
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
        Ok(Done::with("collected", Outcome::Collect(CollectOutcome {})))
    }
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
