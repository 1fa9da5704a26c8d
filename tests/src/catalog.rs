//! A catalog of a test's own, and a worker that tests play themselves.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, bail};
use rootstock_catalog::CatalogConfig;
use rootstock_model::{Digest, snapshot::Snapshot};
use rootstock_proto::{
    catalog::v1::{
        CreateRemoteRequest, GetImageRequest, Image, Remote, alias_service_client::AliasServiceClient,
        application_service_client::ApplicationServiceClient, image_service_client::ImageServiceClient,
        remote_service_client::RemoteServiceClient, setting_service_client::SettingServiceClient,
        watch_service_client::WatchServiceClient, webhook_service_client::WebhookServiceClient,
    },
    convert::{digest_bytes, offered_image_to_wire},
    sync::v1::{
        ClaimRequest, Combination, Document, FinishRequest, FinishResponse, Lease, PollOutcome,
        SnapshotChunk, SnapshotHeader, SubmitSnapshotRequest, SubmitSnapshotResponse, TransferOutcome,
        TransferTask, VerifyOutcome, Work, WorkKind, finish_request::Outcome,
        import_service_client::ImportServiceClient, submit_snapshot_request::Part, work::Task,
        work_service_client::WorkServiceClient,
    },
};
use rootstock_runtime::{Readiness, Shutdown, config::Secret};
use sqlx::{Connection as _, PgConnection, Row as _};
use tokio::{net::TcpListener, task::JoinHandle};
use tonic::{Status, transport::Channel};

/// A running catalog over a database, in this process.
pub struct TestCatalog {
    /// Where it listens.
    pub address: SocketAddr,
    /// A channel to it.
    pub channel: Channel,
    /// Whether it is ready.
    pub readiness: Readiness,
    shutdown: Shutdown,
    task: Option<JoinHandle<Result<(), rootstock_catalog::StartError>>>,
}

/// A configuration for tests: short waits, so that nothing is waited for that need not be.
pub fn config(database_url: &str) -> CatalogConfig {
    CatalogConfig {
        database_url: Secret::new(database_url),
        database_connections: 4,
        lease_duration: Duration::from_secs(2),
        retry_initial: Duration::from_millis(100),
        retry_max: Duration::from_secs(1),
        ..CatalogConfig::default()
    }
}

impl TestCatalog {
    /// Migrates the database and starts.
    pub async fn start(config: CatalogConfig) -> anyhow::Result<Self> {
        rootstock_catalog::migrate(&config).await?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shutdown = Shutdown::new();
        let readiness = Readiness::new(shutdown.clone());
        let task = tokio::spawn(rootstock_catalog::run(
            config,
            listener,
            readiness.clone(),
            shutdown.clone(),
        ));
        let endpoint = Channel::from_shared(format!("http://{address}"))?.timeout(Duration::from_secs(60));
        Ok(Self {
            address,
            channel: endpoint.connect_lazy(),
            readiness,
            shutdown,
            task: Some(task),
        })
    }

    /// A catalog that runs elsewhere: the same client. Stopping it is its owner's matter.
    pub fn at(address: SocketAddr) -> anyhow::Result<Self> {
        let endpoint = Channel::from_shared(format!("http://{address}"))?.timeout(Duration::from_secs(60));
        let shutdown = Shutdown::new();
        Ok(Self {
            address,
            channel: endpoint.connect_lazy(),
            readiness: Readiness::new(shutdown.clone()),
            shutdown,
            task: None,
        })
    }

