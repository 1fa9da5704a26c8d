//! Sync workers: they poll remotes, move blobs into the store, and decide nothing.
//!
//! Owns: telling the catalog what image servers offer, and which server a blob is fetched from next. Refuses
//! to know: which versions to take (the catalog plans), how an image server is asked (`rootstock-remote`), how
//! bytes reach the store under a lease (`rootstock-ingest`), how a blob is verified and kept
//! (`rootstock-blobs`), and SQL. A worker keeps no state: any number of them work side by side, and any of them
//! can go at any time.
//!
//! Start reading at [`run`], then `worker` (claims), `work` (one piece of work, from claim to
//! report), and the kinds of work: `poll`, `transfer`, `verify`, `sweep`, `auto_update`, `expire`,
//! `collect` and `deliver`.
//!
//! Metrics:
//!
//! | name | kind | labels |
//! |---|---|---|
//! | `rootstock_sync_work_total` | counter | `kind` (`poll`, `transfer`, `verify`, `sweep`, `auto-update`, `expire`, `collect`, `deliver`), `outcome` |
//! | `rootstock_sync_work_active` | gauge | `kind` |
//! | `rootstock_sync_work_duration_seconds` | histogram | `kind` |
//! | `rootstock_sync_received_bytes_total` | counter | `remote` |
//! | `rootstock_sync_events_total` | counter | `webhook`, `outcome` (`taken`, `refused`) |
//! | `rootstock_sync_event_lag_seconds` | histogram | `webhook`: from the change to its being taken |
//!
//! `outcome` is one of `unchanged`, `submitted`, `planned` (polls), `stored`, `present` (transfers:
//! fetched, or in the store already), `verified`, `swept`, `updated`, `expired`,
//! `collected`; or of any work `failed` (reported to the
//! catalog), `released` (given back on shutdown), `lost` (the lease was), `unreported` (the catalog
//! did not answer; its lease runs out).

mod auto_update;
mod catalog;
mod collect;
mod config;
mod deliver;
mod expire;
mod poll;
mod remote;
mod sweep;
mod telemetry;
mod transfer;
mod verify;
mod work;
mod worker;

pub use catalog::client_options;
pub use config::SyncConfig;

use rootstock_blobs::BlobStore;
use rootstock_runtime::{Readiness, Shutdown, grpc::client::ClientStack};

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
    worker::Worker::new(config, catalog, blobs, shutdown)
        .run(&component)
        .await;
}
