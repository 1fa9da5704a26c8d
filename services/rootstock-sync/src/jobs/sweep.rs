//! Sweeping: uploads that nobody will finish are found and removed, and old objects are shown to the
//! catalog, which has those removed that it knows nothing of.

use std::{collections::HashSet, time::Duration};

use futures::TryStreamExt as _;
use rootstock_blobs::OpenUpload;
use rootstock_ingest::LeaseGuard;
use rootstock_proto::{
    convert::digest_bytes,
    sync::v1::{StoredObject, SweepOutcome, SweepTask, WorkKind, finish_request::Outcome, work::Task},
};
use tracing::Span;

use crate::{
    config::SyncConfig,
    job::{Done, Job, JobContext, JobError},
    worker::Worker,
};

/// Objects told of in one message.
const TOLD_AT_ONCE: usize = 1000;

/// The kind.
pub(crate) struct Sweep;

impl Job for Sweep {
    const KIND: WorkKind = WorkKind::Sweep;
    const LABEL: &'static str = "sweep";

    type Task = SweepTask;

    fn task(task: Task) -> Option<SweepTask> {
        match task {
            Task::Sweep(task) => Some(task),
            _ => None,
        }
    }

    fn slots(_config: &SyncConfig) -> usize {
        1
    }

    fn span(work_id: i64, _task: &SweepTask) -> Span {
        tracing::info_span!("sweep", work.id = work_id)
    }

    async fn run(JobContext { worker, held }: JobContext<'_>, task: SweepTask) -> Result<Done, JobError> {
        sweep(worker, held, task).await
    }
}

/// Aborts every upload that is old enough and that no transfer will go on with.
///
/// An upload that cannot be aborted costs the others nothing: the next sweep finds it again.
async fn sweep(worker: &Worker, held: &LeaseGuard, task: SweepTask) -> Result<Done, JobError> {
    let Some(min_age) = task.min_age.and_then(|age| Duration::try_from(age).ok()) else {
        return Err(JobError::failed(
            "the sweep's min_age is missing or is no duration",
        ));
    };
    let live: HashSet<String> = task.live_uploads.into_iter().collect();
    let mut removed = 0;
    for upload in worker.blobs.list_uploads().await? {
        if !is_dead(&upload, &live, min_age) {
            continue;
        }
        match worker.blobs.abort_upload(&upload.id).await {
            Ok(()) => {
                removed += 1;
                tracing::info!(upload.id, upload.age = ?upload.age, "removed an upload that nobody will finish");
            }
            Err(error) => tracing::warn!(upload.id, %error, "an upload cannot be removed"),
        }
    }
    if let Some(min_age) = task.min_object_age.and_then(|age| Duration::try_from(age).ok()) {
        report_objects(worker, held, min_age).await?;
    }
    let outcome = SweepOutcome {
        removed_uploads: removed,
    };
    Ok(Done::with("swept", Outcome::Sweep(outcome)))
}

/// Shows the catalog every object that is old enough, a batch at a time.
async fn report_objects(worker: &Worker, held: &LeaseGuard, min_age: Duration) -> Result<(), JobError> {
    let old = worker
        .blobs
        .list()
        .try_filter(|blob| std::future::ready(blob.age >= min_age))
        .map_ok(|blob| StoredObject {
            sha256: digest_bytes(&blob.digest),
            size_bytes: i64::try_from(blob.size_bytes).unwrap_or(i64::MAX),
        })
        .try_chunks(TOLD_AT_ONCE);
    let mut batches = std::pin::pin!(old);
    while let Some(objects) = batches.try_next().await.map_err(|broken| broken.1)? {
        let orphans = worker.catalog.report_objects(held.lease(), objects).await?;
        if orphans > 0 {
            tracing::info!(orphans, "found objects that nothing knows");
        }
    }
    Ok(())
}

fn is_dead(upload: &OpenUpload, live: &HashSet<String>, min_age: Duration) -> bool {
    upload.age >= min_age && !live.contains(&upload.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_old_uploads_that_nobody_names_are_dead() {
        let live = HashSet::from(["live".to_owned()]);
        let hour = Duration::from_secs(3600);
        for (id, age, dead) in [
            ("live", 2 * hour, false),
            ("other", 2 * hour, true),
            ("other", hour, true),
            ("other", hour / 2, false),
        ] {
            let upload = OpenUpload {
                id: id.to_owned(),
                digest: None,
                age,
            };
            assert_eq!(is_dead(&upload, &live, hour), dead, "{upload:?}");
        }
    }
}
