//! Where blobs are kept: the part of the configuration that this crate understands.

use std::path::PathBuf;

use rootstock_secret::Secret;
use serde::Deserialize;
use url::Url;

const MIB: u64 = 1024 * 1024;

/// The size of an upload's parts unless configured, in bytes.
pub(crate) const DEFAULT_PART_SIZE_BYTES: u64 = 16 * MIB;
/// S3 refuses smaller parts, the last one excepted.
pub(crate) const MIN_S3_PART_SIZE_BYTES: u64 = 5 * MIB;
/// A part is held in memory until it is stored, so its size has a limit of ours far below S3's 5 GiB.
pub(crate) const MAX_PART_SIZE_BYTES: u64 = 64 * MIB;

/// Which store to open. In a file: `kind = "local"` or `kind = "s3"` beside the fields of that kind.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[allow(clippy::large_enum_variant, reason = "a process has one")]
pub enum StoreConfig {
    /// A directory of this machine.
    Local(LocalConfig),
    /// A bucket of any S3-compatible service.
    S3(S3Config),
}

/// A directory of this machine.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalConfig {
    /// The directory; it is created when missing. It must lie on one file system: a finished blob is
    /// moved into place by renaming it.
    pub root: PathBuf,
    /// An upload is synced to disk and can be resumed from every multiple of this many bytes.
    #[serde(default = "default_part_size_bytes")]
    pub part_size_bytes: u64,
}

/// A bucket of an S3-compatible service.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3Config {
    /// The bucket; it must exist.
    pub bucket: String,
    /// The service's address; none means AWS.
    #[serde(default)]
    pub endpoint: Option<Url>,
    /// The address that presigned URLs carry, when clients reach the service under another one.
    #[serde(default)]
    pub public_endpoint: Option<Url>,
    /// The region that requests are signed for.
    #[serde(default = "default_region")]
    pub region: String,
    /// With `secret_access_key`: the credentials. Without both, they come from the environment
    /// (`AWS_*`), a web identity, the container or the instance, in that order.
    #[serde(default)]
    pub access_key_id: Option<String>,
    /// See `access_key_id`.
    #[serde(default)]
    pub secret_access_key: Option<Secret>,
    /// `https://endpoint/bucket/key` rather than `https://bucket.endpoint/key`.
    #[serde(default = "default_true")]
    pub path_style: bool,
    /// Put before every key, so that a bucket can be shared.
    #[serde(default)]
    pub prefix: Option<String>,
    /// Allows an `http://` endpoint.
    #[serde(default)]
    pub allow_http: bool,
    /// A PEM file with the authorities to trust besides the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// The size of an upload's parts, 5 MiB to 64 MiB. Grows by itself, up to 64 MiB, for a blob that
    /// would need more than 10 000 parts.
    #[serde(default = "default_part_size_bytes")]
    pub part_size_bytes: u64,
    /// How the service can tell that a part arrived undamaged.
    #[serde(default)]
    pub part_integrity: PartIntegrity,
}

/// How the service can tell that a part arrived undamaged. All but `none` cost a pass over the bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartIntegrity {
    /// `none` over HTTPS, where TLS already protects every byte, else `sha256`.
    #[default]
    Auto,
    /// The signature of a request covers the SHA-256 of its body: works everywhere, and hashes a
    /// second time.
    Sha256,
    /// A CRC-64 beside an unsigned body: nearly free, and newer services know it.
    Crc64nvme,
    /// Nothing.
    None,
}

impl StoreConfig {
    /// Blobs in the directory `root`, everything else as by default.
    pub fn local(root: impl Into<PathBuf>) -> Self {
        Self::Local(LocalConfig::new(root))
    }

    /// Everything that is wrong with the configuration, each as a sentence that names the field.
    pub fn problems(&self) -> Vec<String> {
        match self {
            Self::Local(local) => local.problems(),
            Self::S3(s3) => s3.problems(),
        }
    }
}

