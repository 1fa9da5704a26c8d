//! The Postgres of standalone, and of the tests: a child process that is looked after.
//!
//! Owns: finding the programs, making the data directory once, starting and stopping the server,
//! starting it again when it dies, and clearing up after a standalone that was killed. Nobody but
//! the user who runs standalone can connect: the server listens on a Unix socket only, in a
//! directory of its own, and lets in whom the kernel says it is (`peer`); there is no password.
//!
//! Layout of `<data-dir>/postgres`, which belongs to the user who runs Postgres:
//!
//! | entry | what |
//! |---|---|
//! | `data` | Postgres' own data directory |
//! | `data.new` | one that is being made; removed when found |
//! | `run` | the socket, unless its path is too long for one |
//! | `pg_hba.conf`, `pg_ident.conf` | who may connect; written at every start |
//!
//! The caller holds the lock of the data directory ([`crate::data_directory`]): a server found running in
//! it can only be a leftover.

mod account;
mod binaries;
mod cluster;
mod leftover;
mod server;
mod socket;

pub use binaries::programs;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rootstock_runtime::{
    Component, Shutdown,
    retry::{Backoff, Jitter},
};
use tokio::time::Instant;

use account::Account;
use binaries::Binaries;
use cluster::Cluster;
use server::Server;
use socket::SocketDirectory;

/// The superuser and the database, both ours alone.
const NAME: &str = "rootstock";
/// A server that stays up this long has recovered from whatever it died of.
const STEADY: Duration = Duration::from_secs(60);
/// Starts since it was last steady after which the supervisor gives up.
const MAX_RESTARTS: u32 = 8;
/// Waits between those starts. There is one supervisor, so nobody to spread them against.
const BACKOFF: Backoff = Backoff {
    initial: Duration::from_millis(200),
    max: Duration::from_secs(10),
    factor: 2.0,
    jitter: Jitter::None,
};

/// How a server differs from standalone's.
#[derive(Debug, Clone)]
pub struct Options {
    /// The directory of the programs, the only one that is looked at; `None`: see [`programs`].
    pub programs: Option<PathBuf>,
    /// Whether what was committed survives a crash of the machine, and not only of the server.
    pub durable: bool,
    /// Further configuration parameters, which win over ours.
    pub parameters: Vec<(&'static str, String)>,
}

/// How [`Postgres::stop`] ends the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Clients are disconnected, and everything is written to disk: what an operator does.
    Fast,
    /// The server drops everything and recovers at the next start: what a crash does.
    Immediate,
}

/// A running Postgres server that belongs to this process.
#[derive(Debug)]
pub struct Postgres {
    options: Options,
    account: Account,
    binaries: Binaries,
    cluster: Cluster,
    sockets: SocketDirectory,
    server: Server,
    process: Process,
}

/// Which process the server is now, if any.
#[derive(Debug, Clone, Default)]
pub struct Process(Arc<AtomicI32>);

/// Why there is no Postgres. Each says what, why, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No server programs on this machine.
    #[error(
        "no Postgres server was found (looked in {looked}): install one (Debian, Ubuntu: apt-get install \
         postgresql), or set ROOTSTOCK_PG_BIN to the directory of its programs, or set catalog.database_url \
         to a server of your own"
    )]
    NoBinaries {
        /// Where was looked.
        looked: String,
    },
    /// Server programs that cannot be used.
    #[error("the Postgres in {} cannot be used: {problem}", directory.display())]
    UnusableBinaries {
        /// Their directory.
        directory: PathBuf,
        /// Why.
        problem: String,
    },
    /// The data are of another major version than the programs.
    #[error(
        "{} was made by Postgres {data}, but the programs in {} are of Postgres {programs}: set \
         ROOTSTOCK_PG_BIN to the programs of Postgres {data}, or move the data with pg_dump",
        path.display(), binaries.display()
    )]
    OtherMajor {
        /// The data directory.
        path: PathBuf,
        /// Its major version.
        data: u32,
        /// The directory of the programs.
        binaries: PathBuf,
        /// Their major version.
        programs: u32,
    },
    /// A directory on the way is closed to the user who runs Postgres.
    #[error(
        "{} cannot be entered by user {user}, who runs Postgres because it refuses to be root: \
         choose another place for {what}, or chmod o+x {}",
        directory.display(), directory.display()
    )]
    Closed {
        /// The directory that is closed.
        directory: PathBuf,
        /// The user.
        user: String,
        /// What is to be reached.
        what: &'static str,
    },
    /// The data belong to somebody else.
    #[error(
        "{} belongs to user {owner}, and this is user {user}: start as {owner} or as root, or choose another \
         --data-dir",
        path.display()
    )]
    OtherOwner {
        /// The data directory.
        path: PathBuf,
        /// Whose it is.
        owner: String,
        /// Who we are.
        user: String,
    },
    /// Postgres knows users by name.
    #[error("user id {0} has no name on this machine, and Postgres needs one: add it to /etc/passwd")]
    Nameless(u32),
    /// No place for the socket.
    #[error("no directory for the database's socket: {0}; choose a --data-dir with a shorter path")]
    NoSocketDirectory(String),
    /// initdb failed.
    #[error("initdb failed: {0}")]
    Initialize(String),
    /// The server does not come up.
    #[error("Postgres does not start: {0}")]
    Start(String),
    /// The server kept dying.
    #[error("Postgres did not come up again after {MAX_RESTARTS} attempts: {0}")]
    GaveUp(String),
    /// A leftover that does not end.
    #[error("a Postgres from an earlier run (process {0}) still uses the data and does not stop: end it")]
    Leftover(i32),
    /// A file or directory.
    #[error("cannot {action} {}: {cause}", path.display())]
    Io {
        /// The verb.
        action: &'static str,
        /// The object.
        path: PathBuf,
        /// Part of the message, hence not the error's source.
        cause: io::Error,
    },
}

