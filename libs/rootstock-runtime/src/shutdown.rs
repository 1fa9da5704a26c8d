//! The word that the process ends.

use std::{fmt, future::Future, io};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Tells everything that holds a clone that it is time to end. Once triggered it stays so.
///
/// Long work looks at it between two steps and finishes the step it is in: a future that is simply
/// dropped on shutdown may be dropped in the middle of a write.
#[derive(Clone, Default)]
pub struct Shutdown {
    token: CancellationToken,
}

impl Shutdown {
    /// One that nobody has triggered yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// One that ends with this one, and can end before it without ending this one.
    ///
    /// Standalone stops its services in order this way: gateway, then sync, then the catalog.
    pub fn child(&self) -> Self {
        Self {
            token: self.token.child_token(),
        }
    }

    /// Says that it is time to end. Saying it again changes nothing.
    pub fn trigger(&self) {
        self.token.cancel();
    }

    /// Whether it is time to end.
    pub fn is_triggered(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Waits until it is time to end. Safe to drop and to call again.
    pub async fn triggered(&self) {
        self.token.cancelled().await;
    }

    /// Runs `work`, dropping it when it is time to end; `None` when it was dropped.
    ///
    /// Only for work that may stop anywhere, such as sleeping or reading.
    pub async fn race<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.token.run_until_cancelled(work).await
    }

    /// The token underneath, for libraries that want one.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Triggers on the first SIGTERM or SIGINT, and returns then or when something else triggered.
    ///
    /// Run it in [`Tasks`](crate::Tasks). The handlers stay installed, so a second signal does not
    /// kill a process that is still draining; the grace of [`Tasks::shutdown`](crate::Tasks::shutdown)
    /// bounds that.
    ///
    /// # Errors
    /// The operating system refused a signal handler.
    pub async fn trigger_on_signals(self) -> io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let received = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
            () = self.triggered() => return Ok(()),
        };
        tracing::info!(signal = received, "shutting down");
        self.trigger();
        Ok(())
    }
}

impl fmt::Debug for Shutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shutdown")
            .field("triggered", &self.is_triggered())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_ends_with_its_parent_but_not_the_other_way_round() {
        let parent = Shutdown::new();
        let (first, second) = (parent.child(), parent.child());
        first.trigger();
        assert!(first.is_triggered());
        assert!(!parent.is_triggered());
        assert!(!second.is_triggered());
        parent.trigger();
        assert!(second.is_triggered());
    }

    #[tokio::test]
    async fn racing_gives_the_result_or_nothing() {
        let shutdown = Shutdown::new();
        assert_eq!(shutdown.race(async { 7 }).await, Some(7));
        shutdown.trigger();
        assert_eq!(shutdown.race(std::future::pending::<u8>()).await, None);
    }

    #[tokio::test]
    async fn a_signal_triggers() {
        let shutdown = Shutdown::new();
        let mut listening = std::pin::pin!(shutdown.clone().trigger_on_signals());
        // Installs the handlers: from here on the signal does not end this process.
        assert!(futures::poll!(listening.as_mut()).is_pending());
        let own_id = std::process::id().to_string();
        let sent = std::process::Command::new("kill")
            .args(["-TERM", &own_id])
            .status()
            .unwrap();
        assert!(sent.success());
        listening.await.unwrap();
        assert!(shutdown.is_triggered());
    }
}
