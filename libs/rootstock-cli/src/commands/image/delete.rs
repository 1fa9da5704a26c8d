//! `rootstock image delete` and `delete-version`.

use rootstock_proto::catalog::v1::{DeleteImageRequest, DeleteVersionRequest, Image};

use super::reference::{Reference, current, get};
use crate::{
    client::Client,
    completion,
    confirm::{self, ConfirmArgs},
    failure::Failure,
    input::TypeArgs,
    output::{self, Format},
};

const EXAMPLES: &str = "\
Examples:
  rootstock image delete base old-base
  rootstock image delete base --version 3      one version; the others stay
  rootstock image delete alpine/3.24 --force   a synced image: it stays deleted until it is added again

Applications keep the version that they hold; the bytes of what is deleted stay readable for
images.deletion_grace.";

/// Delete images, or one version of an image
#[derive(Debug, clap::Args)]
#[command(visible_aliases = ["rm", "remove"], after_help = EXAMPLES)]
pub(super) struct DeleteArgs {
    /// Name, alias, id, or fingerprint (or at least 12 characters of one)
    #[arg(value_name = "IMAGE", required = true, add = completion::images())]
    images: Vec<String>,

    #[command(flatten)]
    image_type: TypeArgs,

    /// Only this version, by its number
    #[arg(short = 'v', long = "version", value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    #[arg(conflicts_with = "force")]
    number: Option<i32>,

    /// Also if it is immutable, as what comes from a remote is
    #[arg(short, long)]
    force: bool,

    #[command(flatten)]
    confirm: ConfirmArgs,

    /// Only if the image's etag is still this one, as "image show" has it
    #[arg(long, value_name = "ETAG")]
    etag: Option<String>,
}

/// Delete one version of an image
#[derive(Debug, clap::Args)]
pub(super) struct DeleteVersionArgs {
    #[command(flatten)]
    reference: Reference,

    /// The version's number
    #[arg(value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    number: i32,

    #[command(flatten)]
    confirm: ConfirmArgs,

    /// Only if the image's etag is still this one, as "image show" has it
    #[arg(long, value_name = "ETAG")]
    etag: Option<String>,
}

pub(super) async fn run(client: &Client, args: DeleteArgs) -> Result<(), Failure> {
    if args.images.len() > 1 && (args.number.is_some() || args.etag.is_some()) {
        return Err(Failure::usage("--version and --etag are for one image at a time"));
    }
    let etag = args.etag.unwrap_or_default();
    // All are looked up before any goes: a name that is mistyped stops it all.
    let mut images: Vec<Image> = Vec::new();
    for reference in &args.images {
        let image = get(client, reference, args.image_type.wire()).await?;
        if images.iter().all(|known| known.id != image.id) {
            images.push(image);
        }
    }
    if let (Some(number), [image]) = (args.number, images.as_slice()) {
        let image = delete_version(client, image, number, args.confirm, etag).await?;
        output::note(&deleted_version(&image, number));
        return Ok(());
    }
    let names: Vec<_> = images.iter().map(|image| image.name.clone()).collect();
    let what = if names.len() == 1 { "image" } else { "images" };
    confirm::removal(args.confirm, what, &names)?;
    for image in images {
        let request = DeleteImageRequest {
            image: image.id,
            force: args.force,
            etag: etag.clone(),
            ..DeleteImageRequest::default()
        };
        client.call(client.images().delete_image(request)).await?;
        output::note(&format!("deleted image {}", image.name));
    }
    Ok(())
}

pub(super) async fn version(client: &Client, format: Format, args: DeleteVersionArgs) -> Result<(), Failure> {
    let image = args.reference.get(client).await?;
    let etag = args.etag.unwrap_or_default();
    let image = delete_version(client, &image, args.number, args.confirm, etag).await?;
    output::print(format, &image, |_| {
        format!("{}\n", deleted_version(&image, args.number))
    })
}

/// Asks, and deletes; what remains.
async fn delete_version(
    client: &Client,
    image: &Image,
    number: i32,
    confirm: ConfirmArgs,
    etag: String,
) -> Result<Image, Failure> {
    confirm::removal(
        confirm,
        "image version",
        &[format!("{} version {number}", image.name)],
    )?;
    let request = DeleteVersionRequest {
        image: image.id.clone(),
        version: number,
        etag,
        ..DeleteVersionRequest::default()
    };
    let answer = client.call(client.images().delete_version(request)).await?;
    Ok(answer.image.unwrap_or_default())
}

fn deleted_version(image: &Image, number: i32) -> String {
    format!(
        "deleted version {number} of {}; it shows {} now",
        image.name,
        current(image)
    )
}
