//! Blobs: immutable, named by their digest, sent as they lie in the store.

use std::{ops::Range, time::Duration};

use axum::{
    body::Body,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use rootstock_blobs::{BlobError, PresignOptions};
use rootstock_model::Digest;
use time::OffsetDateTime;
use tokio::time::timeout;

use super::{
    ImageServer, conditional::Validators, not_found, not_ready, plain, range, range::Wanted, unavailable,
};
use crate::metrics::{self, Outcome};

/// Clients give up on a head that takes 30 seconds, and the store's client tries again inside: better
/// to say no while somebody listens.
const STORE_TIMEOUT: Duration = Duration::from_secs(8);

/// `GET` and `HEAD /blobs/sha256/<hex>[.<extension>]`
pub(super) async fn get(
    State(server): State<ImageServer>,
    Path(name): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let Some(digest) = digest_of(&name) else {
        return not_found();
    };
    let size_bytes = match server.edge.model.borrow().as_ref() {
        Some(model) => server.audience.grants(model, &digest, OffsetDateTime::now_utc()),
        None => return not_ready(),
    };
    let Some(size_bytes) = size_bytes else {
        return not_found();
    };
    let request = BlobRequest {
        server: &server,
        digest,
        size_bytes,
        validators: validators(&digest),
    };
    if request.validators.is_current(&method, &headers) {
        return request.head(StatusCode::NOT_MODIFIED).into_response();
    }
    let wanted = match headers.get(header::RANGE) {
        Some(range) if method == Method::GET && request.validators.allows_range(&headers) => {
            range::wanted(Some(range.as_bytes()), size_bytes)
        }
        _ => Wanted::Whole,
    };
    if wanted == Wanted::NotSatisfiable {
        return request.range_not_satisfiable();
    }
    let answered = if method == Method::HEAD {
        request.look().await
    } else {
        request.send(wanted).await
    };
    answered.unwrap_or_else(|error| request.failed(&error))
}

/// The digest of `<hex>[.<extension>]`. There is one spelling of it, so that caches hold a blob once
/// per extension; clients name exported files by the extension, and it means nothing here.
fn digest_of(name: &str) -> Option<Digest> {
    let hex = name.split_once('.').map_or(name, |(hex, _)| hex);
    hex.parse().ok().filter(|digest: &Digest| digest.to_hex() == hex)
}

fn validators(digest: &Digest) -> Validators {
    Validators {
        etag: Validators::etag_of(digest),
        last_modified: None,
    }
}

struct BlobRequest<'a> {
    server: &'a ImageServer,
    digest: Digest,
    /// The blob's exact length.
    size_bytes: u64,
    validators: Validators,
}

/// Why a blob that is listed cannot be sent.
enum Failure {
    Store(BlobError),
    /// The store did not answer in time.
    Slow,
    /// What the store holds has another length.
    WrongSize(u64),
}

impl From<BlobError> for Failure {
    fn from(error: BlobError) -> Self {
        Self::Store(error)
    }
}

