//! What the read model is made of: an image, a version, an alias.

use std::{sync::Arc, time::Duration};

use rootstock_model::Digest;
use rootstock_proto::catalog::v1 as wire;
use time::OffsetDateTime;

use super::{encoded::Encoded, is_within};

/// Names a version.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct VersionKey {
    pub(crate) image_id: Arc<str>,
    pub(crate) number: i32,
}

/// Names an alias.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct AliasKey {
    pub(crate) name: Box<str>,
    /// As messages number types.
    pub(crate) image_type: i32,
    pub(crate) architecture: Box<str>,
}

/// What an alias points to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AliasTarget {
    pub(crate) image_id: Arc<str>,
    /// The one version that it is pinned to; `None` follows the newest.
    pub(crate) version: Option<i32>,
}

/// An image.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    pub(crate) id: Arc<str>,
    pub(crate) name: Arc<str>,
    /// Whether everyone may see it.
    pub(crate) public: bool,
    /// Whether it was deleted. It is kept until the grace of its versions is over.
    pub(crate) is_deleted: bool,
    pub(super) message: Encoded<wire::Image>,
}

/// A version that is listed, or was.
#[derive(Debug, Clone)]
pub(crate) struct Version {
    pub(crate) number: i32,
    /// Names its content. `None` when the catalog did not say.
    pub(crate) fingerprint: Option<Digest>,
    /// When it went off the list; `None` while it is on it.
    pub(super) delisted_at: Option<OffsetDateTime>,
    /// Stored and active, and hidden by a hold.
    hidden: bool,
    message: Encoded<wire::Version>,
}

/// A file of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    /// What it is to the version.
    pub(crate) ftype: String,
    /// The name of its blob.
    pub(crate) sha256: Digest,
    /// Its exact length.
    pub(crate) size_bytes: u64,
}

/// A version that was added, changed or forgotten.
#[derive(Debug)]
pub(super) struct ChangedVersion {
    pub(super) key: VersionKey,
    /// As it was; `None` when it was not known.
    pub(super) before: Option<Arc<Version>>,
}

impl Image {
    pub(super) fn new(message: &wire::Image, is_deleted: bool) -> Self {
        Self {
            id: message.id.as_str().into(),
            name: message.name.as_str().into(),
            public: message.public,
            is_deleted,
            message: Encoded::new(message),
        }
    }

    /// The image as the catalog last sent it.
    pub(crate) fn message(&self) -> wire::Image {
        self.message.decode()
    }
}

impl Version {
    /// # Errors
    /// A file's digest or size cannot be one.
    pub(super) fn new(message: &wire::Version, delisted_at: Option<OffsetDateTime>) -> Result<Self, String> {
        let files = files(message)?;
        let of_unified_file = match files.as_slice() {
            [file] => Some(file.sha256),
            _ => None,
        };
        Ok(Self {
            number: message.number,
            fingerprint: message.fingerprint.parse().ok().or(of_unified_file),
            delisted_at,
            hidden: message.hidden,
            message: Encoded::new(message),
        })
    }

    /// The version as the catalog last sent it.
    pub(crate) fn message(&self) -> wire::Version {
        self.message.decode()
    }

    /// Its files, metadata first.
    pub(crate) fn files(&self) -> Vec<File> {
        // Checked when the version was made.
        files(&self.message()).unwrap_or_default()
    }

    /// Whether clients are shown it. What a hold hides is not, and stays readable.
    pub(crate) fn is_listed(&self) -> bool {
        self.delisted_at.is_none() && !self.hidden
    }

    /// Whether clients may read its files, applications left aside.
    pub(super) fn is_readable(&self, now: OffsetDateTime, grace: Duration) -> bool {
        self.delisted_at
            .is_none_or(|delisted_at| is_within(delisted_at, grace, now))
    }
}

impl AliasKey {
    /// The least key of this name.
    pub(super) fn first_of(name: &str) -> Self {
        Self {
            name: name.into(),
            image_type: i32::MIN,
            architecture: Box::default(),
        }
    }

    pub(super) fn of(alias: &wire::Alias) -> Self {
        Self {
            name: alias.name.as_str().into(),
            image_type: alias.r#type,
            architecture: alias.architecture.as_str().into(),
        }
    }
}

fn files(version: &wire::Version) -> Result<Vec<File>, String> {
    let file = |artifact: &wire::Artifact| {
        let sha256 = artifact
            .sha256
            .parse()
            .map_err(|error| format!("{}: {error}", artifact.ftype))?;
        let size_bytes = u64::try_from(artifact.size_bytes)
            .map_err(|_| format!("{}: its size is negative", artifact.ftype))?;
        Ok(File {
            ftype: artifact.ftype.clone(),
            sha256,
            size_bytes,
        })
    };
    version.artifacts.iter().map(file).collect()
}
