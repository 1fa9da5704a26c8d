//! What requests have in common: pages, and references to images.

use rootstock_model::{
    Architecture, ImageType,
    reference::{self, Narrowing, Reference},
};
use rootstock_proto::{Error, Refusal, ResourceKind, catalog::v1 as wire};
use sqlx::PgConnection;

use crate::{
    failure::Failure,
    queries::resolve::{self, Found},
};

/// The number of rows that a page may have.
///
/// # Errors
/// `INVALID_ARGUMENT` when it is negative or over 1000.
pub(crate) fn page_size(page_size: i32) -> Result<i64, Error> {
    match page_size {
        0 => Ok(100),
        1..=1000 => Ok(page_size.into()),
        _ => Err(Error::invalid(
            "page_size",
            format!("is {page_size}; it may be 1 to 1000, or 0 for 100"),
        )),
    }
}

/// Where a page begins: the key parts of the row before it. They are joined by a character that no
/// key holds.
#[derive(Debug, Default)]
pub(crate) struct PageStart(Vec<String>);

const SEPARATOR: char = '\u{1f}';

impl PageStart {
    /// Reads a token of as many parts; empty parts for the first page.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` when it is none that was given out.
    pub(crate) fn parse(token: &str, parts: usize) -> Result<Self, Error> {
        if token.is_empty() {
            return Ok(Self(vec![String::new(); parts]));
        }
        let found: Vec<String> = token.split(SEPARATOR).map(str::to_owned).collect();
        if found.len() == parts {
            Ok(Self(found))
        } else {
            Err(Error::invalid(
                "page_token",
                "is none that was given out; ask for the first page without one",
            ))
        }
    }

    /// A part.
    pub(crate) fn part(&self, index: usize) -> &str {
        self.0.get(index).map_or("", String::as_str)
    }

    /// The token that says: after this row.
    pub(crate) fn after(parts: &[&str]) -> String {
        parts.join(&SEPARATOR.to_string())
    }
}

/// Drops the row that was read only to know whether there is another page; true when there is.
pub(crate) fn has_next<T>(rows: &mut Vec<T>, limit: i64) -> bool {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = rows.len() > limit;
    rows.truncate(limit);
    more
}

/// An image type that a request may leave open.
pub(crate) fn image_type(image_type: wire::ImageType) -> Option<ImageType> {
    image_type.into()
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
    if reference.is_empty() {
        return Err(Error::invalid("image", "is required: an id, a name, an alias or a fingerprint").into());
    }
    let narrowing = Narrowing {
        image_type: wanted,
        architecture: None,
    };
    let mut found = find(connection, reference, narrowing, None).await?;
    // A fingerprint may be that of several versions of one image.
    found.dedup_by(|a, b| a.image.id == b.image.id);
    match found.len() {
        0 => Err(Error::not_found(ResourceKind::Image, reference).into()),
        1 => Ok(found.swap_remove(0).image),
        _ => Err(ambiguous(reference, found.iter().map(|found| &found.image)).into()),
    }
}

/// What a reference means, narrowed: several when it is ambiguous, those of one image together.
pub(crate) async fn find(
    connection: &mut PgConnection,
    reference: &str,
    narrowing: Narrowing,
    version: Option<i32>,
) -> Result<Vec<Found>, Failure> {
    let found = resolve::find(connection, &Reference::parse(reference), version).await?;
    let candidates: Vec<_> = found.iter().map(|found| found.candidate).collect();
    let chosen = reference::choose(&candidates, narrowing);
    let found = found.into_iter().enumerate();
    Ok(found
        .filter(|(position, _)| chosen.contains(position))
        .map(|(_, found)| found)
        .collect())
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

/// A glob of `*` and `?` as a LIKE pattern.
pub(crate) fn like_pattern(glob: &str) -> String {
    let mut pattern = String::with_capacity(glob.len() + 4);
    for character in glob.chars() {
        match character {
            '*' => pattern.push('%'),
            '?' => pattern.push('_'),
            '%' | '_' | '\\' => pattern.extend(['\\', character]),
            other => pattern.push(other),
        }
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_read_back_and_strangers_are_refused() {
        let start = PageStart::parse(&PageStart::after(&["a:b", "container"]), 2).unwrap();
        assert_eq!((start.part(0), start.part(1)), ("a:b", "container"));
        assert_eq!(PageStart::parse("", 2).unwrap().part(1), "");
        assert!(PageStart::parse("nonsense", 2).is_err());
    }

    #[test]
    fn globs_are_patterns_and_nothing_else_is_special() {
        assert_eq!(like_pattern("a*b?_c%"), r"a%b_\_c\%");
    }
}
