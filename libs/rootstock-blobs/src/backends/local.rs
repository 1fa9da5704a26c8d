//! Blobs in a directory.
//!
//! ```text
//! ROOT/uploads/<hex>.<nonce>            a staging file: appended to, synced at the end of each part
//! ROOT/blobs/sha256/<2 hex>/<hex>       a blob: mode 0444, put there by renaming its staging file
//! ```
//!
//! The file system is only touched from blocking threads.

mod read;
mod upload;

use std::{
    fs::{self, DirBuilder, File},
    io,
    ops::Range,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use async_trait::async_trait;
use futures::{
    TryStreamExt as _,
    stream::{self, BoxStream, StreamExt as _},
};
use rootstock_model::Digest;

use self::upload::LocalUpload;
use crate::{
    backend::{Backend, PartSink},
    blob::{BlobInfo, OpenUpload, StoredBlob},
    config::LocalConfig,
    error::{BlobError, Operation},
    journal::UploadJournal,
    key::{Key, UploadName},
    read::BlobReader,
    telemetry::StoreKind,
};

const KIND: StoreKind = StoreKind::new("local");

/// A directory that holds blobs.
#[derive(Debug)]
pub(super) struct LocalStore {
    root: Arc<Path>,
    part_size_bytes: u64,
}

impl LocalStore {
    /// Creates the directories that are missing.
    pub(super) async fn open(config: &LocalConfig) -> Result<Self, BlobError> {
        let store = Self {
            root: config.root.as_path().into(),
            part_size_bytes: config.part_size_bytes,
        };
        store
            .blocking(Operation::Check, |root| {
                for folder in [Key::Uploads, Key::Blobs] {
                    create_folders(&folder.file(root))?;
                }
                Ok(())
            })
            .await?;
        Ok(store)
    }

    fn blob(&self, digest: &Digest) -> PathBuf {
        Key::Blob(digest).file(&self.root)
    }

    /// Runs `work` on the root, on a blocking thread, and translates its error.
    async fn blocking<T: Send + 'static>(
        &self,
        operation: Operation,
        work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> Result<T, BlobError> {
        let root = Arc::clone(&self.root);
        run_blocking(move || work(&root))
            .await
            .map_err(|error| BlobError::from_io(operation, error))
    }
}

#[async_trait]
impl Backend for LocalStore {
    fn kind(&self) -> StoreKind {
        KIND
    }

    /// Creates a file and removes it again.
    async fn check(&self) -> Result<(), BlobError> {
        self.blocking(Operation::Check, |root| {
            let probe = Key::Probe.file(root);
            File::create(&probe)?;
            // Another process may be checking the same store.
            existing(fs::remove_file(&probe)).map(drop)
        })
        .await
    }

    async fn head(&self, digest: &Digest) -> Result<Option<BlobInfo>, BlobError> {
        let path = self.blob(digest);
        self.blocking(Operation::Head, move |_| {
            let metadata = existing(fs::metadata(path))?;
            Ok(metadata.map(|metadata| BlobInfo {
                size_bytes: metadata.len(),
            }))
        })
        .await
    }

    async fn read(&self, digest: &Digest, wanted: Option<Range<u64>>) -> Result<BlobReader, BlobError> {
        self.read_file(digest, wanted).await
    }

    /// Removes the blob's name; readers that have it open read on. The folder is not synced: a blob
    /// that comes back after a power cut is one that nobody refers to, and is collected again.
    async fn delete(&self, digest: &Digest) -> Result<(), BlobError> {
        let path = self.blob(digest);
        self.blocking(Operation::Delete, move |_| {
            existing(fs::remove_file(path)).map(drop)
        })
        .await
    }

    /// Lists folder by folder.
    fn list(self: Arc<Self>) -> BoxStream<'static, Result<StoredBlob, BlobError>> {
        stream::iter(0..=u8::MAX)
            .then(move |folder| {
                let store = Arc::clone(&self);
                async move {
                    let found = store
                        .blocking(Operation::List, move |root| list_folder(root, folder))
                        .await?;
                    Ok::<_, BlobError>(stream::iter(found.into_iter().map(Ok)))
                }
            })
            .try_flatten()
            .boxed()
    }

    async fn list_uploads(&self) -> Result<Vec<OpenUpload>, BlobError> {
        self.blocking(Operation::ListUploads, list_staging_files).await
    }

    async fn abort_upload(&self, id: &str) -> Result<(), BlobError> {
        let Some(name) = UploadName::parse(id) else {
            return Ok(());
        };
        self.blocking(Operation::Abort, move |root| {
            existing(fs::remove_file(Key::Upload(&name).file(root))).map(drop)
        })
        .await
    }

    async fn begin_upload(
        self: Arc<Self>,
        digest: &Digest,
        _size_bytes: u64,
    ) -> Result<Box<dyn PartSink>, BlobError> {
        Ok(Box::new(LocalUpload::begin(self, digest).await?))
    }

    async fn resume_upload(self: Arc<Self>, journal: &UploadJournal) -> Result<Box<dyn PartSink>, BlobError> {
        Ok(Box::new(LocalUpload::resume(self, journal).await?))
    }
}

fn list_folder(root: &Path, folder: u8) -> io::Result<Vec<StoredBlob>> {
    let now = SystemTime::now();
    let mut blobs = Vec::new();
    let Some(entries) = existing(fs::read_dir(Key::BlobFolder(folder).file(root)))? else {
        return Ok(blobs);
    };
    for entry in entries {
        let entry = entry?;
        let Some(digest) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // It may have been deleted since the folder was read.
        let Some(metadata) = existing(entry.metadata())? else {
            continue;
        };
        blobs.push(StoredBlob {
            digest,
            size_bytes: metadata.len(),
            age: now.duration_since(metadata.modified()?).unwrap_or_default(),
        });
    }
    Ok(blobs)
}

fn list_staging_files(root: &Path) -> io::Result<Vec<OpenUpload>> {
    let now = SystemTime::now();
    let mut uploads = Vec::new();
    for entry in fs::read_dir(Key::Uploads.file(root))? {
        let entry = entry?;
        let file_name = entry.file_name();
        let Some(name) = file_name.to_str().and_then(UploadName::parse) else {
            continue;
        };
        // It may have been finished or aborted since the folder was read.
        let Some(metadata) = existing(entry.metadata())? else {
            continue;
        };
        uploads.push(OpenUpload {
            id: name.as_str().to_owned(),
            digest: name.digest(),
            age: now.duration_since(metadata.modified()?).unwrap_or_default(),
        });
    }
    Ok(uploads)
}

/// Runs `work` on a blocking thread.
async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// Turns "there is no such file" into `None`.
fn existing<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Creates `folder` and those above it, for this user only.
fn create_folders(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Makes the names in `folder` durable.
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
