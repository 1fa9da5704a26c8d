//! The owner of background work: every task has a name, an end, and somebody who looks at how it ended.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    future::Future,
    time::Duration,
};

use tokio::{
    task::{Id, JoinError, JoinSet},
    time::{Instant, timeout, timeout_at},
};

use crate::Shutdown;

/// How long aborted tasks may take to be gone.
const ABORT_PATIENCE: Duration = Duration::from_secs(1);

/// Named tasks and the [`Shutdown`] that ends them.
///
/// ```no_run
/// # async fn example() -> Result<(), rootstock_runtime::tasks::TaskFailure> {
/// # use std::{convert::Infallible, time::Duration};
/// # use rootstock_runtime::{Shutdown, Tasks};
/// let shutdown = Shutdown::new();
/// let mut tasks = Tasks::new(shutdown.clone());
/// tasks.spawn("signals", shutdown.clone().trigger_on_signals());
/// tasks.spawn("worker", async move {
///     shutdown.triggered().await;
///     Ok::<_, Infallible>(())
/// });
/// let outcome = tasks.wait().await;
/// tasks.shutdown(Duration::from_secs(30)).await;
/// outcome
/// # }
/// ```
///
/// Dropping it aborts what still runs.
#[derive(Debug)]
pub struct Tasks {
    shutdown: Shutdown,
    running: JoinSet<anyhow::Result<()>>,
    names: HashMap<Id, String>,
}

/// A task that failed or panicked.
#[derive(Debug, thiserror::Error)]
#[error("task {task} {how}")]
pub struct TaskFailure {
    /// The name it was spawned with.
    pub task: String,
    /// How it ended.
    pub how: Failure,
}

/// How a task ended that should not have.
#[derive(Debug)]
pub enum Failure {
    /// It returned an error.
    Failed(anyhow::Error),
    /// It panicked; this is the panic's message.
    Panicked(String),
}

/// How the end went.
#[derive(Debug, Default)]
#[must_use = "says which tasks failed and which had to be aborted"]
pub struct Ended {
    /// Tasks that failed or panicked while ending.
    pub failed: Vec<TaskFailure>,
    /// Names of the tasks that were still running after the grace and were aborted.
    pub stuck: BTreeSet<String>,
}

impl Ended {
    /// Whether every task ended by itself and without an error.
    pub fn is_clean(&self) -> bool {
        self.failed.is_empty() && self.stuck.is_empty()
    }
}

impl Tasks {
    /// An owner of no tasks yet, that ends them with `shutdown`.
    pub fn new(shutdown: Shutdown) -> Self {
        Self {
            shutdown,
            running: JoinSet::new(),
            names: HashMap::new(),
        }
    }

    /// The word that ends these tasks.
    pub fn shutdown_handle(&self) -> &Shutdown {
        &self.shutdown
    }

    /// Starts `task` on the runtime. It must end by itself, without an error, when the
    /// [`Shutdown`] is triggered.
    pub fn spawn<E>(
        &mut self,
        name: impl Into<String>,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) where
        E: Into<anyhow::Error> + 'static,
    {
        let handle = self.running.spawn(async move { task.await.map_err(Into::into) });
        self.names.insert(handle.id(), name.into());
    }

    /// Waits until the process has to end: `Ok` once the [`Shutdown`] is triggered or the last task
    /// returned, the failure as soon as a task failed or panicked. Call [`Tasks::shutdown`] then.
    ///
    /// Safe to drop and to call again.
    ///
    /// # Errors
    /// The first task that failed or panicked. It is logged here.
    pub async fn wait(&mut self) -> Result<(), TaskFailure> {
        loop {
            let ended = tokio::select! {
                biased;
                ended = self.running.join_next_with_id() => ended,
                () = self.shutdown.triggered() => return Ok(()),
            };
            match ended {
                None => return Ok(()),
                Some(ended) => self.settle(ended)?,
            }
        }
    }

