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
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use futures::{
    Stream, TryStreamExt as _,
    stream::{self, StreamExt as _},
};
use rootstock_model::Digest;

pub(crate) use upload::LocalUpload;

use crate::{
    config::LocalConfig,
    error::{BlobError, Operation},
    key::{Key, UploadName},
    store::{BlobInfo, OpenUpload, StoredBlob},
};

/// A directory that holds blobs.
#[derive(Debug)]
pub(crate) struct LocalStore {
    root: PathBuf,
    part_size_bytes: u64,
}

impl LocalStore {
    /// Creates the directories that are missing.
    pub(crate) async fn open(config: &LocalConfig) -> Result<Arc<Self>, BlobError> {
        let store = Arc::new(Self {
            root: config.root.clone(),
            part_size_bytes: config.part_size_bytes,
        });
        store
            .blocking(Operation::Check, |store| {
                for folder in [Key::Uploads, Key::Blobs] {
                    create_folders(&folder.file(&store.root))?;
                }
                Ok(())
            })
            .await?;
        Ok(store)
    }

    /// Proves that a file can be made and removed.
    pub(crate) async fn check(self: &Arc<Self>) -> Result<(), BlobError> {
        self.blocking(Operation::Check, |store| {
            let probe = Key::Probe.file(&store.root);
            File::create(&probe)?;
            // Another process may be checking the same store.
            existing(fs::remove_file(&probe)).map(drop)
        })
        .await
    }

    pub(crate) async fn head(self: &Arc<Self>, digest: &Digest) -> Result<Option<BlobInfo>, BlobError> {
        let path = Key::Blob(digest).file(&self.root);
        self.blocking(Operation::Head, move |_| {
            let metadata = existing(fs::metadata(path))?;
            Ok(metadata.map(|metadata| BlobInfo {
                size_bytes: metadata.len(),
            }))
        })
        .await
    }

    /// Removes the blob's name; readers that have it open read on. The folder is not synced: a blob
    /// that comes back after a power cut is one that nobody refers to, and is collected again.
    pub(crate) async fn delete(self: &Arc<Self>, digest: &Digest) -> Result<(), BlobError> {
        let path = Key::Blob(digest).file(&self.root);
        self.blocking(Operation::Delete, move |_| {
            existing(fs::remove_file(path)).map(drop)
        })
        .await
    }

    /// Every blob, folder by folder.
    pub(crate) fn list(self: Arc<Self>) -> impl Stream<Item = Result<StoredBlob, BlobError>> + use<> {
        stream::iter(0..=u8::MAX)
            .then(move |folder| {
                let store = Arc::clone(&self);
                async move {
                    let found = store
                        .blocking(Operation::List, move |store| store.list_folder(folder))
                        .await?;
                    Ok::<_, BlobError>(stream::iter(found.into_iter().map(Ok)))
                }
            })
            .try_flatten()
    }

    fn list_folder(&self, folder: u8) -> io::Result<Vec<StoredBlob>> {
        let now = SystemTime::now();
        let mut blobs = Vec::new();
        let Some(entries) = existing(fs::read_dir(Key::BlobFolder(folder).file(&self.root)))? else {
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

    pub(crate) async fn list_uploads(self: &Arc<Self>) -> Result<Vec<OpenUpload>, BlobError> {
        self.blocking(Operation::ListUploads, |store| {
            let now = SystemTime::now();
            let mut uploads = Vec::new();
            for entry in fs::read_dir(Key::Uploads.file(&store.root))? {
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
        })
        .await
    }

    pub(crate) async fn abort_upload(self: &Arc<Self>, id: &str) -> Result<(), BlobError> {
        // What cannot be a staging file of ours does not exist, so it is already gone.
        let Some(name) = UploadName::parse(id) else {
            return Ok(());
        };
        self.blocking(Operation::Abort, move |store| {
            existing(fs::remove_file(Key::Upload(&name).file(&store.root))).map(drop)
        })
        .await
    }

    /// Runs `work` on a blocking thread and translates its error.
    async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        operation: Operation,
        work: impl FnOnce(&Self) -> io::Result<T> + Send + 'static,
    ) -> Result<T, BlobError> {
        let store = Arc::clone(self);
        run_blocking(move || work(&store))
            .await
            .map_err(|error| BlobError::from_io(operation, error))
    }
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
