//! Conversions between messages and the model's types. An error names the field's path.

mod artifact;
mod remote;
mod snapshot;
mod webhook;

use rootstock_model::{Digest, ImageType, LeftOut, Reason, Status};
use time::OffsetDateTime;

use crate::{Error, catalog::v1 as wire};

pub use artifact::artifact_location;
pub use remote::{RemoteSpec, remote_spec, selection};
pub use snapshot::{document, offered_image_from_wire, offered_image_to_wire};
pub use webhook::check_webhook;

impl From<ImageType> for wire::ImageType {
    fn from(image_type: ImageType) -> Self {
        match image_type {
            ImageType::Container => Self::Container,
            ImageType::VirtualMachine => Self::VirtualMachine,
        }
    }
}

impl From<wire::ImageType> for Option<ImageType> {
    fn from(image_type: wire::ImageType) -> Self {
        match image_type {
            wire::ImageType::Unspecified => None,
            wire::ImageType::Container => Some(ImageType::Container),
            wire::ImageType::VirtualMachine => Some(ImageType::VirtualMachine),
        }
    }
}

impl From<Status> for wire::Status {
    fn from(status: Status) -> Self {
        match status {
            Status::Error => Self::Error,
            Status::Unknown => Self::Unspecified,
            Status::Initializing => Self::Initializing,
            Status::Created => Self::Created,
            Status::Active => Self::Active,
            Status::Deleted => Self::Deleted,
            Status::Available => Self::Available,
            Status::Queued => Self::Queued,
        }
    }
}

impl From<wire::Status> for Status {
    fn from(status: wire::Status) -> Self {
        match status {
            wire::Status::Error => Self::Error,
            wire::Status::Unspecified => Self::Unknown,
            wire::Status::Initializing => Self::Initializing,
            wire::Status::Created => Self::Created,
            wire::Status::Active => Self::Active,
            wire::Status::Deleted => Self::Deleted,
            wire::Status::Available => Self::Available,
            wire::Status::Queued => Self::Queued,
        }
    }
}

/// The moment as a message.
pub fn timestamp(moment: OffsetDateTime) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: moment.unix_timestamp(),
        // A nanosecond of a second always fits.
        nanos: moment.nanosecond() as i32,
    }
}

/// The moment of a message; `None` when it is out of the calendar's range.
pub fn moment(timestamp: &prost_types::Timestamp) -> Option<OffsetDateTime> {
    let nanos = i128::from(timestamp.seconds) * 1_000_000_000 + i128::from(timestamp.nanos);
    OffsetDateTime::from_unix_timestamp_nanos(nanos).ok()
}

/// A digest of 32 raw bytes.
///
/// # Errors
/// `INVALID_ARGUMENT` that names `field` when it is not 32 bytes.
pub fn digest(field: &str, bytes: &[u8]) -> Result<Digest, Error> {
    Digest::from_slice(bytes)
        .map_err(|_| Error::invalid(field, format!("is {} bytes; a SHA-256 has 32", bytes.len())))
}

/// The raw bytes of a digest, as messages carry them.
pub fn digest_bytes(digest: &Digest) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(digest.as_bytes())
}

/// A length in bytes; lengths are signed on the wire and in the database.
///
/// # Errors
/// `INVALID_ARGUMENT` that names `field` when it is negative.
pub fn size_bytes(field: &str, size_bytes: i64) -> Result<u64, Error> {
    u64::try_from(size_bytes).map_err(|_| Error::invalid(field, "is negative"))
}

impl From<LeftOut> for wire::LeftOut {
    fn from(left_out: LeftOut) -> Self {
        Self {
            product: left_out.product,
            serial: left_out.serial,
            item: left_out.item,
            reason: left_out.reason.as_str().to_owned(),
            message: left_out.message,
        }
    }
}

/// What was left out, from a message at `field`.
///
/// # Errors
/// `INVALID_ARGUMENT` when its reason is none of ours.
pub fn left_out(field: &str, left_out: wire::LeftOut) -> Result<LeftOut, Error> {
    let reason = Reason::from_name(&left_out.reason).ok_or_else(|| {
        Error::invalid(
            format!("{field}.reason"),
            format!("{:?} is no reason", left_out.reason),
        )
    })?;
    Ok(LeftOut {
        product: left_out.product,
        serial: left_out.serial,
        item: left_out.item,
        reason,
        message: left_out.message,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_and_types_have_the_codes_of_the_model() {
        for status in Status::ALL {
            assert_eq!(wire::Status::from(status) as i32, i32::from(status.code()));
            assert_eq!(Status::from(wire::Status::from(status)), status);
        }
        for image_type in ImageType::ALL {
            assert_eq!(
                Option::<ImageType>::from(wire::ImageType::from(image_type)),
                Some(image_type)
            );
        }
    }

    #[test]
    fn moments_read_back() {
        for text in [
            time::macros::datetime!(2026-11-22 05:24:00.123456789 UTC),
            OffsetDateTime::UNIX_EPOCH,
        ] {
            assert_eq!(moment(&timestamp(text)), Some(text));
        }
        assert_eq!(
            moment(&prost_types::Timestamp {
                seconds: i64::MAX,
                nanos: 0
            }),
            None
        );
    }
}
