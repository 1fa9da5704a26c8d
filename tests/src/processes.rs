//! Rootstock in its production shape: one process per service, over a Postgres and a blob store of
//! their own, so that each of them can be killed, stopped and started again.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use rootstock_blobs::{BlobStore, LocalConfig, S3Config, StoreConfig};
use rootstock_model::Digest;
use rootstock_proto::{
    catalog::v1::{content_service_client::ContentServiceClient, remote_service_client::RemoteServiceClient},
    sync::v1::WorkKind,
};
use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;
use tonic::transport::Channel;

use crate::{
    guard::Guard,
    ports::Port,
    postgres::Postgres,
    process::{self, Process},
    seaweed::SeaweedFs,
};

/// For one answer of the catalog or of an admin listener.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
const DATABASE: &str = "postgres";

/// One of the processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// `serve catalog`.
    Catalog,
    /// `serve sync`: the workers are counted from 0.
    Sync(usize),
    /// `serve gateway`.
    Gateway,
    /// Another `serve gateway`, which a test launches itself.
    SecondGateway,
}

/// Where blobs are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreKind {
    /// A directory, that all processes share.
    Local,
    /// A SeaweedFS of their own.
    SeaweedFs,
}

/// What is started.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// Where blobs are kept.
    pub store: StoreKind,
    /// How many `serve sync`.
    pub workers: usize,
    /// Blobs that each of them fetches at a time.
    pub concurrent_transfers: usize,
}

/// A catalog, workers and a gateway, with short leases and waits. All is gone when this is dropped;
/// when that is because a test panics, what each process printed is shown.
#[derive(Debug)]
pub struct Processes {
    // Dropped in this order: nothing is taken away under a running process.
    running: BTreeMap<Role, Process>,
    /// Killed ones, kept for what they printed.
    ended: Vec<Process>,
    listeners: BTreeMap<Role, Listeners>,
    environment: BTreeMap<String, String>,
    catalog: Channel,
    client: reqwest::Client,
    store: Store,
    postgres: Postgres,
    directory: TempDir,
    _guard: Guard,
}

#[derive(Debug)]
struct Listeners {
    admin: Port,
    grpc: Port,
    http: Port,
}

#[derive(Debug)]
enum Store {
    Local(LocalConfig),
    SeaweedFs {
        server: Box<SeaweedFs>,
        config: Box<S3Config>,
    },
}

impl Processes {
    /// Starts everything; returns when every process is ready.
    pub async fn start(layout: Layout) -> anyhow::Result<Self> {
        // The workspace has no default provider; whoever is second finds it set.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let directory = tempfile::Builder::new()
            .prefix("rootstock-processes-")
            .tempdir()?;
        let path = directory.path().to_str().context("TMPDIR is no UTF-8")?;
        let guard = Guard::new("rm -rf \"$1\"", &[path])?;
        let roles = [Role::Catalog, Role::Gateway, Role::SecondGateway]
            .into_iter()
            .chain((0..layout.workers).map(Role::Sync));
        let listeners: BTreeMap<Role, Listeners> = roles
            .map(|role| Ok((role, Listeners::find()?)))
            .collect::<anyhow::Result<_>>()?;
        let catalog = listeners[&Role::Catalog].grpc.address();
        let endpoint = Channel::from_shared(format!("http://{catalog}"))?.timeout(ANSWER_TIMEOUT);
        let mut processes = Self {
            running: BTreeMap::new(),
            ended: Vec::new(),
            environment: BTreeMap::new(),
            catalog: endpoint.connect_lazy(),
            // A connection for each question: one that was kept may be to a process that was killed.
            client: reqwest::Client::builder()
                .timeout(ANSWER_TIMEOUT)
                .pool_max_idle_per_host(0)
                .build()?,
            store: Store::start(layout.store, directory.path()).await?,
            postgres: Postgres::start_own().await?,
            listeners,
            directory,
            _guard: guard,
        };
        processes.environment = processes.environment_of(layout);
        match processes.launch_all(layout).await {
            Ok(()) => Ok(processes),
            Err(error) => Err(error.context(processes.report())),
        }
    }

    async fn launch_all(&mut self, layout: Layout) -> anyhow::Result<()> {
        self.migrate().await?;
        self.launch(Role::Catalog).await?;
        for worker in 0..layout.workers {
            self.launch(Role::Sync(worker)).await?;
        }
        self.launch(Role::Gateway).await
    }

    /// What the processes printed that run.
    fn report(&self) -> String {
        let reports = self.running.values().map(Process::report);
        reports.collect::<Vec<_>>().join("\n")
    }

