//! Blobs in a bucket of an S3-compatible service.
//!
//! `client` builds the HTTP clients and says how often and how long they try; `upload` writes;
//! `listing` is the one request that `object_store` has no call for. The multipart upload is made at
//! the blob's final key: S3 shows nothing there until the upload is completed.

mod client;
mod listing;
mod upload;

use std::{
    ops::Range,
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use futures::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use http::Method;
use object_store::{
    GetOptions, GetRange, ObjectStore as _, ObjectStoreExt as _,
    aws::AmazonS3,
    list::{PaginatedListOptions, PaginatedListStore as _},
    multipart::MultipartStore as _,
    path::Path,
    signer::{SignedUrlOptions, Signer as _},
};
use rootstock_model::Digest;
use url::Url;

use self::{
    client::Clients,
    upload::{S3Upload, UploadId},
};
use crate::{
    backend::{Backend, PartSink},
    blob::{BlobInfo, OpenUpload, PresignOptions, StoredBlob},
    config::S3Config,
    error::{BlobError, Operation},
    journal::UploadJournal,
    key::{Key, digest_of_object},
    read::{self, BlobReader},
    telemetry::StoreKind,
};

const KIND: StoreKind = StoreKind::new("s3");
/// How long a readiness check may take, retries included.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest time that a signature can be valid.
const MAX_PRESIGN: Duration = Duration::from_secs(7 * 24 * 3600);

/// A bucket that holds blobs.
#[derive(Debug)]
pub(super) struct S3Store {
    /// For what is small or streamed down: no limit on the whole request, but on every silence.
    reads: AmazonS3,
    /// For what is sent up: a limit on the whole request.
    writes: AmazonS3,
    /// Signs what others will fetch; makes no request.
    signer: AmazonS3,
    /// For the requests that `object_store` does not know.
    http: reqwest::Client,
    prefix: Path,
    part_size_bytes: u64,
}

impl S3Store {
    pub(super) async fn open(config: &S3Config) -> Result<Self, BlobError> {
        let Clients {
            reads,
            writes,
            signer,
            http,
        } = client::build(config).await?;
        let prefix = Path::parse(config.prefix.as_deref().unwrap_or_default())
            .map_err(|error| BlobError::Config(format!("prefix: {error}")))?;
        Ok(Self {
            reads,
            writes,
            signer,
            http,
            prefix,
            part_size_bytes: config.part_size_bytes,
        })
    }

    /// The error that a refused range deserves: object_store has no variant for it, so the size decides.
    async fn explain_range(&self, digest: &Digest, range: Range<u64>) -> Result<BlobError, BlobError> {
        let info = self
            .head(digest)
            .await?
            .ok_or(BlobError::NotFound { digest: *digest })?;
        match read::select(Some(range), info.size_bytes) {
            Err(not_satisfiable) => Ok(not_satisfiable),
            Ok(_) => Err(BlobError::Unavailable {
                operation: Operation::Read,
                cause: "the range was refused although the blob has it".into(),
            }),
        }
    }

    fn object(&self, digest: &Digest) -> Path {
        Key::Blob(digest).object(&self.prefix)
    }
}

#[async_trait]
impl Backend for S3Store {
    fn kind(&self) -> StoreKind {
        KIND
    }

    async fn check(&self) -> Result<(), BlobError> {
        let folder = Key::Blobs.object(&self.prefix);
        let options = PaginatedListOptions {
            max_keys: Some(1),
            ..Default::default()
        };
        let listing = self.reads.list_paginated(Some(folder.as_ref()), options);
        match tokio::time::timeout(CHECK_TIMEOUT, listing).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(BlobError::from_object_store(Operation::Check, error)),
            Err(elapsed) => Err(BlobError::Unavailable {
                operation: Operation::Check,
                cause: elapsed.into(),
            }),
        }
    }

    async fn head(&self, digest: &Digest) -> Result<Option<BlobInfo>, BlobError> {
        let head = existing(self.reads.head(&self.object(digest)).await)
            .map_err(|error| BlobError::from_object_store(Operation::Head, error))?;
        Ok(head.map(|meta| BlobInfo {
            size_bytes: meta.size,
        }))
    }

    async fn read(&self, digest: &Digest, wanted: Option<Range<u64>>) -> Result<BlobReader, BlobError> {
        if let Some(range) = wanted.as_ref().filter(|range| range.is_empty()) {
            // Not every service has the same opinion about an empty range, so it is not asked.
            return Err(self.explain_range(digest, range.clone()).await?);
        }
        let options = GetOptions {
            range: wanted.clone().map(get_range),
            ..Default::default()
        };
        let result = match existing(self.reads.get_opts(&self.object(digest), options).await) {
            Ok(found) => found.ok_or(BlobError::NotFound { digest: *digest })?,
            Err(error) => {
                let error = BlobError::from_object_store(Operation::Read, error);
                return Err(match wanted {
                    Some(range) if matches!(error, BlobError::Refused { .. }) => {
                        self.explain_range(digest, range).await.unwrap_or(error)
                    }
                    _ => error,
                });
            }
        };
        Ok(BlobReader {
            size_bytes: result.meta.size,
            range: result.range.clone(),
            stream: result
                .into_stream()
                .map_err(|error| BlobError::from_object_store(Operation::Read, error))
                .boxed(),
        })
    }

    async fn presign_get(
        &self,
        digest: &Digest,
        expires: Duration,
        response: PresignOptions,
    ) -> Result<Option<Url>, BlobError> {
        let overrides = [
            ("response-content-disposition", response.content_disposition),
            ("response-content-type", response.content_type),
        ];
        let query = overrides
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        let options = SignedUrlOptions::new().with_query(query);
        self.signer
            .signed_url_opts(
                Method::GET,
                &self.object(digest),
                expires.min(MAX_PRESIGN),
                &options,
            )
            .await
            .map(Some)
            .map_err(|error| BlobError::from_object_store(Operation::Presign, error))
    }

    async fn delete(&self, digest: &Digest) -> Result<(), BlobError> {
        existing(self.writes.delete(&self.object(digest)).await)
            .map(drop)
            .map_err(|error| BlobError::from_object_store(Operation::Delete, error))
    }

    /// Lists in the service's order; objects that are not blobs of ours are skipped.
    fn list(self: Arc<Self>) -> BoxStream<'static, Result<StoredBlob, BlobError>> {
        self.reads
            .list(Some(&Key::Blobs.object(&self.prefix)))
            .map_err(|error| BlobError::from_object_store(Operation::List, error))
            .try_filter_map(|object| {
                let blob = digest_of_object(object.location.as_ref()).map(|digest| StoredBlob {
                    digest,
                    size_bytes: object.size,
                    age: SystemTime::now()
                        .duration_since(object.last_modified.into())
                        .unwrap_or_default(),
                });
                std::future::ready(Ok(blob))
            })
            .boxed()
    }

    async fn list_uploads(&self) -> Result<Vec<OpenUpload>, BlobError> {
        self.list_multipart_uploads().await
    }

    async fn abort_upload(&self, id: &str) -> Result<(), BlobError> {
        let Some(UploadId { key, upload_id }) = UploadId::parse(id) else {
            return Ok(());
        };
        if !key.prefix_matches(&Key::Blobs.object(&self.prefix)) {
            return Ok(());
        }
        existing(self.writes.abort_multipart(&key, &upload_id).await)
            .map(drop)
            .map_err(|error| BlobError::from_object_store(Operation::Abort, error))
    }

    async fn begin_upload(
        self: Arc<Self>,
        digest: &Digest,
        size_bytes: u64,
    ) -> Result<Box<dyn PartSink>, BlobError> {
        Ok(Box::new(S3Upload::begin(self, digest, size_bytes).await?))
    }

    async fn resume_upload(self: Arc<Self>, journal: &UploadJournal) -> Result<Box<dyn PartSink>, BlobError> {
        Ok(Box::new(S3Upload::resume(self, journal).await?))
    }
}

/// Turns "there is no such object or upload" into `None`. A bucket that is missing is no answer to the
/// question, so it stays an error.
fn existing<T>(result: object_store::Result<T>) -> object_store::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(object_store::Error::NotFound { source, .. }) if !source.to_string().contains("NoSuchBucket") => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn get_range(range: Range<u64>) -> GetRange {
    match range.end {
        u64::MAX => GetRange::Offset(range.start),
        _ => GetRange::Bounded(range),
    }
}
