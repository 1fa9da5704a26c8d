//! The step between fetched bytes and the parser: which documents are believed.

use bytes::Bytes;
use rootstock_simplestreams::{DocumentError, INDEX_PATH};

use crate::http::{Problem, Target};

/// What a tree's documents must show before they are parsed.
///
/// It also says where the index lies, because a tree has its signed documents beside the others, under
/// paths of their own (`index.sjson`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Verifier {
    /// No signature is asked for: what the server sends is believed. The files are verified all the
    /// same, by the digests in the documents.
    #[default]
    NoSignature,
}

/// The content of a document that may be parsed. Only [`Verifier::verify`] makes one.
#[derive(Debug)]
pub(super) struct Verified(Bytes);

impl Verifier {
    /// Where the index lies, relative to the remote's URL.
    pub(super) const fn index_path(self) -> &'static str {
        match self {
            Self::NoSignature => INDEX_PATH,
        }
    }

    /// The index as what is asked for.
    pub(super) const fn index(self) -> Target {
        match self {
            Self::NoSignature => Target::Index {
                if_gone: "the remote's URL must be the base of the tree, without streams/v1/index.json",
            },
        }
    }

    /// Checks a document as it was fetched, and takes out of it what may be parsed. Not quick: the
    /// document may have 64 MiB.
    pub(super) fn verify(self, fetched: Bytes) -> Result<Verified, Problem> {
        match self {
            Self::NoSignature => Ok(Verified(fetched)),
        }
    }
}

impl Verified {
    /// Parses the content.
    pub(super) fn parse<T>(&self, parser: fn(&[u8]) -> Result<T, DocumentError>) -> Result<T, DocumentError> {
        parser(&self.0)
    }
}
