//! What can be wrong with an archive, for whoever brought it.

use std::io;

/// Why an archive makes no image. Prints as what is wrong with it.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It ends too early, is damaged, or is not of the format it begins like; or it could not be
    /// read.
    #[error("cannot be read as an archive: {0}")]
    Unreadable(#[from] io::Error),
    /// A header of the archive makes no sense.
    #[error("is no intact tar archive: {0}")]
    Malformed(&'static str),
    /// It has more of something than an image needs.
    #[error("has {what} beyond the limit of {limit}")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How much is allowed.
        limit: u64,
    },
    /// A name that leads out of the archive.
    #[error("holds {name:?}, a name that leads out of the archive")]
    Escapes {
        /// The name, cut to a bearable length.
        name: String,
    },
    /// Something else than a file or a directory, where only these belong.
    #[error("holds {name:?}, which is {kind}; only files and directories belong there")]
    NotAFile {
        /// The name, cut to a bearable length.
        name: String,
        /// What it is.
        kind: &'static str,
    },
    /// The same file twice: readers would not agree about which counts.
    #[error("holds metadata.yaml twice")]
    TwoMetadata,
    /// Both kinds of root.
    #[error("holds both rootfs/ and rootfs.img: the root of a container and of a virtual machine")]
    TwoRoots,
    /// There is no `metadata.yaml`.
    #[error("holds no metadata.yaml")]
    NoMetadata,
    /// There is one, after very much else.
    #[error("holds no metadata.yaml within its first {0}; put it first")]
    NoMetadataWithin(&'static str),
    /// What `metadata.yaml` says cannot be.
    #[error("metadata.yaml: {0}")]
    Metadata(String),
}

/// A name from outside, as a message may hold it.
pub(crate) fn shown(name: &[u8]) -> String {
    const MAX_CHARS: usize = 80;
    let text = String::from_utf8_lossy(name);
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into_owned(),
    }
}
