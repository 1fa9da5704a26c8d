//! The configuration as a whole: the sections of the services, and what they share.

mod blobs;

use std::{
    marker::PhantomData,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use rootstock_catalog::CatalogConfig;
use rootstock_gateway::{GatewayConfig, TlsConfig};
use rootstock_runtime::{
    config::{ConfigErrors, Loader, Problems, Validate},
    telemetry::TelemetryConfig,
};
use rootstock_sync::SyncConfig;
use serde::{Deserialize, Serialize};

pub use blobs::{BlobsConfig, S3BlobsConfig, StoreKind};

/// Variables that begin like configuration and are none: they are read where they are needed.
const OTHER_VARIABLES: &[&str] = &[
    "ROOTSTOCK_CONFIG",
    "ROOTSTOCK_SERVER",
    "ROOTSTOCK_SERVER_CA",
    "ROOTSTOCK_PG_BIN",
];

/// Everything that can be configured. `deploy/rootstock.toml` is this with its defaults.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where standalone keeps everything: database, blobs, certificates.
    pub data_dir: PathBuf,
    /// gRPC without TLS: the public API at the gateway and standalone, the whole of it at the catalog.
    pub grpc_listen: SocketAddr,
    /// HTTPS: simplestreams, blobs, and gRPC.
    pub http_listen: SocketAddr,
    /// `/livez`, `/readyz` and `/metrics`, without authentication.
    pub admin_listen: SocketAddr,
    /// Logs and traces.
    pub telemetry: TelemetryConfig,
    /// The catalog.
    pub catalog: CatalogConfig,
    /// The workers.
    pub sync: SyncConfig,
    /// The edge.
    pub gateway: GatewayConfig,
    /// The store.
    pub blobs: BlobsConfig,
}

impl Default for Config {
    fn default() -> Self {
        let loopback = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        Self {
            data_dir: "./data".into(),
            grpc_listen: loopback(7443),
            http_listen: loopback(8443),
            admin_listen: loopback(9090),
            telemetry: TelemetryConfig::default(),
            catalog: CatalogConfig::default(),
            sync: SyncConfig::default(),
            gateway: GatewayConfig::default(),
            blobs: BlobsConfig::default(),
        }
    }
}

/// The processes there are. Each needs other parts of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// All services in one.
    Standalone,
    /// The catalog, and the migration of its database.
    Catalog,
    /// A worker.
    Sync,
    /// The edge.
    Gateway,
}

/// Reads the configuration of a process: defaults, then `file`, then this process's variables, then
/// `flags`.
///
/// # Errors
/// Every mistake that was found.
pub fn load(role: Role, file: Option<PathBuf>, flags: &impl Serialize) -> Result<Config, ConfigErrors> {
    let loader = Loader::new().file(file).process_env(OTHER_VARIABLES).flags(flags);
    match role {
        Role::Standalone => loader.load::<For<Standalone>>().map(|checked| checked.config),
        Role::Catalog => loader.load::<For<Catalog>>().map(|checked| checked.config),
        Role::Sync => loader.load::<For<Sync>>().map(|checked| checked.config),
        Role::Gateway => loader.load::<For<Gateway>>().map(|checked| checked.config),
    }
}

/// The configuration as TOML, without its secrets.
///
/// # Errors
/// A value that TOML cannot hold: there is none, as a test shows.
pub fn print(config: &Config) -> Result<String, toml::ser::Error> {
    toml::to_string(config)
}

impl Config {
    /// The gateway's section for standalone, whose catalog is at `catalog_url`, and whose data are in
    /// `data_directory`: without a certificate of one's own, it makes one.
    pub fn standalone_gateway(&self, data_directory: &Path, catalog_url: String) -> GatewayConfig {
        let mut gateway = GatewayConfig {
            catalog_url,
            catalog_ca_file: None,
            ..self.gateway.clone()
        };
        let TlsConfig {
            certificate,
            key,
            self_signed,
            names,
        } = &mut gateway.tls;
        if certificate.is_none() && key.is_none() {
            self_signed.get_or_insert_with(|| data_directory.join("tls"));
            if names.is_empty() {
                *names = own_names(self.http_listen);
            }
        }
        gateway
    }
}