    /// Ends the tasks: triggers the [`Shutdown`], waits up to `grace` for them to end by
    /// themselves, then aborts the rest and says which those were. Everything is logged.
    pub async fn shutdown(mut self, grace: Duration) -> Ended {
        self.shutdown.trigger();
        let deadline = Instant::now() + grace;
        let mut outcome = Ended::default();
        while let Ok(Some(ended)) = timeout_at(deadline, self.running.join_next_with_id()).await {
            outcome.failed.extend(self.settle(ended).err());
        }
        outcome.stuck = self.names.values().cloned().collect();
        if !outcome.stuck.is_empty() {
            tracing::error!(tasks = ?outcome.stuck, ?grace, "tasks did not end within the grace and are aborted");
            // Not for ever: a task that blocks its thread cannot be aborted either.
            let _ = timeout(ABORT_PATIENCE, self.running.shutdown()).await;
        }
        outcome
    }

    fn settle(&mut self, ended: Result<(Id, anyhow::Result<()>), JoinError>) -> Result<(), TaskFailure> {
        let (id, how) = match ended {
            Ok((id, Ok(()))) => (id, None),
            Ok((id, Err(error))) => (id, Some(Failure::Failed(error))),
            Err(error) => (error.id(), Some(Failure::from(error))),
        };
        let task = self.names.remove(&id).unwrap_or_else(|| id.to_string());
        let Some(how) = how else {
            tracing::debug!(task, "task ended");
            return Ok(());
        };
        tracing::error!(task, reason = %how, "task failed");
        Err(TaskFailure { task, how })
    }
}

impl From<JoinError> for Failure {
    fn from(error: JoinError) -> Self {
        match error.try_into_panic() {
            Ok(payload) => Self::Panicked(panic_message(&*payload)),
            Err(aborted) => Self::Failed(aborted.into()),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => write!(f, "failed: {error:#}"),
            Self::Panicked(message) => write!(f, "panicked: {message}"),
        }
    }
}

impl std::error::Error for Failure {}

/// The text somebody panicked with.
pub(crate) fn panic_message(payload: &(dyn std::any::Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "(no message)".to_owned())
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, future::pending};

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    async fn until(shutdown: Shutdown) -> Result<(), Infallible> {
        shutdown.triggered().await;
        Ok(())
    }

    #[tokio::test]
    async fn tasks_that_listen_end_cleanly() {
        let shutdown = Shutdown::new();
        let mut tasks = Tasks::new(shutdown.clone());
        tasks.spawn("one", until(shutdown.clone()));
        tasks.spawn("two", until(shutdown.clone()));
        shutdown.trigger();
        tasks.wait().await.unwrap();
        assert!(tasks.shutdown(LONG).await.is_clean());
    }

    #[tokio::test]
    async fn a_panic_is_reported_and_ends_the_others_in_order() {
        let shutdown = Shutdown::new();
        let mut tasks = Tasks::new(shutdown.clone());
        tasks.spawn("steady", until(shutdown.clone()));
        tasks.spawn("fine", async { Ok::<_, Infallible>(()) });
        tasks.spawn("brittle", async {
            assert!(std::env::args().count() == 0, "out of luck");
            Ok::<_, Infallible>(())
        });
        let failure = tasks.wait().await.unwrap_err();
        assert_eq!(failure.to_string(), "task brittle panicked: out of luck");
        assert!(!shutdown.is_triggered(), "the owner decides when the rest ends");
        assert!(tasks.shutdown(LONG).await.is_clean());
        assert!(shutdown.is_triggered());
    }

    #[tokio::test]
    async fn an_error_is_reported_with_its_causes() {
        let mut tasks = Tasks::new(Shutdown::new());
        tasks.spawn("server", async {
            Err(anyhow::anyhow!("port taken").context("no listener"))
        });
        let failure = tasks.wait().await.unwrap_err();
        assert_eq!(failure.to_string(), "task server failed: no listener: port taken");
    }

    #[tokio::test]
    async fn the_stuck_are_named_and_aborted() {
        let shutdown = Shutdown::new();
        let mut tasks = Tasks::new(shutdown.clone());
        tasks.spawn("deaf", pending::<Result<(), Infallible>>());
        tasks.spawn("steady", until(shutdown));
        let outcome = tasks.shutdown(Duration::from_millis(50)).await;
        assert_eq!(outcome.stuck, BTreeSet::from(["deaf".to_owned()]));
        assert!(outcome.failed.is_empty());
    }

    #[tokio::test]
    async fn waiting_for_nothing_returns() {
        Tasks::new(Shutdown::new()).wait().await.unwrap();
    }
}
