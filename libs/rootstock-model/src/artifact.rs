//! What names a file of an image on a remote.

use std::fmt;

use crate::Digest;

/// A reference to one file of an image. Protocols differ in what they publish of their files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ArtifactRef {
    /// The SHA-256 of the file's bytes (simplestreams).
    Digest(Digest),
    /// A part of the image that has this fingerprint, where no part has a digest of its own (Incus).
    Part {
        /// The image's.
        fingerprint: Digest,
        /// Which of its files.
        part: ImagePart,
    },
}

/// Where a file of an image is to be had: on one remote, as its last offer has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactLocation {
    /// What names the file.
    pub artifact: ArtifactRef,
    /// Where the offer says that it lies, relative to the remote's URL. Empty where the reference says
    /// it all.
    pub path: String,
    /// The exact length that the offer claims, in bytes.
    pub size_bytes: u64,
}

/// The files of a split image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ImagePart {
    /// The metadata tarball.
    Metadata,
    /// The root.
    Root,
}

impl ImagePart {
    /// `metadata` or `root`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Metadata => "metadata",
            Self::Root => "root",
        }
    }
}

impl fmt::Display for ArtifactRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Digest(digest) => digest.fmt(f),
            Self::Part { fingerprint, part } => write!(f, "{} of {fingerprint}", part.as_str()),
        }
    }
}
