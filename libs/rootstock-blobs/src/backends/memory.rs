//! Blobs in memory, for tests: nothing to start, nothing left behind, and no thread that a paused clock
//! would wait for. It promises what the others promise, to one process, and keeps every byte it is given.

mod upload;

use std::{
    collections::HashMap,
    fmt,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use rootstock_model::Digest;

use self::upload::{MemoryUpload, Staged};
use crate::{
    backend::{Backend, PartSink},
    blob::{BlobInfo, OpenUpload, StoredBlob},
    error::{BlobError, JournalProblem},
    journal::UploadJournal,
    key::UploadName,
    read::{self, BlobReader},
    telemetry::StoreKind,
};

const KIND: StoreKind = StoreKind::new("memory");

/// Blobs and uploads of this process.
pub(crate) struct MemoryStore {
    part_size_bytes: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    blobs: HashMap<Digest, Stored>,
    /// By id. A second owner of a [`Staged`] is its writer.
    uploads: HashMap<String, Arc<Staged>>,
}

#[derive(Clone)]
struct Stored {
    pieces: Vec<Bytes>,
    size_bytes: u64,
    stored_at: Instant,
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").finish_non_exhaustive()
    }
}

impl MemoryStore {
    pub(crate) fn new(part_size_bytes: u64) -> Self {
        Self {
            part_size_bytes,
            state: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Turns an upload into a blob; `None` when the upload was aborted.
    fn publish(&self, name: &UploadName, digest: Digest) -> Option<()> {
        let mut state = self.lock();
        let staged = state.uploads.remove(name.as_str())?;
        let pieces = staged.pieces();
        let blob = Stored {
            size_bytes: length(&pieces),
            pieces,
            stored_at: Instant::now(),
        };
        state.blobs.insert(digest, blob);
        Some(())
    }
}

#[async_trait]
impl Backend for MemoryStore {
    fn kind(&self) -> StoreKind {
        KIND
    }

    async fn check(&self) -> Result<(), BlobError> {
        Ok(())
    }

    async fn head(&self, digest: &Digest) -> Result<Option<BlobInfo>, BlobError> {
        Ok(self.lock().blobs.get(digest).map(|blob| BlobInfo {
            size_bytes: blob.size_bytes,
        }))
    }

    async fn read(&self, digest: &Digest, wanted: Option<Range<u64>>) -> Result<BlobReader, BlobError> {
        let found = self.lock().blobs.get(digest).cloned();
        let blob = found.ok_or(BlobError::NotFound { digest: *digest })?;
        let range = read::select(wanted, blob.size_bytes)?;
        let pieces = cut(&blob.pieces, range.clone());
        Ok(BlobReader {
            size_bytes: blob.size_bytes,
            range,
            stream: stream::iter(pieces.into_iter().map(Ok)).boxed(),
        })
    }

    async fn delete(&self, digest: &Digest) -> Result<(), BlobError> {
        self.lock().blobs.remove(digest);
        Ok(())
    }

    fn list(self: Arc<Self>) -> BoxStream<'static, Result<StoredBlob, BlobError>> {
        let listed: Vec<_> = self
            .lock()
            .blobs
            .iter()
            .map(|(digest, blob)| {
                Ok(StoredBlob {
                    digest: *digest,
                    size_bytes: blob.size_bytes,
                    age: blob.stored_at.elapsed(),
                })
            })
            .collect();
        stream::iter(listed).boxed()
    }

    async fn list_uploads(&self) -> Result<Vec<OpenUpload>, BlobError> {
        let state = self.lock();
        let uploads = state.uploads.iter().map(|(id, staged)| OpenUpload {
            id: id.clone(),
            digest: UploadName::parse(id).and_then(|name| name.digest()),
            age: staged.age(),
        });
        Ok(uploads.collect())
    }

    async fn abort_upload(&self, id: &str) -> Result<(), BlobError> {
        self.lock().uploads.remove(id);
        Ok(())
    }

    async fn begin_upload(
        self: Arc<Self>,
        digest: &Digest,
        _size_bytes: u64,
    ) -> Result<Box<dyn PartSink>, BlobError> {
        let (name, part_size_bytes) = (UploadName::new(digest), self.part_size_bytes);
        let staged = Arc::new(Staged::new());
        self.lock()
            .uploads
            .insert(name.as_str().to_owned(), Arc::clone(&staged));
        let upload = MemoryUpload::new(self, *digest, name, staged, part_size_bytes, 0);
        Ok(Box::new(upload))
    }

    async fn resume_upload(self: Arc<Self>, journal: &UploadJournal) -> Result<Box<dyn PartSink>, BlobError> {
        let unusable = BlobError::JournalUnusable;
        let text: String = journal.place.read(KIND)?;
        let name = UploadName::parse(&text).ok_or(unusable(JournalProblem::Damaged))?;
        let staged = {
            let state = self.lock();
            let staged = state.uploads.get(&text).ok_or(unusable(JournalProblem::Gone))?;
            if Arc::strong_count(staged) > 1 {
                return Err(unusable(JournalProblem::InUse));
            }
            Arc::clone(staged)
        };
        staged
            .truncate(journal.offset)
            .ok_or(unusable(JournalProblem::Shorter))?;
        Ok(Box::new(MemoryUpload::new(
            self,
            journal.digest,
            name,
            staged,
            journal.part_size_bytes,
            journal.offset,
        )))
    }
}

fn length(pieces: &[Bytes]) -> u64 {
    pieces.iter().map(|piece| piece.len() as u64).sum()
}

/// The bytes of `range`, which the pieces have.
fn cut(pieces: &[Bytes], range: Range<u64>) -> Vec<Bytes> {
    let mut start = 0;
    let mut found = Vec::new();
    for piece in pieces {
        let within = |position: u64| {
            let position = position.saturating_sub(start);
            usize::try_from(position).map_or(piece.len(), |position| position.min(piece.len()))
        };
        let selected = within(range.start)..within(range.end);
        if !selected.is_empty() {
            found.push(piece.slice(selected));
        }
        start += piece.len() as u64;
    }
    found
}
