//! All of Rootstock in this process: catalog, sync worker and gateway, over a real Postgres and a
//! real blob store, each behind the sockets that it has in production.

pub mod edge;

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use futures::{StreamExt as _, TryStreamExt as _};
use rootstock_blobs::{BlobStore, StoreConfig};
use rootstock_gateway::{GatewayConfig, Listeners, TlsConfig};
use rootstock_model::Digest;
use rootstock_proto::catalog::v1::{
    CreateRemoteRequest, DeleteRemoteRequest, GetImageRequest, GetRemoteRequest, GetSyncRunRequest, Image,
    LeftOut, ListImagesRequest, ListLeftOutRequest, Remote, RemoteStatus, Status, SyncRemoteRequest, SyncRun,
    SyncRunState, content_service_client::ContentServiceClient,
};
use rootstock_runtime::{
    Readiness, Shutdown,
    grpc::client::{ClientOptions, connect_lazy},
};
use rootstock_sync::SyncConfig;
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinHandle};
use tonic::transport::Channel;

use self::edge::Edge;
use crate::{
    catalog::{self, TestCatalog},
    postgres::{Postgres, TestDatabase},
    remote::FakeRemote,
};

/// What takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(180);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);
/// The store lies so deep below the directory of a cluster that `../` in a path stays within it.
const STORE: &str = "site/data/store/blobs";

/// One of each service, with a database and a store of their own.
pub struct Cluster {
    /// The catalog, and its clients.
    pub catalog: TestCatalog,
    /// What clients of the gateway see.
    pub edge: Edge,
    /// Where the gateway takes operators' calls, without TLS.
    pub grpc: SocketAddr,
    database: TestDatabase<'static>,
    directory: TempDir,
    shutdown: Shutdown,
    sync: JoinHandle<()>,
    gateway: JoinHandle<anyhow::Result<()>>,
}

/// How the parts of a cluster are.
#[derive(Debug, Default)]
pub struct ClusterOptions {
    /// The blob store. Unset: local disk, in the cluster's directory.
    pub store: Option<StoreConfig>,
    /// Whether the gateway sends clients to the store.
    pub redirect_blobs: bool,
}