    /// Stops in order, and says how that went.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.shutdown.trigger();
        match self.task.take() {
            Some(task) => Ok(task.await??),
            None => Ok(()),
        }
    }

    /// `ImageService`.
    pub fn images(&self) -> ImageServiceClient<Channel> {
        ImageServiceClient::new(self.channel.clone())
    }

    /// `AliasService`.
    pub fn aliases(&self) -> AliasServiceClient<Channel> {
        AliasServiceClient::new(self.channel.clone())
    }

    /// `ApplicationService`.
    pub fn applications(&self) -> ApplicationServiceClient<Channel> {
        ApplicationServiceClient::new(self.channel.clone())
    }

    /// `RemoteService`.
    pub fn remotes(&self) -> RemoteServiceClient<Channel> {
        RemoteServiceClient::new(self.channel.clone())
    }

    /// `SettingService`.
    pub fn settings(&self) -> SettingServiceClient<Channel> {
        SettingServiceClient::new(self.channel.clone())
    }

    /// `WatchService`.
    pub fn watches(&self) -> WatchServiceClient<Channel> {
        WatchServiceClient::new(self.channel.clone())
    }

    /// `WebhookService`.
    pub fn webhooks(&self) -> WebhookServiceClient<Channel> {
        WebhookServiceClient::new(self.channel.clone())
    }

    /// `ImportService`.
    pub fn imports(&self) -> ImportServiceClient<Channel> {
        ImportServiceClient::new(self.channel.clone())
    }

    /// `WorkService`.
    pub fn work(&self) -> WorkServiceClient<Channel> {
        WorkServiceClient::new(self.channel.clone())
    }

    /// Adds a remote that nobody polls but the test.
    pub async fn add_remote(&self, remote: Remote) -> Result<Remote, Status> {
        let request = CreateRemoteRequest { remote: Some(remote) };
        Ok(self
            .remotes()
            .create_remote(request)
            .await?
            .into_inner()
            .remote
            .unwrap_or_default())
    }

    /// An image with its versions.
    pub async fn image(&self, image: &str) -> Result<Image, Status> {
        let request = GetImageRequest {
            image: image.to_owned(),
            r#type: 0,
        };
        Ok(self
            .images()
            .get_image(request)
            .await?
            .into_inner()
            .image
            .unwrap_or_default())
    }

    /// Claims one piece of work of this kind, waiting for it.
    pub async fn claim(&self, kind: WorkKind) -> anyhow::Result<Work> {
        for _ in 0..30 {
            if let Some(work) = self.claim_now(kind, Duration::from_secs(1)).await? {
                return Ok(work);
            }
        }
        bail!("no {} was due for 30s", kind.as_str_name())
    }

    /// Claims one piece of work of this kind if some falls due within `wait`.
    pub async fn claim_now(&self, kind: WorkKind, wait: Duration) -> Result<Option<Work>, Status> {
        let request = ClaimRequest {
            worker: "test".to_owned(),
            kinds: vec![kind.into()],
            max: 1,
            wait: prost_types::Duration::try_from(wait).ok(),
        };
        Ok(self.work().claim(request).await?.into_inner().work.pop())
    }

    /// Does the poll that is due with this offer.
    pub async fn offer(&self, snapshot: &Snapshot) -> anyhow::Result<SubmitSnapshotResponse> {
        let work = self.claim(WorkKind::Poll).await?;
        Ok(self.submit(work.lease, snapshot).await?)
    }

    /// Submits an offer under a lease.
    pub async fn submit(
        &self,
        lease: Option<Lease>,
        snapshot: &Snapshot,
    ) -> Result<SubmitSnapshotResponse, Status> {
        let document = Document {
            path: "streams/v1/images.json".to_owned(),
            etag: "\"test\"".to_owned(),
            last_modified: String::new(),
            sha256: digest_bytes(&Digest::of(b"document")),
        };
        let header = Part::Header(SnapshotHeader {
            lease,
            documents: vec![document],
        });
        let left_out = snapshot.left_out.iter().cloned().map(Into::into).collect();
        let mut parts = vec![
            header,
            Part::Chunk(SnapshotChunk {
                images: vec![],
                left_out,
            }),
        ];
        parts.extend(snapshot.images.chunks(50).map(|images| {
            let images = images.iter().map(offered_image_to_wire).collect();
            Part::Chunk(SnapshotChunk {
                images,
                left_out: vec![],
            })
        }));
        let messages = parts
            .into_iter()
            .map(|part| SubmitSnapshotRequest { part: Some(part) });
        let stream = futures::stream::iter(messages.collect::<Vec<_>>());
        Ok(self.work().submit_snapshot(stream).await?.into_inner())
    }

    /// Says of claimed work that it is done, and what it came to.
    pub async fn finish(&self, lease: Option<Lease>, outcome: Outcome) -> Result<FinishResponse, Status> {
        let request = FinishRequest {
            lease,
            outcome: Some(outcome),
        };
        Ok(self.work().finish(request).await?.into_inner())
    }

    /// Says of a claimed poll that it found nothing new.
    pub async fn finish_poll(&self, lease: Option<Lease>) -> Result<FinishResponse, Status> {
        self.finish(lease, Outcome::Poll(PollOutcome::default())).await
    }

    /// Claims the next transfer, and says of it that it went well.
    pub async fn transfer(&self) -> anyhow::Result<Digest> {
        let work = self.claim(WorkKind::Transfer).await?;
        self.finish_transfer(&work).await
    }

    /// Says of a claimed transfer that it went well. Its combinations are left to be verified.
    pub async fn finish_transfer(&self, work: &Work) -> anyhow::Result<Digest> {
        let task = transfer_task(work)?;
        let size_bytes = task.sources.first().context("no source")?.size_bytes;
        let outcome = TransferOutcome {
            size_bytes,
            combinations: vec![],
        };
        self.finish(work.lease, Outcome::Transfer(outcome)).await?;
        Ok(Digest::from_slice(&task.sha256)?)
    }

    /// Says of every transfer and verification that is due that it went well.
    pub async fn store_all(&self, fingerprint: impl Fn(Digest, Digest) -> Digest) -> anyhow::Result<()> {
        while let Some(work) = self.claim_now(WorkKind::Transfer, Duration::ZERO).await? {
            self.finish_transfer(&work).await?;
        }
        while let Some(work) = self.claim_now(WorkKind::Verify, Duration::ZERO).await? {
            self.finish_verify(work, &fingerprint).await?;
        }
        Ok(())
    }

    /// Claims the next verification, and says that the pair has this fingerprint.
    pub async fn verify(&self, fingerprint: impl Fn(Digest, Digest) -> Digest) -> anyhow::Result<()> {
        let work = self.claim(WorkKind::Verify).await?;
        self.finish_verify(work, fingerprint).await
    }

    /// Says of a claimed verification that the pair has this fingerprint.
    pub async fn finish_verify(
        &self,
        work: Work,
        fingerprint: impl Fn(Digest, Digest) -> Digest,
    ) -> anyhow::Result<()> {
        let Some(Task::Verify(task)) = work.task else {
            bail!("not a verification: {work:?}")
        };
        let metadata = Digest::from_slice(&task.metadata_sha256)?;
        let root = Digest::from_slice(&task.root_sha256)?;
        let combination = Combination {
            metadata_sha256: task.metadata_sha256,
            root_sha256: task.root_sha256,
            fingerprint: digest_bytes(&fingerprint(metadata, root)),
        };
        let outcome = VerifyOutcome {
            combination: Some(combination),
        };
        self.finish(work.lease, Outcome::Verify(outcome)).await?;
        Ok(())
    }
}

