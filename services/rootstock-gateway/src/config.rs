//! The gateway's configuration.

use std::{path::PathBuf, time::Duration};

use rootstock_model::duration;
use rootstock_runtime::config::{Problems, Validate};
use serde::{Deserialize, Serialize};

use crate::listing::audience;

/// The section `gateway`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GatewayConfig {
    /// Where the catalog is: `http://HOST:PORT` or `https://HOST:PORT`. Standalone fills it in by
    /// itself.
    pub catalog_url: String,
    /// Certificates to trust when the catalog is at `https://`, PEM, instead of the system's.
    pub catalog_ca_file: Option<PathBuf>,
    /// Who the callers of the gRPC listener are: `operator` sees every image, `public` only those that
    /// everyone may see. Over the HTTPS port everyone is `public`.
    pub grpc_audience: String,
    /// What clients are shown as proof of who this is.
    pub tls: TlsConfig,
    /// Where the last state of the catalog is kept, so that a gateway that starts while the catalog
    /// is down serves what it served before. Unset: nowhere.
    pub state_file: Option<PathBuf>,
    /// Whether blobs are fetched from the store directly, by a redirect to a URL that is good for
    /// `redirect_expiry`. A store that cannot do that (local disk) is read through the gateway all
    /// the same. Clients must reach the store, trust its certificate and speak TLS 1.3 with it.
    pub redirect_blobs: bool,
    /// How long such a URL is good: for beginning a download, not for its duration.
    #[serde(with = "duration")]
    pub redirect_expiry: Duration,
    /// Downloads that go through the gateway at a time. Further ones are told to come back.
    pub max_downloads: usize,
    /// Uploads at a time. Further ones are told to come back.
    pub max_uploads: usize,
    /// The largest file that is taken, in bytes.
    pub max_upload_bytes: u64,
    /// An upload is cut off when its client sends no byte for so long; what came of it is kept.
    #[serde(with = "duration")]
    pub upload_idle_timeout: Duration,
    /// Connections open at a time, on each listener. Further ones wait to be accepted.
    pub max_connections: usize,
    /// A connection is closed when its client takes no byte for so long.
    #[serde(with = "duration")]
    pub write_stall_timeout: Duration,
    /// The least time between two renderings of the index: a burst of changes costs one.
    #[serde(with = "duration")]
    pub render_interval: Duration,
    /// How long downloads may go on once the process is asked to end.
    #[serde(with = "duration")]
    pub shutdown_grace: Duration,
}

/// The section `gateway.tls`: either `certificate` and `key`, or `self_signed`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// The certificate and those that lead to its root, PEM. Read again when the file changes.
    pub certificate: Option<PathBuf>,
    /// Its private key, PEM.
    pub key: Option<PathBuf>,
    /// A directory in which the gateway makes its own authority and certificate; clients have to be
    /// given its `ca.crt`. See [`self_signed`](crate::self_signed).
    pub self_signed: Option<PathBuf>,
    /// Host names and addresses for the certificate in `self_signed`.
    pub names: Vec<String>,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            catalog_url: String::new(),
            catalog_ca_file: None,
            grpc_audience: "operator".to_owned(),
            tls: TlsConfig::default(),
            state_file: None,
            redirect_blobs: false,
            redirect_expiry: Duration::from_secs(15 * 60),
            max_downloads: 256,
            max_uploads: 16,
            max_upload_bytes: 64 << 30,
            upload_idle_timeout: Duration::from_secs(60),
            max_connections: 4096,
            write_stall_timeout: Duration::from_secs(60),
            render_interval: Duration::from_millis(200),
            shutdown_grace: Duration::from_secs(30),
        }
    }
}

impl Validate for GatewayConfig {
    fn validate(&self, problems: &mut Problems) {
        let is_url = ["http://", "https://"]
            .iter()
            .any(|scheme| self.catalog_url.starts_with(scheme));
        problems.require(
            is_url,
            "catalog_url",
            "must be http://HOST:PORT or https://HOST:PORT",
        );
        problems.require(
            audience::by_name(&self.grpc_audience).is_some(),
            "grpc_audience",
            "must be the name of an audience: operator or public",
        );
        problems.section("tls", &self.tls);
        let second = Duration::from_secs(1);
        problems.require(
            (second..=7 * 24 * 60 * 60 * second).contains(&self.redirect_expiry),
            "redirect_expiry",
            "must be from 1s to 7d",
        );
        problems.require(self.max_downloads >= 1, "max_downloads", "must be at least 1");
        problems.require(self.max_uploads >= 1, "max_uploads", "must be at least 1");
        problems.require(
            self.max_upload_bytes >= 1,
            "max_upload_bytes",
            "must be at least 1",
        );
        problems.require(
            self.upload_idle_timeout >= second,
            "upload_idle_timeout",
            "must be at least 1s",
        );
        problems.require(self.max_connections >= 1, "max_connections", "must be at least 1");
        problems.require(
            self.write_stall_timeout >= second,
            "write_stall_timeout",
            "must be at least 1s",
        );
    }
}

impl Validate for TlsConfig {
    fn validate(&self, problems: &mut Problems) {
        match (&self.certificate, &self.key, &self.self_signed) {
            (Some(_), Some(_), None) => {
                problems.require(self.names.is_empty(), "names", "only goes with self_signed");
            }
            (None, None, Some(_)) => {
                problems.require(
                    !self.names.is_empty(),
                    "names",
                    "must name at least one host or address",
                );
            }
            (Some(_), None, None) => problems.add("key", "must be set along with certificate"),
            (None, Some(_), None) => problems.add("certificate", "must be set along with key"),
            (None, None, None) => problems.add("certificate", "must be set, with key; or else self_signed"),
            (_, _, Some(_)) => problems.add("self_signed", "cannot be set along with certificate and key"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(config: &GatewayConfig) -> Vec<String> {
        Problems::of(config).into_iter().map(|(key, _)| key).collect()
    }

    #[test]
    fn every_mistake_is_named() {
        assert_eq!(
            keys(&GatewayConfig::default()),
            ["catalog_url", "tls.certificate"]
        );
        let config = GatewayConfig {
            catalog_url: "catalog:7443".into(),
            tls: TlsConfig {
                key: Some("x".into()),
                ..TlsConfig::default()
            },
            max_downloads: 0,
            redirect_expiry: Duration::ZERO,
            ..GatewayConfig::default()
        };
        assert_eq!(
            keys(&config),
            [
                "catalog_url",
                "tls.certificate",
                "redirect_expiry",
                "max_downloads"
            ]
        );
    }

    #[test]
    fn a_certificate_is_given_or_made() {
        let valid = |tls| GatewayConfig {
            catalog_url: "http://catalog:7443".into(),
            tls,
            ..GatewayConfig::default()
        };
        let (certificate, key) = (Some("server.crt".into()), Some("server.key".into()));
        let given = TlsConfig {
            certificate,
            key,
            ..TlsConfig::default()
        };
        let made = TlsConfig {
            self_signed: Some("tls".into()),
            names: vec!["localhost".into()],
            ..TlsConfig::default()
        };
        assert_eq!(keys(&valid(given.clone())), [""; 0]);
        assert_eq!(keys(&valid(made.clone())), [""; 0]);
        let both = TlsConfig {
            self_signed: made.self_signed,
            ..given
        };
        assert_eq!(keys(&valid(both)), ["tls.self_signed"]);
    }
}
