//! Documents: small files that are read whole, and asked for only when they changed.

use std::io::Read as _;

use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use http::{StatusCode, header};
use reqwest::Response;
use rootstock_model::{Digest, snapshot::Document};
use url::Url;

use super::{
    body::Body,
    error::{FetchError, Problem, Target},
    server::{HttpServer, text_of},
};
use crate::MAX_DOCUMENT_BYTES;

/// What asking for a document came to.
#[derive(Debug)]
pub(crate) enum Fetched {
    /// It is what it was.
    Unchanged,
    /// Here it is; it may be what it was, all the same.
    Whole(FetchedDocument),
}

/// A document, whole.
#[derive(Debug, Clone)]
pub(crate) struct FetchedDocument {
    /// Its content, unpacked.
    pub(crate) body: Bytes,
    /// Its path, its validators and the SHA-256 of `body`.
    pub(crate) about: Document,
}

impl FetchedDocument {
    /// Whether this is the document that is known already.
    pub(crate) fn is_same_as(&self, known: &Document) -> bool {
        self.about.sha256 == known.sha256
    }
}

impl HttpServer {
    /// Asks for a document: only for a changed one when `known` says what is known.
    ///
    /// With an ETag that alone is asked by: servers that know both give it precedence anyway.
    pub(crate) async fn document(
        &self,
        target: Target,
        path: &str,
        known: Option<&Document>,
    ) -> Result<Fetched, FetchError> {
        let url = self.url(target, path)?;
        let limit = self.limits.document_timeout;
        match tokio::time::timeout(limit, self.fetch_document(target, path, &url, known)).await {
            Ok(result) => result,
            Err(_elapsed) => Err(FetchError::new(target, &url, Problem::TookTooLong(limit))),
        }
    }

    async fn fetch_document(
        &self,
        target: Target,
        path: &str,
        url: &Url,
        known: Option<&Document>,
    ) -> Result<Fetched, FetchError> {
        let mut request = self
            .client
            .get(url.clone())
            .header(header::ACCEPT, "application/json")
            .header(header::ACCEPT_ENCODING, "gzip");
        match known {
            Some(known) if !known.etag.is_empty() => {
                request = request.header(header::IF_NONE_MATCH, &known.etag);
            }
            Some(known) if !known.last_modified.is_empty() => {
                request = request.header(header::IF_MODIFIED_SINCE, &known.last_modified);
            }
            _ => {}
        }
        let response = self.send(target, url, request).await?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_MODIFIED if known.is_some() => return Ok(Fetched::Unchanged),
            _ => return Err(Self::refusal(target, url, &response)),
        }
        let etag = text_of(response.headers(), header::ETAG);
        let last_modified = text_of(response.headers(), header::LAST_MODIFIED);
        let body = self.read_document(target, url, response).await?;
        let about = Document {
            path: path.to_owned(),
            etag,
            last_modified,
            sha256: Digest::of(&body),
        };
        Ok(Fetched::Whole(FetchedDocument { body, about }))
    }

    async fn read_document(
        &self,
        target: Target,
        url: &Url,
        response: Response,
    ) -> Result<Bytes, FetchError> {
        let packed = match text_of(response.headers(), header::CONTENT_ENCODING).as_str() {
            "" | "identity" => false,
            "gzip" | "x-gzip" => true,
            other => return Err(FetchError::new(target, url, Problem::Encoding(other.to_owned()))),
        };
        let body = collect(self.body(target, url, response)).await?;
        if !packed {
            return Ok(body);
        }
        // Up to 64 MiB: not on a thread that has others to serve.
        let unpacked = tokio::task::spawn_blocking(move || unpack(&body)).await;
        unpacked
            .unwrap_or_else(|broken| Err(Problem::BadGzip(broken.to_string())))
            .map_err(|problem| FetchError::new(target, url, problem))
    }
}

async fn collect(mut body: Body) -> Result<Bytes, FetchError> {
    let mut whole = Vec::new();
    while let Some(piece) = body.next().await? {
        if whole.len() + piece.len() > MAX_DOCUMENT_BYTES {
            return Err(body.error(Problem::TooLarge));
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole.into())
}

fn unpack(packed: &[u8]) -> Result<Bytes, Problem> {
    let mut whole = Vec::new();
    let limit = MAX_DOCUMENT_BYTES as u64 + 1;
    MultiGzDecoder::new(packed)
        .take(limit)
        .read_to_end(&mut whole)
        .map_err(|error| Problem::BadGzip(error.to_string()))?;
    match whole.len() > MAX_DOCUMENT_BYTES {
        true => Err(Problem::TooLarge),
        false => Ok(whole.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn pack(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn gzip_is_unpacked_up_to_the_limit() {
        assert_eq!(unpack(&pack(b"{}")).unwrap(), "{}");
        assert!(matches!(unpack(b"{}"), Err(Problem::BadGzip(_))));
        assert!(matches!(unpack(&pack(b"{}")[..10]), Err(Problem::BadGzip(_))));
        // 64 KiB on the wire that would be 64 MiB and a byte in memory.
        let bomb = pack(&vec![b' '; MAX_DOCUMENT_BYTES + 1]);
        assert!(bomb.len() < 100_000, "{}", bomb.len());
        assert!(matches!(unpack(&bomb), Err(Problem::TooLarge)));
    }
}
