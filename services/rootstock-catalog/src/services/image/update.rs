//! `UpdateImage`: the fields that a mask names.

use rootstock_proto::{
    Error, Refusal,
    catalog::v1::{self as wire, ChangeOperation, UpdateImageRequest},
    convert,
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
    let paths = request.update_mask.unwrap_or_default().paths;
    let update = parse(&wanted, &paths)?;
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
        tracing::info!(image.name = image.name, fields = ?paths, "image changed");
    }
    subject::commit(catalog, writer, &image.id).await
}

fn parse(wanted: &wire::Image, paths: &[String]) -> Result<Update, Error> {
    if paths.is_empty() {
        return Err(Error::invalid(
            "update_mask",
            "is required: say which fields to change",
        ));
    }
    let mut update = Update::default();
    for (index, path) in paths.iter().enumerate() {
        match path.as_str() {
            "public" => update.public = Some(wanted.public),
            "auto_update" => update.auto_update = Some(wanted.auto_update),
            "expires_at" => update.expires_at = Some(expires_at(wanted)?),
            "properties" => {
                let given = wanted.properties.clone().into_iter().collect();
                request::check_properties("image.properties", &given)?;
                update.properties = Some(given);
            }
            other => {
                let problem = format!(
                    "{other:?} cannot be changed; public, auto_update, expires_at and properties can"
                );
                return Err(Error::invalid(format!("update_mask.paths[{index}]"), problem));
            }
        }
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
