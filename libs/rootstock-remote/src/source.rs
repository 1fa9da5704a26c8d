//! The port: what every image server can be asked, whatever it speaks.

use std::fmt;

use futures::future::BoxFuture;
use rootstock_model::{
    ArtifactLocation,
    snapshot::{Document, Snapshot},
};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::http::{Body, FetchError};

/// An image server.
///
/// Every implementation passes one suite of tests, `tests/integration/sync/sources.rs`.
pub trait RemoteSource: fmt::Debug + Send + Sync {
    /// Asks whether the server offers something else than is known, and what.
    ///
    /// An offer is always the whole of what the server offers: a part would read as the removal of the
    /// rest. A poll without news should cost a conditional request or two, because nearly all polls are.
    fn poll<'a>(&'a self, known: KnownState<'a>) -> BoxFuture<'a, Result<Polled, FetchError>>;

    /// Asks for a file. The answer begins at `resume.offset`, or at 0 when the server cannot go on
    /// there or has other content than before.
    fn open<'a>(
        &'a self,
        artifact: &'a ArtifactLocation,
        resume: Resume<'a>,
    ) -> BoxFuture<'a, Result<Opened, FetchError>>;

    /// The address of a file, as errors and journals name it.
    ///
    /// # Errors
    /// When it does not lie on this server.
    fn url(&self, artifact: &ArtifactLocation) -> Result<Url, FetchError>;
}

/// What earlier polls have seen of a server.
#[derive(Debug, Clone, Copy, Default)]
pub struct KnownState<'a> {
    /// The documents of the last offer, in any order; none to have a whole new offer.
    pub documents: &'a [Document],
    /// Whether the document that names the others is asked for too, where a protocol has one and a poll
    /// can do without.
    pub check_index: bool,
}

/// What a poll showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Polled {
    /// Nothing new. The documents again when their validators are new, else none.
    Unchanged(Vec<Document>),
    /// Something is new, or nothing was known.
    Offer {
        /// What the offer was made of.
        documents: Vec<Document>,
        /// All that the server offers.
        snapshot: Snapshot,
    },
}

/// Where to go on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Resume<'a> {
    /// The first byte that is wanted; 0 for the whole.
    pub offset: u64,
    /// Of the content that the bytes before `offset` are from, of whichever server.
    pub validators: Option<&'a Validators>,
}

/// What names the content that a server has under a URL. Kept in the journal, to go on with the rest
/// of the same content.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validators {
    /// Whose: another server's validators mean nothing.
    pub url: String,
    /// As it came; may be empty.
    #[serde(default)]
    pub etag: String,
    /// As it came; may be empty.
    #[serde(default)]
    pub last_modified: String,
}

/// A file that comes.
#[derive(Debug)]
pub struct Opened {
    /// Its bytes, from `offset`.
    pub body: Body,
    /// 0, or what was asked for.
    pub offset: u64,
    /// Of the content that comes.
    pub validators: Validators,
}
