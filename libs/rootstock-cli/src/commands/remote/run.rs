//! Runs that were asked for: a sync, its plan, a test.

use rootstock_proto::catalog::v1::{GetSyncRunRequest, SyncRun, SyncRunState};
use tokio::time::sleep;

use crate::{Failure, client::Client, transfers::LOOK_AGAIN};

/// Waits until the run has ended well; `what` it is, for people.
///
/// # Errors
/// It failed; the server's.
pub(super) async fn finished(client: &Client, what: &str, mut run: SyncRun) -> Result<SyncRun, Failure> {
    loop {
        match run.state() {
            SyncRunState::Succeeded => return Ok(run),
            SyncRunState::Failed => {
                return Err(Failure::failed(format!(
                    "the {what} of {} failed: {}",
                    run.remote, run.error
                )));
            }
            SyncRunState::Pending | SyncRunState::Unspecified => {}
        }
        sleep(LOOK_AGAIN).await;
        let request = GetSyncRunRequest { id: run.id.clone() };
        let answer = client
            .patiently(|| {
                let (mut remotes, request) = (client.remotes(), request.clone());
                async move { remotes.get_sync_run(request).await }
            })
            .await?;
        run = answer.into_inner().run.unwrap_or_default();
    }
}
