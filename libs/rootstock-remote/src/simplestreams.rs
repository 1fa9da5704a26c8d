//! The simplestreams protocol: an index, the products files that it names, and files by path.
//!
//! What the documents mean is `rootstock-simplestreams`' business; here is how they are had. `poll`
//! asks whether there is something new, `document` takes a document from the server through the
//! [`Verifier`] to the parser, and `probe` shows a server to tools.

mod document;
mod poll;
mod probe;
mod verify;

pub use probe::ImageServer;

use futures::future::{BoxFuture, FutureExt as _};
use rootstock_model::ArtifactLocation;
use url::Url;

use self::verify::Verifier;
use crate::{
    KnownState, Opened, Polled, RemoteSource, Resume,
    http::{FetchError, HttpServer, Target},
};

/// A tree of simplestreams on a server.
#[derive(Debug)]
pub(crate) struct Simplestreams {
    server: HttpServer,
    verifier: Verifier,
}

impl Simplestreams {
    pub(crate) fn new(server: HttpServer) -> Self {
        Self {
            server,
            verifier: Verifier::default(),
        }
    }

    /// What a document of this path is.
    fn target(&self, path: &str) -> Target {
        if path == self.verifier.index_path() {
            self.verifier.index()
        } else {
            Target::Document
        }
    }

    fn is_index(&self, path: &str) -> bool {
        path == self.verifier.index_path()
    }
}

impl RemoteSource for Simplestreams {
    fn poll<'a>(&'a self, known: KnownState<'a>) -> BoxFuture<'a, Result<Polled, FetchError>> {
        poll::poll(self, known).boxed()
    }

    /// A file is found by its path; what it is referred to by is checked where its bytes go.
    fn open<'a>(
        &'a self,
        artifact: &'a ArtifactLocation,
        resume: Resume<'a>,
    ) -> BoxFuture<'a, Result<Opened, FetchError>> {
        self.server
            .file(&artifact.path, artifact.size_bytes, resume)
            .boxed()
    }

    fn url(&self, artifact: &ArtifactLocation) -> Result<Url, FetchError> {
        self.server.url(Target::Artifact, &artifact.path)
    }
}
