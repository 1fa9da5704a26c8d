//! Sync workers: they poll remotes, move blobs into the store, and decide nothing.
//!
//! Owns: telling the catalog what image servers offer, and which server a blob is fetched from next. Refuses
//! to know: which versions to take (the catalog plans), how an image server is asked (`rootstock-remote`), how
//! bytes reach the store under a lease (`rootstock-ingest`), how a blob is verified and kept
//! (`rootstock-blobs`), and SQL. A worker keeps no state: any number of them work side by side, and any of them
//! can go at any time.
//!
//! Start reading at [`run`], then `job` (what a kind of work is), `runner` (one piece of work, from its
//! claim to the report) and `jobs`, which has one file for each kind.
//!
//! Metrics:
//!
//! | name | kind | labels |
//! |---|---|---|
//! | `rootstock_sync_work_total` | counter | `kind` (`poll`, `transfer`, `verify`, `sweep`, `collect`, `deliver`), `outcome` |
//! | `rootstock_sync_work_active` | gauge | `kind` |
//! | `rootstock_sync_work_duration_seconds` | histogram | `kind` |
//! | `rootstock_sync_received_bytes_total` | counter | `remote` |
//! | `rootstock_sync_events_total` | counter | `webhook`, `outcome` (`taken`, `refused`) |
//! | `rootstock_sync_event_lag_seconds` | histogram | `webhook`: from the change to its being taken |
//!
//! `outcome` is one of `unchanged`, `submitted`, `planned` (polls), `stored`, `present` (transfers:
//! fetched, or in the store already), `verified`, `swept`, `collected`; or of any work `failed`
//! (reported to the catalog), `released` (given back on shutdown), `lost` (the lease was), `unreported` (the catalog
//! did not answer; its lease runs out).

mod catalog;
mod config;
mod job;
mod jobs;
mod remote;
mod runner;
mod telemetry;
mod worker;

pub use catalog::client_options;
pub use config::SyncConfig;

use rootstock_blobs::BlobStore;
use rootstock_runtime::{Readiness, Shutdown, grpc::client::ClientStack};
use tokio_util::sync::CancellationToken;

use crate::worker::Worker;

/// Works until `shutdown`: then stops claiming, brings what is under way to a good place to stop at
/// within [`SyncConfig::shutdown_grace`], gives it back to the catalog, and returns.
///
/// `catalog` leads to the catalog that serves `rootstock.sync.v1`, and should be made with
/// [`client_options`]. It need not be there: a worker waits for it, and is ready from its first
/// answer on. The program must have installed a rustls crypto provider.
pub async fn run(
    config: SyncConfig,
    catalog: ClientStack,
    blobs: BlobStore,
    readiness: Readiness,
    shutdown: Shutdown,
) {
    telemetry::describe_metrics();
    let component = readiness.register("sync.catalog");
    let worker = Worker::new(config, catalog, blobs, shutdown);
    tracing::info!(worker = worker.catalog.worker(), "waiting for work");
    let ended = CancellationToken::new();
    let jobs = async {
        jobs::run(&worker, &component).await;
        ended.cancel();
    };
    let grace = async {
        worker.shutdown.triggered().await;
        let grace = worker.config.shutdown_grace;
        if ended
            .run_until_cancelled(tokio::time::sleep(grace))
            .await
            .is_some()
        {
            tracing::warn!(?grace, "giving up what did not end within the grace");
            worker.give_up.cancel();
        }
    };
    tokio::join!(jobs, grace, worker.leases.keep(worker.catalog.leases(), &ended));
    tracing::info!(worker = worker.catalog.worker(), "ended");
}
