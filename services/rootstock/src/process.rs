//! How a process with services in it begins, tells that it is ready, and ends.
//!
//! Services are started in stages, and ended the other way round: what a service needs goes on
//! until the service has ended.

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    net::SocketAddr,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
    time::Duration,
};

use futures::future::select_all;
use rootstock_runtime::{
    Readiness, Shutdown, Tasks, Telemetry, serve_admin,
    tasks::TaskFailure,
    telemetry::{self, TelemetryError},
};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
};

use crate::{config::Config, postgres};

/// For one stage to end. Each service bounds itself, in its configuration, far below this.
const STAGE_GRACE: Duration = Duration::from_secs(120);
/// For the admin listener, which answers to the last.
const ADMIN_GRACE: Duration = Duration::from_secs(5);

/// A process that is beginning: what its services are started with.
#[derive(Debug)]
pub struct Process {
    readiness: Readiness,
    stages: Vec<Tasks>,
    addresses: Vec<String>,
    notes: String,
    last_rites: LastRites,
}

/// Why a process ended that was not asked to. One line, for the operator.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An address cannot be listened on.
    #[error("cannot listen on {address} ({key}): {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The key that names it.
        key: &'static str,
        /// The cause.
        source: std::io::Error,
    },
    /// Logs or traces.
    #[error("{0}")]
    Telemetry(#[from] TelemetryError),
    /// A service could not be started.
    #[error("{0:#}")]
    Start(#[from] anyhow::Error),
    /// A service broke.
    #[error("{0}")]
    Broke(#[from] TaskFailure),
    /// A service returned without having been asked to.
    #[error("a service stopped by itself; the log says more")]
    Stopped,
    /// Signals cannot be received.
    #[error("cannot receive signals: {0}")]
    Signals(std::io::Error),
}

impl Process {
    /// Where services tell that they are ready.
    pub fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }

    /// Starts a service, as a stage that is ended before those that are there already. `serve` gets
    /// the word that ends it. The process is not ready before the service has registered what it is
    /// waiting for, which it does before it first waits.
    pub fn start<F, E>(&mut self, name: &'static str, serve: impl FnOnce(Shutdown) -> F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<anyhow::Error> + Send + 'static,
    {
        let starting = self.readiness.register(format!("process.{name}"));
        let mut stage = Tasks::new(Shutdown::new());
        let service = serve(stage.shutdown_handle().clone());
        stage.spawn(name, async move {
            let mut service = pin!(service);
            if let Poll::Ready(outcome) = futures::poll!(service.as_mut()) {
                return outcome;
            }
            drop(starting);
            service.await
        });
        self.stages.push(stage);
    }

    /// Listens on an address that the configuration names as `key`, and tells of it as `word` once
    /// everything is ready.
    ///
    /// # Errors
    /// It cannot be listened on.
    pub async fn listen(
        &mut self,
        key: &'static str,
        address: SocketAddr,
        word: &str,
    ) -> Result<TcpListener, Error> {
        let (listener, address) = listen(key, address).await?;
        self.announce(word, address);
        Ok(listener)
    }

    /// Prints `text` after the addresses.
    pub fn say(&mut self, text: &str) {
        self.notes += text;
    }

    /// Has the database server ended when there is no time to do it in order.
    pub fn abandon_at_once(&self, server: postgres::Process) {
        *self.last_rites.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(server);
    }

    fn announce(&mut self, word: &str, address: SocketAddr) {
        let scheme = if word == "https" { "https" } else { "http" };
        self.addresses
            .push(format!("ready {word} {scheme}://{address}\n"));
    }
}

/// Runs a process: `begin` starts its services, and then it goes on until it is asked to end
/// (SIGTERM, SIGINT, SIGHUP) or a service breaks. A second signal ends it at once. Once everything is
/// ready, `announce` gets the text that says so: the addresses, a line each, and what services add.
///
/// # Errors
/// See [`Error`]. Everything has been ended by then.
pub async fn run(
    config: &Config,
    name: &'static str,
    announce: impl FnOnce(&str),
    begin: impl AsyncFnOnce(&mut Process) -> Result<(), Error>,
) -> Result<(), Error> {
    let asked = Shutdown::new();
    let last_rites = LastRites::default();
    // Before anything that takes time: what is asked for meanwhile is not lost.
    let mut admin = Tasks::new(Shutdown::new());
    let signals = Signals::receive().map_err(Error::Signals)?;
    let until = admin.shutdown_handle().clone();
    let (first, second) = (asked.clone(), last_rites.clone());
    admin.spawn("signals", async move {
        until.race(signals.obey(first, second)).await;
        Ok::<_, Infallible>(())
    });
    let telemetry = telemetry::init(&config.telemetry, name)?;
    let readiness = Readiness::new(asked.clone());
    let mut process = Process {
        readiness,
        stages: Vec::new(),
        addresses: Vec::new(),
        notes: String::new(),
        last_rites,
    };
    let outcome = live(
        &mut process,
        config,
        &telemetry,
        &mut admin,
        &asked,
        announce,
        begin,
    )
    .await;
    // Not ready any more, whatever ended it.
    asked.trigger();
    for stage in process.stages.into_iter().rev() {
        let ended = stage.shutdown(STAGE_GRACE).await;
        if !ended.is_clean() {
            tracing::warn!(failed = ?ended.failed, stuck = ?ended.stuck, "not everything ended in order");
        }
    }
    // Listened to the last; it ends by itself.
    let _ = admin.shutdown(ADMIN_GRACE).await;
    telemetry.shutdown().await;
    outcome
}

async fn live(
    process: &mut Process,
    config: &Config,
    telemetry: &Telemetry,
    admin: &mut Tasks,
    asked: &Shutdown,
    announce: impl FnOnce(&str),
    begin: impl AsyncFnOnce(&mut Process) -> Result<(), Error>,
) -> Result<(), Error> {
    let (listener, address) = listen("admin_listen", config.admin_listen).await?;
    let (readiness, until) = (process.readiness.clone(), admin.shutdown_handle().clone());
    admin.spawn(
        "admin",
        serve_admin(listener, readiness, telemetry.metrics(), until),
    );
    match asked.race(begin(process)).await {
        Some(begun) => begun?,
        None => return Ok(()),
    }
    process.announce("admin", address);
    let readiness = process.readiness.clone();
    let greeting = format!("{}{}", process.addresses.concat(), process.notes);
    let greet = async {
        if readiness.wait_ready().await {
            announce(&greeting);
        }
        std::future::pending::<Infallible>().await
    };
    tokio::select! {
        never = greet => match never {},
        outcome = any_ends(&mut process.stages) => outcome,
        () = asked.triggered() => Ok(()),
    }
}

/// Waits for a stage to end, which none does by itself.
async fn any_ends(stages: &mut [Tasks]) -> Result<(), Error> {
    if stages.is_empty() {
        return std::future::pending().await;
    }
    let (ended, ..) = select_all(stages.iter_mut().map(|stage| Box::pin(stage.wait()))).await;
    ended?;
    Err(Error::Stopped)
}

async fn listen(key: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), Error> {
    let failed = |source| Error::Listen { address, key, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// What a process that ends at once still does.
#[derive(Clone, Default)]
struct LastRites(Arc<Mutex<Option<postgres::Process>>>);

impl fmt::Debug for LastRites {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LastRites")
    }
}

impl LastRites {
    fn perform(&self) {
        if let Some(server) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            server.abandon();
        }
    }
}

/// The signals that ask a process to end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// The terminal was closed.
    hang_up: Signal,
}

impl Signals {
    fn receive() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn obey(mut self, asked: Shutdown, last_rites: LastRites) -> Infallible {
        let received = self.next().await;
        tracing::info!(signal = received, "ending; a second signal ends at once");
        asked.trigger();
        let received = self.next().await;
        tracing::warn!(signal = received, "ending at once");
        last_rites.perform();
        std::process::exit(1)
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.hang_up.recv() => "SIGHUP",
        }
    }
}
