//! A tree on a server as a passer-by sees it: for tools that look at one and keep nothing.

use bytes::Bytes;
use http::Method;

use super::Simplestreams;
use crate::http::{FetchError, FetchErrorKind, Fetched, HttpServer, ProbedFile};

/// A tree of simplestreams on a server, asked without a catalog.
#[derive(Debug)]
pub struct ImageServer {
    source: Simplestreams,
}

impl ImageServer {
    pub(crate) fn new(server: HttpServer) -> Self {
        Self {
            source: Simplestreams::new(server),
        }
    }

    /// Where the index lies.
    pub fn index_path(&self) -> &'static str {
        self.source.verifier.index_path()
    }

    /// A document, whole and unpacked.
    ///
    /// # Errors
    /// When it cannot be had.
    pub async fn document(&self, path: &str) -> Result<Bytes, FetchError> {
        let target = self.source.target(path);
        match self.source.server.document(target, path, None).await? {
            Fetched::Whole(document) => Ok(document.body),
            // Never of an unconditional request.
            Fetched::Unchanged => Ok(Bytes::new()),
        }
    }

    /// The head of a file: asked for with `HEAD`, or with `GET` where the server wants no `HEAD` (a
    /// presigned URL is for one method).
    ///
    /// # Errors
    /// When there is no such file, or it cannot be had.
    pub async fn head(&self, path: &str) -> Result<ProbedFile, FetchError> {
        match self.source.server.probe(Method::HEAD, path).await {
            Err(error) if error.kind() == FetchErrorKind::Failed => {
                self.source.server.probe(Method::GET, path).await
            }
            answer => answer,
        }
    }

    /// A file, to be read to its end.
    ///
    /// # Errors
    /// When there is no such file, or it cannot be had.
    pub async fn open(&self, path: &str) -> Result<ProbedFile, FetchError> {
        self.source.server.probe(Method::GET, path).await
    }
}
