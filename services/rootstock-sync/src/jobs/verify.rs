//! Verifying: the fingerprint of two blobs that were stored without it being computed.

use rootstock_proto::{
    convert,
    sync::v1::{Combination, VerifyOutcome, VerifyTask, WorkKind, finish_request::Outcome, work::Task},
};
use tracing::Span;

use crate::{
    config::SyncConfig,
    job::{Done, Job, JobContext, JobError, digest_hex},
};

/// The kind.
pub(crate) struct Verify;

impl Job for Verify {
    const KIND: WorkKind = WorkKind::Verify;
    const LABEL: &'static str = "verify";

    type Task = VerifyTask;

    fn task(task: Task) -> Option<VerifyTask> {
        match task {
            Task::Verify(task) => Some(task),
            _ => None,
        }
    }

    fn slots(_config: &SyncConfig) -> usize {
        1
    }

    fn span(work_id: i64, task: &VerifyTask) -> Span {
        tracing::info_span!(
            "verify",
            work.id = work_id,
            blob.sha256 = digest_hex(&task.root_sha256)
        )
    }

    /// Reads the metadata blob, then the root, through one SHA-256.
    async fn run(JobContext { worker, .. }: JobContext<'_>, task: VerifyTask) -> Result<Done, JobError> {
        let of_wire =
            |field, bytes| convert::digest(field, bytes).map_err(|error| JobError::failed(error.to_string()));
        let metadata = of_wire("metadata_sha256", &task.metadata_sha256)?;
        let root = of_wire("root_sha256", &task.root_sha256)?;
        let prefix = worker.blobs.prefix_hash(&metadata).await?;
        let fingerprints = worker.blobs.combined_digests(vec![prefix], &root).await?;
        let [fingerprint] = fingerprints[..] else {
            return Err(JobError::failed("the blob store computed no fingerprint"));
        };
        tracing::info!(metadata.sha256 = %metadata, image.fingerprint = %fingerprint, "fingerprint computed");
        let combination = Combination {
            metadata_sha256: task.metadata_sha256,
            root_sha256: task.root_sha256,
            fingerprint: convert::digest_bytes(&fingerprint),
        };
        let outcome = VerifyOutcome {
            combination: Some(combination),
        };
        Ok(Done::with("verified", Outcome::Verify(outcome)))
    }
}
