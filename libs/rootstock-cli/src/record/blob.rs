//! Blobs, and what needs them.

use rootstock_proto::catalog::v1 as wire;
use serde::Serialize;

use super::{image_type, moment};
use crate::output::Record;

/// A blob.
#[derive(Debug, Serialize)]
pub(crate) struct BlobRecord {
    sha256: String,
    size_bytes: i64,
    stored_at: Option<String>,
    needs: Vec<BlobNeedRecord>,
    need_count: i64,
    reason: String,
}

#[derive(Debug, Serialize)]
struct BlobNeedRecord {
    reason: &'static str,
    image_id: String,
    image: String,
    r#type: &'static str,
    version: i32,
    application: String,
    until: Option<String>,
}

/// A collection, or what one would be.
#[derive(Debug, Serialize)]
pub(crate) struct CollectionRecord {
    dry_run: bool,
    totals: TotalsRecord,
    blobs: Vec<BlobRecord>,
}

#[derive(Debug, Serialize)]
struct TotalsRecord {
    blobs: i64,
    size_bytes: i64,
    unneeded_blobs: i64,
    unneeded_size_bytes: i64,
    removing_blobs: i64,
    removing_size_bytes: i64,
}

impl Record for BlobRecord {
    const COLUMNS: &'static [&'static str] = &[
        "sha256",
        "size_bytes",
        "stored_at",
        "need_count",
        "reason",
        "needs",
    ];
}

impl Record for CollectionRecord {
    const COLUMNS: &'static [&'static str] = &[
        "dry_run",
        "totals.blobs",
        "totals.size_bytes",
        "totals.unneeded_blobs",
        "totals.unneeded_size_bytes",
        "totals.removing_blobs",
        "totals.removing_size_bytes",
    ];
}

impl From<wire::Blob> for BlobRecord {
    fn from(blob: wire::Blob) -> Self {
        Self {
            sha256: blob.sha256,
            size_bytes: blob.size_bytes,
            stored_at: moment(blob.stored_at.as_ref()),
            needs: blob.needs.into_iter().map(BlobNeedRecord::from).collect(),
            need_count: blob.need_count,
            reason: blob.reason,
        }
    }
}

impl From<wire::BlobNeed> for BlobNeedRecord {
    fn from(of: wire::BlobNeed) -> Self {
        Self {
            reason: need(of.reason()),
            r#type: image_type(of.r#type()),
            until: moment(of.until.as_ref()),
            image_id: of.image_id,
            image: of.image,
            version: of.version,
            application: of.application,
        }
    }
}

impl CollectionRecord {
    /// What goes, or with `dry_run` what would.
    pub(crate) fn new(dry_run: bool, answer: wire::CollectBlobsResponse) -> Self {
        let totals = answer.totals.unwrap_or_default();
        Self {
            dry_run,
            totals: TotalsRecord {
                blobs: totals.blobs,
                size_bytes: totals.size_bytes,
                unneeded_blobs: totals.unneeded_blobs,
                unneeded_size_bytes: totals.unneeded_size_bytes,
                removing_blobs: totals.removing_blobs,
                removing_size_bytes: totals.removing_size_bytes,
            },
            blobs: answer.blobs.into_iter().map(BlobRecord::from).collect(),
        }
    }
}

/// `version`, `grace`, `application`, `transfer` or `recent`.
pub(crate) fn need(reason: wire::BlobNeedReason) -> &'static str {
    match reason {
        wire::BlobNeedReason::Unspecified => "unknown",
        wire::BlobNeedReason::Version => "version",
        wire::BlobNeedReason::Grace => "grace",
        wire::BlobNeedReason::Application => "application",
        wire::BlobNeedReason::Transfer => "transfer",
        wire::BlobNeedReason::Recent => "recent",
    }
}
