//! `rootstock application delete`.

use rootstock_proto::catalog::v1::DeleteApplicationRequest;

use super::show::get;
use crate::{
    client::Client,
    completion,
    confirm::{self, ConfirmArgs},
    failure::Failure,
    output,
};

/// Delete an application: it lets go of its version
#[derive(Debug, clap::Args)]
#[command(visible_aliases = ["rm", "remove"])]
pub(super) struct DeleteArgs {
    /// Its name
    #[arg(value_name = "APPLICATION", add = completion::applications())]
    name: String,

    #[command(flatten)]
    confirm: ConfirmArgs,
}

pub(super) async fn run(client: &Client, DeleteArgs { name, confirm }: DeleteArgs) -> Result<(), Failure> {
    get(client, &name).await?;
    confirm::removal(confirm, "application", std::slice::from_ref(&name))?;
    let request = DeleteApplicationRequest { name: name.clone() };
    client
        .call(client.applications().delete_application(request))
        .await?;
    output::note(&format!("deleted application {name}"));
    Ok(())
}
