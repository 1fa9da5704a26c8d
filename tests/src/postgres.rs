//! A real Postgres: one server for the whole test process, a database for each test; or a server
//! of one's own, to be stopped and started again.

use std::{
    fs,
    os::unix::{
        fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::{Context as _, ensure};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::sync::OnceCell;

use crate::{guard::Guard, ports::Port, process, tools};

/// Another process may take the port between our looking and Postgres' binding.
const PORT_ATTEMPTS: u32 = 5;

/// What remains to be done when the test process is gone; `$1` is the server's directory. By
/// signal, because pg_ctl refuses to be root just as the server does.
const STOP_AND_REMOVE: &str = r#"
pid=$1/data/postmaster.pid
[ -e "$pid" ] && kill -QUIT "$(head -n 1 "$pid")"
for tenth in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    [ -e "$pid" ] && sleep 0.1
done
rm -rf "$1"
"#;

static SHARED: OnceCell<Postgres> = OnceCell::const_new();

/// A Postgres server on a loopback port, in a temporary directory. Ends with this process.
#[derive(Debug)]
pub struct Postgres {
    binaries: PathBuf,
    durability: Durability,
    directory: PathBuf,
    port: Port,
    password: String,
    user: Option<Unprivileged>,
    databases_made: AtomicU64,
    /// Databases whose tests are over, dropped when the next one is made.
    databases_left: Mutex<Vec<String>>,
    _guard: Guard,
}

/// What a commit waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Durability {
    /// The system, which outlives the server: what was committed survives [`Stop::Immediate`], as it
    /// has to, and tests are fast.
    System,
    /// The disk, as in production.
    Disk,
}

/// How [`Postgres::stop`] ends the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Clients are disconnected, and all is written down: what an operator does.
    Fast,
    /// The server drops everything and recovers at the next start: what a power cut does.
    Immediate,
}

/// A database of a test's own. Removed some time after it is dropped.
#[derive(Debug)]
pub struct TestDatabase<'a> {
    /// `postgres://…`, with the superuser's rights.
    pub url: String,
    name: String,
    server: &'a Postgres,
}

/// Who runs the server when we are root, which Postgres refuses to be.
#[derive(Debug, Clone, Copy)]
struct Unprivileged {
    uid: u32,
    gid: u32,
}

