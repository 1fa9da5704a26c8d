//! The catalog's metrics: every name, and what it means.
//!
//! | name | kind | labels | |
//! |---|---|---|---|
//! | `rootstock_catalog_revision` | gauge | | the newest revision that this catalog's watchers can see |
//! | `rootstock_catalog_watchers` | gauge | | open watches |
//! | `rootstock_catalog_versions_activated_total` | counter | | versions that turned active |
//! | `rootstock_catalog_versions_refused_total` | counter | | versions whose bytes are not what their remote claims |
//! | `rootstock_catalog_work_claimed_total` | counter | `kind` | pieces of work given to workers |
//! | `rootstock_catalog_work_failed_total` | counter | `kind` | failures that workers told of |
//! | `rootstock_catalog_uses_dropped_total` | counter | | uses of images that were not noted: too many images at once |
//! | `rootstock_catalog_blobs_removed_total` | counter | | blobs that left the store because nothing needed them |
//! | `rootstock_catalog_database_connections` | gauge | `state` | `open`, `idle`: those of the pool |
//!
//! gRPC calls count under `rootstock_grpc_server_*`, as in every process.

use metrics::{counter, describe_counter, describe_gauge, gauge};
use sqlx::PgPool;

use crate::work::Kind;

/// Describes the metrics.
pub(crate) fn describe() {
    describe_gauge!(
        "rootstock_catalog_revision",
        "The newest revision that watchers can see."
    );
    describe_gauge!("rootstock_catalog_watchers", "Open watches.");
    describe_counter!(
        "rootstock_catalog_versions_activated_total",
        "Versions that turned active."
    );
    describe_counter!(
        "rootstock_catalog_versions_refused_total",
        "Versions whose bytes are not what their remote claims."
    );
    describe_counter!(
        "rootstock_catalog_work_claimed_total",
        "Pieces of work given to workers, by kind."
    );
    describe_counter!(
        "rootstock_catalog_work_failed_total",
        "Failures that workers told of, by kind."
    );
    describe_counter!(
        "rootstock_catalog_uses_dropped_total",
        "Uses of images that were not noted."
    );
    describe_counter!(
        "rootstock_catalog_blobs_removed_total",
        "Blobs that left the store because nothing needed them."
    );
    describe_gauge!(
        "rootstock_catalog_database_connections",
        "Connections of the pool, by state."
    );
}

/// The feed has come to this revision.
pub(crate) fn revision(revision: i64) {
    gauge!("rootstock_catalog_revision").set(revision as f64);
}

/// How many connections there are, as of now.
pub(crate) fn connections(pool: &PgPool) {
    gauge!("rootstock_catalog_database_connections", "state" => "open").set(f64::from(pool.size()));
    gauge!("rootstock_catalog_database_connections", "state" => "idle").set(pool.num_idle() as f64);
}

/// Versions turned active.
pub(crate) fn activated(versions: usize) {
    counter!("rootstock_catalog_versions_activated_total").increment(versions as u64);
}

/// A version was refused.
pub(crate) fn refused() {
    counter!("rootstock_catalog_versions_refused_total").increment(1);
}

/// A use of an image was not noted.
pub(crate) fn use_dropped() {
    counter!("rootstock_catalog_uses_dropped_total").increment(1);
}

/// Blobs left the store.
pub(crate) fn removed(blobs: usize) {
    counter!("rootstock_catalog_blobs_removed_total").increment(blobs as u64);
}

/// Work was given to a worker.
pub(crate) fn claimed(kind: Kind) {
    counter!("rootstock_catalog_work_claimed_total", "kind" => kind.label()).increment(1);
}

/// A worker told of a failure.
pub(crate) fn failed(kind: Kind) {
    counter!("rootstock_catalog_work_failed_total", "kind" => kind.label()).increment(1);
}

/// Counts a watch as open while it lives.
pub(crate) struct OpenWatch;

impl OpenWatch {
    pub(crate) fn begin() -> Self {
        gauge!("rootstock_catalog_watchers").increment(1);
        Self
    }
}

impl Drop for OpenWatch {
    fn drop(&mut self) {
        gauge!("rootstock_catalog_watchers").decrement(1);
    }
}
