//! Images as users name them.

use rootstock_proto::catalog::v1::{self as wire, GetImageRequest, Image};

use crate::{client::Client, completion, failure::Failure, input::TypeArgs, word::Word as _};

/// An image as users name it.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Reference {
    /// Name, alias, id, or fingerprint (or at least 12 characters of one)
    #[arg(value_name = "IMAGE", add = completion::images())]
    pub(crate) image: String,

    #[command(flatten)]
    pub(crate) image_type: TypeArgs,
}

impl Reference {
    /// The image, with its versions.
    ///
    /// # Errors
    /// The server's.
    pub(crate) async fn get(&self, client: &Client) -> Result<Image, Failure> {
        get(client, &self.image, self.image_type.wire()).await
    }
}

/// An image, with its versions.
///
/// # Errors
/// The server's.
pub(crate) async fn get(client: &Client, image: &str, image_type: wire::ImageType) -> Result<Image, Failure> {
    let request = GetImageRequest {
        image: image.to_owned(),
        r#type: image_type.into(),
    };
    let answer = client.call(client.images().get_image(request)).await?;
    Ok(answer.image.unwrap_or_default())
}

/// A line on the version that clients get.
pub(crate) fn current(image: &Image) -> String {
    let version = image
        .versions
        .iter()
        .find(|version| Some(version.number) == image.current_version);
    match version {
        Some(version) => format!("version {} ({})", version.number, version.serial),
        None => format!("no version yet ({})", image.status().word()),
    }
}
