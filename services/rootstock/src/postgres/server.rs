//! One run of the server: start, wait until it takes connections, stop.

use std::{
    collections::VecDeque,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use sqlx::{Connection as _, PgConnection};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, ChildStderr},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::{
    Account, Binaries, Cluster, Error, NAME, Options, Process, SocketDirectory, Stop, cluster::one_line,
    socket,
};

/// Recovery after a crash may take a while; the process is watched meanwhile.
const START_TIMEOUT: Duration = Duration::from_secs(300);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(30);
/// A fast stop writes everything down.
const FAST_STOP: Duration = Duration::from_secs(30);
/// An immediate one drops everything, and Postgres kills its own stragglers after five seconds.
const IMMEDIATE_STOP: Duration = Duration::from_secs(10);
const LAST_WORDS: Duration = Duration::from_millis(500);
/// Lines kept of what the server said, for the error when it dies.
const KEPT_LINES: usize = 8;
/// Enough for the catalog's pool, a listener, and an operator with psql.
const MAX_CONNECTIONS: u32 = 60;

/// A server process.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    pid: Pid,
    said: Said,
    /// Reads what the server says.
    reader: JoinSet<()>,
    process: Process,
}

/// The last lines that the server said.
#[derive(Debug, Clone, Default)]
struct Said(Arc<Mutex<VecDeque<String>>>);

impl Server {
    /// Starts the server, and waits until it takes connections.
    pub(super) async fn start(
        binaries: &Binaries,
        cluster: &Cluster,
        sockets: &SocketDirectory,
        account: &Account,
        options: &Options,
        process: &Process,
    ) -> Result<Self, Error> {
        let mut server = Self::spawn(binaries, cluster, sockets, account, options, process)?;
        match server.wait_until_it_answers(sockets).await {
            Ok(()) => Ok(server),
            Err(error) => {
                server.stop(Stop::Fast).await;
                Err(error)
            }
        }
    }

    fn spawn(
        binaries: &Binaries,
        cluster: &Cluster,
        sockets: &SocketDirectory,
        account: &Account,
        options: &Options,
        process: &Process,
    ) -> Result<Self, Error> {
        let mut postgres = binaries.command("postgres", account);
        let on_disk = if options.durable { "on" } else { "off" };
        postgres.arg("-D").arg(cluster.data());
        for (name, value) in [
            ("listen_addresses", String::new()),
            ("port", socket::PORT.to_string()),
            (
                "unix_socket_directories",
                quoted(&sockets.path().to_string_lossy()),
            ),
            ("unix_socket_permissions", "0700".into()),
            ("hba_file", cluster.hba_file().display().to_string()),
            ("ident_file", cluster.ident_file().display().to_string()),
            ("max_connections", MAX_CONNECTIONS.to_string()),
            ("fsync", on_disk.into()),
            ("synchronous_commit", "on".into()),
            ("full_page_writes", on_disk.into()),
            ("max_wal_size", "256MB".into()),
            ("timezone", "UTC".into()),
            // Its log becomes a part of ours, which has its own times.
            ("logging_collector", "off".into()),
            ("log_destination", "stderr".into()),
            ("log_line_prefix", String::new()),
        ]
        .into_iter()
        .chain(options.parameters.clone())
        {
            postgres.arg("-c").arg(format!("{name}={value}"));
        }
        postgres.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = postgres
            .spawn()
            .map_err(|error| Error::Start(error.to_string()))?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
        let (Some(pid), Some(stderr)) = (pid, child.stderr.take()) else {
            return Err(Error::Start("it ended at once".to_owned()));
        };
        let pid = Pid::from_raw(pid);
        process.is(pid);
        let said = Said::default();
        let mut reader = JoinSet::new();
        reader.spawn(said.clone().read(stderr));
        Ok(Self {
            child,
            pid,
            said,
            reader,
            process: process.clone(),
        })
    }

