//! Rootstock as it runs in production: three processes over a Postgres and a store.

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use futures::TryStreamExt as _;
use rootstock_blobs::{BlobStore, LocalConfig, StoreConfig};
use rootstock_model::Digest;
use rootstock_proto::catalog::v1::{
    CreateRemoteRequest, GetRemoteRequest, GetSyncRunRequest, ListImagesRequest, Remote, RemoteStatus,
    SyncRemoteRequest, SyncRun, SyncRunState, image_service_client::ImageServiceClient,
    remote_service_client::RemoteServiceClient,
};
use rootstock_tests::{
    postgres::{Postgres, TestDatabase},
    process::{self, Process},
    seaweed::SeaweedFs,
};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tonic::transport::Channel;

use crate::{
    image_server::ImageServer,
    usage::{self, PATIENCE},
};

/// The name of the only remote.
const REMOTE: &str = "bench";

/// Where blobs go.
pub(crate) enum Store {
    LocalDisk,
    /// A server of this cluster's own: what an earlier one left behind costs it nothing.
    SeaweedFs(SeaweedFs),
}

/// A running catalog, worker and gateway with a database of their own. Gone when dropped.
pub(crate) struct Cluster<'a> {
    catalog: Process,
    sync: Process,
    gateway: Process,
    channel: Channel,
    store: Store,
    blobs: BlobStore,
    _database: TestDatabase<'a>,
    _directory: TempDir,
}

/// What the parts of a cluster have cost so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spent {
    pub(crate) sync: Duration,
    pub(crate) catalog: Duration,
    pub(crate) gateway: Duration,
    /// `None` for local disk.
    pub(crate) store: Option<Duration>,
}

impl<'a> Cluster<'a> {
    pub(crate) async fn start(postgres: &'a Postgres, store: Store) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let database = postgres.database().await?;
        let (blobs, mut variables) = blobs(&store, &directory)?;
        variables.push(("ROOTSTOCK_CATALOG__DATABASE_URL", database.url.clone()));
        let migrated = command("migrate", &[], &variables)?.output()?;
        ensure!(
            migrated.status.success(),
            "rootstock migrate: {}",
            String::from_utf8_lossy(&migrated.stderr)
        );
        let arguments = ["--grpc-listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0"];
        let serve = |service: &str, variables: &[(&str, String)], further: &[&str]| {
            let arguments = [&[service], &arguments[..], further].concat();
            Process::start(service, command("serve", &arguments, variables)?)
        };
        let mut catalog = serve("catalog", &variables, &[])?;
        let address = catalog.address("grpc").await?;
        let url = format!("http://{address}");
        variables.push(("ROOTSTOCK_SYNC__CATALOG_URL", url.clone()));
        variables.push(("ROOTSTOCK_GATEWAY__CATALOG_URL", url.clone()));
        let tls = directory.path().join("tls").display().to_string();
        variables.push(("ROOTSTOCK_GATEWAY__TLS__SELF_SIGNED", tls));
        variables.push(("ROOTSTOCK_GATEWAY__TLS__NAMES", "[\"127.0.0.1\"]".to_owned()));
        let mut sync = serve("sync", &variables, &[])?;
        let mut gateway = serve("gateway", &variables, &["--http-listen=127.0.0.1:0"])?;
        sync.address("admin").await?;
        gateway.address("https").await?;
        Ok(Self {
            catalog,
            sync,
            gateway,
            channel: Channel::from_shared(url)?
                .timeout(Duration::from_secs(60))
                .connect()
                .await?,
            store,
            blobs: BlobStore::open(&blobs).await?,
            _database: database,
            _directory: directory,
        })
    }

    /// Adds the remote, which has it polled at once.
    pub(crate) async fn add_remote(&self, server: &ImageServer, remote: Remote) -> anyhow::Result<()> {
        let remote = Remote {
            name: REMOTE.to_owned(),
            url: server.url.clone(),
            ca_pem: fs::read_to_string(&server.ca_file)?,
            ..remote
        };
        let request = CreateRemoteRequest { remote: Some(remote) };
        self.remotes().create_remote(request).await?;
        Ok(())
    }