/// What clients on this machine, and those who know it by its name or the address it listens on, may
/// call it.
fn own_names(http_listen: SocketAddr) -> Vec<String> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let address = http_listen.ip();
    if !address.is_unspecified() && !address.is_loopback() {
        names.push(address.to_string());
    }
    // A name that no certificate can hold is of no use in one.
    let host_name = nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok());
    let is_plain = |name: &String| {
        !name.is_empty()
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.')
    };
    names.extend(host_name.filter(is_plain).filter(|name| name != "localhost"));
    names
}

/// The configuration as one kind of process needs it.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct For<R> {
    config: Config,
    #[serde(skip)]
    role: PhantomData<R>,
}

impl<R> Default for For<R> {
    fn default() -> Self {
        Self {
            config: Config::default(),
            role: PhantomData,
        }
    }
}

struct Standalone;
struct Catalog;
struct Sync;
struct Gateway;

impl Validate for For<Standalone> {
    fn validate(&self, problems: &mut Problems) {
        let Self { config, .. } = self;
        problems.section("telemetry", &config.telemetry);
        problems.require(
            !config.data_dir.as_os_str().is_empty(),
            "data_dir",
            "must name a directory",
        );
        problems.section("catalog", &config.catalog);
        // What standalone fills in by itself need not be there.
        let catalog_url = "http://127.0.0.1:1".to_owned();
        problems.section(
            "sync",
            &SyncConfig {
                catalog_url: catalog_url.clone(),
                ..config.sync.clone()
            },
        );
        problems.section(
            "gateway",
            &config.standalone_gateway(&config.data_dir, catalog_url),
        );
        problems.section("blobs", &config.blobs);
    }
}

impl Validate for For<Catalog> {
    fn validate(&self, problems: &mut Problems) {
        let Self { config, .. } = self;
        problems.section("telemetry", &config.telemetry);
        problems.section("catalog", &config.catalog);
        if config.catalog.database_url.is_empty() {
            problems.add(
                "catalog.database_url",
                "must be set: postgres://USER:PASSWORD@HOST:PORT/DATABASE",
            );
        }
    }
}

impl Validate for For<Sync> {
    fn validate(&self, problems: &mut Problems) {
        let Self { config, .. } = self;
        problems.section("telemetry", &config.telemetry);
        problems.section("sync", &config.sync);
        problems.section("blobs", &config.blobs);
    }
}

