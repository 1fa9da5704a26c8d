//! The `sync` section of the configuration.

use std::{path::PathBuf, time::Duration};

use rootstock_model::duration;
use rootstock_remote::RemoteLimits;
use rootstock_runtime::config::{Problems, Validate};
use serde::{Deserialize, Serialize};

/// How a worker works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SyncConfig {
    /// Where the catalog is: `http://HOST:PORT` or `https://HOST:PORT`. Standalone fills it in by
    /// itself.
    pub catalog_url: String,
    /// Certificates to trust when the catalog is at `https://`, PEM, instead of the system's.
    pub catalog_ca_file: Option<PathBuf>,
    /// Blobs fetched at a time, 1 to 100. Each may hold some parts of the blob store in memory.
    pub concurrent_transfers: usize,
    /// Remotes polled at a time, 1 to 100. Each may hold the documents of a remote in memory.
    pub concurrent_polls: usize,
    /// How long one question for work waits for some to become due, 1s to 30s.
    #[serde(with = "duration")]
    pub claim_wait: Duration,
    /// How long work under way may take to come to a good place to stop at, on shutdown.
    #[serde(with = "duration")]
    pub shutdown_grace: Duration,
    /// What a remote may cost.
    pub remote: RemoteLimits,
}

impl Default for SyncConfig {
    fn default() -> Self {
        Self {
            catalog_url: String::new(),
            catalog_ca_file: None,
            concurrent_transfers: 4,
            concurrent_polls: 2,
            claim_wait: Duration::from_secs(20),
            shutdown_grace: Duration::from_secs(10),
            remote: RemoteLimits::default(),
        }
    }
}

impl Validate for SyncConfig {
    fn validate(&self, problems: &mut Problems) {
        let is_url = ["http://", "https://"]
            .iter()
            .any(|scheme| self.catalog_url.starts_with(scheme));
        problems.require(
            is_url,
            "catalog_url",
            "must be http://HOST:PORT or https://HOST:PORT",
        );
        for (key, slots) in [
            ("concurrent_transfers", self.concurrent_transfers),
            ("concurrent_polls", self.concurrent_polls),
        ] {
            problems.require((1..=100).contains(&slots), key, "must be 1 to 100");
        }
        let wait = Duration::from_secs(1)..=Duration::from_secs(30);
        problems.require(wait.contains(&self.claim_wait), "claim_wait", "must be 1s to 30s");
        problems.section("remote", &self.remote);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_lack_only_the_catalog_and_are_read_back() {
        let config = SyncConfig {
            catalog_url: "http://catalog:7443".to_owned(),
            ..SyncConfig::default()
        };
        assert_eq!(Problems::of(&config), []);
        let text = serde_json::to_string(&config).unwrap();
        assert!(text.contains("\"claim_wait\":\"20s\""), "{text}");
        assert_eq!(serde_json::from_str::<SyncConfig>(&text).unwrap(), config);
    }

    #[test]
    fn every_mistake_is_reported_at_once() {
        let config = SyncConfig {
            concurrent_transfers: 0,
            concurrent_polls: 101,
            claim_wait: Duration::from_secs(31),
            remote: RemoteLimits {
                idle_timeout: Duration::ZERO,
                ..RemoteLimits::default()
            },
            ..SyncConfig::default()
        };
        let keys: Vec<_> = Problems::of(&config).into_iter().map(|(key, _)| key).collect();
        assert_eq!(
            keys,
            [
                "catalog_url",
                "concurrent_transfers",
                "concurrent_polls",
                "claim_wait",
                "remote.idle_timeout"
            ]
        );
    }

    #[test]
    fn unknown_keys_are_refused() {
        let error = serde_json::from_str::<SyncConfig>(r#"{"concurrent_transfer": 1}"#).unwrap_err();
        assert!(error.to_string().contains("unknown field"), "{error}");
    }
}
