//! Timed work: what the catalog has done by itself. The catalog and its database are real; time is the
//! database's, so the tests write its timestamps instead of waiting.

mod collect;
mod expire;
mod needs;
mod random;
mod worker;

use std::time::Duration;

use rootstock_catalog::CatalogConfig;
use rootstock_model::Digest;
use rootstock_proto::{
    catalog::v1::{
        Blob, BlobFilter, BlobTotals, ListBlobsRequest, Remote, blob_service_client::BlobServiceClient,
    },
    sync::v1::{
        CollectOutcome, ConfirmRemovalsRequest, Lease, TakeRemovalsRequest, WorkKind, finish_request::Outcome,
    },
};
use rootstock_tests::{
    catalog::{TestCatalog, config},
    postgres::{Postgres, TestDatabase},
};
use sqlx::{Connection as _, PgConnection};
use tonic::{Status, transport::Channel};

use crate::catalog::offers::fingerprint;

const DEBIAN: &str = "debian:12:amd64:default";

/// Work that the catalog does itself, by its number in `work.kind`.
const AUTO_UPDATE: i16 = 5;
const EXPIRE: i16 = 6;
const COMPACT: i16 = 10;

/// A catalog, and its database to write time in.
struct Site {
    database: TestDatabase<'static>,
    catalog: TestCatalog,
}

impl Site {
    async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    async fn start_with(configure: impl FnOnce(&mut CatalogConfig)) -> Self {
        let database = Postgres::shared().await.unwrap().database().await.unwrap();
        let mut config = config(&database.url);
        configure(&mut config);
        let catalog = TestCatalog::start(config).await.unwrap();
        let site = Self { database, catalog };
        site.put_off().await;
        site
    }

    /// Puts off what the catalog does itself, once it rests, so that it happens when a test asks for it.
    async fn put_off(&self) {
        let put_off = format!(
            "UPDATE work SET due_at = now() + interval '1 hour'
             WHERE kind IN ({AUTO_UPDATE}, {EXPIRE}) AND epoch > 0 AND worker IS NULL"
        );
        self.until("the catalog rests", async || self.sql(&put_off).await == 2)
            .await;
    }

    /// Has the catalog do a round of its own work, and waits until that is over.
    async fn round(&self, kind: i16) {
        let mut connection = PgConnection::connect(&self.database.url).await.unwrap();
        let epoch: i64 = sqlx::query_scalar("SELECT epoch FROM work WHERE kind = $1")
            .bind(kind)
            .fetch_one(&mut connection)
            .await
            .unwrap();
        self.wake(kind).await;
        let is_over = format!(
            "work WHERE kind = {kind} AND epoch > {epoch} AND worker IS NULL AND failed_attempts = 0"
        );
        self.until("the round is over", async || self.count(&is_over).await == 1)
            .await;
    }

    /// Makes work due at once that nobody is at.
    async fn wake(&self, kind: i16) {
        self.sql(&format!(
            "UPDATE work SET due_at = now() WHERE kind = {kind} AND worker IS NULL;
             SELECT pg_notify('rootstock_work', '{kind}')"
        ))
        .await;
    }

    async fn until(&self, what: &str, mut is_so: impl AsyncFnMut() -> bool) {
        for _ in 0..1200 {
            if is_so().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("never: {what}");
    }

    /// Runs statements; answers the rows that the last one touched.
    async fn sql(&self, statements: &str) -> u64 {
        let mut connection = PgConnection::connect(&self.database.url).await.unwrap();
        let done = sqlx::raw_sql(sqlx::AssertSqlSafe(statements))
            .execute(&mut connection)
            .await
            .unwrap();
        done.rows_affected()
    }

    async fn count(&self, from: &str) -> i64 {
        let mut connection = PgConnection::connect(&self.database.url).await.unwrap();
        let sql = format!("SELECT count(*) FROM {from}");
        sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
            .fetch_one(&mut connection)
            .await
            .unwrap()
    }

    /// Everything that happened so far, happened three days ago.
    async fn three_days_later(&self) {
        self.sql(
            "UPDATE blobs SET stored_at = stored_at - interval '3 days';
             UPDATE versions SET deleted_at = deleted_at - interval '3 days',
                 delisted_at = delisted_at - interval '3 days'",
        )
        .await;
    }

    /// Has work of this kind done now.
    async fn make_due(&self, kind: WorkKind) {
        let kind = i32::from(kind);
        self.sql(&format!("UPDATE work SET due_at = now() WHERE kind = {kind}"))
            .await;
    }

    fn blobs(&self) -> BlobServiceClient<Channel> {
        BlobServiceClient::new(self.catalog.channel.clone())
    }

    async fn list(&self, filter: BlobFilter) -> (Vec<Blob>, BlobTotals) {
        let request = ListBlobsRequest {
            filter: filter.into(),
            ..ListBlobsRequest::default()
        };
        let listed = self.blobs().list_blobs(request).await.unwrap().into_inner();
        (listed.blobs, listed.totals.unwrap())
    }

    /// Fetches and verifies whatever is due, until nothing is.
    async fn transfer_all(&self, transfers: usize, verifications: usize) {
        for _ in 0..transfers {
            self.catalog.transfer().await.unwrap();
        }
        for _ in 0..verifications {
            self.catalog.verify(fingerprint).await.unwrap();
        }
    }

    /// Claims the collection that is due.
    async fn collection(&self) -> Lease {
        self.make_due(WorkKind::Collect).await;
        self.catalog
            .claim(WorkKind::Collect)
            .await
            .unwrap()
            .lease
            .unwrap()
    }

    /// All that is handed out under this lease.
    async fn take(&self, lease: Lease) -> Result<Vec<Digest>, Status> {
        let mut after = bytes::Bytes::new();
        let mut taken = vec![];
        loop {
            let request = TakeRemovalsRequest {
                lease: Some(lease),
                after,
            };
            let batch = self.catalog.work().take_removals(request).await?.into_inner();
            taken.extend(
                batch
                    .sha256
                    .iter()
                    .map(|sha256| Digest::from_slice(sha256).unwrap()),
            );
            // What was handed out is handed out again until it is confirmed.
            if batch.next.is_empty() || !batch.sha256.is_empty() {
                taken.sort();
                return Ok(taken);
            }
            after = batch.next;
        }
    }

    async fn confirm(&self, lease: Lease, removed: &[Digest]) -> Result<(), Status> {
        let request = ConfirmRemovalsRequest {
            lease: Some(lease),
            sha256: removed
                .iter()
                .map(rootstock_proto::convert::digest_bytes)
                .collect(),
        };
        self.catalog.work().confirm_removals(request).await.map(drop)
    }

    async fn finish_collection(&self, lease: Lease) -> Result<(), Status> {
        let outcome = Outcome::Collect(CollectOutcome {});
        self.catalog.finish(Some(lease), outcome).await.map(drop)
    }
}

fn remote(name: &str) -> Remote {
    Remote {
        name: name.to_owned(),
        url: format!("https://{name}.example"),
        keep_versions: 1,
        ..Remote::default()
    }
}

/// The blobs of one version, as the offers name them.
fn files(product: &str, serial: &str) -> Vec<Digest> {
    let mut files: Vec<_> = ["metadata", "root"]
        .map(|file| Digest::of(format!("{product} {serial} {file}").as_bytes()))
        .to_vec();
    files.sort();
    files
}