    /// Starts a process that is not running, where it was before; returns when it is ready.
    pub async fn launch(&mut self, role: Role) -> anyhow::Result<()> {
        ensure!(!self.running.contains_key(&role), "{role:?} runs already");
        let Listeners { admin, grpc, http } = &self.listeners[&role];
        let service = match role {
            Role::Catalog => "catalog",
            Role::Sync(_) => "sync",
            Role::Gateway | Role::SecondGateway => "gateway",
        };
        let mut command = process::command()?;
        command.args(["serve", service]).envs(&self.environment);
        for (flag, port) in [
            ("--admin-listen", admin),
            ("--grpc-listen", grpc),
            ("--http-listen", http),
        ] {
            command.arg(flag).arg(port.address().to_string());
        }
        if role == Role::SecondGateway {
            let state_file = self.directory.path().join("second-gateway.state");
            command.env("ROOTSTOCK_GATEWAY__STATE_FILE", state_file);
        }
        let process = Process::start(&format!("{role:?}"), command)?;
        let process = self.running.entry(role).or_insert(process);
        process.address("admin").await.map(drop)
    }

    /// Ends a process as `kill -9` does.
    pub fn kill(&mut self, role: Role) -> anyhow::Result<()> {
        let mut process = self.running.remove(&role).context("it does not run")?;
        ensure!(process.exit_status()?.is_none(), "{role:?} had ended by itself");
        process.kill()?;
        self.ended.push(process);
        Ok(())
    }

    /// An error when a process that was not killed has ended.
    pub fn all_run(&mut self) -> anyhow::Result<()> {
        for (role, process) in &mut self.running {
            if let Some(status) = process.exit_status()? {
                bail!("{role:?} ended by itself: {status}");
            }
        }
        Ok(())
    }

    /// Whether a process says that it is ready, and if not, its reasons.
    pub async fn readiness(&self, role: Role) -> anyhow::Result<Result<(), String>> {
        let url = format!("http://{}/readyz", self.listeners[&role].admin.address());
        let answer = self.client.get(url).send().await?;
        let is_ready = answer.status().is_success();
        let text = answer.text().await?;
        Ok(if is_ready { Ok(()) } else { Err(text) })
    }

    /// The database server.
    pub fn postgres(&self) -> &Postgres {
        &self.postgres
    }

    /// The S3 server, when that is where blobs are.
    pub fn seaweedfs(&self) -> anyhow::Result<&SeaweedFs> {
        match &self.store {
            Store::SeaweedFs { server, .. } => Ok(server),
            Store::Local(_) => bail!("blobs are on local disk"),
        }
    }

    /// The catalog's `RemoteService`.
    pub fn remotes(&self) -> RemoteServiceClient<Channel> {
        RemoteServiceClient::new(self.catalog.clone())
    }

    /// A gateway's `ContentService`.
    pub fn contents(&self, gateway: Role) -> anyhow::Result<ContentServiceClient<Channel>> {
        let url = format!("http://{}", self.listeners[&gateway].grpc.address());
        let channel = Channel::from_shared(url)?.connect_lazy();
        Ok(ContentServiceClient::new(channel))
    }

    /// The gateway's URL, the same over every start, without a slash at the end.
    pub fn gateway_url(&self) -> String {
        format!("https://{}", self.listeners[&Role::Gateway].http.address())
    }

    /// The certificate of the gateway's authority, PEM.
    pub fn ca_pem(&self) -> anyhow::Result<Vec<u8>> {
        Ok(fs::read(self.directory.path().join("tls/ca.crt"))?)
    }

    /// The file in which the gateway keeps what it knows.
    pub fn state_file(&self) -> PathBuf {
        self.directory.path().join("gateway.state")
    }

    /// The store that the processes use, opened for the test.
    pub async fn blobs(&self) -> anyhow::Result<BlobStore> {
        Ok(BlobStore::open(&self.store.config()).await?)
    }

    /// A transfer that was interrupted goes on from a multiple of this many bytes.
    pub fn part_size_bytes(&self) -> u64 {
        match &self.store {
            Store::Local(config) => config.part_size_bytes,
            Store::SeaweedFs { config, .. } => config.part_size_bytes,
        }
    }

    /// Everything that lies in the store, staging files and parts of open uploads included: names
    /// relative to its root, in order. Not by way of our own code.
    pub async fn objects(&self) -> anyhow::Result<Vec<String>> {
        match &self.store {
            Store::Local(config) => {
                let mut names = Vec::new();
                files_below(&config.root, "", &mut names)?;
                names.sort();
                Ok(names)
            }
            Store::SeaweedFs { server, config } => {
                server.objects(config.prefix.as_deref().unwrap_or_default()).await
            }
        }
    }

    /// How many transfers the catalog has not done with.
    pub async fn transfers(&self) -> anyhow::Result<i64> {
        let sql = "SELECT count(*) FROM work WHERE kind = $1";
        let mut connection = PgConnection::connect(&self.database_url()).await?;
        let kind = i32::from(WorkKind::Transfer);
        Ok(sqlx::query_scalar(sql)
            .bind(kind)
            .fetch_one(&mut connection)
            .await?)
    }

    /// Whether a killed worker's transfer of this blob would go on where it was: the catalog has a
    /// journal of it. Only the database tells.
    pub async fn is_journaled(&self, blob: &Digest) -> anyhow::Result<bool> {
        let sql = "SELECT count(*) FROM work WHERE subject = $1 AND octet_length(journal) > 0";
        let mut connection = PgConnection::connect(&self.database_url()).await?;
        let found: i64 = sqlx::query_scalar(sql)
            .bind(blob.to_hex())
            .fetch_one(&mut connection)
            .await?;
        Ok(found > 0)
    }

