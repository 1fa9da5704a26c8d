//! One piece of work, from its claim to the report of what came of it.

use std::{sync::Arc, time::Duration};

use rootstock_blobs::BlobError;
use rootstock_ingest::{CatalogError, LeaseGuard, LeaseLoss};
use rootstock_model::Digest;
use rootstock_proto::sync::v1::{Work, WorkKind, work::Task};
use rootstock_remote::http::FetchError;
use rootstock_runtime::propagate;
use tracing::{Instrument as _, Span, field};

use crate::{
    auto_update, collect, deliver, expire, poll, sweep, telemetry::ActiveWork, transfer, verify,
    worker::Worker,
};

/// What there is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Poll,
    Transfer,
    Verify,
    Sweep,
    AutoUpdate,
    Expire,
    Collect,
    Deliver,
}

impl Kind {
    /// As metrics and logs spell it.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Poll => "poll",
            Self::Transfer => "transfer",
            Self::Verify => "verify",
            Self::Sweep => "sweep",
            Self::AutoUpdate => "auto-update",
            Self::Expire => "expire",
            Self::Collect => "collect",
            Self::Deliver => "deliver",
        }
    }
}

impl From<Kind> for WorkKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Poll => Self::Poll,
            Kind::Transfer => Self::Transfer,
            Kind::Verify => Self::Verify,
            Kind::Sweep => Self::Sweep,
            Kind::AutoUpdate => Self::AutoUpdate,
            Kind::Expire => Self::Expire,
            Kind::Collect => Self::Collect,
            Kind::Deliver => Self::Deliver,
        }
    }
}

/// Why work ended without an outcome that was reported.
#[derive(Debug)]
pub(crate) enum WorkError {
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

impl WorkError {
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::Failed {
            message: message.into(),
            retry_after: None,
        }
    }
}

impl From<FetchError> for WorkError {
    fn from(error: FetchError) -> Self {
        Self::Failed {
            message: error.to_string(),
            retry_after: error.retry_after(),
        }
    }
}

impl From<LeaseLoss> for WorkError {
    fn from(loss: LeaseLoss) -> Self {
        Self::LeaseLost(loss)
    }
}

impl From<CatalogError> for WorkError {
    fn from(error: CatalogError) -> Self {
        match error {
            CatalogError::LeaseLost => Self::LeaseLost(LeaseLoss::Revoked),
            CatalogError::Refused(message) => Self::failed(message),
            CatalogError::Unanswered(message) => Self::Unreported(message),
        }
    }
}

impl From<BlobError> for WorkError {
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

/// Does the work and reports what came of it. Never fails: what cannot be reported is logged.
pub(crate) async fn carry_out(worker: Arc<Worker>, kind: Kind, held: LeaseGuard, work: Work) {
    let span = propagate::continue_trace(span_of(kind, &work), Some(&work.traceparent));
    async {
        let active = ActiveWork::begin(kind);
        let done = tokio::select! {
            biased;
            loss = held.lost() => Err(WorkError::LeaseLost(loss)),
            () = worker.give_up.cancelled() => Err(WorkError::Stopped),
            done = perform(&worker, kind, &held, work.task) => done,
        };
        let outcome = match done {
            Ok(outcome) => outcome,
            Err(error) => report(&worker, &held, error).await,
        };
        active.end(outcome);
    }
    .instrument(span)
    .await;
}

/// The work itself, with the report of its success as its last step. Answers the outcome's name.
async fn perform(
    worker: &Worker,
    kind: Kind,
    held: &LeaseGuard,
    task: Option<Task>,
) -> Result<&'static str, WorkError> {
    match task {
        // These have state that is worth being saved, so they look for the shutdown themselves.
        Some(Task::Transfer(task)) => transfer::transfer(worker, held, task).await,
        Some(Task::Deliver(task)) => deliver::deliver(worker, held, task).await,
        // The others can be dropped anywhere: they read, and what they report is taken whole or not.
        Some(Task::Poll(task)) => until_shutdown(worker, poll::poll(worker, held, task)).await,
        Some(Task::Verify(task)) => until_shutdown(worker, verify::verify(worker, held, task)).await,
        Some(Task::Sweep(task)) => until_shutdown(worker, sweep::sweep(worker, held, task)).await,
        Some(Task::AutoUpdate(task)) => {
            until_shutdown(worker, auto_update::auto_update(worker, held, task)).await
        }
        Some(Task::Expire(task)) => until_shutdown(worker, expire::expire(worker, held, task)).await,
        Some(Task::Collect(task)) => until_shutdown(worker, collect::collect(worker, held, task)).await,
        None => Err(WorkError::failed(format!(
            "the worker does not know this kind of {}",
            kind.label()
        ))),
    }
}

