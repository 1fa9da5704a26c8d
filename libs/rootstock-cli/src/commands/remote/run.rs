//! Runs that were asked for: a sync, its plan, a test.

use rootstock_proto::catalog::v1::{GetSyncRunRequest, ListSyncRunPlanRequest, SyncRun, SyncRunState};
use tokio::time::sleep;

use crate::{client::Client, failure::Failure, pages::PAGE_SIZE, transfers::LOOK_AGAIN};

/// Waits until the run has ended well; `what` it is, for people.
///
/// # Errors
/// It failed; the server's.
pub(super) async fn finished(client: &Client, what: &str, mut run: SyncRun) -> Result<SyncRun, Failure> {
    loop {
        match run.state() {
            SyncRunState::Succeeded => return with_whole_plan(client, run).await,
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

/// Fetches what the plan of a run has no room for in one message.
async fn with_whole_plan(client: &Client, mut run: SyncRun) -> Result<SyncRun, Failure> {
    let Some(plan) = &mut run.plan else {
        return Ok(run);
    };
    while !plan.next_page_token.is_empty() {
        let request = ListSyncRunPlanRequest {
            id: run.id.clone(),
            page_size: PAGE_SIZE,
            page_token: std::mem::take(&mut plan.next_page_token),
        };
        let page = client.call(client.remotes().list_sync_run_plan(request)).await?;
        plan.steps.extend(page.steps);
        plan.left_out.extend(page.left_out);
        plan.next_page_token = page.next_page_token;
    }
    Ok(run)
}
