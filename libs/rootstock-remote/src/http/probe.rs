//! A file as clients see it: asked for with gzip allowed, and read without any claim about it.

use bytes::Bytes;
use http::{Method, StatusCode, header};
use reqwest::Response;

use super::{
    body::Body,
    error::{FetchError, Target},
    server::{HttpServer, text_of},
};

/// A file that was asked for.
#[derive(Debug)]
pub struct ProbedFile {
    /// How many bytes the server says there are; `None` when it does not say.
    pub size_bytes: Option<u64>,
    /// The encoding that the server put on it; empty for none.
    pub encoding: String,
    body: Body,
}

impl ProbedFile {
    /// The next piece, as it came from the socket; `None` at the end.
    ///
    /// # Errors
    /// When the answer breaks, stalls or trickles.
    pub async fn next(&mut self) -> Result<Option<Bytes>, FetchError> {
        self.body.next().await
    }
}

impl HttpServer {
    /// Asks as clients do, who take gzip and so see whether the server packs its files.
    pub(crate) async fn probe(&self, method: Method, path: &str) -> Result<ProbedFile, FetchError> {
        let url = self.url(Target::Artifact, path)?;
        let request = self.client.request(method, url.clone());
        let request = request.header(header::ACCEPT_ENCODING, "gzip");
        let response = self.send(Target::Artifact, &url, request).await?;
        if response.status() != StatusCode::OK {
            return Err(Self::refusal(Target::Artifact, &url, &response));
        }
        let encoding = match text_of(response.headers(), header::CONTENT_ENCODING) {
            none if none == "identity" => String::new(),
            encoding => encoding,
        };
        Ok(ProbedFile {
            size_bytes: declared_size(&response),
            encoding,
            body: self.body(Target::Artifact, &url, response),
        })
    }
}

/// The header itself: of the answer to `HEAD` the body has no bytes, and says so.
fn declared_size(response: &Response) -> Option<u64> {
    text_of(response.headers(), header::CONTENT_LENGTH).parse().ok()
}
