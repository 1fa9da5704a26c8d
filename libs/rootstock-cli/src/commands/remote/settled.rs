//! After the transfers: the last step between stored blobs and active versions.
//!
//! A version whose blobs are all here may still wait for its fingerprint to be computed, which no
//! transfer shows.

use std::collections::{BTreeMap, BTreeSet};

use rootstock_proto::catalog::v1::{
    GetImageRequest, Image, ListImagesRequest, Plan, PlanAction, Status, Version,
};
use tokio::time::sleep;

use crate::{client::Client, failure::Failure, transfers::LOOK_AGAIN};

/// Waits until no version of the remote waits any more: of the images that the plan fetches, and of
/// those that wait for an earlier one.
///
/// # Errors
/// A version that was to be fetched is in error; the server's.
pub(super) async fn wait(client: &Client, remote: &str, plan: &Plan) -> Result<(), Failure> {
    let mut images: BTreeMap<(String, i32), BTreeSet<&str>> = BTreeMap::new();
    for step in plan
        .steps
        .iter()
        .filter(|step| step.action() == PlanAction::Fetch)
    {
        images
            .entry((step.image.clone(), step.r#type))
            .or_default()
            .insert(&step.serial);
    }
    for image in queued_images(client, remote).await? {
        images.entry((image.name, image.r#type)).or_default();
    }
    for ((name, image_type), fetched) in images {
        let request = GetImageRequest {
            image: name,
            r#type: image_type,
        };
        loop {
            let image = get(client, &request).await?;
            let lost = |version: &&Version| {
                version.status() == Status::Error && fetched.contains(version.serial.as_str())
            };
            if let Some(version) = image.versions.iter().find(lost) {
                return Err(Failure::failed(format!(
                    "version {} of {} cannot be had: {}",
                    version.number, image.name, version.error_message
                )));
            }
            if image
                .versions
                .iter()
                .all(|version| version.status() != Status::Queued)
            {
                break;
            }
            sleep(LOOK_AGAIN).await;
        }
    }
    Ok(())
}

async fn get(client: &Client, request: &GetImageRequest) -> Result<Image, Failure> {
    let answer = client
        .patiently(|| {
            let (mut images, request) = (client.images(), request.clone());
            async move { images.get_image(request).await }
        })
        .await?;
    Ok(answer.into_inner().image.unwrap_or_default())
}

async fn queued_images(client: &Client, remote: &str) -> Result<Vec<Image>, Failure> {
    let request = ListImagesRequest {
        remote: remote.to_owned(),
        status: Status::Queued.into(),
        ..ListImagesRequest::default()
    };
    client
        .list(&request, async |request| {
            client.images().list_images(request).await
        })
        .await
}
