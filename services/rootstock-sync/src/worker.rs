//! The worker: one lane for each kind of work, each with its own slots, claims and tasks.

use std::{sync::Arc, time::Duration};

use rootstock_blobs::BlobStore;
use rootstock_ingest::Leases;
use rootstock_proto::sync::v1::Work;
use rootstock_remote::RemoteSources;
use rootstock_runtime::{Component, Shutdown, grpc::client::ClientStack, retry::Backoff};
use tokio::{
    task::{JoinError, JoinSet},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    catalog::CatalogClient,
    config::SyncConfig,
    work::{self, Kind},
};

/// The least time between two questions for work that came back empty, should the catalog answer
/// them without waiting.
const EMPTY_CLAIM_INTERVAL: Duration = Duration::from_millis(500);
/// Webhooks delivered to at a time: each costs a stream of changes, and mostly waits.
const CONCURRENT_WEBHOOKS: usize = 100;

/// What all work needs.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) config: SyncConfig,
    pub(crate) catalog: CatalogClient,
    pub(crate) blobs: BlobStore,
    pub(crate) remotes: RemoteSources,
    pub(crate) leases: Arc<Leases>,
    /// Come to a good place, and stop there.
    pub(crate) shutdown: Shutdown,
    /// The grace is over: stop where you are.
    pub(crate) give_up: CancellationToken,
}

impl Worker {
    pub(crate) fn new(
        config: SyncConfig,
        catalog: ClientStack,
        blobs: BlobStore,
        shutdown: Shutdown,
    ) -> Arc<Self> {
        Arc::new(Self {
            catalog: CatalogClient::new(catalog),
            blobs,
            remotes: RemoteSources::new(config.remote.clone()),
            leases: Arc::default(),
            shutdown,
            give_up: CancellationToken::new(),
            config,
        })
    }

    /// Works until the shutdown, and until everything under way has ended.
    pub(crate) async fn run(self: Arc<Self>, readiness: &Component) {
        tracing::info!(worker = self.catalog.worker(), "waiting for work");
        let ended = CancellationToken::new();
        let lanes = async {
            let lane = |kind| Arc::clone(&self).lane(kind, readiness);
            tokio::join!(
                lane(Kind::Poll),
                lane(Kind::Transfer),
                lane(Kind::Verify),
                lane(Kind::Sweep),
                lane(Kind::AutoUpdate),
                lane(Kind::Expire),
                lane(Kind::Collect),
                lane(Kind::Deliver)
            );
            ended.cancel();
        };
        let grace = async {
            self.shutdown.triggered().await;
            let grace = tokio::time::sleep(self.config.shutdown_grace);
            if ended.run_until_cancelled(grace).await.is_some() {
                tracing::warn!(grace = ?self.config.shutdown_grace, "giving up what did not end within the grace");
                self.give_up.cancel();
            }
        };
        tokio::join!(lanes, grace, self.leases.keep(self.catalog.leases(), &ended));
        tracing::info!(worker = self.catalog.worker(), "ended");
    }

    /// Claims and does work of one kind, as much at a time as there are slots.
    async fn lane(self: Arc<Self>, kind: Kind, readiness: &Component) {
        let slots = self.slots(kind);
        let mut running = JoinSet::new();
        let mut failures = 0;
        while !self.shutdown.is_triggered() {
            while let Some(ended) = running.try_join_next() {
                report(kind, ended);
            }
            let free = slots.saturating_sub(running.len());
            if free == 0 {
                if let Some(Some(ended)) = self.shutdown.race(running.join_next()).await {
                    report(kind, ended);
                }
                continue;
            }
            let asked_at = Instant::now();
            let wait = self.config.claim_wait;
            let claim = self.catalog.claim(kind.into(), free, wait);
            let next = match self.shutdown.race(claim).await {
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
                        self.start(kind, work, &mut running);
                    }
                    asked_at + next
                }
                Some(Err(error)) => {
                    if failures == 0 {
                        tracing::warn!(
                            kind = kind.label(),
                            %error,
                            "cannot ask for work"
                        );
                    }
                    let delay = Backoff::RPC.delay(failures, &mut rand::rng());
                    failures = failures.saturating_add(1);
                    Instant::now() + delay
                }
            };
            self.shutdown.race(sleep_until(next)).await;
        }
        while let Some(ended) = running.join_next().await {
            report(kind, ended);
        }
    }

    fn slots(&self, kind: Kind) -> usize {
        match kind {
            Kind::Poll => self.config.concurrent_polls,
            Kind::Transfer => self.config.concurrent_transfers,
            // They read or list the store: one at a time is no burden to it.
            Kind::Deliver => CONCURRENT_WEBHOOKS,
            Kind::Verify | Kind::Sweep | Kind::AutoUpdate | Kind::Expire | Kind::Collect => 1,
        }
    }

    fn start(self: &Arc<Self>, kind: Kind, work: Work, running: &mut JoinSet<()>) {
        let Some(lease) = work.lease else {
            tracing::error!(kind = kind.label(), "the catalog gave work without a lease");
            return;
        };
        let held = self.leases.hold(lease, work.lease_duration);
        running.spawn(work::carry_out(Arc::clone(self), kind, held, work));
    }
}

/// Work reports its own failures; what is left is a fault of ours. Its lease runs out by itself.
fn report(kind: Kind, ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(kind = kind.label(), %error, "work broke");
    }
}
