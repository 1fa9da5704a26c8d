//! What requests have in common: references to images, and what is checked of several.

use std::collections::BTreeMap;

use rootstock_model::{
    Architecture, ImageType, NamePattern,
    limits::MAX_ALIASES,
    plan,
    properties::{self, InvalidProperty},
    reference::{self, Narrowing, Reference, ReferenceKind},
};
use rootstock_proto::{Error, FieldViolation, Refusal, ResourceKind, catalog::v1 as wire};
use sqlx::PgConnection;

use crate::{
    failure::Failure,
    queries::{
        images,
        resolve::{self, Found},
    },
};

/// An image type that a request may leave open.
pub(crate) fn image_type(image_type: wire::ImageType) -> Option<ImageType> {
    image_type.into()
}

/// A reference that must not be empty.
///
/// # Errors
/// `INVALID_ARGUMENT` when it is.
pub(crate) fn required(reference: &str) -> Result<&str, Error> {
    match reference {
        "" => Err(Error::invalid(
            "image",
            "is required: an id, a name, an alias or a fingerprint",
        )),
        reference => Ok(reference),
    }
}

/// The image that a request names by id, name, alias or fingerprint.
///
/// # Errors
/// `NOT_FOUND`; `FAILED_PRECONDITION` (AMBIGUOUS) that lists the candidates.
pub(crate) async fn find_image(
    connection: &mut PgConnection,
    reference: &str,
    wanted: Option<ImageType>,
) -> Result<wire::Image, Failure> {
    let narrowing = Narrowing {
        image_type: wanted,
        architecture: None,
    };
    let found = resolve::find(connection, &Reference::parse(required(reference)?), None).await?;
    let mut found = narrow(found, narrowing);
    // A fingerprint may be that of several versions of one image.
    found.dedup_by(|a, b| a.image.id == b.image.id);
    match found.len() {
        0 => Err(Error::not_found(ResourceKind::Image, reference).into()),
        1 => Ok(found.swap_remove(0).image),
        _ => Err(ambiguous(reference, found.iter().map(|found| &found.image)).into()),
    }
}

/// What a reference means: one image, or the default of a type, and of it the version that would be used.
/// A fingerprint and a pinned alias name a version as well ([`Found::pinned`]).
///
/// # Errors
/// As [`meant`].
pub(crate) async fn find_version(
    connection: &mut PgConnection,
    reference: &str,
    narrowing: Narrowing,
    version: Option<i32>,
) -> Result<Found, Failure> {
    let found = resolve::find(connection, &Reference::parse(reference), version).await?;
    Ok(meant(reference, narrowing, version, found)?)
}

/// The one of what a reference may mean that it means.
///
/// # Errors
/// `INVALID_ARGUMENT` where neither image nor type is named, and for a fingerprint with the number of another
/// version; `NOT_FOUND`; `FAILED_PRECONDITION` (AMBIGUOUS) that lists the candidates.
pub(crate) fn meant(
    reference: &str,
    narrowing: Narrowing,
    version: Option<i32>,
    found: Vec<Found>,
) -> Result<Found, Error> {
    if reference.is_empty() && narrowing.image_type.is_none() {
        let what = "is required when no image is named: the default image is one of each type";
        return Err(Error::invalid("type", what));
    }
    let found = choose(reference, narrowing, version, narrow(found, narrowing))?;
    match (found.candidate.kind, version, found.pinned) {
        (ReferenceKind::Fingerprint, Some(number), Some(pinned)) if number != pinned => {
            let what = format!("is {number}, and the fingerprint is that of version {pinned}");
            Err(Error::invalid("version", what))
        }
        _ => Ok(found),
    }
}

/// The one that is meant. A fingerprint is that of one content: which of several images or versions
/// that have it is answered makes no difference to what an instance is made of, so the first image
/// is, and of it what can be used, the newest if there are several.
fn choose(
    reference: &str,
    narrowing: Narrowing,
    version: Option<i32>,
    mut found: Vec<Found>,
) -> Result<Found, Error> {
    let by_fingerprint = found
        .iter()
        .all(|found| found.candidate.kind == ReferenceKind::Fingerprint);
    if by_fingerprint {
        if found.iter().any(|found| found.pinned == version) {
            found.retain(|found| found.pinned == version);
        }
        found.sort_by(|a, b| usability(b).cmp(&usability(a)).then_with(|| newest_first(a, b)));
        let fingerprint = |found: &Found| found.version.as_ref().map(|version| version.fingerprint.clone());
        let first = found.first().and_then(fingerprint);
        if found.iter().all(|found| fingerprint(found) == first) {
            found.truncate(1);
        }
    } else {
        found.dedup_by(|a, b| a.image.id == b.image.id);
    }
    match found.len() {
        0 if reference.is_empty() => {
            let name = format!("(the default {narrowing})");
            Err(Error::not_found(ResourceKind::Image, name))
        }
        0 => Err(Error::not_found(ResourceKind::Image, reference)),
        1 => Ok(found.swap_remove(0)),
        _ => Err(ambiguous(reference, found.iter().map(|found| &found.image))),
    }
}

