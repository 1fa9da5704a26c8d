//! Runs jobs: for each kind of work one loop that claims, with slots and tasks of its own, and reports what
//! came of each piece of work.

use std::{sync::Arc, time::Duration};

use rootstock_ingest::{CatalogError, LeaseGuard};
use rootstock_proto::sync::v1::Work;
use rootstock_runtime::{Component, propagate, retry::Backoff};
use tokio::{
    task::{JoinError, JoinSet},
    time::{Instant, sleep_until},
};
use tracing::Instrument as _;

use crate::{
    job::{Done, Job, JobContext, JobError},
    telemetry::ActiveWork,
    worker::Worker,
};

/// The least time between two questions for work that came back empty, should the catalog answer
/// them without waiting.
const EMPTY_CLAIM_INTERVAL: Duration = Duration::from_millis(500);

/// Claims and does work of one kind until the shutdown, as much at a time as there are slots; then waits for
/// what is under way.
pub(crate) async fn run<J: Job>(worker: &Arc<Worker>, readiness: &Component) {
    let slots = J::slots(&worker.config);
    let mut running = JoinSet::new();
    let mut failures = 0;
    while !worker.shutdown.is_triggered() {
        while let Some(ended) = running.try_join_next() {
            log_panic::<J>(ended);
        }
        let free = slots.saturating_sub(running.len());
        if free == 0 {
            if let Some(Some(ended)) = worker.shutdown.race(running.join_next()).await {
                log_panic::<J>(ended);
            }
            continue;
        }
        let asked_at = Instant::now();
        let claim = worker.catalog.claim(J::KIND, free, worker.config.claim_wait);
        let next = match worker.shutdown.race(claim).await {
            None => break,
            Some(Ok(claimed)) => {
                failures = 0;
                readiness.ready();
                let next = if claimed.is_empty() {
                    EMPTY_CLAIM_INTERVAL
                } else {
                    Duration::ZERO
                };
                for work in claimed {
                    start::<J>(worker, work, &mut running);
                }
                asked_at + next
            }
            Some(Err(error)) => {
                if failures == 0 {
                    tracing::warn!(
                        kind = J::LABEL,
                        %error,
                        "cannot ask for work"
                    );
                }
                let delay = Backoff::RPC.delay(failures, &mut rand::rng());
                failures = failures.saturating_add(1);
                Instant::now() + delay
            }
        };
        worker.shutdown.race(sleep_until(next)).await;
    }
    while let Some(ended) = running.join_next().await {
        log_panic::<J>(ended);
    }
}

fn start<J: Job>(worker: &Arc<Worker>, work: Work, running: &mut JoinSet<()>) {
    let Some(lease) = work.lease else {
        tracing::error!(kind = J::LABEL, "the catalog gave work without a lease");
        return;
    };
    let held = worker.leases.hold(lease, work.lease_duration);
    running.spawn(perform::<J>(Arc::clone(worker), held, work));
}

/// Work reports its own failures; what is left is a fault of ours. Its lease runs out by itself.
fn log_panic<J: Job>(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(kind = J::LABEL, %error, "work broke");
    }
}

/// Does the work and reports what came of it. Never fails: what cannot be reported is logged.
async fn perform<J: Job>(worker: Arc<Worker>, held: LeaseGuard, work: Work) {
    let Some(task) = work.task.and_then(J::task) else {
        let error = format!("the worker does not know this kind of {}", J::LABEL);
        report_error(&worker, &held, JobError::failed(error)).await;
        return;
    };
    let span = J::span(held.lease().work_id, &task);
    let span = propagate::continue_trace(span, Some(&work.traceparent));
    async {
        let active = ActiveWork::begin(J::LABEL);
        let done = tokio::select! {
            biased;
            loss = held.lost() => Err(JobError::LeaseLost(loss)),
            () = worker.give_up.cancelled() => Err(JobError::Stopped),
            done = do_and_report::<J>(&worker, &held, task) => done,
        };
        let outcome = match done {
            Ok(outcome) => outcome,
            Err(error) => report_error(&worker, &held, error).await,
        };
        active.end(outcome);
    }
    .instrument(span)
    .await;
}

/// Returns the outcome's name.
async fn do_and_report<J: Job>(
    worker: &Worker,
    held: &LeaseGuard,
    task: J::Task,
) -> Result<&'static str, JobError> {
    let work = async {
        let done = J::run(JobContext { worker, held }, task).await?;
        report(worker, held, done).await
    };
    if J::STOPS_ITSELF {
        return work.await;
    }
    worker.shutdown.race(work).await.unwrap_or(Err(JobError::Stopped))
}

async fn report(worker: &Worker, held: &LeaseGuard, done: Done) -> Result<&'static str, JobError> {
    if let Some(outcome) = done.outcome {
        held.reporting();
        let recorded = worker.catalog.finish(held.lease(), outcome).await?;
        if recorded.activated_versions > 0 {
            let activated_versions = recorded.activated_versions;
            tracing::info!(activated_versions, "versions turned active");
        }
    }
    Ok(done.label)
}

/// Reports to the catalog and the log why the work ended. Returns the outcome's name.
async fn report_error(worker: &Worker, held: &LeaseGuard, error: JobError) -> &'static str {
    let (outcome, reported) = match error {
        JobError::LeaseLost(loss) => {
            tracing::warn!(?loss, "stopped: the lease is lost");
            return "lost";
        }
        JobError::Unreported(error) => {
            tracing::warn!(
                error,
                "the outcome could not be reported; the work will be done again"
            );
            return "unreported";
        }
        JobError::Stopped => {
            tracing::info!("stopped on shutdown, giving the work back");
            ("released", worker.catalog.leases().release(held.lease()).await)
        }
        JobError::Failed { message, retry_after } => {
            tracing::warn!(error = message, ?retry_after, "failed");
            let fail = worker.catalog.fail(held.lease(), message, retry_after);
            match worker.give_up.run_until_cancelled(fail).await {
                Some(reported) => ("failed", reported),
                None => ("released", worker.catalog.leases().release(held.lease()).await),
            }
        }
    };
    match reported {
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
