//! `rootstock remote sync`.

use rootstock_proto::catalog::v1::{ListTransfersRequest, SyncRemoteRequest, SyncRun};

use super::{plan, run::finished, settled, show};
use crate::{
    client::Client,
    completion,
    failure::Failure,
    interrupt::or_interrupted,
    output::{self, Format},
    record::Synced,
    transfers,
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
    #[arg(add = completion::remotes())]
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
    let answer = client.call(client.remotes().sync_remote(request)).await?;
    let run = answer.run.unwrap_or_default();
    let name = &args.name;
    if args.plan {
        let run = or_interrupted(finished(client, "sync", run), "the plan was not waited for").await?;
        let plan = run.plan.clone().unwrap_or_default();
        return output::print(format, &run, |screen| plan::text(&plan, screen.width));
    }
    if !args.wait {
        return output::print(format, &run, |_| {
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
    let run = finished(client, "sync", run).await?;
    let plan = run.plan.clone().unwrap_or_default();
    let request = ListTransfersRequest {
        remote: name.to_owned(),
        ..ListTransfersRequest::default()
    };
    let followed = transfers::follow(client, &request).await?;
    let failed = &followed.failed;
    let record = Synced { run: &run, failed };
    if !failed.is_empty() {
        output::print(format, &record, |_| String::new())?;
        return Err(transfers::failure(
            failed,
            &format!("rootstock remote sync {name}"),
        ));
    }
    settled::wait(client, name, &plan).await?;
    let status = show::get(client, name).await?.status.unwrap_or_default();
    output::print(format, &record, |_| {
        plan::outcome(name, &plan, &followed, &status)
    })
}
