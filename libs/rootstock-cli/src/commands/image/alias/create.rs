//! `rootstock image alias create`.

use rootstock_proto::catalog::v1::CreateAliasRequest;

use super::show::follows;
use crate::{
    client::Client,
    completion,
    failure::Failure,
    input::TypeArgs,
    output::{self, Format},
};

/// Make an alias
#[derive(Debug, clap::Args)]
#[command(visible_alias = "add")]
pub(super) struct CreateArgs {
    /// Its name; may hold "/"
    #[arg(value_name = "ALIAS")]
    name: String,

    /// The image it points to: name, alias, id, or fingerprint
    #[arg(value_name = "IMAGE", add = completion::images())]
    image: String,

    #[command(flatten)]
    image_type: TypeArgs,

    /// Number of the version to stay at [default: it follows the newest]
    #[arg(long = "version", value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    number: Option<i32>,

    /// For people
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,

    /// Take the name from the image that has it, unless that name comes from a remote
    #[arg(long)]
    replace: bool,
}

pub(super) async fn run(client: &Client, format: Format, args: CreateArgs) -> Result<(), Failure> {
    let request = CreateAliasRequest {
        name: args.name,
        image: args.image.clone(),
        r#type: args.image_type.wire().into(),
        version: args.number,
        description: args.description.unwrap_or_default(),
        replace: args.replace,
    };
    let answer = client.call(client.aliases().create_alias(request)).await?;
    let alias = answer.alias.unwrap_or_default();
    output::print(format, &alias, |_| {
        format!(
            "alias {} points to {} (version: {})\n",
            alias.name,
            args.image,
            follows(&alias)
        )
    })
}
