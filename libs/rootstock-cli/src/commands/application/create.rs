//! `rootstock application create`.

use rootstock_proto::catalog::v1::CreateApplicationRequest;

use super::show::print;
use crate::{
    client::Client,
    completion,
    failure::Failure,
    input::{TypeArgs, truth},
    output::Format,
};

/// Make an application that holds a version of an image
#[derive(Debug, clap::Args)]
#[command(visible_alias = "add")]
pub(super) struct CreateArgs {
    /// Its name
    name: String,

    /// Name, alias, id, or fingerprint of its image [default: the default image of --type]
    #[arg(value_name = "IMAGE", required_unless_present_any = ["image_type", "vm"], add = completion::images())]
    image: Option<String>,

    #[command(flatten)]
    image_type: TypeArgs,

    /// Number of the version to hold [default: the current one]
    #[arg(long = "version", value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    number: Option<i32>,

    /// Whether it moves to newer versions as its image does [default: true]
    #[arg(long, value_name = "BOOL", value_parser = truth)]
    auto_update: Option<bool>,
}

pub(super) async fn run(client: &Client, format: Format, args: CreateArgs) -> Result<(), Failure> {
    let request = CreateApplicationRequest {
        name: args.name,
        image: args.image.unwrap_or_default(),
        r#type: args.image_type.wire().into(),
        version: args.number,
        auto_update: args.auto_update,
    };
    let answer = client
        .call(client.applications().create_application(request))
        .await?;
    print(format, &answer.application.unwrap_or_default())
}