impl LocalConfig {
    /// Blobs in the directory `root`, everything else as by default.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            part_size_bytes: DEFAULT_PART_SIZE_BYTES,
        }
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.root.as_os_str().is_empty() {
            problems.push("root: must name a directory".to_owned());
        }
        if self.part_size_bytes == 0 {
            problems.push("part_size_bytes: must be at least 1".to_owned());
        }
        problems
    }
}

impl S3Config {
    /// The bucket `bucket`, everything else as by default.
    pub fn new(bucket: impl Into<String>) -> Self {
        Self {
            bucket: bucket.into(),
            endpoint: None,
            public_endpoint: None,
            region: default_region(),
            access_key_id: None,
            secret_access_key: None,
            path_style: true,
            prefix: None,
            allow_http: false,
            ca_file: None,
            part_size_bytes: DEFAULT_PART_SIZE_BYTES,
            part_integrity: PartIntegrity::Auto,
        }
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.bucket.is_empty() {
            problems.push("bucket: must be set".to_owned());
        }
        for (field, endpoint) in [
            ("endpoint", &self.endpoint),
            ("public_endpoint", &self.public_endpoint),
        ] {
            match endpoint.as_ref().map(|url| (url.scheme(), url.has_host())) {
                None | Some(("https", true)) => {}
                Some(("http", true)) if self.allow_http => {}
                Some(("http", true)) => {
                    problems.push(format!("{field}: is http; set allow_http to allow that"))
                }
                Some(_) => problems.push(format!("{field}: must be an https URL with a host")),
            }
        }
        if self.access_key_id.is_some() != self.secret_access_key.is_some() {
            problems.push("access_key_id, secret_access_key: set both or none".to_owned());
        }
        if !(MIN_S3_PART_SIZE_BYTES..=MAX_PART_SIZE_BYTES).contains(&self.part_size_bytes) {
            problems.push(format!(
                "part_size_bytes: must be {MIN_S3_PART_SIZE_BYTES} (5 MiB) to {MAX_PART_SIZE_BYTES} (64 MiB)"
            ));
        }
        if let Some(prefix) = &self.prefix
            && let Err(error) = object_store::path::Path::parse(prefix)
        {
            problems.push(format!("prefix: {error}"));
        }
        problems
    }
}

fn default_part_size_bytes() -> u64 {
    DEFAULT_PART_SIZE_BYTES
}

fn default_region() -> String {
    "us-east-1".to_owned()
}

fn default_true() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<StoreConfig, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn kind_selects_the_store_and_the_rest_has_defaults() {
        let StoreConfig::Local(local) = parse(r#"{"kind":"local","root":"/srv/blobs"}"#).unwrap() else {
            panic!("not local")
        };
        assert_eq!(local.part_size_bytes, DEFAULT_PART_SIZE_BYTES);

        let StoreConfig::S3(s3) = parse(r#"{"kind":"s3","bucket":"images"}"#).unwrap() else {
            panic!("not s3")
        };
        assert!(s3.path_style && !s3.allow_http);
        assert_eq!(StoreConfig::S3(s3).problems(), Vec::<String>::new());
    }

    #[test]
    fn unknown_fields_are_refused() {
        for json in [
            r#"{"kind":"local","root":"/srv","bucket":"images"}"#,
            r#"{"kind":"s3","bucket":"images","root":"/srv"}"#,
            r#"{"kind":"ftp"}"#,
        ] {
            assert!(parse(json).is_err(), "{json}");
        }
    }

    #[test]
    fn every_problem_is_named_at_once() {
        let config = parse(
            r#"{"kind":"s3","bucket":"","endpoint":"http://localhost:1","public_endpoint":"ftp://x",
                "access_key_id":"AK","part_size_bytes":1,"prefix":"a//b"}"#,
        )
        .unwrap();
        let problems = config.problems();
        for field in [
            "bucket:",
            "endpoint:",
            "public_endpoint:",
            "access_key_id,",
            "part_size_bytes:",
            "prefix:",
        ] {
            assert!(
                problems.iter().any(|problem| problem.starts_with(field)),
                "{field} in {problems:?}"
            );
        }
    }

    #[test]
    fn a_secret_does_not_print() {
        let mut config = S3Config::new("images");
        config.secret_access_key = Some(Secret::new("hunter2"));
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
