//! `rootstock watch`: the catalog's changes as they happen.

use std::time::Duration;

use rootstock_proto::catalog::v1::WatchRequest;
use tokio::time::timeout;

use crate::{
    Failure,
    client::{Client, ClientArgs},
    input::ChangeKinds,
    interrupt::or_interrupted,
    output,
    record::ChangeRecord,
};

/// The server gives a sign of life at least every 15 seconds: three missed ones, and it is dead.
const SILENCE_LIMIT: Duration = Duration::from_secs(45);

const EXAMPLES: &str = "\
Examples:
  rootstock watch                         from now on, one line per change
  rootstock watch --from-revision 4711    what happened since, then from now on
  rootstock watch --kind image,version --name 'debian*'
  rootstock watch --format json           one JSON object per line, for programs";

/// Follow the catalog's changes
///
/// Ends with Ctrl-C. Every change has a revision of its own; a watch that broke off after revision R goes on
/// without gap or repeat with --from-revision R+1.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct WatchArgs {
    /// Begin with this revision instead of what comes next
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
    from_revision: Option<i64>,

    /// Begin with everything that is there
    #[arg(long, conflicts_with = "from_revision")]
    initial_state: bool,

    #[command(flatten)]
    kinds: ChangeKinds,

    /// Only changes of what has a name like this (*, ?, [a-z], {a,b}; case does not matter): of an image its
    /// versions too, of a setting its key
    #[arg(long, value_name = "PATTERN")]
    name: Option<String>,
}

impl WatchArgs {
    /// Runs the command.
    ///
    /// # Errors
    /// See [`Failure`]; it ends in no other way.
    pub(crate) async fn run(self, args: &ClientArgs) -> Result<(), Failure> {
        let mut last_revision = None;
        let outcome = or_interrupted(self.follow(args, &mut last_revision), "").await;
        if let Some(revision) = last_revision {
            output::note(&format!(
                "\"rootstock watch --from-revision {}\" goes on from here",
                revision + 1
            ));
        }
        outcome
    }

    async fn follow(&self, args: &ClientArgs, last_revision: &mut Option<i64>) -> Result<(), Failure> {
        let client = Client::new(args)?;
        let request = WatchRequest {
            from_revision: self.from_revision.unwrap_or_default(),
            initial_state: self.initial_state,
            kinds: self.kinds.wire(),
            name: self.name.clone().unwrap_or_default(),
        };
        let answer = client
            .changes()
            .watch(request)
            .await
            .map_err(|status| client.failure(&status))?;
        let mut stream = answer.into_inner();
        output::begin_sequence::<ChangeRecord>(args.format)?;
        loop {
            let next = timeout(SILENCE_LIMIT, stream.message()).await.map_err(|_| {
                Failure::failed(format!("no sign of life from the server for {SILENCE_LIMIT:?}"))
            })?;
            let Some(part) = next.map_err(|status| client.failure(&status))? else {
                return Err(Failure::failed(
                    "the server ended the watch; it may be shutting down",
                ));
            };
            for change in part.changes {
                let record = ChangeRecord::from(change);
                output::print_next(args.format, &record, || record.line())?;
            }
            if part.revision > 0 {
                *last_revision = Some(part.revision);
            }
        }
    }
}
