//! `rootstock image`: what the catalog holds.

mod add;
mod alias;
mod default;
mod delete;
mod explain;
mod export;
mod fetch;
mod hold;
mod import;
mod list;
pub(super) mod reference;
mod resolve;
mod show;
mod update;
mod used;
mod wait;

use crate::{
    client::{Client, ClientArgs},
    failure::Failure,
};

const EXAMPLES: &str = "\
Examples:
  rootstock image list                      what there is
  rootstock image list 'debian*' --type vm  virtual machines named debian…
  rootstock image show debian/12            by name, alias, id or fingerprint
  rootstock image fetch debian/12 --wait    bring an available image into the store
  rootstock image import meta.tar.xz rootfs.squashfs --alias web
  rootstock image export debian/12 images/  its files, as incus would write them
  rootstock image explain debian/12         why it is at the version it is at
  rootstock image rollback debian/12 --reason 'broken DNS'";

/// Images of the catalog
#[derive(Debug, clap::Args)]
#[command(visible_alias = "images", after_help = EXAMPLES)]
pub(crate) struct ImageArgs {
    #[command(subcommand)]
    command: ImageCommand,
}

#[derive(Debug, clap::Subcommand)]
enum ImageCommand {
    List(list::ListArgs),
    Show(show::ShowArgs),
    Add(add::AddArgs),
    Update(update::UpdateArgs),
    Switch(default::SwitchArgs),
    Fetch(fetch::FetchArgs),
    Import(Box<import::ImportArgs>),
    Export(export::ExportArgs),
    Rollback(hold::RollbackArgs),
    Release(hold::ReleaseArgs),
    Explain(explain::ExplainArgs),
    Resolve(resolve::ResolveArgs),
    Use(used::UseArgs),
    Delete(delete::DeleteArgs),
    DeleteVersion(delete::DeleteVersionArgs),
    Alias(alias::AliasArgs),
}

impl ImageArgs {
    /// Runs the command.
    ///
    /// # Errors
    /// See [`Failure`].
    pub(crate) async fn run(self, args: &ClientArgs) -> Result<(), Failure> {
        let client = Client::new(args)?;
        let format = args.format;
        match self.command {
            ImageCommand::List(args) => list::run(&client, format, args).await,
            ImageCommand::Show(args) => show::run(&client, format, args).await,
            ImageCommand::Add(args) => add::run(&client, format, args).await,
            ImageCommand::Update(args) => update::run(&client, format, args).await,
            ImageCommand::Switch(args) => default::run(&client, format, args).await,
            ImageCommand::Fetch(args) => fetch::run(&client, format, args).await,
            ImageCommand::Import(args) => import::run(&client, format, *args).await,
            ImageCommand::Export(args) => export::run(&client, format, args).await,
            ImageCommand::Rollback(args) => hold::rollback(&client, format, args).await,
            ImageCommand::Release(args) => hold::release(&client, format, args).await,
            ImageCommand::Explain(args) => explain::run(&client, format, args).await,
            ImageCommand::Resolve(args) => resolve::run(&client, format, args).await,
            ImageCommand::Use(args) => used::run(&client, args).await,
            ImageCommand::Delete(args) => delete::run(&client, args).await,
            ImageCommand::DeleteVersion(args) => delete::version(&client, format, args).await,
            ImageCommand::Alias(args) => args.run(&client, format).await,
        }
    }
}
