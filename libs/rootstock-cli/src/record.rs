//! Messages as programs read them: the field names of the API, bytes as numbers, times in RFC 3339,
//! and words rather than the names of enums. What is not set is null.

use rootstock_model::{ImageType, Status};
use rootstock_proto::catalog::v1 as wire;

use crate::human::{duration, rfc3339};

mod blob;
mod change;
mod explanation;
mod image;
mod remote;
mod resource;
mod webhook;

pub(super) use blob::{BlobRecord, CollectionRecord, need};
pub(super) use change::ChangeRecord;
pub(super) use explanation::ExplanationRecord;
pub(super) use image::{ImageRecord, ResolutionRecord, VersionRecord, requirement_warnings};
pub(super) use remote::{LeftOutRecord, RemoteRecord, SyncRunRecord, TransferRecord};
pub(super) use remote::{action, mode, transfer_state};
pub(super) use resource::{AliasRecord, ApplicationRecord, SettingRecord};
pub(super) use webhook::{NewWebhookRecord, WebhookRecord, change_kind};

/// `container`, `virtual-machine`, or nothing.
pub(super) fn image_type(image_type: wire::ImageType) -> &'static str {
    Option::<ImageType>::from(image_type).map_or("", ImageType::as_str)
}

/// `active`, `queued`, ….
pub(super) fn status(status: wire::Status) -> &'static str {
    Status::from(status).as_str()
}

/// A moment for programs.
fn moment(timestamp: Option<&prost_types::Timestamp>) -> Option<String> {
    timestamp.and_then(rfc3339)
}

#[cfg(test)]
mod tests;