impl BlobRequest<'_> {
    /// The head that all good answers share.
    fn head(&self, status: StatusCode) -> Response {
        let mut response = status.into_response();
        let headers = response.headers_mut();
        self.validators.insert_into(headers);
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        headers.insert(
            header::CACHE_CONTROL,
            // `no-transform`: clients hash what they get, so nobody on the way may pack it.
            HeaderValue::from_static("public, max-age=31536000, immutable, no-transform"),
        );
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/octet-stream"),
        );
        response
    }

    /// Answers a HEAD: from the store, so that it says what a GET would find.
    async fn look(&self) -> Result<Response, Failure> {
        let digest = self.digest;
        let info = in_time(self.server.edge.blobs.head(&digest))
            .await?
            .ok_or(BlobError::NotFound { digest })?;
        self.check_size(info.size_bytes)?;
        let mut response = self.head(StatusCode::OK);
        response
            .headers_mut()
            .insert(header::CONTENT_LENGTH, self.size_bytes.into());
        Ok(response)
    }

    async fn send(&self, wanted: Wanted) -> Result<Response, Failure> {
        // What brings the last byte completes a download, whether it began at the first or went on.
        let is_complete = match &wanted {
            Wanted::Part(part) => part.end == self.size_bytes,
            Wanted::Whole => true,
            Wanted::NotSatisfiable => false,
        };
        let used = if is_complete { self.used() } else { vec![] };
        if let Some(redirect) = self.redirect().await? {
            // Nobody tells how it ends.
            self.server.edge.uses.note(&used);
            return Ok(redirect);
        }
        let Some(place) = self.server.edge.downloads.place() else {
            metrics::download_ended(Outcome::Refused);
            let text = "this server sends as many files as it can at a time; try again in a moment\n";
            return Ok(unavailable(text, 10));
        };
        let part = match wanted {
            Wanted::Part(part) => Some(part),
            Wanted::Whole | Wanted::NotSatisfiable => None,
        };
        let reader = in_time(self.server.edge.blobs.read(&self.digest, part.clone())).await?;
        self.check_size(reader.size_bytes)?;
        let mut response = self.head(if part.is_some() {
            StatusCode::PARTIAL_CONTENT
        } else {
            StatusCode::OK
        });
        if let Some(part) = part {
            response
                .headers_mut()
                .insert(header::CONTENT_RANGE, self.content_range(&part));
        }
        Ok(response
            .map(|_| Body::new(place.download(reader, self.digest, self.server.edge.uses.clone(), used))))
    }

    fn used(&self) -> Vec<String> {
        let model = self.server.edge.model.borrow();
        model.as_ref().map_or_else(Vec::new, |model| {
            self.server.audience.used_by_download_of(model, &self.digest)
        })
    }

    async fn redirect(&self) -> Result<Option<Response>, Failure> {
        let Some(expiry) = self.server.edge.redirect_expiry else {
            return Ok(None);
        };
        let signed = self
            .server
            .edge
            .blobs
            .presign_get(&self.digest, expiry, PresignOptions::default());
        let Some(url) = in_time(signed).await? else {
            return Ok(None);
        };
        let location = HeaderValue::try_from(url.as_str()).ok();
        Ok(location.map(|location| plain(StatusCode::FOUND, "", &[(header::LOCATION, location)])))
    }

    fn check_size(&self, size_bytes: u64) -> Result<(), Failure> {
        if size_bytes == self.size_bytes {
            Ok(())
        } else {
            Err(Failure::WrongSize(size_bytes))
        }
    }

    fn content_range(&self, part: &Range<u64>) -> HeaderValue {
        let last = part.end.saturating_sub(1);
        ascii(format!("bytes {}-{last}/{}", part.start, self.size_bytes))
    }

    fn range_not_satisfiable(&self) -> Response {
        let size = ascii(format!("bytes */{}", self.size_bytes));
        let text = "the file has no such part\n";
        plain(
            StatusCode::RANGE_NOT_SATISFIABLE,
            text,
            &[(header::CONTENT_RANGE, size)],
        )
    }

    fn failed(&self, failure: &Failure) -> Response {
        let sha256 = self.digest;
        match failure {
            Failure::Store(BlobError::NotFound { .. }) => {
                tracing::error!(blob.sha256 = %sha256, "a blob that is listed is not in the store");
                return not_found();
            }
            Failure::Store(error) => {
                tracing::error!(blob.sha256 = %sha256, %error, "cannot read a blob");
            }
            Failure::Slow => {
                tracing::warn!(blob.sha256 = %sha256, limit = ?STORE_TIMEOUT, "the store takes too long to begin a blob");
            }
            Failure::WrongSize(actual) => {
                let expected = self.size_bytes;
                tracing::error!(blob.sha256 = %sha256, expected, actual, "a blob has another length in the store");
            }
        }
        unavailable("the file cannot be read at the moment; try again later\n", 10)
    }
}

/// Text of ours that holds nothing but ASCII.
fn ascii(text: String) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}

async fn in_time<T>(work: impl Future<Output = Result<T, BlobError>>) -> Result<T, Failure> {
    match timeout(STORE_TIMEOUT, work).await {
        Ok(result) => Ok(result?),
        Err(_elapsed) => Err(Failure::Slow),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_has_one_spelling_and_any_extension() {
        let hex = Digest::of(b"x").to_hex();
        for name in [
            hex.clone(),
            format!("{hex}.squashfs"),
            format!("{hex}.tar.xz"),
            format!("{hex}."),
        ] {
            assert_eq!(digest_of(&name), Some(Digest::of(b"x")), "{name}");
        }
        for name in [
            hex.to_uppercase(),
            hex[1..].to_owned(),
            format!("{hex}x"),
            format!(".{hex}"),
            String::new(),
        ] {
            assert_eq!(digest_of(&name), None, "{name}");
        }
    }
}
