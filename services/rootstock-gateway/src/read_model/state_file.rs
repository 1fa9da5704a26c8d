//! The last state on disk, so that a gateway that starts while the catalog is down serves what it
//! served before.
//!
//! The file is a line that names the format, the SHA-256 of the rest, and the state as the message
//! that a watch would begin with. It is only a stopgap: the first state that the catalog sends takes
//! its place whole.

use std::{
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
};

use prost::Message as _;
use rootstock_model::Digest;
use rootstock_proto::catalog::v1::WatchResponse;
use time::OffsetDateTime;

use super::{ReadModel, Resources};

const FORMAT: &[u8] = b"rootstock-gateway state 1\n";
const DIGEST_BYTES: usize = 32;

/// Why a state file was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateFileError {
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("another version of the gateway wrote it, or it is none")]
    OtherFormat,
    #[error("it is damaged")]
    Damaged,
}

/// Reads a state; `None` when there is no file yet.
pub(crate) fn load(path: &Path, now: OffsetDateTime) -> Result<Option<ReadModel>, StateFileError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let rest = bytes.strip_prefix(FORMAT).ok_or(StateFileError::OtherFormat)?;
    let (digest, state) = rest
        .split_at_checked(DIGEST_BYTES)
        .ok_or(StateFileError::Damaged)?;
    if Digest::of(state).as_bytes() != digest {
        return Err(StateFileError::Damaged);
    }
    let state = WatchResponse::decode(state).map_err(|_| StateFileError::Damaged)?;
    Ok(Some(ReadModel::from_state(state.changes, state.revision, now)))
}

/// The bytes of the file.
pub(crate) fn encode(resources: &Resources) -> Vec<u8> {
    let state = WatchResponse {
        changes: resources.to_changes(),
        revision: resources.revision,
    };
    let state = state.encode_to_vec();
    let mut bytes = Vec::with_capacity(FORMAT.len() + DIGEST_BYTES + state.len());
    bytes.extend_from_slice(FORMAT);
    bytes.extend_from_slice(Digest::of(&state).as_bytes());
    bytes.extend_from_slice(&state);
    bytes
}

/// Puts the bytes in the file's place in one step: whoever reads it finds the old or the new ones.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut staging = path.as_os_str().to_owned();
    staging.push(".new");
    let staging = PathBuf::from(staging);
    let mut file = fs::File::create(&staging)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&staging, path)
}
