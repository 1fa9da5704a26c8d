//! `rootstock image switch`.

use rootstock_proto::catalog::v1::SwitchDefaultImageRequest;

use super::reference::{Reference, current};
use crate::{
    client::Client,
    failure::Failure,
    output::{self, Format},
    word::Word as _,
};

/// Make an image the default of its type
///
/// The default is what those get that name no image. It can be moved, not cleared.
#[derive(Debug, clap::Args)]
pub(super) struct SwitchArgs {
    #[command(flatten)]
    reference: Reference,
}

pub(super) async fn run(client: &Client, format: Format, args: SwitchArgs) -> Result<(), Failure> {
    let request = SwitchDefaultImageRequest {
        r#type: args.reference.image_type.wire().into(),
        image: args.reference.image,
    };
    let answer = client.call(client.images().switch_default_image(request)).await?;
    let image = answer.image.unwrap_or_default();
    output::print(format, &image, |_| {
        format!(
            "{} is the default {} now, with {}\n",
            image.name,
            image.r#type().word(),
            current(&image)
        )
    })
}
