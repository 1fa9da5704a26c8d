//! What requests have in common: pages, and references to images.

use rootstock_model::ImageType;
use rootstock_proto::{Error, Refusal, ResourceKind, catalog::v1 as wire};
use sqlx::PgConnection;

use crate::{failure::Failure, queries::images};

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
pub(crate) async fn find_image(
    connection: &mut PgConnection,
    reference: &str,
    wanted: Option<ImageType>,
) -> Result<wire::Image, Failure> {
    if reference.is_empty() {
        return Err(Error::invalid("image", "is required: an id, a name, an alias or a fingerprint").into());
    }
    let mut ids = images::find(connection, reference, wanted.map(ImageType::as_str)).await?;
    if let (true, Some((first, last))) = (ids.is_empty(), fingerprint_range(reference)) {
        ids = images::find_by_fingerprint(connection, &first, &last).await?;
    }
    let mut found = images::by_ids(connection, &ids).await?;
    if let Some(wanted) = wanted {
        found.retain(|image| image.r#type() == wanted.into());
    }
    // Clients try a container before a virtual machine of the same name.
    let containers = found
        .iter()
        .filter(|image| image.r#type() == wire::ImageType::Container)
        .count();
    if containers > 0 {
        found.retain(|image| image.r#type() == wire::ImageType::Container);
    }
    match found.len() {
        0 => Err(Error::not_found(ResourceKind::Image, reference).into()),
        1 => Ok(found.remove(0)),
        _ => {
            let candidates: Vec<_> = found
                .iter()
                .map(|image| format!("{} ({}, {})", image.id, image.name, image.architecture))
                .collect();
            let message = format!(
                "{reference:?} fits several images, use an id: {}",
                candidates.join(", ")
            );
            Err(Error::refused(Refusal::Ambiguous, message).into())
        }
    }
}

/// The first and last fingerprint that begin with this prefix of 12 to 64 hex characters.
fn fingerprint_range(prefix: &str) -> Option<([u8; 32], [u8; 32])> {
    if !(12..=64).contains(&prefix.len()) || !prefix.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let fill = |with: &str| {
        let full = format!("{prefix}{}", with.repeat(64 - prefix.len()));
        full.parse::<rootstock_model::Digest>()
            .ok()
            .map(|digest| *digest.as_bytes())
    };
    Some((fill("0")?, fill("f")?))
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
    fn prefixes_of_fingerprints_span_a_range() {
        let (first, last) = fingerprint_range("0123456789abc").unwrap();
        assert_eq!((first[6], last[6], last[31]), (0xc0, 0xcf, 0xff));
        assert_eq!(fingerprint_range("0123456789a"), None);
        assert_eq!(fingerprint_range("debian:bookworm"), None);
    }

    #[test]
    fn globs_are_patterns_and_nothing_else_is_special() {
        assert_eq!(like_pattern("a*b?_c%"), r"a%b_\_c\%");
    }
}