impl Cluster {
    /// Starts everything over an empty database and an empty directory.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with(ClusterOptions::default()).await
    }

    /// Starts everything over an empty database.
    pub async fn start_with(options: ClusterOptions) -> anyhow::Result<Self> {
        // One provider per process; whoever is second finds it set.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let directory = tempfile::tempdir()?;
        let database = Postgres::shared().await?.database().await?;
        let mut config = catalog::config(&database.url);
        // What cannot succeed is to have failed soon.
        config.transfer_attempts = 3;
        let catalog = TestCatalog::start(config).await?;
        let catalog_url = format!("http://{}", catalog.address);
        let local = StoreConfig::local(directory.path().join(STORE));
        let store = BlobStore::open(options.store.as_ref().unwrap_or(&local)).await?;

        let shutdown = Shutdown::new();
        let readiness = Readiness::new(shutdown.clone());
        let sync = start_sync(&catalog_url, store.clone(), &readiness, &shutdown)?;
        let tls = directory.path().join("tls");
        let gateway = GatewayConfig {
            catalog_url,
            tls: TlsConfig {
                self_signed: Some(tls.clone()),
                names: ["localhost", "127.0.0.1"].map(str::to_owned).to_vec(),
                ..TlsConfig::default()
            },
            redirect_blobs: options.redirect_blobs,
            ..GatewayConfig::default()
        };
        let made = rootstock_gateway::self_signed::ensure(&tls, &gateway.tls.names)?;
        let http = TcpListener::bind("127.0.0.1:0").await?;
        let edge = Edge::new(http.local_addr()?, &made.ca)?;
        let grpc = TcpListener::bind("127.0.0.1:0").await?;
        let grpc_address = grpc.local_addr()?;
        let listeners = Listeners {
            http,
            grpc: Some(grpc),
        };
        let gateway = tokio::spawn(rootstock_gateway::run(
            gateway,
            listeners,
            store,
            readiness.clone(),
            shutdown.clone(),
        ));
        let ready = tokio::time::timeout(PATIENCE, readiness.wait_ready()).await;
        ensure!(
            ready.context("the cluster does not get ready")?,
            "the cluster ended"
        );
        Ok(Self {
            catalog,
            edge,
            grpc: grpc_address,
            database,
            directory,
            shutdown,
            sync,
            gateway,
        })
    }

    /// The gateway's `ContentService`, as operators reach it.
    pub fn contents(&self) -> anyhow::Result<ContentServiceClient<Channel>> {
        let endpoint = Channel::from_shared(format!("http://{}", self.grpc))?;
        Ok(ContentServiceClient::new(endpoint.connect_lazy()))
    }

    /// Everything that this cluster keeps on disk, its store included.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The root of the store on local disk.
    pub fn store_directory(&self) -> PathBuf {
        self.directory().join(STORE)
    }

    /// Adds a remote for this server's tree, and returns when everything was done that its first poll
    /// gave to do, well or not.
    pub async fn mirror(&self, name: &str, server: &FakeRemote) -> anyhow::Result<Remote> {
        self.add_remote(remote(name, server)).await
    }

    /// The same for a remote made with [`remote`] and changed.
    pub async fn add_remote(&self, remote: Remote) -> anyhow::Result<Remote> {
        let name = remote.name.clone();
        let request = CreateRemoteRequest { remote: Some(remote) };
        self.catalog.remotes().create_remote(request).await?;
        wait("the first poll", async || {
            Ok(self.status(&name).await?.last_attempt_at)
        })
        .await?;
        self.settle(&name).await?;
        self.remote(&name).await
    }

    /// Ends a remote; what is stored stays.
    pub async fn remove_remote(&self, name: &str) -> anyhow::Result<()> {
        let name = name.to_owned();
        self.catalog
            .remotes()
            .delete_remote(DeleteRemoteRequest { name })
            .await?;
        Ok(())
    }

    /// Has a remote polled, and returns when everything was done that the poll gave to do, well or
    /// not.
    pub async fn sync(&self, name: &str) -> anyhow::Result<SyncRun> {
        self.run_sync(name, false).await
    }

    /// The same, with everything read anew and no limit to what is removed.
    pub async fn sync_forced(&self, name: &str) -> anyhow::Result<SyncRun> {
        self.run_sync(name, true).await
    }

    async fn run_sync(&self, name: &str, force: bool) -> anyhow::Result<SyncRun> {
        let request = SyncRemoteRequest {
            name: name.to_owned(),
            plan_only: false,
            force,
        };
        let asked = self.catalog.remotes().sync_remote(request).await?.into_inner();
        let id = asked.run.context("no run")?.id;
        let run = wait("the sync", async || {
            let request = GetSyncRunRequest { id: id.clone() };
            let answer = self.catalog.remotes().get_sync_run(request).await?.into_inner();
            let run = answer.run.context("no run")?;
            Ok((run.state() != SyncRunState::Pending).then_some(run))
        })
        .await?;
        self.settle(name).await?;
        Ok(run)
    }

    /// Waits until no version of this remote waits for its bytes.
    pub async fn settle(&self, name: &str) -> anyhow::Result<()> {
        wait("transfers to end", async || {
            let images = self.images(name).await?;
            let mut versions = images.iter().flat_map(|image| &image.versions);
            Ok((!versions.any(|version| version.status() == Status::Queued)).then_some(()))
        })
        .await
    }

    /// A remote as it stands.
    pub async fn remote(&self, name: &str) -> anyhow::Result<Remote> {
        let name = name.to_owned();
        let answer = self
            .catalog
            .remotes()
            .get_remote(GetRemoteRequest { name })
            .await?;
        answer.into_inner().remote.context("no remote")
    }

    /// How polling a remote goes.
    pub async fn status(&self, name: &str) -> anyhow::Result<RemoteStatus> {
        self.remote(name).await?.status.context("no status")
    }

    /// What the last poll of a remote left out.
    pub async fn left_out(&self, remote: &str) -> anyhow::Result<Vec<LeftOut>> {
        let request = ListLeftOutRequest {
            remote: remote.to_owned(),
            page_size: 1000,
            page_token: String::new(),
        };
        let answer = self.catalog.remotes().list_left_out(request).await?;
        Ok(answer.into_inner().left_out)
    }

    /// The images of a remote, with their versions.
    pub async fn images(&self, remote: &str) -> anyhow::Result<Vec<Image>> {
        let request = ListImagesRequest {
            page_size: 1000,
            remote: remote.to_owned(),
            ..ListImagesRequest::default()
        };
        let answer = self.catalog.images().list_images(request).await?.into_inner();
        ensure!(answer.next_page_token.is_empty(), "more than 1000 images");
        // One may be gone by the time it is asked for.
        futures::stream::iter(answer.images)
            .map(async |image| {
                let request = GetImageRequest {
                    image: image.id,
                    r#type: 0,
                };
                match self.catalog.images().get_image(request).await {
                    Ok(answer) => anyhow::Ok(answer.into_inner().image),
                    Err(status) if status.code() == tonic::Code::NotFound => Ok(None),
                    Err(status) => Err(status.into()),
                }
            })
            .buffered(4)
            .try_filter_map(async |image| Ok(image))
            .try_collect()
            .await
    }

    /// Where every row lies that the catalog promises something with; see [`catalog::content`].
    pub async fn content(&self) -> anyhow::Result<Vec<(String, i64, String)>> {
        catalog::content(&self.database.url).await
    }

    /// The fingerprints of all active versions of a remote.
    pub async fn active(&self, remote: &str) -> anyhow::Result<BTreeSet<String>> {
        let images = self.images(remote).await?;
        let versions = images.into_iter().flat_map(|image| image.versions);
        let active = versions.filter(|version| version.status() == Status::Active);
        Ok(active.map(|version| version.fingerprint).collect())
    }

    /// The blobs in the store on local disk. An error when there is anything else, when a blob is not
    /// what its name says, or when an upload was left behind.
    pub fn stored(&self) -> anyhow::Result<BTreeSet<Digest>> {
        let store = self.store_directory();
        let mut blobs = BTreeSet::new();
        for file in files_below(&store)? {
            let name = file.strip_prefix(&store)?;
            let bytes = std::fs::read(&file)?;
            let digest = Digest::of(&bytes);
            let hex = digest.to_hex();
            let wanted = Path::new("blobs/sha256").join(&hex[..2]).join(&hex);
            ensure!(name == wanted, "{} holds {hex}", name.display());
            blobs.insert(digest);
        }
        Ok(blobs)
    }

    /// Every file that the cluster has written outside the store.
    pub fn written_elsewhere(&self) -> anyhow::Result<BTreeSet<PathBuf>> {
        let store = self.store_directory();
        let files = files_below(self.directory())?;
        Ok(files
            .into_iter()
            .filter(|file| !file.starts_with(&store))
            .collect())
    }

    /// Stops in order. An error when a part has ended before, or did not end well.
    pub async fn stop(self) -> anyhow::Result<()> {
        ensure!(!self.sync.is_finished(), "the worker had ended");
        ensure!(!self.gateway.is_finished(), "the gateway had ended");
        self.shutdown.trigger();
        let end = async {
            self.gateway.await?.context("the gateway")?;
            self.sync.await.context("the worker")?;
            self.catalog.stop().await.context("the catalog")
        };
        tokio::time::timeout(PATIENCE, end)
            .await
            .context("the cluster does not end")?
    }
}