    /// The process' id.
    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw().unsigned_abs()
    }

    /// Waits until the server ends, and says how it did. Safe to drop and to call again.
    pub(super) async fn exited(&mut self) -> String {
        let status = self.child.wait().await;
        self.process.is_no_longer(self.pid);
        // What it said last may still be on its way; a straggler of its may keep the pipe open.
        let _ = timeout(LAST_WORDS, self.reader.join_next()).await;
        let status = status.map_or_else(|error| error.to_string(), |status: ExitStatus| status.to_string());
        match self.said.last_lines() {
            said if said.is_empty() => status,
            said => format!("{status}: {said}"),
        }
    }

    /// The last lines that it wrote to its log.
    pub(super) fn last_lines(&self) -> String {
        self.said.last_lines()
    }

    /// Ends the server: fast unless told otherwise, then immediate, then hard. Nothing is lost by any
    /// of them.
    pub(super) async fn stop(&mut self, how: Stop) {
        let steps = [(Signal::SIGINT, FAST_STOP), (Signal::SIGQUIT, IMMEDIATE_STOP)];
        for (signal, patience) in steps.into_iter().skip(usize::from(how == Stop::Immediate)) {
            // Until it is waited for, the number is the child's and nobody else's.
            if self.child.id().is_none() || kill(self.pid, signal).is_err() {
                break;
            }
            match timeout(patience, self.child.wait()).await {
                Ok(_) => {
                    self.process.is_no_longer(self.pid);
                    tracing::info!(process.pid = self.pid(), "postgres stopped");
                    return;
                }
                Err(_) => tracing::warn!(%signal, ?patience, "postgres does not stop"),
            }
        }
        // Reaches only a child that is still there.
        if let Err(error) = self.child.kill().await {
            tracing::debug!(%error, "no postgres to kill");
        }
        self.process.is_no_longer(self.pid);
    }

    /// Makes the database if there is none.
    pub(super) async fn ensure_database(&self, sockets: &SocketDirectory) -> Result<(), Error> {
        let failed = |error: sqlx::Error| Error::Start(error.to_string());
        let mut connection = connect(sockets).await.map_err(failed)?;
        let there = sqlx::query("SELECT 1 FROM pg_database WHERE datname = $1").bind(NAME);
        if there
            .fetch_optional(&mut connection)
            .await
            .map_err(failed)?
            .is_none()
        {
            sqlx::query("CREATE DATABASE rootstock")
                .execute(&mut connection)
                .await
                .map_err(failed)?;
        }
        connection.close().await.map_err(failed)
    }

    async fn wait_until_it_answers(&mut self, sockets: &SocketDirectory) -> Result<(), Error> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            if let Ok(Some(_)) = self.child.try_wait() {
                return Err(Error::Start(self.exited().await));
            }
            let error = match timeout(CONNECT_TIMEOUT, connect(sockets)).await {
                Ok(Ok(connection)) => {
                    // That it takes connections is all we wanted to know.
                    drop(connection);
                    return Ok(());
                }
                Ok(Err(error)) if is_final(&error) => return Err(Error::Start(error.to_string())),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "it does not answer".to_owned(),
            };
            if Instant::now() > deadline {
                return Err(Error::Start(format!("not within {START_TIMEOUT:?}: {error}")));
            }
            sleep(LOOK_AGAIN).await;
        }
    }
}

impl Drop for Server {
    /// On an error or a panic; what ends in order has been stopped by now.
    fn drop(&mut self) {
        if self.process.is_no_longer(self.pid) {
            // An error means that it is gone.
            let _ = kill(self.pid, Signal::SIGQUIT);
        }
    }
}

impl Said {
    async fn read(self, stderr: ChildStderr) {
        let mut lines = BufReader::new(stderr).split(b'\n');
        // An error ends it as the end does: the server goes on without being heard.
        while let Ok(Some(line)) = lines.next_segment().await {
            let line = String::from_utf8_lossy(&line).into_owned();
            log(&line);
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() == KEPT_LINES {
                kept.pop_front();
            }
            kept.push_back(line);
        }
    }

    fn last_lines(&self) -> String {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        one_line(&kept.iter().map(String::as_str).collect::<Vec<_>>().join("\n"))
    }
}

/// Passes on what the server says, at the level it says it.
fn log(line: &str) {
    let (level, text) = line.split_once(": ").unwrap_or(("", line));
    let text = text.trim();
    match level {
        // What stopping and starting look like from inside.
        "FATAL"
            if ["terminating connection due to", "the database system is"]
                .iter()
                .any(|start| text.starts_with(start)) =>
        {
            tracing::debug!(target: "postgres", level, "{text}");
        }
        // A client's mistake, as the server sees it: the client reports it too.
        "WARNING" | "ERROR" => tracing::info!(target: "postgres", level, "{text}"),
        "FATAL" | "PANIC" => tracing::warn!(target: "postgres", level, "{text}"),
        _ => tracing::debug!(target: "postgres", "{}", line.trim()),
    }
}

/// To the database that every server has.
async fn connect(sockets: &SocketDirectory) -> Result<PgConnection, sqlx::Error> {
    PgConnection::connect(&sockets.url("postgres")).await
}

/// Whether waiting will not help: the server answered, and it was not that it is still starting.
fn is_final(error: &sqlx::Error) -> bool {
    const CANNOT_CONNECT_NOW: &str = "57P03";
    error
        .as_database_error()
        .is_some_and(|error| error.code().as_deref() != Some(CANNOT_CONNECT_NOW))
}

/// An element of a list of names, as the server's configuration spells it.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}
