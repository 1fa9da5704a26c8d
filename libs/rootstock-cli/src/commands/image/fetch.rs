//! `rootstock image fetch`.

use rootstock_proto::catalog::v1::{FetchImageRequest, Image};

use super::{reference::Reference, wait};
use crate::{
    client::Client,
    failure::Failure,
    human,
    output::{self, Format},
    word::Word as _,
};

/// Bring an image that is available on its remote into the store
#[derive(Debug, clap::Args)]
#[command(visible_alias = "sync")]
pub(super) struct FetchArgs {
    #[command(flatten)]
    reference: Reference,

    /// Number of the version [default: the newest that is available]
    #[arg(long = "version", value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    number: Option<i32>,

    /// Let the gateway show it to everyone; what was fetched from an on-demand remote is private otherwise
    #[arg(long)]
    public: bool,

    /// Wait until it is stored; fails when it cannot be
    #[arg(long)]
    wait: bool,
}

pub(super) async fn run(client: &Client, format: Format, args: FetchArgs) -> Result<(), Failure> {
    let request = FetchImageRequest {
        r#type: args.reference.image_type.wire().into(),
        image: args.reference.image,
        version: args.number,
        public: args.public.then_some(true),
    };
    let answer = client.call(client.images().fetch_image(request)).await?;
    let (mut image, number) = (answer.image.unwrap_or_default(), answer.version);
    if args.wait {
        let again = format!("rootstock image fetch {}", image.name);
        image = wait::stored(client, &image.id, Some(number), &again).await?;
    }
    output::print(format, &image, |_| line(&image, number))
}

fn line(image: &Image, number: i32) -> String {
    let Some(version) = wait::version(image, Some(number)) else {
        return format!("version {number} of {} is not there any more\n", image.name);
    };
    let status = version.status().word();
    let size = human::size(version.size_bytes);
    let mut line = format!(
        "version {number} of {} ({}, {size}) is {status}\n",
        image.name, version.serial
    );
    if image.cached && !image.public {
        let name = &image.name;
        line.push_str(&format!(
            "it is private: \"rootstock image update {name} --public\" has the gateway show it\n"
        ));
    }
    line
}
