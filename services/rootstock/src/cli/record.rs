//! Messages as programs read them: the field names of the API, bytes as numbers, times in RFC 3339,
//! and words rather than the names of enums.

use std::collections::BTreeMap;

use rootstock_model::{ImageType, Status};
use rootstock_proto::catalog::v1 as wire;
use serde::Serialize;

use super::human::{duration, rfc3339};

mod change;
mod remote;

pub(super) use change::ChangeRecord;
pub(super) use remote::{LeftOutRecord, RemoteRecord, SyncRunRecord, TransferRecord};
pub(super) use remote::{action, mode};

/// An image.
#[derive(Debug, Serialize)]
pub(super) struct ImageRecord {
    id: String,
    name: String,
    r#type: &'static str,
    architecture: String,
    variant: String,
    status: &'static str,
    default: bool,
    immutable: bool,
    public: bool,
    cached: bool,
    source: Option<SourceRecord>,
    properties: BTreeMap<String, String>,
    aliases: Vec<String>,
    expires_at: Option<String>,
    created_at: Option<String>,
    version_count: i32,
    fingerprint: String,
    /// Lists and changes do not say, which is not the same as there being none.
    #[serde(skip_serializing_if = "Option::is_none")]
    versions: Option<Vec<VersionRecord>>,
}

#[derive(Debug, Serialize)]
struct SourceRecord {
    remote: String,
    product: String,
}

/// A version.
#[derive(Debug, Serialize)]
pub(super) struct VersionRecord {
    number: i32,
    serial: String,
    fingerprint: String,
    size_bytes: i64,
    created_at: Option<String>,
    status: &'static str,
    error_message: String,
    artifacts: Vec<ArtifactRecord>,
    deleted_at: Option<String>,
    label: String,
}

#[derive(Debug, Serialize)]
struct ArtifactRecord {
    ftype: String,
    sha256: String,
    size_bytes: i64,
}

impl ImageRecord {
    /// An image of a list, which has no versions with it.
    pub(super) fn listed(image: wire::Image) -> Self {
        Self {
            versions: None,
            ..Self::whole(image)
        }
    }

    /// An image with its versions.
    pub(super) fn whole(image: wire::Image) -> Self {
        Self {
            r#type: image_type(image.r#type()),
            status: status(image.status()),
            id: image.id,
            name: image.name,
            architecture: image.architecture,
            variant: image.variant,
            default: image.default,
            immutable: image.immutable,
            public: image.public,
            cached: image.cached,
            source: image
                .source
                .map(|wire::ImageSource { remote, product, .. }| SourceRecord { remote, product }),
            properties: image.properties.into_iter().collect(),
            aliases: image.aliases,
            expires_at: image.expires_at.as_ref().and_then(rfc3339),
            created_at: image.created_at.as_ref().and_then(rfc3339),
            version_count: image.version_count,
            fingerprint: image.fingerprint,
            versions: Some(image.versions.into_iter().map(VersionRecord::from).collect()),
        }
    }
}

impl From<wire::Version> for VersionRecord {
    fn from(version: wire::Version) -> Self {
        let artifacts = version
            .artifacts
            .iter()
            .map(|artifact| ArtifactRecord {
                ftype: artifact.ftype.clone(),
                sha256: artifact.sha256.clone(),
                size_bytes: artifact.size_bytes,
            })
            .collect();
        Self {
            status: status(version.status()),
            number: version.number,
            serial: version.serial,
            fingerprint: version.fingerprint,
            size_bytes: version.size_bytes,
            created_at: version.created_at.as_ref().and_then(rfc3339),
            error_message: version.error_message,
            artifacts,
            deleted_at: version.deleted_at.as_ref().and_then(rfc3339),
            label: version.label,
        }
    }
}

/// `container`, `virtual-machine`, or nothing.
pub(super) fn image_type(image_type: wire::ImageType) -> &'static str {
    Option::<ImageType>::from(image_type).map_or("", ImageType::as_str)
}

/// `active`, `queued`, ….
pub(super) fn status(status: wire::Status) -> &'static str {
    Status::from(status).as_str()
}
