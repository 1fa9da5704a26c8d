//! The seam between the store and the places that hold blobs.
//!
//! [`BlobStore`](crate::BlobStore) and [`Upload`](crate::Upload) are written against these traits.
//! Verification, hashing, batching, metrics and time limits are theirs; a backend only stores bytes. A new
//! backend is one module below `backends` and one arm of `backends::open`, and passes the suite that
//! `tests/integration/blobs` runs over all of them.

use std::{fmt::Debug, ops::Range, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use rootstock_model::Digest;
use url::Url;

use crate::{
    blob::{BlobInfo, OpenUpload, PresignOptions, StoredBlob},
    error::BlobError,
    journal::{Place, UploadJournal},
    read::BlobReader,
    telemetry::StoreKind,
};

/// A place that holds blobs. What each call means to callers, and how it fails, is documented at the method
/// of [`BlobStore`](crate::BlobStore) that has its name.
#[async_trait]
pub(crate) trait Backend: Debug + Send + Sync + 'static {
    /// Labels metrics and journals; stable, because journals are kept.
    fn kind(&self) -> StoreKind;

    async fn check(&self) -> Result<(), BlobError>;

    async fn head(&self, digest: &Digest) -> Result<Option<BlobInfo>, BlobError>;

    /// The pieces come without a limit on silence or a check of their length: the store adds both.
    async fn read(&self, digest: &Digest, wanted: Option<Range<u64>>) -> Result<BlobReader, BlobError>;

    /// `None` where there is nothing to redirect a client to.
    async fn presign_get(
        &self,
        _digest: &Digest,
        _expires: Duration,
        _response: PresignOptions,
    ) -> Result<Option<Url>, BlobError> {
        Ok(None)
    }

    async fn delete(&self, digest: &Digest) -> Result<(), BlobError>;

    fn list(self: Arc<Self>) -> BoxStream<'static, Result<StoredBlob, BlobError>>;

    async fn list_uploads(&self) -> Result<Vec<OpenUpload>, BlobError>;

    /// An id that this backend cannot have made counts as already aborted.
    async fn abort_upload(&self, id: &str) -> Result<(), BlobError>;

    async fn begin_upload(
        self: Arc<Self>,
        digest: &Digest,
        size_bytes: u64,
    ) -> Result<Box<dyn PartSink>, BlobError>;

    /// A sink that continues at `journal.offset`. What was stored beyond it is overwritten: it was never
    /// journaled.
    async fn resume_upload(self: Arc<Self>, journal: &UploadJournal) -> Result<Box<dyn PartSink>, BlobError>;
}

/// The storing half of an upload; the hashing half is [`HashStage`](crate::hash::HashStage). Both work at the
/// same time on the same pieces, which are reference-counted and never copied.
#[async_trait]
pub(crate) trait PartSink: Debug + Send + Sync {
    /// The upload's name for `abort_upload`.
    fn id(&self) -> &str;

    /// The size of every part but the last.
    fn part_size_bytes(&self) -> u64;

    /// Appends `pieces`, none of which crosses the end of a part. May return before they are stored, but
    /// bounds how many wait.
    async fn write(&mut self, pieces: Vec<Bytes>) -> Result<(), BlobError>;

    /// What was written so far ends with a part: begins to make it durable. Waits while as many parts as
    /// the memory bound allows are still being stored.
    async fn end_part(&mut self) -> Result<(), BlobError>;

    /// How many bytes from the start are durable, without waiting for those that are not.
    async fn durable_bytes(&mut self) -> Result<u64, BlobError>;

    /// Waits until every part that was ended is durable.
    async fn flush(&mut self) -> Result<(), BlobError>;

    /// What a journal needs to find the first `durable_bytes` again; `None` when this upload is too small
    /// to be resumed.
    fn place(&self, durable_bytes: u64) -> Option<Place>;

    /// Makes the blob visible under its name, in one step. The caller has verified what was written.
    async fn publish(&mut self) -> Result<(), BlobError>;

    /// Removes every trace of the upload.
    async fn abort(&mut self) -> Result<(), BlobError>;
}
