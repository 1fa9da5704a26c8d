//! Writing a staging file and turning it into a blob.

use std::{
    fs::{self, File, Permissions, TryLockError},
    io::{self, IoSlice, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use rootstock_model::Digest;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use super::{KIND, LocalStore, create_folders, existing, run_blocking, sync_folder};
use crate::{
    backend::{Backend as _, PartSink},
    error::{BlobError, JournalProblem, Operation},
    journal::{Place, UploadJournal},
    key::{Key, UploadName},
};

/// A writer that was just dropped may still have a batch in its blocking thread; its lock goes with it.
const LOCK_ATTEMPTS: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// `writev` takes at most 1024 pieces on Linux.
const PIECES_PER_WRITE: usize = 1024;

/// A staging file being written. Its lock makes it the only writer, also against other processes; the
/// lock lives as long as the last thread that writes to the file.
#[derive(Debug)]
pub(super) struct LocalUpload {
    store: Arc<LocalStore>,
    digest: Digest,
    name: UploadName,
    file: Arc<File>,
    part_size_bytes: u64,
    written_bytes: u64,
    durable_bytes: u64,
    writing: Option<JoinHandle<io::Result<()>>>,
    syncing: Option<(u64, JoinHandle<io::Result<()>>)>,
}

/// What a journal keeps of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StagingFile {
    name: String,
}

async fn lock(file: &File) -> Result<(), BlobError> {
    for _ in 0..LOCK_ATTEMPTS {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => tokio::time::sleep(LOCK_PAUSE).await,
            Err(TryLockError::Error(error)) => return Err(BlobError::from_io(Operation::Resume, error)),
        }
    }
    Err(BlobError::JournalUnusable(JournalProblem::InUse))
}

impl LocalUpload {
    pub(super) async fn begin(store: Arc<LocalStore>, digest: &Digest) -> Result<Self, BlobError> {
        let name = UploadName::new(digest);
        let path = Key::Upload(&name).file(&store.root);
        let file = store
            .blocking(Operation::Begin, move |_| {
                let file = File::options()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(path)?;
                file.try_lock().map_err(io::Error::from)?;
                Ok(file)
            })
            .await?;
        let part_size_bytes = store.part_size_bytes;
        Ok(Self::new(store, digest, name, file, part_size_bytes, 0))
    }

    /// Opens the journal's staging file and cuts off what lies beyond the journal's offset.
    pub(super) async fn resume(store: Arc<LocalStore>, journal: &UploadJournal) -> Result<Self, BlobError> {
        let StagingFile { name } = journal.place.read(KIND)?;
        let (digest, offset) = (journal.digest, journal.offset);
        let name = UploadName::parse(&name)
            .filter(|name| name.digest() == Some(digest))
            .ok_or(BlobError::JournalUnusable(JournalProblem::Damaged))?;
        let path = Key::Upload(&name).file(&store.root);
        let opened = store
            .blocking(Operation::Resume, move |_| {
                existing(File::options().write(true).open(path))
            })
            .await?;
        let file = opened.ok_or(BlobError::JournalUnusable(JournalProblem::Gone))?;
        lock(&file).await?;
        let file = store
            .blocking(Operation::Resume, move |_| {
                if file.metadata()?.len() < offset {
                    return Ok(None);
                }
                file.set_len(offset)?;
                (&file).seek(SeekFrom::Start(offset))?;
                Ok(Some(file))
            })
            .await?
            .ok_or(BlobError::JournalUnusable(JournalProblem::Shorter))?;
        Ok(Self::new(
            store,
            &digest,
            name,
            file,
            journal.part_size_bytes,
            offset,
        ))
    }

    fn new(
        store: Arc<LocalStore>,
        digest: &Digest,
        name: UploadName,
        file: File,
        part_size_bytes: u64,
        offset: u64,
    ) -> Self {
        Self {
            store,
            digest: *digest,
            name,
            file: Arc::new(file),
            part_size_bytes,
            written_bytes: offset,
            durable_bytes: offset,
            writing: None,
            syncing: None,
        }
    }

