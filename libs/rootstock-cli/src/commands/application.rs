//! `rootstock application`: consumers that hold one version of an image each.

mod create;
mod delete;
mod list;
mod show;
mod update;

use crate::{
    client::{Client, ClientArgs},
    failure::Failure,
};

const EXAMPLES: &str = "\
Examples:
  rootstock application create shop debian/12     holds its current version, and moves to newer ones
  rootstock application update shop --auto-update false
  rootstock application update shop --version 3   goes back
  rootstock application list --image debian/12";

/// Consumers of images: each holds one version, and keeps its bytes
#[derive(Debug, clap::Args)]
#[command(visible_aliases = ["app", "applications", "apps"], after_help = EXAMPLES)]
pub(crate) struct ApplicationArgs {
    #[command(subcommand)]
    command: ApplicationCommand,
}

#[derive(Debug, clap::Subcommand)]
enum ApplicationCommand {
    Create(create::CreateArgs),
    List(list::ListArgs),
    Show(show::ShowArgs),
    Update(update::UpdateArgs),
    Delete(delete::DeleteArgs),
}

impl ApplicationArgs {
    /// Runs the command.
    ///
    /// # Errors
    /// See [`Failure`].
    pub(crate) async fn run(self, args: &ClientArgs) -> Result<(), Failure> {
        let client = Client::new(args)?;
        let format = args.format;
        match self.command {
            ApplicationCommand::Create(args) => create::run(&client, format, args).await,
            ApplicationCommand::List(args) => list::run(&client, format, args).await,
            ApplicationCommand::Show(args) => show::run(&client, format, args).await,
            ApplicationCommand::Update(args) => update::run(&client, format, args).await,
            ApplicationCommand::Delete(args) => delete::run(&client, args).await,
        }
    }
}
