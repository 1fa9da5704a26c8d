//! `rootstock image alias`: names that point to images.

mod create;
mod list;
mod show;
mod update;

use rootstock_proto::catalog::v1::{DeleteAliasRequest, RenameAliasRequest};

use self::show::AliasReference;
use crate::{
    client::Client,
    failure::Failure,
    output::{self, Format},
};

const EXAMPLES: &str = "\
Examples:
  rootstock image alias create stable debian/12              follows its newest version
  rootstock image alias create golden debian/12 --version 3  stays at that version
  rootstock image alias update golden --version 4
  rootstock image alias list --image debian/12";

/// Names that point to images
#[derive(Debug, clap::Args)]
#[command(visible_alias = "aliases", after_help = EXAMPLES)]
pub(super) struct AliasArgs {
    #[command(subcommand)]
    command: AliasCommand,
}

#[derive(Debug, clap::Subcommand)]
enum AliasCommand {
    Create(create::CreateArgs),
    List(list::ListArgs),
    Show(show::ShowArgs),
    Update(update::UpdateArgs),
    Rename(RenameArgs),
    Delete(DeleteArgs),
}

/// Give an alias another name
#[derive(Debug, clap::Args)]
#[command(visible_alias = "mv")]
struct RenameArgs {
    #[command(flatten)]
    reference: AliasReference,

    /// The new name
    new_name: String,
}

/// Delete an alias; the image stays
#[derive(Debug, clap::Args)]
#[command(visible_aliases = ["rm", "remove"])]
struct DeleteArgs {
    #[command(flatten)]
    reference: AliasReference,
}

impl AliasArgs {
    /// Runs the command.
    ///
    /// # Errors
    /// See [`Failure`].
    pub(super) async fn run(self, client: &Client, format: Format) -> Result<(), Failure> {
        match self.command {
            AliasCommand::Create(args) => create::run(client, format, args).await,
            AliasCommand::List(args) => list::run(client, format, args).await,
            AliasCommand::Show(args) => show::run(client, format, args).await,
            AliasCommand::Update(args) => update::run(client, format, args).await,
            AliasCommand::Rename(args) => rename(client, format, args).await,
            AliasCommand::Delete(args) => delete(client, args).await,
        }
    }
}

async fn rename(client: &Client, format: Format, args: RenameArgs) -> Result<(), Failure> {
    let old = args.reference.name;
    let request = RenameAliasRequest {
        name: old.clone(),
        r#type: args.reference.image_type.wire().into(),
        architecture: args.reference.architecture.unwrap_or_default(),
        new_name: args.new_name,
    };
    let answer = client.call(client.aliases().rename_alias(request)).await?;
    let alias = answer.alias.unwrap_or_default();
    output::print(format, &alias, |_| format!("alias {old} is {} now\n", alias.name))
}

async fn delete(client: &Client, args: DeleteArgs) -> Result<(), Failure> {
    let request = DeleteAliasRequest {
        name: args.reference.name.clone(),
        r#type: args.reference.image_type.wire().into(),
        architecture: args.reference.architecture.unwrap_or_default(),
    };
    client.call(client.aliases().delete_alias(request)).await?;
    output::note(&format!("deleted alias {}; its image stays", args.reference.name));
    Ok(())
}
