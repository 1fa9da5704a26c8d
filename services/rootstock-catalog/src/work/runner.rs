//! Does the work that the catalog does itself.
//!
//! Each catalog has one loop for each such kind. They claim as workers do, so of several catalogs side by
//! side one does the work, and what a dead one had falls due by itself.

use std::time::Duration;

use rootstock_model::Id;
use rootstock_proto::Error;
use rootstock_runtime::{Shutdown, propagate, retry::Backoff};
use tokio::time::Instant;
use tracing::Instrument as _;

use super::{
    Kind, Lease,
    claim::DueWork,
    lease::fence_kind,
    rules::CatalogKind,
    schedule::{self, Claimed},
};
use crate::{Catalog, failure::Failure, metrics};

/// How long a claim waits before it asks the database again, should it hear of nothing.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// A lease is prolonged this many times within its duration, so that it survives a lost heartbeat.
const BEATS_PER_LEASE: u32 = 3;
/// The process is ending, and a lease that is not given back ends by itself.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(3);

/// Does work of this kind whenever it is due, until `shutdown`.
pub(crate) async fn run(catalog: Catalog, kind: Kind, rules: &'static dyn CatalogKind, shutdown: Shutdown) {
    let worker = format!("catalog-{}", Id::generate());
    let mut failures = 0;
    loop {
        match shutdown.race(claim(&catalog, kind, &worker)).await {
            None => return,
            Some(Ok(claimed)) => {
                failures = 0;
                if let Some(claimed) = claimed {
                    let span = tracing::info_span!(
                        "catalog work",
                        work.kind = kind.label(),
                        work.id = claimed.lease.work_id
                    );
                    let span = propagate::continue_trace(span, Some(&claimed.traceparent));
                    perform(&catalog, kind, rules, claimed.lease, &shutdown)
                        .instrument(span)
                        .await;
                }
            }
            Some(Err(failure)) => {
                if failures == 0 {
                    tracing::warn!(work.kind = kind.label(), ?failure, "cannot claim work");
                }
                let delay = Backoff::RPC.delay(failures, &mut rand::rng());
                failures = failures.saturating_add(1);
                shutdown.race(tokio::time::sleep(delay)).await;
            }
        }
    }
}

/// Waits for work to fall due, and claims it. `None` when none did for a while.
async fn claim(catalog: &Catalog, kind: Kind, worker: &str) -> Result<Option<Claimed>, Failure> {
    let kinds = [kind];
    let deadline = Instant::now() + MAX_WAIT;
    let mut due_work = DueWork::of(catalog, &kinds);
    loop {
        let mut connection = catalog.pool.acquire().await?;
        let claimed = schedule::claim_due(&mut connection, worker, &kinds, 1, catalog.lease_duration).await?;
        drop(connection);
        if let Some(claimed) = claimed.into_iter().next() {
            metrics::claimed(kind);
            return Ok(Some(claimed));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        due_work.wait(deadline).await?;
    }
}

/// Does one round, and records how it ended. What cannot be recorded is logged: the lease ends by itself.
async fn perform(
    catalog: &Catalog,
    kind: Kind,
    rules: &'static dyn CatalogKind,
    lease: Lease,
    shutdown: &Shutdown,
) {
    let round = async {
        rules.round(catalog, lease).await?;
        finish(catalog, kind, rules, lease).await
    };
    let ended = tokio::select! {
        biased;
        () = shutdown.triggered() => {
            let release = release(catalog, lease);
            if !matches!(tokio::time::timeout(RELEASE_TIMEOUT, release).await, Ok(Ok(()))) {
                tracing::warn!("work could not be given back; its lease ends by itself");
            }
            return;
        }
        ended = round => ended,
        () = lease_lost(catalog, lease) => Err(Error::LeaseLost.into()),
    };
    match ended {
        Ok(()) => {}
        Err(Failure::Refused(Error::LeaseLost)) => tracing::warn!("stopped: the lease is lost"),
        Err(failure) => {
            tracing::warn!(?failure, "work failed");
            if let Err(failure) = fail(catalog, kind, lease, &failure).await {
                tracing::warn!(?failure, "that could not be recorded; the lease ends by itself");
            }
        }
    }
}

async fn finish(
    catalog: &Catalog,
    kind: Kind,
    rules: &'static dyn CatalogKind,
    lease: Lease,
) -> Result<(), Failure> {
    let mut transaction = catalog.pool.begin().await?;
    let guard = fence_kind(&mut transaction, lease, kind).await?;
    let delay = rules.next_round(catalog, &mut transaction).await?;
    schedule::again_after(&mut transaction, &guard, delay).await?;
    transaction.commit().await?;
    Ok(())
}

async fn fail(catalog: &Catalog, kind: Kind, lease: Lease, failure: &Failure) -> Result<(), Failure> {
    metrics::failed(kind);
    let mut transaction = catalog.pool.begin().await?;
    let guard = fence_kind(&mut transaction, lease, kind).await?;
    let failures = guard.failed_attempts.saturating_add(1);
    let delay = catalog.retry.delay(failures, Duration::ZERO, rand::random());
    schedule::fail(&mut transaction, &guard, &format!("{failure:?}"), Some(delay)).await?;
    transaction.commit().await?;
    Ok(())
}

async fn release(catalog: &Catalog, lease: Lease) -> Result<(), Failure> {
    let mut connection = catalog.pool.acquire().await?;
    schedule::release(&mut connection, &[lease]).await
}

/// Prolongs the lease until it is lost to another catalog. One that cannot be prolonged while the database
/// does not answer is no danger: whatever the round writes is fenced.
async fn lease_lost(catalog: &Catalog, lease: Lease) {
    loop {
        tokio::time::sleep(catalog.lease_duration / BEATS_PER_LEASE).await;
        match extend(catalog, lease).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(failure) => tracing::warn!(?failure, "heartbeat failed"),
        }
    }
}

/// False when the lease is no longer in force.
async fn extend(catalog: &Catalog, lease: Lease) -> Result<bool, Failure> {
    let mut connection = catalog.pool.acquire().await?;
    let kept = schedule::extend_leases(&mut connection, &[lease], &[0], catalog.lease_duration).await?;
    Ok(!kept.is_empty())
}
