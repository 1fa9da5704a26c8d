//! The section `blobs`: which store, and how to reach it. Every key is there whatever the kind, so
//! that a variable can set any of them.

use std::path::{Path, PathBuf};

use rootstock_blobs::{LocalConfig, PartIntegrity, S3Config, StoreConfig};
use rootstock_runtime::config::{Problems, Secret, Validate};
use serde::{Deserialize, Serialize};
use url::Url;

/// Where blobs are kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BlobsConfig {
    /// Which of the two below is used.
    pub kind: StoreKind,
    /// A directory of this machine.
    pub local: LocalBlobsConfig,
    /// A bucket.
    pub s3: S3BlobsConfig,
}

/// Kinds of stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// A directory of this machine: for standalone.
    #[default]
    Local,
    /// A bucket of any S3-compatible service: for everything else.
    S3,
}

/// A directory of this machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LocalBlobsConfig {
    /// The directory, on one file system. Unset: `blobs` in `data_dir`.
    pub directory: Option<PathBuf>,
    /// A transfer that was interrupted goes on from a multiple of this many bytes.
    pub part_size_bytes: u64,
}

/// A bucket of any S3-compatible service.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct S3BlobsConfig {
    /// The bucket; it must exist.
    pub bucket: String,
    /// The service's address. Unset: AWS.
    pub endpoint: Option<Url>,
    /// The address in URLs that are handed to clients, where it is another one.
    pub public_endpoint: Option<Url>,
    /// The region that requests are signed for.
    pub region: String,
    /// With `secret_access_key`: the credentials. Without both, they come from the environment
    /// (`AWS_*`), a web identity, the container or the instance.
    pub access_key_id: String,
    /// See `access_key_id`.
    pub secret_access_key: Secret,
    /// `https://endpoint/bucket/key` rather than `https://bucket.endpoint/key`.
    pub path_style: bool,
    /// Put before every key, so that a bucket can be shared.
    pub prefix: String,
    /// Whether the endpoint may be `http://`.
    pub allow_http: bool,
    /// A PEM file with authorities to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// The size of an upload's parts, 5 MiB to 64 MiB. Each transfer holds a few of them in memory.
    pub part_size_bytes: u64,
    /// How the service can tell that a part arrived undamaged: `auto`, `sha256`, `crc64nvme`, `none`.
    pub part_integrity: Integrity,
}

/// [`PartIntegrity`], as a configuration spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Integrity {
    /// By what the endpoint is.
    #[default]
    Auto,
    /// In the signature.
    Sha256,
    /// Beside the body.
    Crc64nvme,
    /// Not at all.
    None,
}

impl Default for BlobsConfig {
    fn default() -> Self {
        let local = LocalConfig::new("");
        let s3 = S3Config::new("");
        Self {
            kind: StoreKind::Local,
            local: LocalBlobsConfig {
                directory: None,
                part_size_bytes: local.part_size_bytes,
            },
            s3: S3BlobsConfig {
                bucket: s3.bucket,
                endpoint: None,
                public_endpoint: None,
                region: s3.region,
                access_key_id: String::new(),
                secret_access_key: Secret::default(),
                path_style: s3.path_style,
                prefix: String::new(),
                allow_http: s3.allow_http,
                ca_file: None,
                part_size_bytes: s3.part_size_bytes,
                part_integrity: Integrity::Auto,
            },
        }
    }
}

impl Default for LocalBlobsConfig {
    fn default() -> Self {
        BlobsConfig::default().local
    }
}

impl Default for S3BlobsConfig {
    fn default() -> Self {
        BlobsConfig::default().s3
    }
}

impl BlobsConfig {
    /// What the store is to be opened with; `data_directory` is where a local one lies by default.
    pub fn store(&self, data_directory: &Path) -> StoreConfig {
        match self.kind {
            StoreKind::Local => StoreConfig::Local(LocalConfig {
                root: self
                    .local
                    .directory
                    .clone()
                    .unwrap_or_else(|| data_directory.join("blobs")),
                part_size_bytes: self.local.part_size_bytes,
            }),
            StoreKind::S3 => StoreConfig::S3(self.s3.store()),
        }
    }
}

impl S3BlobsConfig {
    fn store(&self) -> S3Config {
        let set = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        S3Config {
            bucket: self.bucket.clone(),
            endpoint: self.endpoint.clone(),
            public_endpoint: self.public_endpoint.clone(),
            region: self.region.clone(),
            access_key_id: set(&self.access_key_id),
            secret_access_key: Some(&self.secret_access_key)
                .filter(|secret| !secret.is_empty())
                .cloned(),
            path_style: self.path_style,
            prefix: set(&self.prefix),
            allow_http: self.allow_http,
            ca_file: self.ca_file.clone(),
            part_size_bytes: self.part_size_bytes,
            part_integrity: match self.part_integrity {
                Integrity::Auto => PartIntegrity::Auto,
                Integrity::Sha256 => PartIntegrity::Sha256,
                Integrity::Crc64nvme => PartIntegrity::Crc64nvme,
                Integrity::None => PartIntegrity::None,
            },
        }
    }
}

impl Validate for BlobsConfig {
    fn validate(&self, problems: &mut Problems) {
        let section = match self.kind {
            StoreKind::Local => "local",
            StoreKind::S3 => "s3",
        };
        problems.section(section, &Store(self.store(Path::new("data"))));
    }
}

/// The store's own word on what is wrong: `field: what`.
struct Store(StoreConfig);

impl Validate for Store {
    fn validate(&self, problems: &mut Problems) {
        for problem in self.0.problems() {
            let (field, what) = problem.split_once(": ").unwrap_or(("", &problem));
            // Two fields are one problem when one cannot be without the other.
            let field = field.split(", ").next().unwrap_or_default();
            let field = if field == "root" { "directory" } else { field };
            problems.add(field, what);
        }
    }
}
