//! Images and their versions.

use std::collections::BTreeMap;

use rootstock_model::requirements;
use rootstock_proto::catalog::v1 as wire;
use serde::Serialize;

use super::{image_type, moment, status};
use crate::output::Record;

/// An image.
#[derive(Debug, Serialize)]
pub(crate) struct ImageRecord {
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
    last_used_at: Option<String>,
    used_by: Vec<String>,
    auto_update: bool,
    hold: Option<HoldRecord>,
    etag: String,
    current_version: Option<i32>,
    /// Lists and changes do not say, which is not the same as there being none.
    #[serde(skip_serializing_if = "Option::is_none")]
    versions: Option<Vec<VersionRecord>>,
    /// What is odd about its requirements: not of the API's image, but of what resolving it answers.
    warnings: Vec<String>,
}

/// What is odd about an image's requirements, a sentence each.
pub(crate) fn requirement_warnings(image: &wire::Image) -> Vec<String> {
    let properties: BTreeMap<_, _> = image.properties.iter().collect();
    requirements::warnings(
        properties
            .into_iter()
            .map(|(key, value)| (key.as_str(), value.as_str())),
    )
}

#[derive(Debug, Serialize)]
struct SourceRecord {
    remote: String,
    product: String,
    image_id: String,
    release: String,
}

#[derive(Debug, Serialize)]
struct HoldRecord {
    version: i32,
    reason: String,
    until: Option<String>,
    since: Option<String>,
}

/// A version.
#[derive(Debug, Serialize)]
pub(crate) struct VersionRecord {
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
    delisted_at: Option<String>,
    hidden: bool,
}

#[derive(Debug, Serialize)]
struct ArtifactRecord {
    ftype: String,
    sha256: String,
    size_bytes: i64,
}

impl ImageRecord {
    /// An image of a list, which has no versions with it.
    pub(crate) fn listed(image: wire::Image) -> Self {
        Self {
            versions: None,
            ..Self::whole(image)
        }
    }

    /// An image with its versions.
    pub(crate) fn whole(image: wire::Image) -> Self {
        Self {
            warnings: requirement_warnings(&image),
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
            source: image.source.map(SourceRecord::from),
            properties: image.properties.into_iter().collect(),
            aliases: image.aliases,
            expires_at: moment(image.expires_at.as_ref()),
            created_at: moment(image.created_at.as_ref()),
            version_count: image.version_count,
            fingerprint: image.fingerprint,
            last_used_at: moment(image.last_used_at.as_ref()),
            used_by: image.used_by,
            auto_update: image.auto_update,
            hold: image.hold.map(HoldRecord::from),
            etag: image.etag,
            current_version: image.current_version,
            versions: Some(image.versions.into_iter().map(VersionRecord::from).collect()),
        }
    }
}

impl Record for ImageRecord {
    const COLUMNS: &'static [&'static str] = &[
        "id",
        "name",
        "status",
        "version_count",
        "architecture",
        "default",
        "type",
        "variant",
        "fingerprint",
        "current_version",
        "aliases",
        "source.remote",
        "source.product",
        "source.release",
        "immutable",
        "public",
        "cached",
        "auto_update",
        "hold.version",
        "created_at",
        "expires_at",
        "last_used_at",
        "used_by",
        "etag",
    ];
}

impl From<wire::ImageSource> for SourceRecord {
    fn from(source: wire::ImageSource) -> Self {
        Self {
            remote: source.remote,
            product: source.product,
            image_id: source.image_id,
            release: source.release,
        }
    }
}

impl From<wire::Hold> for HoldRecord {
    fn from(hold: wire::Hold) -> Self {
        Self {
            version: hold.version,
            reason: hold.reason,
            until: moment(hold.until.as_ref()),
            since: moment(hold.since.as_ref()),
        }
    }
}

impl From<wire::Artifact> for ArtifactRecord {
    fn from(artifact: wire::Artifact) -> Self {
        Self {
            ftype: artifact.ftype,
            sha256: artifact.sha256,
            size_bytes: artifact.size_bytes,
        }
    }
}

impl From<wire::Version> for VersionRecord {
    fn from(mut version: wire::Version) -> Self {
        let artifacts = std::mem::take(&mut version.artifacts)
            .into_iter()
            .map(ArtifactRecord::from)
            .collect();
        Self {
            status: status(version.status()),
            number: version.number,
            serial: version.serial,
            fingerprint: version.fingerprint,
            size_bytes: version.size_bytes,
            created_at: moment(version.created_at.as_ref()),
            error_message: version.error_message,
            artifacts,
            deleted_at: moment(version.deleted_at.as_ref()),
            label: version.label,
            delisted_at: moment(version.delisted_at.as_ref()),
            hidden: version.hidden,
        }
    }
}

/// What an instance is to be made of.
#[derive(Debug, Serialize)]
pub(crate) struct ResolutionRecord {
    image: ImageRecord,
    version: VersionRecord,
    artifacts: Vec<LocationRecord>,
    warnings: Vec<String>,
}

#[derive(Debug, Serialize)]
struct LocationRecord {
    artifact: ArtifactRecord,
    path: String,
}

impl Record for ResolutionRecord {
    const COLUMNS: &'static [&'static str] = &[
        "image.id",
        "image.name",
        "image.type",
        "image.architecture",
        "version.number",
        "version.serial",
        "version.fingerprint",
        "version.size_bytes",
        "warnings",
    ];
}

impl From<wire::ResolveImageResponse> for ResolutionRecord {
    fn from(answer: wire::ResolveImageResponse) -> Self {
        let location = |location: wire::ArtifactLocation| LocationRecord {
            artifact: location.artifact.unwrap_or_default().into(),
            path: location.path,
        };
        Self {
            image: ImageRecord::listed(answer.image.unwrap_or_default()),
            version: answer.version.unwrap_or_default().into(),
            artifacts: answer.artifacts.into_iter().map(location).collect(),
            warnings: answer.warnings,
        }
    }
}