    fn database_url(&self) -> String {
        self.postgres.url(DATABASE)
    }

    async fn migrate(&mut self) -> anyhow::Result<()> {
        let mut command = process::command()?;
        command.arg("migrate").envs(&self.environment);
        let mut process = Process::start("migrate", command)?;
        let status = process.wait().await?;
        ensure!(
            status.success(),
            "migrate ended with {status}:\n{}",
            process.output()
        );
        Ok(())
    }

    /// What all processes are configured with. Each takes what is its own.
    fn environment_of(&self, layout: Layout) -> BTreeMap<String, String> {
        let directory = self.directory.path();
        let catalog_url = format!("http://{}", self.listeners[&Role::Catalog].grpc.address());
        let text = |text: &str| text.to_owned();
        let mut variables = vec![
            ("CATALOG__DATABASE_URL", self.database_url()),
            ("CATALOG__LEASE_DURATION", text("2s")),
            ("CATALOG__RETRY_INITIAL", text("200ms")),
            ("CATALOG__RETRY_MAX", text("2s")),
            // An outage is not to be longer than what is tried, with waits as short as these.
            ("CATALOG__TRANSFER_ATTEMPTS", text("200")),
            ("CATALOG__SWEEP_INTERVAL", text("1s")),
            ("CATALOG__SWEEP_MIN_AGE", text("3s")),
            ("SYNC__CATALOG_URL", catalog_url.clone()),
            (
                "SYNC__CONCURRENT_TRANSFERS",
                layout.concurrent_transfers.to_string(),
            ),
            ("SYNC__REMOTE__CONNECT_TIMEOUT", text("3s")),
            ("GATEWAY__CATALOG_URL", catalog_url),
            ("GATEWAY__STATE_FILE", self.state_file().display().to_string()),
            (
                "GATEWAY__TLS__SELF_SIGNED",
                directory.join("tls").display().to_string(),
            ),
            ("GATEWAY__TLS__NAMES", text("[\"127.0.0.1\"]")),
        ];
        variables.extend(self.store.variables());
        let named = |(name, value)| (format!("ROOTSTOCK_{name}"), value);
        variables.into_iter().map(named).collect()
    }
}

impl Store {
    async fn start(kind: StoreKind, directory: &Path) -> anyhow::Result<Self> {
        Ok(match kind {
            StoreKind::Local => {
                let mut config = LocalConfig::new(directory.join("blobs"));
                config.part_size_bytes = 1 << 20;
                Self::Local(config)
            }
            StoreKind::SeaweedFs => {
                let server = Box::new(SeaweedFs::start_own().await?);
                let mut config = server.config();
                // The least that S3 allows.
                config.part_size_bytes = 5 << 20;
                Self::SeaweedFs {
                    server,
                    config: Box::new(config),
                }
            }
        })
    }

    fn config(&self) -> StoreConfig {
        match self {
            Self::Local(config) => StoreConfig::Local(config.clone()),
            Self::SeaweedFs { config, .. } => StoreConfig::S3((**config).clone()),
        }
    }

    fn variables(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Local(config) => vec![
                ("BLOBS__KIND", "local".to_owned()),
                ("BLOBS__LOCAL__DIRECTORY", config.root.display().to_string()),
                (
                    "BLOBS__LOCAL__PART_SIZE_BYTES",
                    config.part_size_bytes.to_string(),
                ),
            ],
            Self::SeaweedFs { config, .. } => {
                let secret = config
                    .secret_access_key
                    .as_ref()
                    .map(|secret| secret.expose().to_owned());
                vec![
                    ("BLOBS__KIND", "s3".to_owned()),
                    ("BLOBS__S3__BUCKET", config.bucket.clone()),
                    (
                        "BLOBS__S3__ENDPOINT",
                        config
                            .endpoint
                            .as_ref()
                            .map(ToString::to_string)
                            .unwrap_or_default(),
                    ),
                    (
                        "BLOBS__S3__ACCESS_KEY_ID",
                        config.access_key_id.clone().unwrap_or_default(),
                    ),
                    ("BLOBS__S3__SECRET_ACCESS_KEY", secret.unwrap_or_default()),
                    ("BLOBS__S3__PREFIX", config.prefix.clone().unwrap_or_default()),
                    ("BLOBS__S3__ALLOW_HTTP", config.allow_http.to_string()),
                    ("BLOBS__S3__PART_SIZE_BYTES", config.part_size_bytes.to_string()),
                ]
            }
        }
    }
}

impl Listeners {
    fn find() -> anyhow::Result<Self> {
        Ok(Self {
            admin: Port::reserve()?,
            grpc: Port::reserve()?,
            http: Port::reserve()?,
        })
    }
}

fn files_below(directory: &Path, prefix: &str, names: &mut Vec<String>) -> anyhow::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            files_below(&entry.path(), &format!("{name}/"), names)?;
        } else {
            names.push(name);
        }
    }
    Ok(())
}
