//! `rootstock image rollback` and `release`.

use rootstock_proto::catalog::v1::{Image, ReleaseImageRequest, RollbackImageRequest};
use time::OffsetDateTime;

use super::reference::{Reference, current};
use crate::{
    client::Client,
    failure::Failure,
    human,
    input::{When, when},
    output::{self, Format},
};

const EXAMPLES: &str = "\
Examples:
  rootstock image rollback debian/12 --reason 'DNS is broken'
  rootstock image rollback debian/12 --version 3 --reason 'as in production' --until 7d
  rootstock image release debian/12";

/// Hold an image at an older version
///
/// Newer ones, also those yet to come, are hidden from every view (the index, aliases, resolving, applications that
/// follow) until it is released or the time is over. They are stored all the same.
#[derive(Debug, clap::Args)]
#[command(visible_aliases = ["hold", "pin"], after_help = EXAMPLES)]
pub(super) struct RollbackArgs {
    #[command(flatten)]
    reference: Reference,

    /// Number of the version to show [default: the active one before the current one]
    #[arg(long = "version", value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    number: Option<i32>,

    /// Why, for those who find it held
    #[arg(long, value_name = "TEXT")]
    reason: String,

    /// When the hold ends by itself: a day, a moment (RFC 3339), or a time from now (7d) [default: when it is released]
    #[arg(long, value_name = "WHEN", value_parser = when)]
    until: Option<When>,

    /// Only if its etag is still this one, as "image show" has it
    #[arg(long, value_name = "ETAG")]
    etag: Option<String>,
}

/// End a hold: the newest active version is shown again
#[derive(Debug, clap::Args)]
#[command(visible_aliases = ["unhold", "unpin"])]
pub(super) struct ReleaseArgs {
    #[command(flatten)]
    reference: Reference,
}

pub(super) async fn rollback(client: &Client, format: Format, args: RollbackArgs) -> Result<(), Failure> {
    let request = RollbackImageRequest {
        r#type: args.reference.image_type.wire().into(),
        image: args.reference.image,
        version: args.number,
        reason: args.reason,
        until: args.until.map(|when| when.seen_from(OffsetDateTime::now_utc())),
        etag: args.etag.unwrap_or_default(),
    };
    let answer = client.call(client.images().rollback_image(request)).await?;
    let image = answer.image.unwrap_or_default();
    output::print(format, &image, |_| held(&image))
}

pub(super) async fn release(client: &Client, format: Format, args: ReleaseArgs) -> Result<(), Failure> {
    let request = ReleaseImageRequest {
        r#type: args.reference.image_type.wire().into(),
        image: args.reference.image,
    };
    let answer = client.call(client.images().release_image(request)).await?;
    let image = answer.image.unwrap_or_default();
    output::print(format, &image, |_| {
        format!("{} is not held; it shows {}\n", image.name, current(&image))
    })
}

fn held(image: &Image) -> String {
    let until = image.hold.as_ref().and_then(|hold| hold.until.as_ref());
    let end = match until {
        Some(until) => format!("until {}", human::minute(Some(until))),
        None => format!("until \"rootstock image release {}\"", image.name),
    };
    format!("{} is held at {} {end}\n", image.name, current(image))
}
