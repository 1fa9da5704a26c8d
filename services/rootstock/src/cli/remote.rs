//! `rootstock remote`: the image servers that are mirrored.

mod add;
mod list;
mod plan;
mod settled;
mod show;
mod sync;

use rootstock_proto::catalog::v1::DeleteRemoteRequest;

use super::{
    Failure,
    client::{Client, ClientArgs},
    output,
};

const EXAMPLES: &str = "\
Examples:
  rootstock remote add images https://images.linuxcontainers.org --include os=debian
  rootstock remote sync images --plan   what would be fetched, and what is left out
  rootstock remote sync images --wait   fetch it now, with a progress bar per blob
  rootstock remote show images          how polling goes, and what was left out";

/// Image servers that are mirrored
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct RemoteArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(subcommand)]
    command: RemoteCommand,
}

#[derive(Debug, clap::Subcommand)]
enum RemoteCommand {
    Add(add::AddArgs),
    List(list::ListArgs),
    Show(show::ShowArgs),
    Remove(RemoveArgs),
    Sync(sync::SyncArgs),
}

/// Stop mirroring an image server
///
/// What is stored of it stays, as images without a source. What is only listed goes.
#[derive(Debug, clap::Args)]
#[command(visible_alias = "rm")]
struct RemoveArgs {
    /// Name of the remote
    name: String,
}

impl RemoteArgs {
    /// The flags about server and output.
    pub(super) fn client(&self) -> &ClientArgs {
        &self.client
    }

    /// Runs the command.
    ///
    /// # Errors
    /// See [`Failure`].
    pub(super) async fn run(self) -> Result<(), Failure> {
        let client = Client::new(&self.client)?;
        let format = self.client.format;
        match self.command {
            RemoteCommand::Add(args) => add::run(&client, format, args).await,
            RemoteCommand::List(args) => list::run(&client, format, args).await,
            RemoteCommand::Show(args) => show::run(&client, format, args).await,
            RemoteCommand::Remove(args) => remove(&client, args).await,
            RemoteCommand::Sync(args) => sync::run(&client, format, args).await,
        }
    }
}

async fn remove(client: &Client, RemoveArgs { name }: RemoveArgs) -> Result<(), Failure> {
    let request = DeleteRemoteRequest { name: name.clone() };
    client
        .remotes()
        .delete_remote(request)
        .await
        .map_err(|status| client.failure(&status))?;
    output::note(&format!("removed remote {name}; its stored images stay"));
    Ok(())
}
