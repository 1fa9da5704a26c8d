//! Listing multipart uploads and asking for one: requests that `object_store` has no call for. It signs
//! their URLs, and a plain client fetches them. They are not repeated: whoever asks does so regularly.

use std::time::Duration;

use http::{Method, StatusCode};
use object_store::{
    path::Path,
    signer::{SignedUrlOptions, Signer as _},
};
use serde::Deserialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{S3Store, upload::UploadId};
use crate::{
    blob::OpenUpload,
    error::{BlobError, Operation, Source, full_text},
    key::{Key, digest_of_object},
};

/// How long a URL that is fetched at once stays valid; clocks may differ by minutes.
const SIGNED_FOR: Duration = Duration::from_secs(300);
/// A page has at most 1000 uploads; more pages than this are a server that turns in circles.
const MAX_PAGES: usize = 10_000;
/// A page of 1000 uploads has some 600 KiB.
const MAX_PAGE_BYTES: usize = 8 * 1024 * 1024;

/// `ListMultipartUploadsResult`: what of it matters here.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Page {
    is_truncated: bool,
    next_key_marker: String,
    next_upload_id_marker: String,
    #[serde(rename = "Upload")]
    uploads: Vec<ListedUpload>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListedUpload {
    key: String,
    upload_id: String,
    #[serde(default)]
    initiated: String,
}

impl S3Store {
    /// Every multipart upload below our prefix; those of others in the same bucket are not ours to see.
    pub(super) async fn list_multipart_uploads(&self) -> Result<Vec<OpenUpload>, BlobError> {
        let now = OffsetDateTime::now_utc();
        let folder = format!("{}/", Key::Blobs.object(&self.prefix));
        let mut uploads = Vec::new();
        let (mut key_marker, mut upload_id_marker) = (String::new(), String::new());
        for _ in 0..MAX_PAGES {
            let query = [
                ("uploads", ""),
                ("prefix", &folder),
                ("key-marker", &key_marker),
                ("upload-id-marker", &upload_id_marker),
            ];
            let given = query
                .into_iter()
                .filter(|(name, value)| *name == "uploads" || !value.is_empty());
            let body = self
                .fetch(&Path::default(), given, Operation::ListUploads)
                .await?
                .ok_or_else(|| BlobError::Refused {
                    operation: Operation::ListUploads,
                    cause: "there is no such bucket".into(),
                })?;
            let page = parse_page(&body)?;
            let listed = page
                .uploads
                .into_iter()
                .filter(|upload| upload.key.starts_with(&folder));
            uploads.extend(listed.map(|upload| open_upload(upload, now)));
            if !page.is_truncated {
                return Ok(uploads);
            }
            if (&page.next_key_marker, &page.next_upload_id_marker) == (&key_marker, &upload_id_marker) {
                return Err(trouble("a listing does not go on"));
            }
            (key_marker, upload_id_marker) = (page.next_key_marker, page.next_upload_id_marker);
        }
        Err(trouble("a listing does not end"))
    }

    /// Whether the upload exists: asks for its first part.
    pub(super) async fn upload_exists(&self, id: &UploadId) -> Result<bool, BlobError> {
        let query = [("uploadId", id.upload_id.as_str()), ("max-parts", "1")];
        Ok(self.fetch(&id.key, query, Operation::Resume).await?.is_some())
    }