async fn until_shutdown(
    worker: &Worker,
    work: impl Future<Output = Result<&'static str, WorkError>>,
) -> Result<&'static str, WorkError> {
    worker
        .shutdown
        .race(work)
        .await
        .unwrap_or(Err(WorkError::Stopped))
}

/// Says to the catalog and the log why the work ended. Answers the outcome's name.
async fn report(worker: &Worker, held: &LeaseGuard, error: WorkError) -> &'static str {
    let (outcome, told) = match error {
        WorkError::LeaseLost(loss) => {
            tracing::warn!(?loss, "stopped: the lease is lost");
            return "lost";
        }
        WorkError::Unreported(error) => {
            tracing::warn!(
                error,
                "the outcome could not be reported; the work will be done again"
            );
            return "unreported";
        }
        WorkError::Stopped => {
            tracing::info!("stopped on shutdown, giving the work back");
            ("released", worker.catalog.leases().release(held.lease()).await)
        }
        WorkError::Failed { message, retry_after } => {
            tracing::warn!(error = message, ?retry_after, "failed");
            let fail = worker.catalog.fail(held.lease(), message, retry_after);
            match worker.give_up.run_until_cancelled(fail).await {
                Some(told) => ("failed", told),
                None => ("released", worker.catalog.leases().release(held.lease()).await),
            }
        }
    };
    match told {
        Ok(()) => outcome,
        Err(CatalogError::LeaseLost) => "lost",
        Err(error) => {
            tracing::warn!(
                %error,
                "that could not be reported; the lease runs out by itself"
            );
            "unreported"
        }
    }
}

fn span_of(kind: Kind, work: &Work) -> Span {
    let work_id = work.lease.map_or(0, |lease| lease.work_id);
    let hex = |bytes: &[u8]| Digest::from_slice(bytes).map(Digest::to_hex).unwrap_or_default();
    let span = match kind {
        Kind::Poll => tracing::info_span!("poll", work.id = work_id, remote.name = field::Empty),
        Kind::Transfer => tracing::info_span!(
            "transfer",
            work.id = work_id,
            remote.name = field::Empty,
            blob.sha256 = field::Empty,
            size_bytes = field::Empty
        ),
        Kind::Verify => tracing::info_span!("verify", work.id = work_id, blob.sha256 = field::Empty),
        Kind::Sweep => tracing::info_span!("sweep", work.id = work_id),
        Kind::AutoUpdate => tracing::info_span!("auto-update", work.id = work_id),
        Kind::Expire => tracing::info_span!("expire", work.id = work_id),
        Kind::Collect => tracing::info_span!("collect", work.id = work_id),
        Kind::Deliver => tracing::info_span!("deliver", work.id = work_id, webhook.name = field::Empty),
    };
    match &work.task {
        Some(Task::Poll(task)) => {
            span.record(
                "remote.name",
                task.remote.as_ref().map_or("", |remote| remote.name.as_str()),
            );
        }
        Some(Task::Transfer(task)) => {
            span.record("blob.sha256", hex(&task.sha256));
        }
        Some(Task::Verify(task)) => {
            span.record("blob.sha256", hex(&task.root_sha256));
        }
        Some(Task::Deliver(task)) => {
            let name = task.webhook.as_ref().map_or("", |webhook| webhook.name.as_str());
            span.record("webhook.name", name);
        }
        Some(Task::Sweep(_) | Task::AutoUpdate(_) | Task::Expire(_) | Task::Collect(_)) | None => {}
    }
    span
}
