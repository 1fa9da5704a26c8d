//! Writing a blob to memory.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use rootstock_model::Digest;

use super::{KIND, MemoryStore, cut, length};
use crate::{
    backend::{Backend as _, PartSink},
    error::{BlobError, JournalProblem},
    journal::Place,
    key::UploadName,
};

/// What was written of an upload.
#[derive(Debug)]
pub(super) struct Staged(Mutex<(Vec<Bytes>, Instant)>);

impl Staged {
    pub(super) fn new() -> Self {
        Self(Mutex::new((Vec::new(), Instant::now())))
    }

    pub(super) fn pieces(&self) -> Vec<Bytes> {
        self.lock().0.clone()
    }

    pub(super) fn age(&self) -> Duration {
        self.lock().1.elapsed()
    }

    /// Cuts off what lies beyond `len`; `None` when it has less.
    pub(super) fn truncate(&self, len: u64) -> Option<()> {
        let mut staged = self.lock();
        (length(&staged.0) >= len).then(|| staged.0 = cut(&staged.0, 0..len))
    }

    fn append(&self, pieces: Vec<Bytes>) {
        let mut staged = self.lock();
        staged.0.extend(pieces);
        staged.1 = Instant::now();
    }

    fn lock(&self) -> MutexGuard<'_, (Vec<Bytes>, Instant)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An upload being written.
#[derive(Debug)]
pub(super) struct MemoryUpload {
    store: Arc<MemoryStore>,
    digest: Digest,
    name: UploadName,
    staged: Arc<Staged>,
    part_size_bytes: u64,
    written_bytes: u64,
    /// The end of the last whole part.
    durable_bytes: u64,
}

impl MemoryUpload {
    pub(super) fn new(
        store: Arc<MemoryStore>,
        digest: Digest,
        name: UploadName,
        staged: Arc<Staged>,
        part_size_bytes: u64,
        offset: u64,
    ) -> Self {
        Self {
            store,
            digest,
            name,
            staged,
            part_size_bytes,
            written_bytes: offset,
            durable_bytes: offset,
        }
    }
}

#[async_trait]
impl PartSink for MemoryUpload {
    fn id(&self) -> &str {
        self.name.as_str()
    }

    fn part_size_bytes(&self) -> u64 {
        self.part_size_bytes
    }

    async fn write(&mut self, pieces: Vec<Bytes>) -> Result<(), BlobError> {
        self.written_bytes += length(&pieces);
        self.staged.append(pieces);
        Ok(())
    }

    async fn end_part(&mut self) -> Result<(), BlobError> {
        self.durable_bytes = self.written_bytes;
        Ok(())
    }

    async fn durable_bytes(&mut self) -> Result<u64, BlobError> {
        Ok(self.durable_bytes)
    }

    async fn flush(&mut self) -> Result<(), BlobError> {
        Ok(())
    }

    fn place(&self, _durable_bytes: u64) -> Option<Place> {
        Some(Place::new(KIND, &self.name.as_str()))
    }

    async fn publish(&mut self) -> Result<(), BlobError> {
        self.store
            .publish(&self.name, self.digest)
            .ok_or(BlobError::JournalUnusable(JournalProblem::Gone))
    }

    async fn abort(&mut self) -> Result<(), BlobError> {
        self.store.abort_upload(self.name.as_str()).await
    }
}
