//! `rootstock remote`: the image servers that are mirrored.

mod add;
mod credentials;
mod fields;
mod list;
mod plan;
mod run;
mod settled;
mod show;
mod sync;
mod test;
mod update;

use rootstock_proto::catalog::v1::DeleteRemoteRequest;

use crate::{
    client::{Client, ClientArgs},
    completion,
    failure::Failure,
    output,
};

const EXAMPLES: &str = "\
Examples:
  rootstock remote add images https://images.linuxcontainers.org --include os=debian
  rootstock remote sync images --plan   what would be fetched, and what is left out
  rootstock remote sync images --wait   fetch it now, with a progress bar per blob
  rootstock remote show images          how polling goes, and what was left out
  rootstock remote test lab https://images.lab.example   try one before adding it
  rootstock remote disable images       leave it alone for a while";

/// Image servers that are mirrored
#[derive(Debug, clap::Args)]
#[command(visible_alias = "remotes", after_help = EXAMPLES)]
pub(crate) struct RemoteArgs {
    #[command(subcommand)]
    command: RemoteCommand,
}

#[derive(Debug, clap::Subcommand)]
enum RemoteCommand {
    Add(add::AddArgs),
    List(list::ListArgs),
    Show(show::ShowArgs),
    Update(update::UpdateArgs),
    Remove(RemoveArgs),
    Sync(sync::SyncArgs),
    Test(test::TestArgs),
    Enable(update::EnableArgs),
    Disable(update::DisableArgs),
}

/// Stop mirroring an image server
///
/// What is stored of it stays, as images without a source. What is only listed goes.
#[derive(Debug, clap::Args)]
#[command(visible_aliases = ["rm", "delete"])]
struct RemoveArgs {
    /// Name of the remote
    #[arg(add = completion::remotes())]
    name: String,
}

impl RemoteArgs {
    /// Runs the command.
    ///
    /// # Errors
    /// See [`Failure`].
    pub(crate) async fn run(self, args: &ClientArgs) -> Result<(), Failure> {
        let client = Client::new(args)?;
        let format = args.format;
        match self.command {
            RemoteCommand::Add(args) => add::run(&client, format, args).await,
            RemoteCommand::List(args) => list::run(&client, format, args).await,
            RemoteCommand::Show(args) => show::run(&client, format, args).await,
            RemoteCommand::Update(args) => update::run(&client, format, args).await,
            RemoteCommand::Remove(args) => remove(&client, args).await,
            RemoteCommand::Sync(args) => sync::run(&client, format, args).await,
            RemoteCommand::Test(args) => test::run(&client, format, args).await,
            RemoteCommand::Enable(args) => update::enable(&client, format, args).await,
            RemoteCommand::Disable(args) => update::disable(&client, format, args).await,
        }
    }
}

async fn remove(client: &Client, RemoveArgs { name }: RemoveArgs) -> Result<(), Failure> {
    let request = DeleteRemoteRequest { name: name.clone() };
    client.call(client.remotes().delete_remote(request)).await?;
    output::note(&format!("removed remote {name}; its stored images stay"));
    Ok(())
}
