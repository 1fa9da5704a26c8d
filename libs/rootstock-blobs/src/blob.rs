//! The values that the store takes and returns.

use std::time::Duration;

use rootstock_model::Digest;

/// What the store knows of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobInfo {
    /// Its size.
    pub size_bytes: u64,
}

/// A blob that a listing found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredBlob {
    /// Its name.
    pub digest: Digest,
    /// Its size.
    pub size_bytes: u64,
    /// How long ago it was stored, by the store's clock.
    pub age: Duration,
}

/// An upload that was begun and is neither finished nor aborted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenUpload {
    /// Its name for [`BlobStore::abort_upload`](crate::BlobStore::abort_upload); stable.
    pub id: String,
    /// The blob, when the upload's name contains it.
    pub digest: Option<Digest>,
    /// How long ago it was last written to, as far as the store knows: S3 only knows when it was begun.
    pub age: Duration,
}

/// Response headers of a presigned URL that replace those the object was stored with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PresignOptions {
    /// The `Content-Disposition` header: how the client should name the file.
    pub content_disposition: Option<String>,
    /// The `Content-Type` header.
    pub content_type: Option<String>,
}
