//! `rootstock transfer`: bytes that are on their way.

use rootstock_proto::catalog::v1::{ImageType, ListTransfersRequest, Transfer};

use crate::{
    client::{Client, ClientArgs},
    commands::image::reference,
    completion,
    failure::Failure,
    human,
    output::{self, Format, Screen},
    table::{Column, Table},
    transfers,
    word::Word as _,
};

/// Transfers that wait, run or failed
#[derive(Debug, clap::Args)]
pub(crate) struct TransferArgs {
    #[command(subcommand)]
    command: TransferCommand,
}

#[derive(Debug, clap::Subcommand)]
enum TransferCommand {
    List(ListArgs),
}

/// List transfers that wait, run or failed; finished ones are gone from it
#[derive(Debug, clap::Args)]
#[command(visible_alias = "ls")]
struct ListArgs {
    /// Only those that images of this remote want
    #[arg(long, value_name = "NAME", add = completion::remotes())]
    remote: Option<String>,

    /// Only those that versions of this image want
    #[arg(long, value_name = "IMAGE", add = completion::images())]
    image: Option<String>,
}

impl TransferArgs {
    /// Runs the command.
    ///
    /// # Errors
    /// See [`Failure`].
    pub(crate) async fn run(self, args: &ClientArgs) -> Result<(), Failure> {
        let client = Client::new(args)?;
        let TransferCommand::List(list_args) = self.command;
        list(&client, args.format, list_args).await
    }
}

async fn list(client: &Client, format: Format, args: ListArgs) -> Result<(), Failure> {
    let image_id = match args.image {
        Some(name) => reference::get(client, &name, ImageType::Unspecified).await?.id,
        None => String::new(),
    };
    let request = ListTransfersRequest {
        remote: args.remote.unwrap_or_default(),
        image_id,
        ..ListTransfersRequest::default()
    };
    let transfers = transfers::list(client, &request)
        .await
        .map_err(|status| client.failure(&status))?;
    output::print_list(format, &transfers, |screen| table(&transfers, screen))
}

/// A line for each.
pub(super) fn table(transfers: &[Transfer], screen: Screen) -> String {
    let mut table = Table::new(&[
        Column::gives_way("IMAGE"),
        Column::gives_way("SERIAL"),
        Column::always("FILE"),
        Column::always("STATE"),
        Column::always("DONE").right(),
        Column::always("SIZE").right(),
        Column::always("ATTEMPTS").right(),
        Column::always("NEXT ATTEMPT"),
        Column::gives_way("LAST ERROR"),
    ]);
    for transfer in transfers {
        let next = transfer.next_attempt_at.as_ref();
        table.row([
            transfer.image.clone(),
            transfer.serial.clone(),
            transfer.ftype.clone(),
            transfer.state().word(),
            human::size(transfer.done_bytes),
            human::size(transfer.size_bytes),
            transfer.failed_attempts.to_string(),
            next.map_or_else(String::new, |next| human::relative(Some(next), screen.now)),
            transfer.last_error.clone(),
        ]);
    }
    table.render(screen.width)
}
