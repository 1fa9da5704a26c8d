//! `rootstock image`: what the catalog holds.

mod fetch;
mod list;
mod show;

use rootstock_model::ImageType;
use rootstock_proto::catalog::v1 as wire;

use super::{
    Failure,
    client::{Client, ClientArgs},
};

const EXAMPLES: &str = "\
Examples:
  rootstock image list                      what there is
  rootstock image list 'debian*' --type vm  virtual machines named debian…
  rootstock image show debian/12            by name, alias, id or fingerprint
  rootstock image fetch debian/12 --wait    bring an available image into the store";

/// Images of the catalog
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ImageArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(subcommand)]
    command: ImageCommand,
}

#[derive(Debug, clap::Subcommand)]
enum ImageCommand {
    List(list::ListArgs),
    Show(show::ShowArgs),
    Fetch(fetch::FetchArgs),
}

impl ImageArgs {
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
            ImageCommand::List(args) => list::run(&client, format, args).await,
            ImageCommand::Show(args) => show::run(&client, format, args).await,
            ImageCommand::Fetch(args) => fetch::run(&client, format, args).await,
        }
    }
}

/// An image as users name it.
#[derive(Debug, clap::Args)]
struct Reference {
    /// Name, alias, id, or fingerprint (or at least 12 characters of one)
    #[arg(value_name = "IMAGE")]
    image: String,

    /// The virtual machine, where a container has the same name
    #[arg(long)]
    vm: bool,
}

impl Reference {
    fn image_type(&self) -> wire::ImageType {
        if self.vm {
            wire::ImageType::VirtualMachine
        } else {
            wire::ImageType::Unspecified
        }
    }
}

fn image_type(text: &str) -> Result<ImageType, String> {
    text.parse()
        .map_err(|_| "it is container, or virtual-machine (vm)".to_owned())
}
