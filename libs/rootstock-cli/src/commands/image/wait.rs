//! Waiting until a version is stored.

use rootstock_proto::catalog::v1::{GetImageRequest, Image, ListTransfersRequest, Status, Version};
use tokio::time::sleep;

use crate::{
    client::Client,
    failure::Failure,
    interrupt::or_interrupted,
    transfers::{self, LOOK_AGAIN},
};

/// Waits until a version is stored, showing how its transfers come along; the image as it is then.
///
/// # Errors
/// It cannot be had, which of its transfers failed (`again` is what tries them again), that the user did not want to
/// wait; the server's.
pub(super) async fn stored(
    client: &Client,
    image_id: &str,
    number: Option<i32>,
    again: &str,
) -> Result<Image, Failure> {
    let goes_on = format!(
        "no longer waiting; the transfer goes on by itself: \"rootstock image show {image_id}\" tells how it stands"
    );
    or_interrupted(follow(client, image_id, number, again), &goes_on).await
}

async fn follow(client: &Client, image_id: &str, number: Option<i32>, again: &str) -> Result<Image, Failure> {
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
        let Some(version) = version(&image, number) else {
            return Err(Failure::failed(format!(
                "the version of {} was removed meanwhile",
                image.name
            )));
        };
        match version.status() {
            Status::Active => return Ok(image),
            Status::Error => {
                return Err(Failure::failed(format!(
                    "version {} of {} cannot be had: {}",
                    version.number, image.name, version.error_message
                )));
            }
            _ if failed.is_empty() => {}
            _ => return Err(transfers::failure(&failed, again)),
        }
        sleep(LOOK_AGAIN).await;
    }
}

/// That with the number, or the newest.
pub(super) fn version(image: &Image, number: Option<i32>) -> Option<&Version> {
    image
        .versions
        .iter()
        .find(|version| number.is_none_or(|number| version.number == number))
}