    /// Waits until the remote's status is as it should be; an error when something went wrong there.
    pub(crate) async fn wait_for(&self, reached: impl Fn(&RemoteStatus) -> bool) -> anyhow::Result<()> {
        let start = Instant::now();
        loop {
            let request = GetRemoteRequest {
                name: REMOTE.to_owned(),
            };
            let remote = self.remotes().get_remote(request).await?.into_inner().remote;
            let status = remote.and_then(|remote| remote.status).unwrap_or_default();
            if reached(&status) {
                return Ok(());
            }
            ensure!(
                status.last_error.is_empty(),
                "the poll failed: {}",
                status.last_error
            );
            ensure!(status.failed_transfer_count == 0, "a transfer failed: {status:?}");
            ensure!(
                start.elapsed() < PATIENCE,
                "it does not come to its end: {status:?}"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Has the remote polled, and waits for it.
    pub(crate) async fn sync(&self) -> anyhow::Result<SyncRun> {
        let request = SyncRemoteRequest {
            name: REMOTE.to_owned(),
            ..SyncRemoteRequest::default()
        };
        let mut remotes = self.remotes();
        let mut run = remotes.sync_remote(request).await?.into_inner().run;
        let start = Instant::now();
        loop {
            let now = run.context("the catalog answers with a run")?;
            match now.state() {
                SyncRunState::Succeeded => return Ok(now),
                SyncRunState::Failed => bail!("the poll failed: {}", now.error),
                SyncRunState::Pending | SyncRunState::Unspecified => {}
            }
            ensure!(start.elapsed() < PATIENCE, "the poll does not end");
            tokio::time::sleep(Duration::from_millis(1)).await;
            let request = GetSyncRunRequest { id: now.id };
            run = remotes.get_sync_run(request).await?.into_inner().run;
        }
    }

    /// How many images and versions are listed.
    pub(crate) async fn listed(&self) -> anyhow::Result<(usize, i64)> {
        let (mut images, mut versions) = (0, 0);
        let mut page_token = String::new();
        loop {
            let request = ListImagesRequest {
                page_size: 1000,
                page_token,
                ..ListImagesRequest::default()
            };
            let mut client = ImageServiceClient::new(self.channel.clone());
            let page = client.list_images(request).await?.into_inner();
            images += page.images.len();
            versions += page
                .images
                .iter()
                .map(|image| i64::from(image.version_count))
                .sum::<i64>();
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok((images, versions));
            }
        }
    }

    /// Reads a blob from the store, and compares it with its name.
    pub(crate) async fn check(&self, digest: &Digest) -> anyhow::Result<()> {
        let mut reader = self.blobs.read(digest, None).await?;
        let mut hash = Sha256::new();
        while let Some(bytes) = reader.stream.try_next().await? {
            hash.update(&bytes);
        }
        let found = Digest::new(hash.finalize().into());
        ensure!(found == *digest, "blob {digest} is {found} in the store");
        Ok(())
    }

    pub(crate) async fn spent(&self) -> anyhow::Result<Spent> {
        let store = match &self.store {
            Store::LocalDisk => None,
            Store::SeaweedFs(server) => {
                let pid = server.pid().await.context("SeaweedFS runs")?;
                Some(usage::cpu_time(pid)?)
            }
        };
        Ok(Spent {
            sync: usage::cpu_time(self.sync.pid())?,
            catalog: usage::cpu_time(self.catalog.pid())?,
            gateway: usage::cpu_time(self.gateway.pid())?,
            store,
        })
    }

    /// The most memory that the worker has held.
    pub(crate) fn peak_bytes_of_sync(&self) -> anyhow::Result<u64> {
        usage::peak_bytes(self.sync.pid())
    }

    /// The most memory that the catalog has held.
    pub(crate) fn peak_bytes_of_catalog(&self) -> anyhow::Result<u64> {
        usage::peak_bytes(self.catalog.pid())
    }

    fn remotes(&self) -> RemoteServiceClient<Channel> {
        RemoteServiceClient::new(self.channel.clone())
    }
}

impl Spent {
    /// What was spent since.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            sync: self.sync.saturating_sub(before.sync),
            catalog: self.catalog.saturating_sub(before.catalog),
            gateway: self.gateway.saturating_sub(before.gateway),
            store: self
                .store
                .map(|now| now.saturating_sub(before.store.unwrap_or_default())),
        }
    }
}

/// The store as this process opens it, and the variables that make Rootstock use it.
fn blobs(store: &Store, directory: &TempDir) -> anyhow::Result<(StoreConfig, Vec<(&'static str, String)>)> {
    match store {
        Store::LocalDisk => {
            let root = directory.path().join("blobs");
            let variables = vec![("ROOTSTOCK_BLOBS__LOCAL__DIRECTORY", root.display().to_string())];
            Ok((StoreConfig::Local(LocalConfig::new(root)), variables))
        }
        Store::SeaweedFs(server) => {
            let config = server.config();
            let endpoint = config.endpoint.as_ref().context("SeaweedFS has an address")?;
            let secret = config
                .secret_access_key
                .as_ref()
                .map_or("", |secret| secret.expose());
            let variables = vec![
                ("ROOTSTOCK_BLOBS__KIND", "s3".to_owned()),
                ("ROOTSTOCK_BLOBS__S3__BUCKET", config.bucket.clone()),
                ("ROOTSTOCK_BLOBS__S3__ENDPOINT", endpoint.to_string()),
                ("ROOTSTOCK_BLOBS__S3__ALLOW_HTTP", "true".to_owned()),
                (
                    "ROOTSTOCK_BLOBS__S3__PREFIX",
                    config.prefix.clone().unwrap_or_default(),
                ),
                (
                    "ROOTSTOCK_BLOBS__S3__ACCESS_KEY_ID",
                    config.access_key_id.clone().unwrap_or_default(),
                ),
                ("ROOTSTOCK_BLOBS__S3__SECRET_ACCESS_KEY", secret.to_owned()),
            ];
            Ok((StoreConfig::S3(config), variables))
        }
    }
}

pub(crate) fn command(
    subcommand: &str,
    arguments: &[&str],
    variables: &[(&str, String)],
) -> anyhow::Result<Command> {
    let mut command = process::command()?;
    command
        .arg(subcommand)
        .args(arguments)
        .envs(variables.iter().map(|(name, value)| (name, value)));
    Ok(command)
}