    async fn finish_writing(&mut self) -> Result<(), BlobError> {
        if let Some(writing) = &mut self.writing {
            let written = writing.await;
            self.writing = None;
            written
                .map_err(|_| BlobError::Interrupted)?
                .map_err(|error| BlobError::from_io(Operation::Write, error))?;
        }
        Ok(())
    }

    async fn finish_syncing(&mut self) -> Result<(), BlobError> {
        if let Some((offset, syncing)) = &mut self.syncing {
            let (offset, synced) = (*offset, syncing.await);
            self.syncing = None;
            synced
                .map_err(|_| BlobError::Interrupted)?
                .map_err(|error| BlobError::from_io(Operation::Write, error))?;
            self.durable_bytes = offset;
        }
        Ok(())
    }
}

#[async_trait]
impl PartSink for LocalUpload {
    fn id(&self) -> &str {
        self.name.as_str()
    }

    fn part_size_bytes(&self) -> u64 {
        self.part_size_bytes
    }

    /// Waits for the write before and starts this one.
    async fn write(&mut self, pieces: Vec<Bytes>) -> Result<(), BlobError> {
        self.finish_writing().await?;
        self.written_bytes += pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
        let file = Arc::clone(&self.file);
        self.writing = Some(tokio::task::spawn_blocking(move || write_pieces(&file, &pieces)));
        Ok(())
    }

    /// Starts to sync what was written. Waits for the sync before, so that the disk is never more than
    /// two parts behind.
    async fn end_part(&mut self) -> Result<(), BlobError> {
        self.flush().await?;
        let file = Arc::clone(&self.file);
        let syncing = tokio::task::spawn_blocking(move || file.sync_data());
        self.syncing = Some((self.written_bytes, syncing));
        Ok(())
    }

    async fn durable_bytes(&mut self) -> Result<u64, BlobError> {
        if self
            .syncing
            .as_ref()
            .is_some_and(|(_, syncing)| syncing.is_finished())
        {
            self.finish_syncing().await?;
        }
        Ok(self.durable_bytes)
    }

    async fn flush(&mut self) -> Result<(), BlobError> {
        self.finish_writing().await?;
        self.finish_syncing().await
    }

    fn place(&self, _durable_bytes: u64) -> Option<Place> {
        let file = StagingFile {
            name: self.name.as_str().to_owned(),
        };
        Some(Place::new(KIND, &file))
    }

    /// Content first, then the name, then the folder: after a power cut at any point the blob is either
    /// complete or not there.
    async fn publish(&mut self) -> Result<(), BlobError> {
        let file = Arc::clone(&self.file);
        let staging = Key::Upload(&self.name).file(&self.store.root);
        let blob = self.store.blob(&self.digest);
        let shard = Key::Blobs.file(&self.store.root).join(&self.digest.to_hex()[..2]);
        let renamed = run_blocking(move || {
            file.set_permissions(Permissions::from_mode(0o444))?;
            file.sync_all()?;
            if !shard.exists() {
                create_folders(&shard)?;
                shard.parent().map_or(Ok(()), sync_folder)?;
            }
            match existing(fs::rename(staging, blob))? {
                None => Ok(None),
                Some(()) => Ok(Some(sync_folder(&shard))),
            }
        })
        .await
        .map_err(|error| BlobError::from_io(Operation::Publish, error))?;
        match renamed {
            None => Err(BlobError::JournalUnusable(JournalProblem::Gone)),
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => Err(BlobError::OutcomeUnknown {
                operation: Operation::Publish,
                cause: error.into(),
            }),
        }
    }

    async fn abort(&mut self) -> Result<(), BlobError> {
        self.store.abort_upload(self.name.as_str()).await
    }
}

/// Writes all pieces at the file's position with as few calls as possible.
fn write_pieces(mut file: &File, pieces: &[Bytes]) -> io::Result<()> {
    for pieces in pieces.chunks(PIECES_PER_WRITE) {
        let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
        let mut left = slices.as_mut_slice();
        while !left.is_empty() {
            match file.write_vectored(left) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => IoSlice::advance_slices(&mut left, written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}
