//! `SwitchDefaultImage`: the default can be moved, not cleared.

use rootstock_proto::{
    Error, Refusal,
    catalog::v1::{self as wire, ChangeOperation, SwitchDefaultImageRequest},
};

use super::subject;
use crate::{Catalog, change::Writer, failure::Failure, queries::images, request::image_type};

/// Makes an image the default of its type; answers it.
pub(super) async fn switch(
    catalog: &Catalog,
    request: SwitchDefaultImageRequest,
) -> Result<wire::Image, Failure> {
    let mut writer = Writer::begin(&catalog.pool).await?;
    let image = subject::find(&mut writer, &request.image, request.r#type(), "").await?;
    if image.current_version.is_none() {
        let message = format!(
            "{:?} cannot be the default: it has no active version; fetch it first (`rootstock image fetch`)",
            image.name
        );
        return Err(Error::refused(Refusal::NotActive, message).into());
    }
    // Who asks now means now: what was to become the default later no longer is.
    let image_type = image_type(image.r#type()).map_or("", rootstock_model::ImageType::as_str);
    images::forget_wanted_defaults(writer.connection(), image_type).await?;
    if !image.default {
        for id in images::set_default(writer.connection(), &image.id).await? {
            writer.image(&id, ChangeOperation::Updated);
        }
        tracing::info!(
            image.name = image.name,
            image.r#type = image_type,
            "default switched"
        );
    }
    subject::commit(catalog, writer, &image.id).await
}
