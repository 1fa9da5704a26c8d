//! `rootstock remote test`.

use rootstock_proto::catalog::v1::{Remote, TestRemoteRequest};

use super::{fields::Fields, plan, run::finished};
use crate::{
    client::Client,
    completion,
    failure::Failure,
    interrupt::or_interrupted,
    output::{self, Format},
};

const EXAMPLES: &str = "\
Examples:
  rootstock remote test images          does it answer, and what would a sync do
  rootstock remote test lab https://images.lab.example --include os=debian
                                        the same of one that might be added";

/// Try a remote, and show what a sync would do; changes nothing
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct TestArgs {
    /// Name of the remote
    #[arg(add = completion::remotes())]
    name: String,

    /// Its address, when it might be added; without one, the remote of that name as it is
    url: Option<String>,

    #[command(flatten)]
    fields: Fields,
}

pub(super) async fn run(client: &Client, format: Format, args: TestArgs) -> Result<(), Failure> {
    let mut remote = Remote {
        name: args.name,
        url: args.url.unwrap_or_default(),
        ..Remote::default()
    };
    let said = args.fields.apply(&mut remote)?;
    if remote.url.is_empty() && !said.is_empty() {
        return Err(Failure::usage(
            "without an address the remote is tried as it is; give its address to try it otherwise",
        ));
    }
    let name = remote.name.clone();
    let request = TestRemoteRequest { remote: Some(remote) };
    let answer = client.call(client.remotes().test_remote(request)).await?;
    let waited = finished(client, "test", answer.run.unwrap_or_default());
    let run = or_interrupted(waited, "the test was not waited for").await?;
    let plan = run.plan.clone().unwrap_or_default();
    output::print(format, &run, |screen| {
        format!(
            "{name} answers; a sync would do this:\n{}",
            plan::text(&plan, screen.width)
        )
    })
}
