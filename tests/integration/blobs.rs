//! Blobs: one suite that every backend passes, what must hold when a store fails in the middle, and what only
//! one backend has.

mod faults;
mod local;
mod memory;
mod s3;
mod suite;

use bytes::Bytes;
use futures::TryStreamExt as _;
use rand::{RngCore as _, SeedableRng as _, rngs::SmallRng};
use rootstock_blobs::{BlobError, BlobStore, LocalConfig, StoreConfig, Upload, UploadJournal};
use rootstock_model::Digest;
use rootstock_tests::seaweed::SeaweedFs;
use tempfile::TempDir;

/// A store of one test's own.
struct Subject {
    /// `None` for the store in memory, which cannot be configured.
    config: Option<StoreConfig>,
    store: BlobStore,
    part_size: usize,
    _directory: Option<TempDir>,
}

impl Subject {
    async fn memory() -> Self {
        let part_size = 2 * 1024 * 1024;
        Self {
            config: None,
            store: BlobStore::in_memory(part_size as u64),
            part_size,
            _directory: None,
        }
    }

    async fn local() -> Self {
        let directory = TempDir::new().unwrap();
        let config = LocalConfig {
            part_size_bytes: 3 * 1024 * 1024,
            ..LocalConfig::new(directory.path())
        };
        Self::open(StoreConfig::Local(config), 3 * 1024 * 1024, Some(directory)).await
    }

    async fn s3() -> Self {
        Self::on(SeaweedFs::shared().await.unwrap()).await
    }

    async fn on(server: &SeaweedFs) -> Self {
        let mut config = server.config();
        config.part_size_bytes = 5 * 1024 * 1024;
        Self::open(StoreConfig::S3(config), 5 * 1024 * 1024, None).await
    }

    async fn open(config: StoreConfig, part_size: usize, directory: Option<TempDir>) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let store = BlobStore::open(&config).await.unwrap();
        Self {
            config: Some(config),
            store,
            part_size,
            _directory: directory,
        }
    }

    /// The same store as another process would see it.
    async fn reopened(&self) -> BlobStore {
        match &self.config {
            Some(config) => BlobStore::open(config).await.unwrap(),
            None => self.store.clone(),
        }
    }

    /// A store of another kind.
    async fn other_kind(&self) -> Self {
        match self.config {
            Some(_) => Self::memory().await,
            None => Self::local().await,
        }
    }
}

/// Runs each case of a module once per backend.
macro_rules! run_on_every_backend {
    ($($case:ident)*) => {
        mod in_memory { $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() { super::$case(crate::blobs::Subject::memory().await).await }
        )* }
        mod on_local_disk { $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() { super::$case(crate::blobs::Subject::local().await).await }
        )* }
        mod on_s3 { $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() { super::$case(crate::blobs::Subject::s3().await).await }
        )* }
    };
}
use run_on_every_backend;

/// `len` bytes that differ from those of another seed.
fn content(seed: u64, len: usize) -> Bytes {
    let mut bytes = vec![0; len];
    SmallRng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes.into()
}

/// Writes in pieces that fit neither batches nor parts; returns the last journal.
async fn write_all(upload: &mut Upload, bytes: Bytes) -> Result<Option<UploadJournal>, BlobError> {
    write_in_pieces_of(100_003, upload, bytes).await
}

async fn write_in_pieces_of(
    size: usize,
    upload: &mut Upload,
    mut bytes: Bytes,
) -> Result<Option<UploadJournal>, BlobError> {
    let mut last = None;
    while !bytes.is_empty() {
        let piece = bytes.split_to(size.min(bytes.len()));
        last = upload.write(piece).await?.or(last);
    }
    Ok(last)
}

async fn store(store: &BlobStore, bytes: &Bytes) -> Digest {
    let digest = Digest::of(bytes);
    let mut upload = store.begin_upload(&digest, bytes.len() as u64).await.unwrap();
    write_all(&mut upload, bytes.clone()).await.unwrap();
    upload.finish().await.unwrap();
    digest
}

async fn read(
    store: &BlobStore,
    digest: &Digest,
    range: Option<std::ops::Range<u64>>,
) -> Result<Vec<u8>, BlobError> {
    let reader = store.read(digest, range).await?;
    let pieces: Vec<Bytes> = reader.stream.try_collect().await?;
    Ok(pieces.concat())
}

/// Nothing was begun and left behind.
async fn assert_no_upload_is_open(store: &BlobStore) {
    assert_eq!(store.list_uploads().await.unwrap(), []);
}
