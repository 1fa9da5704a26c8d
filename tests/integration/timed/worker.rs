//! Collection by a real worker, over a real store.

use std::time::{Duration, SystemTime};

use futures::TryStreamExt as _;
use rootstock_blobs::{BlobStore, StoreConfig};
use rootstock_model::Digest;
use rootstock_proto::sync::v1::WorkKind;
use rootstock_runtime::{
    Readiness, Shutdown,
    grpc::client::{ClientOptions, connect_lazy},
};
use rootstock_sync::SyncConfig;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::Site;

/// A catalog and a store, and a worker when one is wanted.
struct Works {
    site: Site,
    store: BlobStore,
    directory: TempDir,
}

struct Worker(Shutdown, JoinHandle<()>);

impl Worker {
    async fn stop(self) {
        self.0.trigger();
        self.1.await.unwrap();
    }
}

impl Works {
    async fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let directory = TempDir::new().unwrap();
        let store = BlobStore::open(&StoreConfig::local(directory.path()))
            .await
            .unwrap();
        Self {
            site: Site::start().await,
            store,
            directory,
        }
    }

    fn worker(&self) -> Worker {
        let shutdown = Shutdown::new();
        let options = rootstock_sync::client_options(ClientOptions::default());
        let catalog = connect_lazy(&format!("http://{}", self.site.catalog.address), options).unwrap();
        let config = SyncConfig {
            claim_wait: Duration::from_secs(2),
            ..SyncConfig::default()
        };
        let readiness = Readiness::new(shutdown.clone());
        let run = rootstock_sync::run(config, catalog, self.store.clone(), readiness, shutdown.clone());
        Worker(shutdown, tokio::spawn(run))
    }

    /// An object in the store, three days old.
    async fn object(&self, content: &'static [u8]) -> Digest {
        let digest = Digest::of(content);
        let mut upload = self
            .store
            .begin_upload(&digest, content.len() as u64)
            .await
            .unwrap();
        upload.write(bytes::Bytes::from_static(content)).await.unwrap();
        upload.finish().await.unwrap();
        let hex = digest.to_hex();
        let path = self
            .directory
            .path()
            .join("blobs/sha256")
            .join(&hex[..2])
            .join(&hex);
        let old = SystemTime::now() - Duration::from_secs(3 * 24 * 3600);
        std::fs::File::open(path).unwrap().set_modified(old).unwrap();
        digest
    }

    /// The same, and a row that says so.
    async fn blob(&self, content: &'static [u8]) -> Digest {
        let digest = self.object(content).await;
        self.site
            .sql(&format!(
                "INSERT INTO blobs (sha256, size_bytes, stored_at)
                 VALUES (decode('{digest}', 'hex'), {}, now() - interval '3 days')",
                content.len(),
            ))
            .await;
        digest
    }

    async fn objects(&self) -> Vec<Digest> {
        let listed: Vec<_> = self.store.list().try_collect().await.unwrap();
        listed.into_iter().map(|blob| blob.digest).collect()
    }
}

#[tokio::test]
async fn what_nothing_needs_leaves_the_store_and_an_object_without_a_row_too() {
    let works = Works::start().await;
    for content in [&b"one"[..], b"two", b"three"] {
        works.blob(content).await;
    }
    let kept = works.blob(b"kept").await;
    works
        .site
        .sql(&format!(
            "UPDATE blobs SET stored_at = now() WHERE sha256 = decode('{kept}', 'hex')"
        ))
        .await;
    works
        .object(b"left by a worker that died before it could say so")
        .await;
    let worker = works.worker();
    works
        .site
        .until("only the kept one is left", async || {
            works.objects().await == [kept]
        })
        .await;
    let site = &works.site;
    works
        .site
        .until("it is all recorded", async || {
            site.count("blob_removals").await == 0
                && site.count("work WHERE kind = 7 AND worker IS NULL").await == 1
        })
        .await;
    assert_eq!(site.count("blobs").await, 1);
    worker.stop().await;
}

/// Killed with the blob in hand: before it was deleted, or after, before that was said.
#[tokio::test]
async fn what_a_killed_worker_had_in_hand_is_brought_to_its_end() {
    for deleted in [false, true] {
        let works = Works::start().await;
        let blob = works.blob(b"in hand").await;
        let lease = works.site.collection().await;
        assert_eq!(works.site.take(lease).await.unwrap(), [blob]);
        if deleted {
            works.store.delete(&blob).await.unwrap();
        }
        let worker = works.worker();
        let site = &works.site;
        // Its lease ends by itself; the next one has to wait until no straggler can do harm.
        works
            .site
            .until("it is gone", async || {
                site.count("blob_removals WHERE removed").await == 1
            })
            .await;
        assert_eq!(works.objects().await, []);
        site.sql("UPDATE blob_removals SET safe_at = now() - interval '1 second'")
            .await;
        works
            .site
            .until("it is over", async || {
                site.wake(WorkKind::Collect as i16).await;
                site.count("blob_removals").await == 0
            })
            .await;
        worker.stop().await;
    }
}
