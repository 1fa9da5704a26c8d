//! The last state on disk, so that a gateway that starts while the catalog is down serves what it
//! served before.
//!
//! The file is a line that names the format, the SHA-256 of the rest, the revision in eight bytes, and the
//! state as the changes that a watch would begin with, each after its length. It is only a stopgap: the
//! first state that the catalog sends takes its place whole.

use std::{
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
};

use prost::Message as _;
use rootstock_model::Digest;
use rootstock_proto::catalog::v1::Change;
use time::OffsetDateTime;

use super::{ReadModel, snapshot::Snapshot};

const FORMAT: &[u8] = b"rootstock-gateway state 2\n";
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
    let (revision, mut changes) = state.split_first_chunk().ok_or(StateFileError::Damaged)?;
    let mut model = ReadModel::new();
    // One by one: decoded, a state takes several times the room that it takes in the model.
    while !changes.is_empty() {
        let change = Change::decode_length_delimited(&mut changes).map_err(|_| StateFileError::Damaged)?;
        model.apply([change], 0, now);
    }
    model.apply([], i64::from_le_bytes(*revision), now);
    Ok(Some(model))
}

/// The bytes of the file.
pub(crate) fn encode(snapshot: &Snapshot) -> Vec<u8> {
    let begin = FORMAT.len() + DIGEST_BYTES;
    let mut bytes = FORMAT.to_vec();
    bytes.resize(begin, 0);
    bytes.extend_from_slice(&snapshot.revision.to_le_bytes());
    for change in snapshot.changes() {
        bytes.extend_from_slice(&change.encode_length_delimited_to_vec());
    }
    let digest = Digest::of(&bytes[begin..]);
    bytes[FORMAT.len()..begin].copy_from_slice(digest.as_bytes());
    bytes
}

/// Puts the bytes in the file's place in one step: readers find the old or the new ones.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut staging = path.as_os_str().to_owned();
    staging.push(".new");
    let staging = PathBuf::from(staging);
    let mut file = fs::File::create(&staging)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&staging, path)
}
