//! Transferring: a blob from the first source that has it into the store.
//!
//! The store checks size and digest before the blob becomes visible, so no source needs to be
//! trusted, and sources can take turns: what one brought before its connection broke, the next one
//! goes on with. Should the whole turn out wrong then, the source is asked once more for all of it,
//! because nobody knows whose part was wrong.

mod source;

use rootstock_blobs::Upload;
use rootstock_ingest::{Ingest, LeaseGuard, Stored};
use rootstock_proto::{
    convert,
    sync::v1::{Combination, TransferOutcome, TransferTask, WorkKind, finish_request::Outcome, work::Task},
};
use tracing::{Span, field};

use self::source::{Source, SourceError};
use crate::{
    config::SyncConfig,
    job::{Done, Job, JobContext, JobError, digest_hex},
    worker::Worker,
};

/// The kind.
pub(crate) struct TransferJob;

impl Job for TransferJob {
    const KIND: WorkKind = WorkKind::Transfer;
    const LABEL: &'static str = "transfer";
    const STOPS_ITSELF: bool = true;

    type Task = TransferTask;

    fn task(task: Task) -> Option<TransferTask> {
        match task {
            Task::Transfer(task) => Some(task),
            _ => None,
        }
    }

    fn slots(config: &SyncConfig) -> usize {
        config.concurrent_transfers
    }

    fn span(work_id: i64, task: &TransferTask) -> Span {
        tracing::info_span!(
            "transfer",
            work.id = work_id,
            remote.name = field::Empty,
            blob.sha256 = digest_hex(&task.sha256),
            size_bytes = field::Empty
        )
    }

    /// Fetches the blob from the first source that has it.
    async fn run(JobContext { worker, held }: JobContext<'_>, task: TransferTask) -> Result<Done, JobError> {
        let transfer = Transfer::new(worker, held, &task)?;
        if let Some(size_bytes) = transfer.stored_already(&task).await? {
            return Ok(stored("present", size_bytes, Vec::new()));
        }
        let upload = transfer.ingest.resume(&task.journal).await?;
        let brought = transfer.fetch(upload, &task).await?;
        Ok(stored(
            "stored",
            brought.finished.size_bytes,
            brought.combinations(),
        ))
    }
}

fn stored(label: &'static str, size_bytes: u64, combinations: Vec<Combination>) -> Done {
    tracing::info!(size_bytes, "blob stored");
    let outcome = TransferOutcome {
        size_bytes: i64::try_from(size_bytes).unwrap_or(i64::MAX),
        combinations,
    };
    Done::with(label, Outcome::Transfer(outcome))
}

/// What the parts of one transfer have in common.
struct Transfer<'a> {
    worker: &'a Worker,
    ingest: Ingest<'a>,
}

impl<'a> Transfer<'a> {
    fn new(worker: &'a Worker, lease: &'a LeaseGuard, task: &TransferTask) -> Result<Self, JobError> {
        let of_wire = |field: &str, bytes: &[u8]| {
            convert::digest(field, bytes).map_err(|error| JobError::failed(error.to_string()))
        };
        let metadata = task
            .metadata_sha256
            .iter()
            .map(|bytes| of_wire("metadata_sha256", bytes));
        Ok(Self {
            worker,
            ingest: Ingest {
                blobs: &worker.blobs,
                catalog: worker.catalog.leases(),
                lease,
                shutdown: &worker.shutdown,
                digest: of_wire("sha256", &task.sha256)?,
                metadata: metadata.collect::<Result<_, _>>()?,
            },
        })
    }

    /// The size of the blob if it is in the store: another transfer was faster, or a worker ended
    /// between storing it and saying so. What is visible there was verified.
    async fn stored_already(&self, task: &TransferTask) -> Result<Option<u64>, JobError> {
        let Some(info) = self.worker.blobs.head(&self.ingest.digest).await? else {
            return Ok(None);
        };
        if task
            .sources
            .iter()
            .any(|source| u64::try_from(source.size_bytes) == Ok(info.size_bytes))
        {
            return Ok(Some(info.size_bytes));
        }
        tracing::warn!(
            size_bytes = info.size_bytes,
            "the stored blob has a size that no source has; fetching it anew"
        );
        Ok(None)
    }

    /// Tries the sources in order. When all fail, what came is kept for the next attempt.
    async fn fetch(&self, mut upload: Option<Upload>, task: &TransferTask) -> Result<Stored, JobError> {
        let mut failures = Vec::new();
        for source in &task.sources {
            let fetched = match Source::new(self, source) {
                Ok(source) => self.fetch_from(&source, &mut upload).await,
                Err(error) => Err(SourceError::Source(error)),
            };
            match fetched {
                Ok(stored) => return Ok(stored),
                Err(SourceError::Work(error)) => return Err(error),
                Err(SourceError::Source(error)) => {
                    let name = source.remote.as_ref().map_or("", |remote| remote.name.as_str());
                    tracing::info!(remote.name = name, %error, "a source failed");
                    failures.push((name, error));
                }
            }
        }
        if let Some(upload) = upload {
            self.ingest.suspend(upload).await?;
        }
        if failures.is_empty() {
            return Err(JobError::failed("no remote offers this file any more"));
        }
        let messages: Vec<_> = failures
            .iter()
            .map(|(name, error)| format!("remote {name}: {error}"))
            .collect();
        // As long as one of them did not ask for patience, it is worth trying as usual.
        let waits: Option<Vec<_>> = failures.iter().map(|(_, error)| error.retry_after()).collect();
        let retry_after = waits.and_then(|waits| waits.into_iter().min());
        Err(JobError::Failed {
            message: messages.join("; "),
            retry_after,
        })
    }

    async fn fetch_from(
        &self,
        source: &Source<'_>,
        upload: &mut Option<Upload>,
    ) -> Result<Stored, SourceError> {
        let span = Span::current();
        span.record("remote.name", source.name());
        span.record("size_bytes", source.size_bytes());
        match source.fetch(upload).await? {
            source::Fetched::Stored(stored) => return Ok(stored),
            source::Fetched::MixtureWrong(error) => {
                tracing::info!(%error, "the parts do not make the blob; fetching the whole from one source");
            }
        }
        match source.fetch(upload).await? {
            source::Fetched::Stored(stored) => Ok(stored),
            source::Fetched::MixtureWrong(error) => Err(SourceError::Source(error)),
        }
    }
}
