//! `rootstock watch`: the catalog's changes as they happen.

use std::time::Duration;

use rootstock_proto::catalog::v1::{Change, WatchRequest, change::Resource};
use tokio::time::timeout;

use crate::{
    client::{Client, ClientArgs},
    failure::Failure,
    human,
    input::ChangeKinds,
    interrupt::or_interrupted,
    output,
    word::Word as _,
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
        output::begin_sequence::<Change>(args.format)?;
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
                output::print_next(args.format, &change, || line(&change))?;
            }
            if part.revision > 0 {
                *last_revision = Some(part.revision);
            }
        }
    }
}

/// One line for people: revision, time, what happened, to what.
fn line(change: &Change) -> String {
    let changed_at = change.changed_at.as_ref().and_then(human::rfc3339);
    let what = change
        .resource
        .as_ref()
        .map_or_else(|| "something unknown here".to_owned(), summary);
    format!(
        "{:>8}  {}  {:<7}  {what}",
        change.revision,
        changed_at.as_deref().unwrap_or("-"),
        change.operation().word(),
    )
}

fn summary(resource: &Resource) -> String {
    match resource {
        Resource::Image(image) => format!(
            "image {} {} ({}) {}{}",
            image.id,
            image.name,
            image.r#type().word(),
            image.status().word(),
            if image.default { ", default" } else { "" },
        ),
        Resource::Version(change) => {
            let version = change.version.clone().unwrap_or_default();
            let reason = match version.error_message.as_str() {
                "" => String::new(),
                message => format!(": {message}"),
            };
            format!(
                "version {} of {} ({}) {}{reason}",
                version.number,
                if change.image.is_empty() {
                    &change.image_id
                } else {
                    &change.image
                },
                version.serial,
                version.status().word()
            )
        }
        Resource::Alias(alias) => format!(
            "alias {} ({}, {}) to {}",
            alias.name,
            alias.r#type().word(),
            alias.architecture,
            alias.image_id
        ),
        Resource::Setting(setting) => format!("setting {} = {}", setting.key, setting.value),
        Resource::Application(application) => format!(
            "application {} holds version {} of {}",
            application.name,
            application.version.as_ref().map_or(-1, |version| version.number),
            application.image,
        ),
        other => {
            let what = format!("{} {}", other.kind().label(), other.name());
            match other {
                Resource::Remote(remote) => format!("{what} {}", remote.url),
                _ => what,
            }
        }
    }
}
