//! An image server as a passer-by sees it: for tools that look at one and keep nothing, within the
//! limits that a worker has.

use bytes::Bytes;
use http::{Method, StatusCode, header};
use reqwest::{Response, tls};
use url::Url;

use super::{
    Body, Fetched, RemoteServer,
    clients::{Trust, build},
    document::text_of,
    error::{FetchError, Problem, What},
};
use crate::config::RemoteLimits;

/// An image server, asked without a catalog.
#[derive(Debug)]
pub struct ImageServer {
    server: RemoteServer,
}

/// A file that was asked for.
#[derive(Debug)]
pub struct Content {
    /// How many bytes the server says there are; `None` when it does not say.
    pub size_bytes: Option<u64>,
    /// The encoding that the server put on it; empty for none.
    pub encoding: String,
    body: Body,
}

/// What went wrong, for whoever has to tell one kind from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeKind {
    /// The server says that there is no such file.
    Gone,
    /// There is no talking to the server: no connection, no trust, or no such URL.
    Unreachable,
    /// Anything else: another status, or an answer that broke.
    Failed,
}

/// A request that failed. Prints as the URL, what happened, and what to look at.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct ProbeError {
    /// Which kind.
    pub kind: ProbeKind,
    text: String,
}

impl ImageServer {
    /// A server below `url`. With `modern`, only TLS 1.3 is spoken, as clients do.
    ///
    /// # Errors
    /// When the URL is none, or `ca_pem` holds no certificate.
    pub fn new(url: &str, ca_pem: &str, insecure: bool, modern: bool) -> Result<Self, ProbeError> {
        let bad =
            |problem: String| FetchError::of_url(What::Index, url.to_owned(), Problem::BadRemote(problem));
        let base: Url = url
            .parse()
            .map_err(|error: url::ParseError| bad(error.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") || !base.has_host() {
            return Err(bad("it must begin with https:// or http://".to_owned()).into());
        }
        let oldest = if modern {
            tls::Version::TLS_1_3
        } else {
            tls::Version::TLS_1_2
        };
        let trust = Trust {
            ca_pem: ca_pem.to_owned(),
            insecure,
        };
        let limits = RemoteLimits::default();
        let client =
            build(&trust, oldest, &limits).map_err(|problem| FetchError::new(What::Index, &base, problem))?;
        let name = "probe".parse().map_err(|_| bad("it has no name".to_owned()))?;
        Ok(Self {
            server: RemoteServer {
                name,
                base,
                client,
                authorization: None,
                limits,
            },
        })
    }

    /// A document, whole and unpacked.
    ///
    /// # Errors
    /// When it cannot be had.
    pub async fn document(&self, path: &str) -> Result<Bytes, ProbeError> {
        let what = if path == rootstock_simplestreams::INDEX_PATH {
            What::Index
        } else {
            What::Products
        };
        match self.server.document(what, path, None).await? {
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
    pub async fn head(&self, path: &str) -> Result<Content, ProbeError> {
        match self.ask(Method::HEAD, path).await {
            Err(error) if error.kind == ProbeKind::Failed => self.ask(Method::GET, path).await,
            answer => answer,
        }
    }

    /// A file, to be read to its end.
    ///
    /// # Errors
    /// When there is no such file, or it cannot be had.
    pub async fn open(&self, path: &str) -> Result<Content, ProbeError> {
        self.ask(Method::GET, path).await
    }

    /// Asks as clients do, who take gzip and so are told whether the server packs its files.
    async fn ask(&self, method: Method, path: &str) -> Result<Content, ProbeError> {
        let url = self.server.url(What::Blob, path)?;
        let request = self.server.client.request(method, url.clone());
        let request = request.header(header::ACCEPT_ENCODING, "gzip");
        let response = self.server.send(What::Blob, &url, request).await?;
        if response.status() != StatusCode::OK {
            return Err(RemoteServer::refusal(What::Blob, &url, &response).into());
        }
        let encoding = text_of(response.headers(), header::CONTENT_ENCODING);
        Ok(Content {
            size_bytes: declared_size(&response),
            encoding: if encoding == "identity" {
                String::new()
            } else {
                encoding
            },
            body: self.server.body(What::Blob, &url, response),
        })
    }
}

/// The header itself: of the answer to `HEAD` the body has no bytes, and says so.
fn declared_size(response: &Response) -> Option<u64> {
    text_of(response.headers(), header::CONTENT_LENGTH).parse().ok()
}

impl Content {
    /// The next piece, as it came from the socket; `None` at the end.
    ///
    /// # Errors
    /// When the answer breaks, stalls or trickles.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ProbeError> {
        Ok(self.body.next().await?)
    }
}

impl From<FetchError> for ProbeError {
    fn from(error: FetchError) -> Self {
        let kind = if error.is_gone() {
            ProbeKind::Gone
        } else if error.is_unreachable() {
            ProbeKind::Unreachable
        } else {
            ProbeKind::Failed
        };
        Self {
            kind,
            text: error.to_string(),
        }
    }
}