fn usability(found: &Found) -> bool {
    let version = found.version.as_ref();
    version.is_some_and(|version| version.status() == wire::Status::Active && !version.hidden)
}

/// Images in the order of their making, versions from the newest on.
fn newest_first(a: &Found, b: &Found) -> std::cmp::Ordering {
    let key = |found: &Found| {
        let version = found.version.as_ref();
        version.map_or((0, String::new()), |version| {
            (version.number, version.serial.clone())
        })
    };
    let ((a_number, a_serial), (b_number, b_serial)) = (key(a), key(b));
    a.image
        .id
        .cmp(&b.image.id)
        .then_with(|| plan::order((b_number, &b_serial), (a_number, &a_serial)))
}

/// What a reference means, narrowed: several when it is ambiguous, those of one image together.
fn narrow(found: Vec<Found>, narrowing: Narrowing) -> Vec<Found> {
    let candidates: Vec<_> = found.iter().map(|found| found.candidate).collect();
    let chosen = reference::choose(&candidates, narrowing);
    let found = found.into_iter().enumerate();
    found
        .filter(|(position, _)| chosen.contains(position))
        .map(|(_, found)| found)
        .collect()
}

/// How many candidates an ambiguous reference is answered with.
const NAMED_CANDIDATES: usize = 10;

/// The refusal of a reference that fits several images.
pub(crate) fn ambiguous<'a>(reference: &str, images: impl Iterator<Item = &'a wire::Image>) -> Error {
    let candidates: Vec<_> = images
        .map(|image| {
            let image_type = image_type(image.r#type()).map_or("", ImageType::as_str);
            format!(
                "{} ({}, {image_type}, {})",
                image.id, image.name, image.architecture
            )
        })
        .collect();
    let more = if candidates.len() > NAMED_CANDIDATES {
        ", …"
    } else {
        ""
    };
    let named = &candidates[..candidates.len().min(NAMED_CANDIDATES)];
    let message = format!(
        "{reference:?} fits several images; say the type or the architecture, or use an id: {}{more}",
        named.join(", ")
    );
    Error::refused(Refusal::Ambiguous, message)
}

/// An architecture that a request may leave open, by any of its names.
///
/// # Errors
/// `INVALID_ARGUMENT` when it is none that is known.
pub(crate) fn architecture(name: &str) -> Result<Option<Architecture>, Error> {
    let parse = |error: rootstock_model::architecture::UnknownArchitecture| {
        Error::invalid("architecture", format!("{error}; x86_64 or aarch64, for example"))
    };
    match name {
        "" => Ok(None),
        name => name.parse().map(Some).map_err(parse),
    }
}

/// Checks properties that a request gives at `field`.
///
/// # Errors
/// `INVALID_ARGUMENT` that names the key.
pub(crate) fn check_properties(field: &str, given: &BTreeMap<String, String>) -> Result<(), Error> {
    properties::check(given).map_err(|invalid| invalid_property(field, invalid))
}

/// Checks how large properties are that come with content.
///
/// # Errors
/// `INVALID_ARGUMENT` that names the key.
pub(crate) fn check_property_sizes(field: &str, given: &BTreeMap<String, String>) -> Result<(), Error> {
    properties::check_size(given).map_err(|invalid| invalid_property(field, invalid))
}

fn invalid_property(field: &str, invalid: InvalidProperty) -> Error {
    let field = match invalid.key.as_str() {
        "" => field.to_owned(),
        key => format!("{field}[{key:?}]"),
    };
    let description = invalid.problem;
    Error::Invalid(vec![FieldViolation { field, description }])
}

/// Checks that what properties were merged into is within the limits too: what is given goes over what an
/// image has.
///
/// # Errors
/// `INVALID_ARGUMENT` that names `properties`.
pub(crate) async fn check_merged_properties(
    connection: &mut PgConnection,
    image_id: &str,
) -> Result<(), Failure> {
    let merged = images::properties(connection, image_id).await?;
    Ok(check_property_sizes("properties", &merged)?)
}

/// Checks how many aliases a request gives one image.
///
/// # Errors
/// `INVALID_ARGUMENT` when there are more than an image has.
pub(crate) fn check_alias_count(count: usize) -> Result<(), Error> {
    match count > MAX_ALIASES {
        true => {
            let problem = format!("are {count}; at most {MAX_ALIASES} can be made of an image: give fewer");
            Err(Error::invalid("aliases", problem))
        }
        false => Ok(()),
    }
}

/// The pattern that names must match; `None` when a request leaves it open.
///
/// # Errors
/// `INVALID_ARGUMENT` when it is none.
pub(crate) fn name_pattern(field: &str, text: &str) -> Result<Option<NamePattern>, Error> {
    match text {
        "" => Ok(None),
        text => text
            .parse()
            .map(Some)
            .map_err(|error| Error::invalid(field, error)),
    }
}

#[cfg(test)]
mod tests;