/// A remote in mirror mode for a server's tree, that is polled when it is asked for.
pub fn remote(name: &str, server: &FakeRemote) -> Remote {
    Remote {
        name: name.to_owned(),
        url: server.url(),
        ca_pem: server.ca_pem().to_owned(),
        ..Remote::default()
    }
}

fn start_sync(
    catalog_url: &str,
    store: BlobStore,
    readiness: &Readiness,
    shutdown: &Shutdown,
) -> anyhow::Result<JoinHandle<()>> {
    let client = connect_lazy(
        catalog_url,
        rootstock_sync::client_options(ClientOptions::default()),
    )?;
    let worker = rootstock_sync::run(
        SyncConfig::default(),
        client,
        store,
        readiness.clone(),
        shutdown.clone(),
    );
    Ok(tokio::spawn(worker))
}

/// Waits until `look` finds something.
async fn wait<T>(what: &str, look: impl AsyncFn() -> anyhow::Result<Option<T>>) -> anyhow::Result<T> {
    let found = async {
        loop {
            if let Some(found) = look().await? {
                return Ok(found);
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(PATIENCE, found)
        .await
        .with_context(|| format!("still waiting for {what}"))?
}

fn files_below(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut left = vec![directory.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in std::fs::read_dir(directory)? {
            let path = entry?.path();
            if path.is_dir() {
                left.push(path);
            } else {
                files.push(path);
            }
        }
    }
    Ok(files)
}
