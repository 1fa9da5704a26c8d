//! `UpdateImage`: the fields that a mask names.

use rootstock_proto::{
    Error, Refusal,
    catalog::v1::{self as wire, ChangeOperation, UpdateImageRequest},
    convert,
    update::Mask,
};
use time::OffsetDateTime;

use super::subject;
use crate::{
    Catalog,
    change::Writer,
    failure::Failure,
    queries::images::{self, Update},
    request,
};

/// Changes an image; answers it as it is now.
pub(super) async fn image(catalog: &Catalog, request: UpdateImageRequest) -> Result<wire::Image, Failure> {
    let wanted = request.image.unwrap_or_default();
    if wanted.id.is_empty() {
        return Err(Error::invalid("image.id", "is required: say which image to change").into());
    }
    let mask = Mask::read(request.update_mask)?;
    let update = changes(&wanted, &mask)?;
    let mut writer = Writer::begin(&catalog.pool).await?;
    let image = subject::find(
        &mut writer,
        &wanted.id,
        wire::ImageType::Unspecified,
        &wanted.etag,
    )
    .await?;
    if image.immutable && update.properties.is_some() {
        let message = format!(
            "changing properties of {:?} is not allowed: it comes from a remote and is immutable; add an image of your \
             own that takes its versions (`rootstock image add`)",
            image.name
        );
        return Err(Error::refused(Refusal::Immutable, message).into());
    }
    if images::update(writer.connection(), &image.id, &update).await? {
        writer.image(&image.id, ChangeOperation::Updated);
        tracing::info!(image.name = image.name, fields = ?mask.paths(), "image changed");
    }
    subject::commit(catalog, writer, &image.id).await
}

fn changes(wanted: &wire::Image, mask: &Mask<wire::Image>) -> Result<Update, Error> {
    let mut update = Update {
        public: mask.names("public").then_some(wanted.public),
        auto_update: mask.names("auto_update").then_some(wanted.auto_update),
        ..Update::default()
    };
    if mask.names("expires_at") {
        update.expires_at = Some(expires_at(wanted)?);
    }
    if mask.names("properties") {
        let given = wanted.properties.clone().into_iter().collect();
        request::check_properties("image.properties", &given)?;
        update.properties = Some(given);
    }
    Ok(update)
}

/// Unset: as the remote has it, or never.
fn expires_at(wanted: &wire::Image) -> Result<Option<OffsetDateTime>, Error> {
    let Some(expires_at) = &wanted.expires_at else {
        return Ok(None);
    };
    let moment = convert::moment(expires_at);
    moment
        .map(Some)
        .ok_or_else(|| Error::invalid("image.expires_at", "is no moment of the calendar"))
}
