//! What a kind of work is to a worker: one implementation of [`Job`], in one file of `jobs/`.

use std::time::Duration;

use rootstock_blobs::BlobError;
use rootstock_ingest::{CatalogError, LeaseGuard, LeaseLoss};
use rootstock_model::Digest;
use rootstock_proto::sync::v1::{WorkKind, finish_request::Outcome, work::Task};
use rootstock_remote::http::FetchError;
use tracing::Span;

use crate::{config::SyncConfig, worker::Worker};

/// A kind of work.
pub(crate) trait Job: 'static {
    /// As the catalog calls it.
    const KIND: WorkKind;
    /// As metrics and logs spell it.
    const LABEL: &'static str;
    /// Whether the job looks for the shutdown itself, because it has state that is worth being saved. Any
    /// other is dropped where it stands: it reads, and what it reports is taken whole or not at all.
    const STOPS_ITSELF: bool = false;

    /// What the job must know.
    type Task: Send;

    /// The task in a claim, if it is one of this kind.
    fn task(task: Task) -> Option<Self::Task>;

    /// How many are done at a time.
    fn slots(config: &SyncConfig) -> usize;

    /// The span of one piece of work, named after the kind.
    fn span(work_id: i64, task: &Self::Task) -> Span;

    /// Does the work. What it comes to is reported by the runner.
    fn run(context: JobContext<'_>, task: Self::Task) -> impl Future<Output = Result<Done, JobError>> + Send;
}

/// What a job works with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct JobContext<'a> {
    /// What all jobs share.
    pub(crate) worker: &'a Worker,
    /// Goes with everything that is said of the work.
    pub(crate) held: &'a LeaseGuard,
}

/// Work that is done.
#[derive(Debug)]
pub(crate) struct Done {
    /// The outcome's name in metrics.
    pub(crate) label: &'static str,
    /// What to report to the catalog; `None` when the job has done that.
    pub(crate) outcome: Option<Outcome>,
}

/// A digest of a message, for a span: empty when it is none.
pub(crate) fn digest_hex(bytes: &[u8]) -> String {
    Digest::from_slice(bytes).map(Digest::to_hex).unwrap_or_default()
}

impl Done {
    /// Work whose outcome is to be reported.
    pub(crate) fn with(label: &'static str, outcome: Outcome) -> Self {
        Self {
            label,
            outcome: Some(outcome),
        }
    }

    /// Work whose outcome the catalog knows already.
    pub(crate) fn reported(label: &'static str) -> Self {
        Self { label, outcome: None }
    }
}

/// Why work ended without an outcome that was reported.
#[derive(Debug)]
pub(crate) enum JobError {
    /// Another worker has it, or is about to: nothing may be said or written any more.
    LeaseLost(LeaseLoss),
    /// The process ends; the work is good to be taken up by another.
    Stopped,
    /// The catalog does not answer. The lease runs out by itself, and the work is done again.
    Unreported(String),
    /// It failed, in words for people.
    Failed {
        /// What, why, and what to look at.
        message: String,
        /// When a remote wants to be asked again.
        retry_after: Option<Duration>,
    },
}

impl JobError {
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::Failed {
            message: message.into(),
            retry_after: None,
        }
    }
}

impl From<FetchError> for JobError {
    fn from(error: FetchError) -> Self {
        Self::Failed {
            message: error.to_string(),
            retry_after: error.retry_after(),
        }
    }
}

impl From<LeaseLoss> for JobError {
    fn from(loss: LeaseLoss) -> Self {
        Self::LeaseLost(loss)
    }
}

impl From<CatalogError> for JobError {
    fn from(error: CatalogError) -> Self {
        match error {
            CatalogError::LeaseLost => Self::LeaseLost(LeaseLoss::Revoked),
            CatalogError::Refused(message) => Self::failed(message),
            CatalogError::Unanswered(message) => Self::Unreported(message),
        }
    }
}

impl From<BlobError> for JobError {
    /// The store's own words hold addresses and the like: they go to the log.
    fn from(error: BlobError) -> Self {
        tracing::warn!(
            error = &error as &(dyn std::error::Error + 'static),
            "the blob store failed"
        );
        Self::failed(match &error {
            BlobError::Refused { operation, .. } => {
                format!(
                    "the blob store refused to {operation}: check its space, its permissions and its bucket; the worker's log has more"
                )
            }
            BlobError::Unavailable { operation, .. } | BlobError::OutcomeUnknown { operation, .. } => {
                format!("the blob store is not available to {operation}; the worker's log has more")
            }
            other => format!("the blob store failed: {other}"),
        })
    }
}
