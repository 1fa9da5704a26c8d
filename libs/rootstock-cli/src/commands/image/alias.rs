//! `rootstock image alias`: names that point to images.

mod create;
mod list;
mod update;

use rootstock_proto::catalog::v1::{Alias, DeleteAliasRequest, GetAliasRequest, RenameAliasRequest};

use crate::{
    client::Client,
    completion,
    failure::Failure,
    input::TypeArgs,
    output::{self, Format, Lines},
    word::Word as _,
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
    Show(ShowArgs),
    Update(update::UpdateArgs),
    Rename(RenameArgs),
    Delete(DeleteArgs),
}

/// Show an alias
#[derive(Debug, clap::Args)]
#[command(visible_alias = "info")]
struct ShowArgs {
    #[command(flatten)]
    reference: AliasReference,
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

/// An alias as users name it.
#[derive(Debug, Clone, clap::Args)]
struct AliasReference {
    /// Its name
    #[arg(value_name = "ALIAS", add = completion::aliases())]
    name: String,

    #[command(flatten)]
    image_type: TypeArgs,

    /// The architecture, where the name is there for several: x86_64, amd64, …
    #[arg(long, visible_alias = "arch", value_name = "ARCH")]
    architecture: Option<String>,
}

impl AliasReference {
    async fn get(&self, client: &Client) -> Result<Alias, Failure> {
        let request = GetAliasRequest {
            name: self.name.clone(),
            r#type: self.image_type.wire().into(),
            architecture: self.architecture.clone().unwrap_or_default(),
        };
        let answer = client.call(client.aliases().get_alias(request)).await?;
        Ok(answer.alias.unwrap_or_default())
    }
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
            AliasCommand::Show(args) => show(client, format, args).await,
            AliasCommand::Update(args) => update::run(client, format, args).await,
            AliasCommand::Rename(args) => rename(client, format, args).await,
            AliasCommand::Delete(args) => delete(client, args).await,
        }
    }
}

async fn show(client: &Client, format: Format, args: ShowArgs) -> Result<(), Failure> {
    let alias = args.reference.get(client).await?;
    output::print(format, &alias, |_| text(&alias))
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

/// An alias for people.
fn text(alias: &Alias) -> String {
    let mut lines = Lines::default();
    lines
        .add("name", &alias.name)
        .add("type", alias.r#type().word())
        .add("architecture", &alias.architecture)
        .add("image", &alias.image_id)
        .add("version", follows(alias))
        .add("description", &alias.description)
        .add("from a remote", alias.synced.to_string())
        .add("etag", &alias.etag);
    lines.render()
}

/// Which version it gives.
fn follows(alias: &Alias) -> String {
    match alias.version {
        Some(number) => number.to_string(),
        None => "newest".to_owned(),
    }
}
