//! `rootstock image add`.

use std::path::Path;

use rootstock_proto::catalog::v1::{AddImageRequest, Image};

use super::wait;
use crate::{
    client::Client,
    completion,
    failure::Failure,
    human,
    input::{TypeArgs, pair, truth},
    output::{self, Format},
    word::Word as _,
};

const EXAMPLES: &str = "\
Examples:
  A name of your own that follows the newest Debian 12:
    rootstock image add base debian/12

  One that stays at a release:
    rootstock image add anbox jammy:android13:arm64@1.18.0 --wait

  Your own properties, and the default for those that name no image:
    rootstock image add lab debian/12 --property requirements.nesting=true --default";

/// Add an image of your own, made of a product that a remote offers
///
/// It is mutable, bears its own name and shares its bytes with the synced image. Without a release it follows the newest
/// version, with one it stays at that.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct AddArgs {
    /// The new image's name
    name: String,

    /// A product's name, or an alias that a remote gives; after @, the version's serial or what it begins with
    #[arg(value_name = "SOURCE[@RELEASE]", add = completion::images())]
    source: String,

    /// The remote, where several have the product
    #[arg(long, value_name = "NAME", add = completion::remotes())]
    remote: Option<String>,

    #[command(flatten)]
    image_type: TypeArgs,

    /// Whether it follows newer versions [default: true without a release, false with one]
    #[arg(long, value_name = "BOOL", value_parser = truth)]
    auto_update: Option<bool>,

    /// Do not show it at the edge
    #[arg(long)]
    private: bool,

    /// A property, over that of the product; may be given several times
    #[arg(long = "property", value_name = "KEY=VALUE", value_parser = pair)]
    properties: Vec<(String, String)>,

    /// An alias to point to it; may be given several times
    #[arg(long = "alias", value_name = "NAME")]
    aliases: Vec<String>,

    /// Make it the default of its type, once it is active
    #[arg(short, long)]
    default: bool,

    /// Wait until it is stored; fails when it cannot be
    #[arg(long)]
    wait: bool,
}

pub(super) async fn run(client: &Client, format: Format, args: AddArgs) -> Result<(), Failure> {
    if Path::new(&args.source).is_file() {
        return Err(Failure::usage(format!(
            "{} is a file; this adds what a remote offers: \"rootstock image import\" takes files",
            args.source
        )));
    }
    let (source, release) = args.source.split_once('@').unwrap_or((&args.source, ""));
    let request = AddImageRequest {
        name: args.name,
        source: source.to_owned(),
        remote: args.remote.unwrap_or_default(),
        release: release.to_owned(),
        r#type: args.image_type.wire().into(),
        auto_update: args.auto_update,
        public: args.private.then_some(false),
        properties: args.properties.into_iter().collect(),
        aliases: args.aliases,
        default: args.default,
    };
    let answer = client.call(client.images().add_image(request)).await?;
    let mut image = answer.image.unwrap_or_default();
    if args.wait {
        let again = format!("rootstock image fetch {}", image.name);
        image = wait::stored(client, &image.id, None, &again).await?;
    }
    output::print(format, &image, |_| line(&image, args.wait))
}

fn line(image: &Image, waited: bool) -> String {
    let Some(version) = wait::version(image, None) else {
        return format!("added {}\n", image.name);
    };
    let status = version.status().word();
    let hint = if waited || image.current_version.is_some() {
        String::new()
    } else {
        format!(
            "; \"rootstock image show {}\" tells how it comes along",
            image.name
        )
    };
    format!(
        "added {}: version {} ({}, {}) is {status}{hint}\n",
        image.name,
        version.number,
        version.serial,
        human::size(version.size_bytes)
    )
}
