//! A real Postgres, under standalone's own supervision: one server for the whole test process, a
//! database for each test; or a server of one's own, to be stopped and started again.

use std::{
    path::PathBuf,
    process::Command,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use anyhow::{Context as _, ensure};
use rootstock::postgres::{self, Options};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::sync::{OnceCell, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::{background::Background, standalone::DataDirectory, tools};

pub use rootstock::postgres::Stop;

static SHARED: OnceCell<Postgres> = OnceCell::const_new();

/// A Postgres server on a socket in a temporary directory. Ends with this process.
#[derive(Debug)]
pub struct Postgres {
    /// Of the database that the server came with.
    url: Url,
    programs: PathBuf,
    databases_made: AtomicU64,
    /// Databases whose tests are over, dropped when the next one is made.
    databases_left: Mutex<Vec<String>>,
    orders: mpsc::Sender<Order>,
    /// Whether what the server logged is worth a look.
    failed: Arc<AtomicBool>,
    // Dropped before the directory, so that nothing runs in it.
    _server: Background,
    _directory: DataDirectory,
}

/// What the thread of the server is to do, and where it answers.
#[derive(Debug)]
enum Order {
    Stop(Stop, oneshot::Sender<()>),
    Start(oneshot::Sender<Result<(), postgres::Error>>),
}

/// A database of a test's own. Removed some time after it is dropped.
#[derive(Debug)]
pub struct TestDatabase<'a> {
    /// `postgres://…`, with the superuser's rights.
    pub url: String,
    name: String,
    server: &'a Postgres,
}

impl Postgres {
    /// The server that all tests of this process share, started by the first that asks.
    pub async fn shared() -> anyhow::Result<&'static Self> {
        SHARED.get_or_try_init(Self::start_own).await
    }

    /// A server for the caller alone. Nothing is flushed to disk: what was committed survives
    /// [`Stop::Immediate`], as it has to, and tests are fast.
    pub async fn start_own() -> anyhow::Result<Self> {
        Self::create(false).await
    }

    /// A server for the caller alone that flushes to disk as Postgres does by default: for
    /// benchmarks.
    pub async fn start_durable() -> anyhow::Result<Self> {
        Self::create(true).await
    }

    /// What the server says of its version.
    pub fn version(&self) -> anyhow::Result<String> {
        let output = Command::new(self.program("postgres")).arg("--version").output()?;
        ensure!(output.status.success(), "postgres --version: {}", output.status);
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }

    /// Where a program of this Postgres' is, e.g. `pgbench`.
    pub fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// An empty database.
    pub async fn database(&self) -> anyhow::Result<TestDatabase<'_>> {
        self.database_from("template0").await
    }

    /// A copy of the database `template`, to which nobody may be connected.
    pub async fn database_from(&self, template: &str) -> anyhow::Result<TestDatabase<'_>> {
        let number = self.databases_made.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{}_{number}", std::process::id());
        let left = std::mem::take(&mut *self.left());
        let mut connection = PgConnection::connect(&self.url("postgres"))
            .await
            .context("cannot connect to the test server")?;
        for over in left {
            let sql = format!("DROP DATABASE IF EXISTS {over} WITH (FORCE)");
            sqlx::query(AssertSqlSafe(sql)).execute(&mut connection).await?;
        }
        let sql = format!("CREATE DATABASE {name} TEMPLATE {template}");
        sqlx::query(AssertSqlSafe(sql)).execute(&mut connection).await?;
        connection.close().await?;
        Ok(TestDatabase {
            url: self.url(&name),
            name,
            server: self,
        })
    }

    /// Stops the server; returns when it is gone. Does nothing when it is already.
    pub async fn stop(&self, how: Stop) -> anyhow::Result<()> {
        let (done, answer) = oneshot::channel();
        self.orders.send(Order::Stop(how, done)).await?;
        Ok(answer.await?)
    }

    /// Starts the server again, on the socket it had; returns when it takes connections.
    pub async fn start(&self) -> anyhow::Result<()> {
        let (done, answer) = oneshot::channel();
        self.orders.send(Order::Start(done)).await?;
        Ok(answer.await??)
    }

    /// The URL of a database of this server, the same over every stop and start.
    pub fn url(&self, database: &str) -> String {
        let mut url = self.url.clone();
        url.set_path(database);
        url.into()
    }

    async fn create(durable: bool) -> anyhow::Result<Self> {
        let directory = DataDirectory::new()?;
        let data = rootstock::data_directory::DataDirectory::take(&directory.path())?;
        let options = Options {
            programs: Some(tools::postgres_binaries()?),
            durable,
            parameters: [
                ("max_connections", "300"),
                ("shared_buffers", "64MB"),
                ("autovacuum_naptime", "10s"),
            ]
            .map(|(name, value)| (name, value.to_owned()))
            .to_vec(),
        };
        let failed = Arc::new(AtomicBool::new(false));
        let (started, start) = oneshot::channel();
        let (orders, received) = mpsc::channel(1);
        let server = Background::start("postgres", {
            let failed = failed.clone();
            move |end| async move {
                let server = match postgres::Postgres::start(data.path(), options).await {
                    Ok(server) => server,
                    Err(error) => return drop(started.send(Err(error))),
                };
                let about = (server.url(), server.programs().to_owned());
                // Nobody listens when the test is over already; then the end follows.
                drop(started.send(Ok(about)));
                serve(server, received, end, &failed).await;
            }
        });
        let (url, programs) = start.await.context("the thread of the server ended")??;
        Ok(Self {
            url: Url::parse(&url)?,
            programs,
            databases_made: AtomicU64::new(0),
            databases_left: Mutex::default(),
            orders,
            failed,
            _server: server,
            _directory: directory,
        })
    }

    fn left(&self) -> MutexGuard<'_, Vec<String>> {
        self.databases_left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Carries out orders until the end, and ends the server.
async fn serve(
    mut server: postgres::Postgres,
    mut orders: mpsc::Receiver<Order>,
    end: CancellationToken,
    failed: &AtomicBool,
) {
    while let Some(Some(order)) = end.run_until_cancelled(orders.recv()).await {
        match order {
            Order::Stop(how, done) => {
                server.stop(how).await;
                // Whoever gave the order may have stopped waiting.
                let _ = done.send(());
            }
            Order::Start(done) => drop(done.send(server.start_again().await)),
        }
    }
    if failed.load(Ordering::SeqCst) {
        eprintln!("--- Postgres logged: {}\n---", server.last_lines());
    }
    server.stop(Stop::Immediate).await;
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.failed.store(std::thread::panicking(), Ordering::SeqCst);
    }
}

impl Drop for TestDatabase<'_> {
    fn drop(&mut self) {
        self.server.left().push(std::mem::take(&mut self.name));
    }
}

impl TestDatabase<'_> {
    /// The name within the server.
    pub fn name(&self) -> &str {
        &self.name
    }
}