impl Validate for For<Gateway> {
    fn validate(&self, problems: &mut Problems) {
        let Self { config, .. } = self;
        problems.section("telemetry", &config.telemetry);
        problems.section("gateway", &config.gateway);
        problems.section("blobs", &config.blobs);
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use rootstock_runtime::config::Secret;
    use serde_json::{Value, json};

    use super::*;

    const SAMPLE: &str = include_str!("../../../deploy/rootstock.toml");

    fn loaded<R>(text: &str) -> Result<Config, ConfigErrors>
    where
        For<R>: Validate,
    {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let loader = Loader::new().file(Some(file.path().to_owned()));
        loader.load::<For<R>>().map(|checked| checked.config)
    }

    fn mistakes<R>(text: &str) -> Vec<String>
    where
        For<R>: Validate,
    {
        let errors = loaded::<R>(text).unwrap_err();
        errors
            .mistakes
            .into_iter()
            .map(|mistake| mistake.key.join("."))
            .collect()
    }

    /// Every key with its value, sections spelled with dots.
    fn leaves(prefix: &str, value: &Value, into: &mut Vec<(String, Value)>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    let key = if prefix.is_empty() {
                        name.clone()
                    } else {
                        format!("{prefix}.{name}")
                    };
                    leaves(&key, value, into);
                }
            }
            leaf => into.push((prefix.to_owned(), leaf.clone())),
        }
    }

    #[test]
    fn the_sample_is_the_defaults() {
        let sample = serde_json::to_value(loaded::<Standalone>(SAMPLE).unwrap()).unwrap();
        assert_eq!(sample, serde_json::to_value(Config::default()).unwrap());
    }

    #[test]
    fn the_sample_shows_every_key() {
        let mut section = String::new();
        let mut shown = Vec::new();
        for line in SAMPLE.lines() {
            // `#key = …` is a key that has no default; `# text` is a comment.
            let line = line
                .strip_prefix('#')
                .filter(|rest| !rest.starts_with(' '))
                .unwrap_or(line);
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                section = format!("{name}.");
            } else if let Some((key, _)) = line.split_once(" = ").filter(|_| !line.starts_with("# ")) {
                shown.push(format!("{section}{key}"));
            }
        }
        let mut keys = Vec::new();
        leaves("", &serde_json::to_value(Config::default()).unwrap(), &mut keys);
        let mut keys: Vec<_> = keys.into_iter().map(|(key, _)| key).collect();
        keys.sort();
        shown.sort();
        assert_eq!(shown, keys);
    }

    #[test]
    fn what_is_printed_is_read_back_and_holds_no_secret() {
        let mut config = Config::default();
        config.catalog.database_url = Secret::new("postgres://u:hunter2@db/rootstock");
        config.blobs.s3.secret_access_key = Secret::new("hunter3");
        let text = print(&config).unwrap();
        assert!(!text.contains("hunter"), "{text}");
        config.catalog.database_url = Secret::default();
        config.blobs.s3.secret_access_key = Secret::default();
        let read: Config = toml::from_str(&print(&config).unwrap()).unwrap();
        assert_eq!(
            serde_json::to_value(read).unwrap(),
            serde_json::to_value(config).unwrap()
        );
    }

    #[test]
    fn each_process_needs_what_it_needs() {
        loaded::<Standalone>("").unwrap();
        assert_eq!(mistakes::<Catalog>(""), ["catalog.database_url"]);
        assert_eq!(mistakes::<Sync>(""), ["sync.catalog_url"]);
        assert_eq!(
            mistakes::<Gateway>(""),
            ["gateway.catalog_url", "gateway.tls.certificate"]
        );
        let s3 = "[blobs]\nkind = 's3'\n[sync]\ncatalog_url = 'http://catalog:7443'\n";
        assert_eq!(mistakes::<Sync>(s3), ["blobs.s3.bucket"]);
    }

    #[test]
    fn every_mistake_is_in_the_report() {
        let text = "data_dri = 'x'\ngrpc_listen = 'nowhere'\n[telemetry]\nlog_filter = 'a=b=c'\n";
        assert_eq!(
            mistakes::<Standalone>(text),
            ["data_dri", "grpc_listen", "telemetry.log_filter"]
        );
    }

    #[test]
    fn flags_win_over_variables() {
        let variables = [
            ("ROOTSTOCK_DATA_DIR", "/env"),
            ("ROOTSTOCK_BLOBS__S3__BUCKET", "images"),
        ];
        let loader = Loader::new()
            .env(
                variables.map(|(name, value)| (OsString::from(name), OsString::from(value))),
                OTHER_VARIABLES,
            )
            .flags(&json!({ "data_dir": "/flag", "grpc_listen": null }));
        let config = loader.load::<For<Standalone>>().unwrap().config;
        assert_eq!(config.data_dir, Path::new("/flag"));
        assert_eq!(config.blobs.s3.bucket, "images");
    }

    #[test]
    fn a_certificate_of_ones_own_is_left_alone() {
        let mut config = Config::default();
        let made = config.standalone_gateway(Path::new("/d"), "http://c".into()).tls;
        assert_eq!(made.self_signed.as_deref(), Some(Path::new("/d/tls")));
        assert!(made.names.contains(&"127.0.0.1".to_owned()));
        config.gateway.tls.certificate = Some("own.crt".into());
        config.gateway.tls.key = Some("own.key".into());
        assert_eq!(
            config.standalone_gateway(Path::new("/d"), "http://c".into()).tls,
            config.gateway.tls
        );
    }
}
