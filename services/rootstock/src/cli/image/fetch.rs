//! `rootstock image fetch`.

use rootstock_proto::catalog::v1::{
    FetchImageRequest, GetImageRequest, Image, ListTransfersRequest, Status, Version,
};
use tokio::time::sleep;

use super::Reference;
use crate::cli::{
    Failure,
    client::Client,
    human,
    interrupt::or_interrupted,
    output::{self, Format},
    record::{self, ImageRecord},
    transfers::{self, LOOK_AGAIN},
};

/// Bring an image that is available on its remote into the store
#[derive(Debug, clap::Args)]
pub(super) struct FetchArgs {
    #[command(flatten)]
    reference: Reference,

    /// Number of the version [default: the newest that is available]
    #[arg(long = "version", value_name = "N")]
    number: Option<i32>,

    /// Wait until it is stored; fails when it cannot be
    #[arg(long)]
    wait: bool,
}

pub(super) async fn run(client: &Client, format: Format, args: FetchArgs) -> Result<(), Failure> {
    let request = FetchImageRequest {
        r#type: args.reference.image_type().into(),
        image: args.reference.image,
        version: args.number,
    };
    let answer = client
        .images()
        .fetch_image(request)
        .await
        .map_err(|status| client.failure(&status))?;
    let answer = answer.into_inner();
    let (mut image, number) = (answer.image.unwrap_or_default(), answer.version);
    if args.wait {
        let goes_on = format!(
            "no longer waiting; the transfer goes on by itself: \"rootstock image show {}\" tells how it stands",
            image.id
        );
        image = or_interrupted(stored(client, &image.id, number), &goes_on).await?;
    }
    output::print(format, &ImageRecord::whole(image.clone()), |_| {
        line(&image, number)
    })
}

/// Waits until the version is stored; the image as it is then.
async fn stored(client: &Client, image_id: &str, number: i32) -> Result<Image, Failure> {
    let transfers = ListTransfersRequest {
        image_id: image_id.to_owned(),
        ..ListTransfersRequest::default()
    };
    loop {
        let failed = transfers::follow(client, &transfers).await?.failed;
        let request = GetImageRequest {
            image: image_id.to_owned(),
            ..GetImageRequest::default()
        };
        let answer = client
            .patiently(|| {
                let (mut images, request) = (client.images(), request.clone());
                async move { images.get_image(request).await }
            })
            .await?;
        let image = answer.into_inner().image.unwrap_or_default();
        match version(&image, number).map(|version| (version.status(), version)) {
            Some((Status::Active, _)) => return Ok(image),
            Some((Status::Error, version)) => {
                return Err(Failure::failed(format!(
                    "version {number} of {} cannot be had: {}",
                    image.name, version.error_message
                )));
            }
            Some(_) if failed.is_empty() => {}
            Some(_) => {
                return Err(transfers::failure(
                    &failed,
                    &format!("rootstock image fetch {}", image.name),
                ));
            }
            None => {
                return Err(Failure::failed(format!(
                    "version {number} of {} was removed meanwhile",
                    image.name
                )));
            }
        }
        sleep(LOOK_AGAIN).await;
    }
}

fn version(image: &Image, number: i32) -> Option<&Version> {
    image.versions.iter().find(|version| version.number == number)
}

fn line(image: &Image, number: i32) -> String {
    let Some(version) = version(image, number) else {
        return format!("version {number} of {} is not there any more\n", image.name);
    };
    let status = record::status(version.status());
    let size = human::size(version.size_bytes);
    format!(
        "version {number} of {} ({}, {size}) is {status}\n",
        image.name, version.serial
    )
}
