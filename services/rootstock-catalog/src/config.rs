//! The catalog's configuration.

use std::time::Duration;

use rootstock_model::duration;
use rootstock_runtime::config::{Problems, Secret, Validate};
use serde::{Deserialize, Serialize};

/// Uploads that no client goes on with for so long are abandoned.
pub(crate) const UPLOAD_ABANDONED_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// The section `catalog`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CatalogConfig {
    /// `postgres://user:password@host:port/database`. Standalone fills it in by itself.
    pub database_url: Secret,
    /// Connections to the database, at least 1. One more listens for changes, and up to two
    /// more look up what is to be resolved.
    pub database_connections: u32,
    /// How long a worker holds work without a heartbeat: what a crashed worker had is another's
    /// after this long.
    #[serde(with = "duration")]
    pub lease_duration: Duration,
    /// Time between two sweeps of the store for abandoned uploads.
    #[serde(with = "duration")]
    pub sweep_interval: Duration,
    /// Uploads that no transfer claims are removed when older than this.
    #[serde(with = "duration")]
    pub sweep_min_age: Duration,
    /// Wait before the second attempt of a transfer or a poll; doubles with each failure.
    #[serde(with = "duration")]
    pub retry_initial: Duration,
    /// The longest wait between two attempts.
    #[serde(with = "duration")]
    pub retry_max: Duration,
    /// Attempts at a transfer before it gives up, until its remote is synced by hand.
    pub transfer_attempts: u32,
    /// Changes kept for watchers that come back; older ones make them start anew.
    pub change_history: u32,
}

impl Default for CatalogConfig {
    fn default() -> Self {
        Self {
            database_url: Secret::default(),
            database_connections: 16,
            lease_duration: Duration::from_secs(30),
            sweep_interval: Duration::from_secs(15 * 60),
            sweep_min_age: Duration::from_secs(60 * 60),
            retry_initial: Duration::from_secs(5),
            retry_max: Duration::from_secs(60 * 60),
            transfer_attempts: 10,
            change_history: 1_000_000,
        }
    }
}

impl Validate for CatalogConfig {
    fn validate(&self, problems: &mut Problems) {
        problems.require(
            self.database_connections >= 1,
            "database_connections",
            "must be at least 1",
        );
        problems.require(
            self.lease_duration >= Duration::from_secs(1),
            "lease_duration",
            "must be at least 1s",
        );
        problems.require(
            !self.sweep_interval.is_zero(),
            "sweep_interval",
            "must be more than 0",
        );
        problems.require(
            !self.retry_initial.is_zero(),
            "retry_initial",
            "must be more than 0",
        );
        problems.require(
            self.retry_max >= self.retry_initial,
            "retry_max",
            "must be at least retry_initial",
        );
        problems.require(
            self.transfer_attempts >= 1,
            "transfer_attempts",
            "must be at least 1",
        );
        problems.require(
            self.change_history >= 1000,
            "change_history",
            "must be at least 1000",
        );
    }
}
