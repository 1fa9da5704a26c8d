//! Ctrl-C while a command waits.

use std::future::Future;

use crate::failure::Failure;

/// Waits for `work`, or until the user presses Ctrl-C: then `message` says what becomes of it.
///
/// # Errors
/// The work's, or [`crate::failure::Kind::Interrupted`].
pub(super) async fn or_interrupted<T>(
    work: impl Future<Output = Result<T, Failure>>,
    message: &str,
) -> Result<T, Failure> {
    tokio::select! {
        done = work => done,
        Ok(()) = tokio::signal::ctrl_c() => Err(Failure::interrupted(message)),
    }
}
