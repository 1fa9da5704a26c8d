//! `rootstock image use`.

use rootstock_proto::catalog::v1::RecordImageUseRequest;

use super::reference::Reference;
use crate::{client::Client, failure::Failure};

/// Note that an image was used, which keeps a cached one from being dropped
#[derive(Debug, clap::Args)]
#[command(visible_alias = "touch")]
pub(super) struct UseArgs {
    #[command(flatten)]
    reference: Reference,
}

pub(super) async fn run(client: &Client, args: UseArgs) -> Result<(), Failure> {
    let request = RecordImageUseRequest {
        r#type: args.reference.image_type.wire().into(),
        image: args.reference.image,
    };
    client.call(client.images().record_image_use(request)).await?;
    Ok(())
}