impl Process {
    /// Has the server end at once and recover at its next start: for a process that has no time
    /// left for [`Postgres::run`]. Does not wait.
    pub fn abandon(&self) {
        match self.0.swap(0, Ordering::SeqCst) {
            0 => {}
            // An error means that it is gone.
            pid => drop(kill(Pid::from_raw(pid), Signal::SIGQUIT)),
        }
    }

    fn is(&self, pid: Pid) {
        self.0.store(pid.as_raw(), Ordering::SeqCst);
    }

    /// `pid` has ended. Says whether it was the server: another may have taken its place.
    fn is_no_longer(&self, pid: Pid) -> bool {
        let exchanged = self
            .0
            .compare_exchange(pid.as_raw(), 0, Ordering::SeqCst, Ordering::SeqCst);
        exchanged.is_ok()
    }
}

impl Error {
    /// For `map_err`: what could not be done to which path.
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |cause| Self::Io { action, path, cause }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            programs: None,
            durable: true,
            parameters: vec![],
        }
    }
}

impl Postgres {
    /// Starts the server in `<data_directory>/postgres`, making it first when there is none;
    /// returns when it takes connections and its database exists.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn start(data_directory: &Path, options: Options) -> Result<Self, Error> {
        let data_directory = data_directory
            .canonicalize()
            .map_err(Error::io("find", data_directory))?;
        let account = Account::choose(&data_directory)?;
        let cluster = Cluster::open(&data_directory.join("postgres"), &account)?;
        let binaries = binaries::find(options.programs.clone(), &account, &cluster).await?;
        leftover::stop(cluster.data()).await?;
        cluster.initialize(&binaries, &account, options.durable).await?;
        let sockets = SocketDirectory::make(cluster.directory(), &account)?;
        cluster.write_access_rules(&account)?;
        let process = Process::default();
        let server = Server::start(&binaries, &cluster, &sockets, &account, &options, &process).await?;
        server.ensure_database(&sockets).await?;
        tracing::info!(
            postgres.major = binaries.major(),
            postgres.binaries = %binaries.directory().display(),
            postgres.data = %cluster.data().display(),
            postgres.user = account.name(),
            process.pid = server.pid(),
            "postgres takes connections"
        );
        Ok(Self {
            options,
            account,
            binaries,
            cluster,
            sockets,
            server,
            process,
        })
    }

    /// Where to connect; stays the same when the server is started again.
    pub fn url(&self) -> String {
        self.sockets.url(NAME)
    }

    /// The directory of the server programs that it runs.
    pub fn programs(&self) -> &Path {
        self.binaries.directory()
    }

    /// The last lines that the server wrote to its log.
    pub fn last_lines(&self) -> String {
        self.server.last_lines()
    }

    /// Ends the server; returns when it is gone. Does nothing when it is already.
    pub async fn stop(&mut self, how: Stop) {
        self.server.stop(how).await;
    }

    /// Looks after the server until `shutdown`: starts it again when it dies, and stops it at the
    /// end. `component` tells whether it is there.
    ///
    /// # Errors
    /// The server died and did not come up again.
    pub async fn run(mut self, component: Component, shutdown: Shutdown) -> Result<(), Error> {
        component.ready();
        let mut restarts = 0;
        loop {
            let started = Instant::now();
            let mut reason = tokio::select! {
                status = self.server.exited() => status,
                () = shutdown.triggered() => {
                    self.server.stop(Stop::Fast).await;
                    self.sockets.remove();
                    return Ok(());
                }
            };
            tracing::error!(reason, "postgres died and is started again");
            component.not_ready("Postgres died and is being started again");
            if started.elapsed() >= STEADY {
                restarts = 0;
            }
            loop {
                if restarts == MAX_RESTARTS {
                    return Err(Error::GaveUp(reason));
                }
                if shutdown
                    .race(tokio::time::sleep(BACKOFF.bound(restarts)))
                    .await
                    .is_none()
                {
                    self.sockets.remove();
                    return Ok(());
                }
                restarts += 1;
                // Not raced with the shutdown: a server half started would be nobody's.
                match self.start_again().await {
                    Ok(()) => break,
                    Err(error) => reason = error.to_string(),
                }
                tracing::error!(reason, "postgres did not come up");
            }
            component.ready();
        }
    }

    /// For when there is no time for [`Postgres::run`] to stop the server.
    pub fn process(&self) -> Process {
        self.process.clone()
    }

    /// Starts the server after its end; returns when it takes connections.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn start_again(&mut self) -> Result<(), Error> {
        leftover::stop(self.cluster.data()).await?;
        self.server = Server::start(
            &self.binaries,
            &self.cluster,
            &self.sockets,
            &self.account,
            &self.options,
            &self.process,
        )
        .await?;
        Ok(())
    }
}
