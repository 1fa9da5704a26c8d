//! SQL, one file per noun. Functions are `noun_verb` by their module; rules are the model's.

pub(crate) mod added;
pub(crate) mod aliases;
pub(crate) mod applications;
pub(crate) mod blobs;
pub(crate) mod changes;
pub(crate) mod expiry;
pub(crate) mod followers;
pub(crate) mod images;
pub(crate) mod imports;
pub(crate) mod needs;
pub(crate) mod remotes;
pub(crate) mod removals;
pub(crate) mod resolve;
mod select;
pub(crate) mod settings;
pub(crate) mod snapshots;
pub(crate) mod sync_runs;
pub(crate) mod transfers;
pub(crate) mod uploads;
pub(crate) mod uses;
pub(crate) mod versions;
pub(crate) mod webhooks;

use std::time::Duration;

pub(crate) use self::select::MAX_BATCH;

use rootstock_model::{Digest, ImageType, Status};
use rootstock_proto::catalog::v1 as wire;

use crate::failure::Failure;

/// The parameter for a duration, in milliseconds.
pub(crate) fn interval_ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// The digest of a column.
pub(crate) fn digest(bytes: &[u8]) -> Result<Digest, Failure> {
    Digest::from_slice(bytes).map_err(|_| Failure::Corrupt(format!("a digest of {} bytes", bytes.len())))
}

/// The status of a column.
pub(crate) fn status(code: i16) -> Result<Status, Failure> {
    Status::from_code(code).ok_or_else(|| Failure::Corrupt(format!("status {code}")))
}

/// The image type of a column.
pub(crate) fn image_type(name: &str) -> Result<ImageType, Failure> {
    name.parse()
        .map_err(|error: rootstock_model::image::UnknownImageType| Failure::Corrupt(error.to_string()))
}

/// The message's number for a type's column.
pub(crate) fn wire_image_type(name: &str) -> Result<i32, Failure> {
    Ok(wire::ImageType::from(image_type(name)?).into())
}

/// The message's number for a status's column.
pub(crate) fn wire_status(code: i16) -> Result<i32, Failure> {
    Ok(wire::Status::from(status(code)?).into())
}
