//! `rootstock remote sync`.

use rootstock_proto::catalog::v1::{
    GetRemoteRequest, GetSyncRunRequest, ListTransfersRequest, SyncRemoteRequest, SyncRun, SyncRunState,
};
use tokio::time::sleep;

use super::{plan, settled};
use crate::cli::{
    Failure,
    client::Client,
    interrupt::or_interrupted,
    output::{self, Format},
    record::{SyncRunRecord, TransferRecord},
    transfers::{self, LOOK_AGAIN},
};

const EXAMPLES: &str = "\
Examples:
  rootstock remote sync images --plan     what would be done, and what is left out
  rootstock remote sync images --wait     do it, and wait until every blob is stored
  rootstock remote sync images --plan --format json   the plan, for a program";

/// Poll a remote now
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct SyncArgs {
    /// Name of the remote
    name: String,

    /// Only show what would be done: what is fetched and retired, and what is left out by which rule
    #[arg(long, conflicts_with = "wait")]
    plan: bool,

    /// Wait until the remote is read and all its transfers are done; fails when one of them does
    #[arg(long)]
    wait: bool,

    /// Take the remote's word even if it removes more than images.max_removal_percent of its products
    #[arg(long)]
    force: bool,
}

pub(super) async fn run(client: &Client, format: Format, args: SyncArgs) -> Result<(), Failure> {
    let request = SyncRemoteRequest {
        name: args.name.clone(),
        plan_only: args.plan,
        force: args.force,
    };
    let answer = client
        .remotes()
        .sync_remote(request)
        .await
        .map_err(|status| client.failure(&status))?;
    let run = answer.into_inner().run.unwrap_or_default();
    let name = &args.name;
    if args.plan {
        let run = or_interrupted(finished(client, run), "the plan was not waited for").await?;
        let plan = run.plan.clone().unwrap_or_default();
        return output::print(format, &SyncRunRecord::from(run), |screen| {
            plan::text(&plan, screen.width)
        });
    }
    if !args.wait {
        return output::print(format, &SyncRunRecord::from(run), |_| {
            format!(
                "polling {name}; \"rootstock remote show {name}\" tells how it goes (--wait waits for it)\n"
            )
        });
    }
    let goes_on = format!(
        "no longer waiting; the sync goes on by itself: \"rootstock remote show {name}\" tells how it stands"
    );
    or_interrupted(wait(client, format, name, run), &goes_on).await
}

async fn wait(client: &Client, format: Format, name: &str, run: SyncRun) -> Result<(), Failure> {
    let run = finished(client, run).await?;
    let plan = run.plan.clone().unwrap_or_default();
    let request = ListTransfersRequest {
        remote: name.to_owned(),
        ..ListTransfersRequest::default()
    };
    let followed = transfers::follow(client, &request).await?;
    let failed = &followed.failed;
    let mut record = SyncRunRecord::from(run);
    record.failed_transfers = Some(failed.iter().cloned().map(TransferRecord::from).collect());
    if !failed.is_empty() {
        output::print(format, &record, |_| String::new())?;
        return Err(transfers::failure(
            failed,
            &format!("rootstock remote sync {name}"),
        ));
    }
    settled::wait(client, name, &plan).await?;
    let request = GetRemoteRequest {
        name: name.to_owned(),
    };
    let answer = client
        .remotes()
        .get_remote(request)
        .await
        .map_err(|status| client.failure(&status))?;
    let status = answer
        .into_inner()
        .remote
        .and_then(|remote| remote.status)
        .unwrap_or_default();
    output::print(format, &record, |_| {
        plan::outcome(name, &plan, &followed, &status)
    })
}

/// Waits until the run has ended well.
async fn finished(client: &Client, mut run: SyncRun) -> Result<SyncRun, Failure> {
    loop {
        match run.state() {
            SyncRunState::Succeeded => return Ok(run),
            SyncRunState::Failed => {
                return Err(Failure::failed(format!(
                    "the sync of {} failed: {}",
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