impl Drop for TestCatalog {
    fn drop(&mut self) {
        self.shutdown.trigger();
    }
}

/// What a claimed transfer is to do.
pub fn transfer_task(work: &Work) -> anyhow::Result<&TransferTask> {
    match &work.task {
        Some(Task::Transfer(task)) => Ok(task),
        other => bail!("not a transfer: {other:?}"),
    }
}

/// Where every row of what the catalog promises lies, by table: an update moves a row, so the same
/// places mean that nothing was written, and no revision taken.
pub async fn content(database_url: &str) -> anyhow::Result<Vec<(String, i64, String)>> {
    let mut connection = PgConnection::connect(database_url).await?;
    let mut content = vec![];
    for table in [
        "images",
        "versions",
        "artifacts",
        "aliases",
        "blobs",
        "changes",
        "catalog_revision",
        "left_out",
        "remotes",
    ] {
        let sql = format!(
            "SELECT count(*), coalesce(md5(string_agg(ctid::text || xmin::text, ',' ORDER BY ctid)), '') FROM {table}"
        );
        let row = sqlx::query(sqlx::AssertSqlSafe(sql))
            .fetch_one(&mut connection)
            .await?;
        content.push((table.to_owned(), row.get(0), row.get(1)));
    }
    Ok(content)
}
