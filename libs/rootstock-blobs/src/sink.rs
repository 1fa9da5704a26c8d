//! Where the bytes of an upload go: the one place that knows that there are two kinds.

use bytes::Bytes;

use crate::{error::BlobError, journal::Place, local::LocalUpload, s3::S3Upload, telemetry::StoreKind};

/// The storing half of an upload; the hashing half is [`crate::hash::HashStage`].
#[derive(Debug)]
pub(crate) enum Sink {
    Local(LocalUpload),
    S3(S3Upload),
}

impl Sink {
    pub(crate) fn kind(&self) -> StoreKind {
        match self {
            Self::Local(_) => StoreKind::Local,
            Self::S3(_) => StoreKind::S3,
        }
    }

    /// The upload's name for `abort_upload`.
    pub(crate) fn id(&self) -> &str {
        match self {
            Self::Local(upload) => upload.id(),
            Self::S3(upload) => upload.id(),
        }
    }

    /// The size of every part but the last.
    pub(crate) fn part_size_bytes(&self) -> u64 {
        match self {
            Self::Local(upload) => upload.part_size_bytes(),
            Self::S3(upload) => upload.part_size_bytes(),
        }
    }

    /// Appends `pieces`, none of which reaches over the end of a part.
    pub(crate) async fn write(&mut self, pieces: Vec<Bytes>) -> Result<(), BlobError> {
        match self {
            Self::Local(upload) => upload.write(pieces).await,
            Self::S3(upload) => {
                upload.write(pieces);
                Ok(())
            }
        }
    }

    /// What was written so far ends with a part: begin to make it durable. Waits while as many parts
    /// as the memory bound allows are still on their way.
    pub(crate) async fn end_part(&mut self) -> Result<(), BlobError> {
        match self {
            Self::Local(upload) => upload.end_part().await,
            Self::S3(upload) => upload.end_part().await,
        }
    }

    /// How many bytes from the start are durable, without waiting.
    pub(crate) async fn durable_bytes(&mut self) -> Result<u64, BlobError> {
        match self {
            Self::Local(upload) => upload.durable_bytes().await,
            Self::S3(upload) => upload.durable_bytes(),
        }
    }

    /// Waits until every part that was ended is durable.
    pub(crate) async fn settle(&mut self) -> Result<(), BlobError> {
        match self {
            Self::Local(upload) => upload.settle().await,
            Self::S3(upload) => upload.settle().await,
        }
    }

    /// What a journal needs to find the first `durable_bytes` again; none when this upload is too
    /// small to be worth resuming.
    pub(crate) fn place(&self, durable_bytes: u64) -> Option<Place> {
        match self {
            Self::Local(upload) => Some(upload.place()),
            Self::S3(upload) => upload.place(durable_bytes),
        }
    }

    /// Makes the blob visible under its name. The caller has checked what was written.
    pub(crate) async fn publish(&mut self) -> Result<(), BlobError> {
        match self {
            Self::Local(upload) => upload.publish().await,
            Self::S3(upload) => upload.publish().await,
        }
    }

    /// Removes every trace of the upload.
    pub(crate) async fn abort(&mut self) -> Result<(), BlobError> {
        match self {
            Self::Local(upload) => upload.abort().await,
            Self::S3(upload) => upload.abort().await,
        }
    }
}
