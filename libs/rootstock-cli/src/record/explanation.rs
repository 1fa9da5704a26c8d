//! Why an image is as it is.

use rootstock_proto::catalog::v1 as wire;
use serde::Serialize;

use super::{ImageRecord, LeftOutRecord, TransferRecord, VersionRecord, moment, remote::RemoteStatusRecord};
use crate::output::Record;

/// The answer to "why".
#[derive(Debug, Serialize)]
pub(crate) struct ExplanationRecord {
    image: ImageRecord,
    summary: String,
    rules: Vec<String>,
    versions: Vec<VersionExplanationRecord>,
    remote_status: Option<RemoteStatusRecord>,
    left_out: Vec<LeftOutRecord>,
    transfers: Vec<TransferRecord>,
    next_check_at: Option<String>,
}

#[derive(Debug, Serialize)]
struct VersionExplanationRecord {
    version: VersionRecord,
    reason: String,
    message: String,
}

impl Record for ExplanationRecord {
    const COLUMNS: &'static [&'static str] = &[
        "image.id",
        "image.name",
        "image.current_version",
        "summary",
        "rules",
        "versions",
        "left_out",
        "transfers",
        "next_check_at",
    ];
}

impl From<wire::ExplainImageResponse> for ExplanationRecord {
    fn from(answer: wire::ExplainImageResponse) -> Self {
        let version = |explained: wire::VersionExplanation| VersionExplanationRecord {
            version: explained.version.unwrap_or_default().into(),
            reason: explained.reason,
            message: explained.message,
        };
        Self {
            next_check_at: moment(answer.next_check_at.as_ref()),
            image: ImageRecord::listed(answer.image.unwrap_or_default()),
            summary: answer.summary,
            rules: answer.rules,
            versions: answer.versions.into_iter().map(version).collect(),
            remote_status: answer.remote_status.map(RemoteStatusRecord::from),
            left_out: answer.left_out.into_iter().map(LeftOutRecord::from).collect(),
            transfers: answer.transfers.into_iter().map(TransferRecord::from).collect(),
        }
    }
}