    /// GETs a signed URL; `None` when the answer is 404.
    async fn fetch<'a>(
        &self,
        path: &Path,
        query: impl IntoIterator<Item = (&'a str, &'a str)>,
        operation: Operation,
    ) -> Result<Option<Vec<u8>>, BlobError> {
        let options = SignedUrlOptions::new().with_query(query);
        let url = self
            .reads
            .signed_url_opts(Method::GET, path, SIGNED_FOR, &options)
            .await
            .map_err(|error| BlobError::from_object_store(operation, error))?;
        // The URL holds a signature, which belongs in no log.
        let unavailable = |error: reqwest::Error| BlobError::Unavailable {
            operation,
            cause: full_text(&error.without_url()).into(),
        };
        let mut response = self.http.get(url).send().await.map_err(unavailable)?;
        let status = response.status();
        if status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        if !status.is_success() {
            let cause = Source::from(format!("the service answered {status}"));
            return Err(
                match status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS {
                    true => BlobError::Refused { operation, cause },
                    false => BlobError::Unavailable { operation, cause },
                },
            );
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unavailable)? {
            if body.len() + chunk.len() > MAX_PAGE_BYTES {
                return Err(trouble("a listing is too long"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Some(body))
    }
}

fn parse_page(body: &[u8]) -> Result<Page, BlobError> {
    quick_xml::de::from_reader(body).map_err(|error| BlobError::Unavailable {
        operation: Operation::ListUploads,
        cause: error.into(),
    })
}

fn open_upload(upload: ListedUpload, now: OffsetDateTime) -> OpenUpload {
    let digest = digest_of_object(&upload.key);
    // An upload whose beginning cannot be read counts as new: it is better kept than aborted too early.
    let age = OffsetDateTime::parse(&upload.initiated, &Rfc3339)
        .ok()
        .and_then(|initiated| Duration::try_from(now - initiated).ok())
        .unwrap_or_default();
    OpenUpload {
        id: UploadId::format(&upload.key, &upload.upload_id),
        digest,
        age,
    }
}

fn trouble(why: &str) -> BlobError {
    BlobError::Unavailable {
        operation: Operation::ListUploads,
        cause: why.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_with_its_markers_and_entities() {
        let page = parse_page(
            br#"<?xml version="1.0" encoding="UTF-8"?>
            <ListMultipartUploadsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
              <Bucket>images</Bucket><KeyMarker/><UploadIdMarker></UploadIdMarker>
              <NextKeyMarker>b&amp;c</NextKeyMarker><NextUploadIdMarker>id2</NextUploadIdMarker>
              <MaxUploads>2</MaxUploads><IsTruncated>true</IsTruncated>
              <Upload><Key>a</Key><UploadId>id1</UploadId><Owner><ID>x</ID></Owner>
                <Initiated>2026-11-22T10:00:00.000Z</Initiated></Upload>
              <CommonPrefixes><Prefix>p/</Prefix></CommonPrefixes>
              <Upload><Key>b&amp;c</Key><UploadId>id2</UploadId></Upload>
            </ListMultipartUploadsResult>"#,
        )
        .unwrap();
        assert!(page.is_truncated);
        assert_eq!(page.next_key_marker, "b&c");
        let found: Vec<_> = page
            .uploads
            .iter()
            .map(|upload| (&*upload.key, &*upload.upload_id))
            .collect();
        assert_eq!(found, [("a", "id1"), ("b&c", "id2")]);
    }

    #[test]
    fn an_empty_page_is_the_last_one() {
        let page = parse_page(b"<ListMultipartUploadsResult></ListMultipartUploadsResult>").unwrap();
        assert!(!page.is_truncated && page.uploads.is_empty());
    }

    #[test]
    fn what_is_no_page_is_an_error() {
        assert!(parse_page(b"<html>").is_err());
        assert!(parse_page(b"{}").is_err());
    }

    #[test]
    fn age_counts_from_the_beginning() {
        let now = OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap();
        let age_of = |initiated: &str| {
            let upload = ListedUpload {
                key: "k".into(),
                upload_id: "i".into(),
                initiated: initiated.into(),
            };
            open_upload(upload, now).age
        };
        assert_eq!(age_of("2027-01-15T07:59:00.000Z"), Duration::from_secs(60));
        assert_eq!(age_of("2030-01-01T00:00:00Z"), Duration::ZERO);
        assert_eq!(age_of("yesterday"), Duration::ZERO);
    }
}
