//! Sync workers, between a catalog that hands out work, image servers that fail on command, and a
//! real blob store.

mod answers;
mod credentials;
mod leases;
mod poll;
mod resume;
mod sources;
mod transfer;

use std::time::Duration;

use rootstock_blobs::{BlobStore, LocalConfig, StoreConfig};
use rootstock_model::{ArtifactRef, Digest};
use rootstock_proto::{
    catalog::v1::Remote,
    sync::v1::{TransferSource, TransferTask, work::Task},
};
use rootstock_runtime::{
    Readiness, Shutdown,
    grpc::client::{ClientOptions, connect_lazy},
};
use rootstock_sync::SyncConfig;
use rootstock_tests::{
    fake_work::{Call, FakeWork},
    remote::{Content, FakeRemote},
};
use tempfile::TempDir;
use tokio::task::JoinHandle;

const MIB: u64 = 1 << 20;

/// A catalog, an image server and a store, all of one test's own.
struct Stage {
    catalog: FakeWork,
    remote: FakeRemote,
    store: BlobStore,
    config: SyncConfig,
    _directory: Option<TempDir>,
}

/// A worker that runs in the test's runtime.
struct RunningWorker {
    shutdown: Shutdown,
    readiness: Readiness,
    run: JoinHandle<()>,
}

impl Stage {
    async fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let local = LocalConfig {
            part_size_bytes: MIB,
            ..LocalConfig::new(directory.path())
        };
        Self::on(StoreConfig::Local(local), Some(directory)).await
    }

    async fn on(store: StoreConfig, directory: Option<TempDir>) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self {
            catalog: FakeWork::start().unwrap(),
            remote: FakeRemote::https().unwrap(),
            store: BlobStore::open(&store).await.unwrap(),
            config: SyncConfig {
                claim_wait: Duration::from_secs(2),
                ..SyncConfig::default()
            },
            _directory: directory,
        }
    }

    /// Starts a worker.
    fn worker(&self) -> RunningWorker {
        let shutdown = Shutdown::new();
        let readiness = Readiness::new(shutdown.clone());
        let options = rootstock_sync::client_options(ClientOptions::default());
        let catalog = connect_lazy(&self.catalog.uri(), options).unwrap();
        let run = tokio::spawn(rootstock_sync::run(
            self.config.clone(),
            catalog,
            self.store.clone(),
            readiness.clone(),
            shutdown.clone(),
        ));
        RunningWorker {
            shutdown,
            readiness,
            run,
        }
    }

    /// Puts a blob of `size` bytes on the remote, and describes its transfer.
    fn blob(&self, path: &str, size: u64) -> (Content, TransferTask) {
        let content = Content::generated(size, b"", size);
        self.remote.put(path, content.clone()).unwrap();
        let task = transfer_of(&content, vec![source(&self.remote, path, size)]);
        (content, task)
    }

    /// Whether the store holds the blob, whole and right.
    async fn holds(&self, content: &Content) -> bool {
        let digest = content.digest().unwrap();
        match self.store.combined_digests(vec![], &digest).await {
            Ok(_) => true,
            Err(rootstock_blobs::BlobError::NotFound { .. }) => false,
            Err(error) => panic!("{error}"),
        }
    }

    /// Gives a transfer and waits for what comes of it.
    async fn transfer(&self, task: TransferTask) -> Call {
        let lease = self.catalog.give(Task::Transfer(task));
        self.catalog.outcome(lease).await.unwrap()
    }
}

impl RunningWorker {
    /// Ends the worker in good order.
    async fn stop(self) {
        self.shutdown.trigger();
        self.run.await.unwrap();
    }

    /// Ends the worker as a crash does: nothing is saved, nothing is said.
    async fn kill(self) {
        self.run.abort();
        assert!(self.run.await.unwrap_err().is_cancelled());
    }
}

/// The catalog's description of an image server.
fn remote(server: &FakeRemote) -> Remote {
    Remote {
        name: "images".to_owned(),
        url: server.url(),
        ca_pem: server.ca_pem().to_owned(),
        ..Remote::default()
    }
}

fn source(server: &FakeRemote, path: &str, size: u64) -> TransferSource {
    TransferSource {
        remote: Some(remote(server)),
        path: path.to_owned(),
        size_bytes: i64::try_from(size).unwrap(),
        artifact: None,
    }
}

/// Has each source name the content, unless it names something already.
fn transfer_of(content: &Content, mut sources: Vec<TransferSource>) -> TransferTask {
    let digest = content.digest().unwrap();
    for source in &mut sources {
        source
            .artifact
            .get_or_insert_with(|| ArtifactRef::Digest(digest).into());
    }
    TransferTask {
        sha256: digest_bytes(&digest),
        sources,
        ..TransferTask::default()
    }
}

/// Adds a source that has the same content.
fn add_source(task: &mut TransferTask, source: TransferSource) {
    let artifact = task.sources[0].artifact.clone();
    task.sources.push(TransferSource { artifact, ..source });
}

fn digest_bytes(digest: &Digest) -> bytes::Bytes {
    rootstock_proto::convert::digest_bytes(digest)
}

/// The error of a piece of work that failed.
fn error_of(call: &Call) -> &str {
    match call {
        Call::Fail(failed) => &failed.error,
        other => panic!("it did not fail: {other:?}"),
    }
}