impl Postgres {
    /// The server that all tests of this process share, started by the first that asks.
    pub async fn shared() -> anyhow::Result<&'static Self> {
        SHARED.get_or_try_init(Self::start_own).await
    }

    /// A server for the caller alone. Nothing is flushed to disk.
    pub async fn start_own() -> anyhow::Result<Self> {
        tokio::task::spawn_blocking(|| Self::create(Durability::System)).await?
    }

    /// A server for the caller alone that flushes to disk as Postgres does by default: for
    /// benchmarks.
    pub async fn start_durable() -> anyhow::Result<Self> {
        tokio::task::spawn_blocking(|| Self::create(Durability::Disk)).await?
    }

    /// What the server says of its version.
    pub fn version(&self) -> anyhow::Result<String> {
        let output = self.command("postgres").arg("--version").output()?;
        check("postgres", &output)?;
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }

    /// Where a program of this Postgres' is, e.g. `pgbench`.
    pub fn program(&self, name: &str) -> PathBuf {
        self.binaries.join(name)
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
        let mode = match how {
            Stop::Fast => "fast",
            Stop::Immediate => "immediate",
        };
        if !self.data().join("postmaster.pid").exists() {
            return Ok(());
        }
        self.pg_ctl(&["stop", "--wait", "--mode", mode]).await
    }

    /// Starts the server again, on the port it had; returns when it takes connections.
    pub async fn start(&self) -> anyhow::Result<()> {
        self.pg_ctl(&["start", "--wait", "--log", &self.log()]).await
    }

    /// The loopback port, the same over every stop and start.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// The URL of a database of this server.
    pub fn url(&self, database: &str) -> String {
        self.url_through(self.port(), database)
    }

    /// The same URL at another port: that of a proxy before the server.
    pub fn url_through(&self, port: u16, database: &str) -> String {
        format!(
            "postgres://postgres:{}@127.0.0.1:{port}/{database}",
            self.password
        )
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    fn log(&self) -> String {
        self.directory.join("log").display().to_string()
    }

    fn left(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.databases_left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn create(durability: Durability) -> anyhow::Result<Self> {
        let binaries = tools::postgres_binaries()?;
        let user = Unprivileged::when_root();
        let directory = make_directory(user)?;
        let guard = Guard::new(
            STOP_AND_REMOVE,
            &[directory.to_str().context("TMPDIR is no UTF-8")?],
        )?;
        let mut server = Self {
            _guard: guard,
            password: hex::encode(rand::random::<[u8; 16]>()),
            binaries,
            durability,
            directory,
            port: Port::reserve()?,
            user,
            databases_made: AtomicU64::new(0),
            databases_left: Mutex::default(),
        };
        server.initialize()?;
        for attempt in 1.. {
            server.configure()?;
            let output = server
                .pg_ctl_command(&["start", "--wait", "--log", &server.log()])
                .output()?;
            match server.check_pg_ctl(&output) {
                Ok(()) => break,
                Err(error) if attempt == PORT_ATTEMPTS => return Err(error),
                Err(_) => server.port = Port::reserve()?,
            }
        }
        Ok(server)
    }

    fn initialize(&self) -> anyhow::Result<()> {
        let password_file = self.directory.join("password");
        fs::write(&password_file, &self.password)?;
        fs::set_permissions(&password_file, fs::Permissions::from_mode(0o600))?;
        if let Some(Unprivileged { uid, gid }) = self.user {
            chown(&password_file, Some(uid), Some(gid))?;
        }
        let mut initdb = self.command("initdb");
        // A password, since any user of the machine can reach the port; sent in clear, since the
        // client's side of SCRAM takes long in a debug build.
        initdb.args([
            "--username=postgres",
            "--auth=password",
            "--no-sync",
            "--encoding=UTF8",
            "--locale=C",
        ]);
        initdb.arg(format!("--pwfile={}", password_file.display()));
        initdb.arg("--pgdata").arg(self.data());
        check("initdb", &initdb.output()?)
    }

    /// Writes the configuration.
    fn configure(&self) -> anyhow::Result<()> {
        let durability = match self.durability {
            Durability::System => "fsync = off\nfull_page_writes = off\n",
            Durability::Disk => "",
        };
        let settings = format!(
            "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = ''\n{durability}\
             max_connections = 300\nshared_buffers = 64MB\nautovacuum_naptime = 10s\n\
             log_line_prefix = '%m [%p] %d '\n",
            port = self.port(),
        );
        // Read last, so it wins over postgresql.conf; the file keeps its owner.
        Ok(fs::write(self.data().join("postgresql.auto.conf"), settings)?)
    }

    async fn pg_ctl(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let command = self.pg_ctl_command(arguments);
        self.check_pg_ctl(&tokio::process::Command::from(command).output().await?)
    }

    fn pg_ctl_command(&self, arguments: &[&str]) -> Command {
        let mut command = self.command("pg_ctl");
        command.args(arguments);
        command
            .arg("--pgdata")
            .arg(self.data())
            .args(["--timeout", "60", "--silent"]);
        command
    }

    fn check_pg_ctl(&self, output: &Output) -> anyhow::Result<()> {
        check("pg_ctl", output).with_context(|| {
            let log = fs::read_to_string(self.log()).unwrap_or_default();
            format!("the server's log says:\n{log}")
        })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.binaries.join(program));
        command.current_dir("/").stdin(Stdio::null()).env("LC_ALL", "C");
        // Out of reach of a Ctrl-C at the terminal: the guard stops the server.
        command.process_group(0);
        for name in ["PGDATA", "PGHOST", "PGPORT", "PGUSER", "PGOPTIONS"] {
            command.env_remove(name);
        }
        if let Some(Unprivileged { uid, gid }) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(self.log()).unwrap_or_default();
            eprintln!("--- Postgres logged:\n{}\n---", process::tail(&log));
        }
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

impl Unprivileged {
    fn when_root() -> Option<Self> {
        let nobody = || nix::unistd::User::from_name("nobody").ok().flatten();
        nix::unistd::geteuid().is_root().then(|| match nobody() {
            Some(user) => Self {
                uid: user.uid.as_raw(),
                gid: user.gid.as_raw(),
            },
            None => Self {
                uid: 65534,
                gid: 65534,
            },
        })
    }
}

/// A directory for temporary ones that Postgres can enter, whoever runs it.
pub(crate) fn parent_for_everyone() -> anyhow::Result<PathBuf> {
    let as_root = nix::unistd::geteuid().is_root();
    [std::env::temp_dir(), "/tmp".into(), "/var/tmp".into()]
        .into_iter()
        .find(|path| !as_root || open_to_others(path))
        .context("neither TMPDIR nor /tmp nor /var/tmp can be entered by an unprivileged user")
}

/// A new directory that belongs to the server's user and that this user can reach.
fn make_directory(user: Option<Unprivileged>) -> anyhow::Result<PathBuf> {
    let directory = parent_for_everyone()?.join(format!(
        "rootstock-postgres-{}",
        hex::encode(rand::random::<[u8; 6]>())
    ));
    fs::DirBuilder::new().mode(0o700).create(&directory)?;
    if let Some(Unprivileged { uid, gid }) = user {
        chown(&directory, Some(uid), Some(gid))?;
    }
    Ok(directory)
}

fn open_to_others(path: &Path) -> bool {
    path.ancestors()
        .all(|part| fs::metadata(part).is_ok_and(|metadata| metadata.mode() & 0o001 != 0))
}

fn check(program: &str, output: &Output) -> anyhow::Result<()> {
    ensure!(
        output.status.success(),
        "{program} failed ({}): {}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
