//! Version constraints: the release that a remote's versions must be of (semantics §2.11).

use std::{fmt, str::FromStr};

/// `MAJOR.MINOR`: versions of that release count, patch releases included; all others do not. Compared
/// part by part as numbers: `1.30` is neither `1.3` nor `1.300`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersionConstraint {
    major: u64,
    minor: u64,
}

/// The text is no constraint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no version constraint: write it as MAJOR.MINOR, such as 1.30")]
pub struct InvalidConstraint(pub String);

impl VersionConstraint {
    /// Whether a version of this serial counts.
    pub fn admits(&self, serial: &str) -> bool {
        release(serial).is_some_and(|(found, rest)| {
            // `1.30x` is a name that nobody knows the order of.
            found == *self && !rest.starts_with(|next: char| next.is_ascii_alphabetic())
        })
    }
}

/// The release that the text begins with, and what follows.
fn release(text: &str) -> Option<(VersionConstraint, &str)> {
    let (major, rest) = number(text)?;
    let (minor, rest) = number(rest.strip_prefix('.')?)?;
    Some((VersionConstraint { major, minor }, rest))
}

fn number(text: &str) -> Option<(u64, &str)> {
    let end = text
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(text.len());
    Some((text[..end].parse().ok()?, &text[end..]))
}

impl FromStr for VersionConstraint {
    type Err = InvalidConstraint;

    fn from_str(text: &str) -> Result<Self, InvalidConstraint> {
        match release(text) {
            Some((constraint, "")) => Ok(constraint),
            _ => Err(InvalidConstraint(text.to_owned())),
        }
    }
}

impl fmt::Display for VersionConstraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_compare_as_numbers() {
        for (constraint, serial, admitted) in [
            ("1.30", "1.30.1-20260713113525.git79a5c5e", true),
            ("1.30", "1.30", true),
            ("1.30", "1.30.0", true),
            ("1.30", "1.30-1", true),
            ("1.30", "1.030.2", true),
            ("1.30", "1.31.0", false),
            ("1.30", "1.3.0", false),
            ("1.30", "1.300.0", false),
            ("1.30", "2.30.0", false),
            ("1.30", "1.30rc1", false),
            ("1.9", "1.10.0", false),
            ("1.10", "1.9.1", false),
            ("1.10", "1.10.0", true),
            ("1.1", "1.10.0", false),
            ("1.30", "20260101_0524", false),
            ("1.30", "latest", false),
            ("1.30", "", false),
            ("1.30", "99999999999999999999.30", false),
        ] {
            let parsed: VersionConstraint = constraint.parse().unwrap();
            assert_eq!(parsed.admits(serial), admitted, "{constraint} {serial}");
            assert_eq!(parsed.to_string(), constraint);
        }
    }

    #[test]
    fn a_constraint_is_major_and_minor() {
        for text in ["", "1", "1.", ".1", "1.30.1", "v1.30", "1.x", "1.30 ", "-1.3"] {
            assert!(text.parse::<VersionConstraint>().is_err(), "{text}");
        }
    }
}
