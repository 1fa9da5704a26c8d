//! What was left out of a remote's offer, and why: one bad thing never spoils its neighbours, and
//! never goes without a word.

use std::fmt;

/// Something a remote offers that the catalog does not take.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeftOut {
    /// The product, as the index spells it; empty when the matter is the index itself, and then `item`
    /// is the name of its entry.
    pub product: String,
    /// The version's serial; empty when the whole product is left out.
    pub serial: String,
    /// The item's key, or the name of the tag that is left out (`aliases`); empty when the whole version
    /// or product is.
    pub item: String,
    /// The rule that left it out.
    pub reason: Reason,
    /// What exactly was wrong, for people.
    pub message: String,
}

/// The rule that left something out. Stable: users filter and alert by these names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// A field is missing, or not of the type or form it must have.
    Malformed,
    /// A path that is absolute, leaves the tree, or is not a plain relative path.
    UnsafePath,
    /// No SHA-256 to verify the bytes by.
    Unverifiable,
    /// The architecture is none that clients know.
    UnknownArchitecture,
    /// The product or version holds no image that an instance can be made from.
    NotAnInstanceImage,
    /// A rule of the remote's selection.
    NotSelected,
    /// Older than the versions that the remote keeps.
    BeyondKeepVersions,
    /// Of another release than the remote's version constraint says.
    BeyondVersionConstraint,
    /// The name or alias belongs to another image.
    NameTaken,
    /// An operator deleted the image; it stays deleted until it is added again.
    Ignored,
}

impl Reason {
    /// All reasons.
    pub const ALL: [Self; 10] = [
        Self::Malformed,
        Self::UnsafePath,
        Self::Unverifiable,
        Self::UnknownArchitecture,
        Self::NotAnInstanceImage,
        Self::NotSelected,
        Self::BeyondKeepVersions,
        Self::BeyondVersionConstraint,
        Self::NameTaken,
        Self::Ignored,
    ];

    /// The stable name, e.g. `unsafe-path`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::UnsafePath => "unsafe-path",
            Self::Unverifiable => "unverifiable",
            Self::UnknownArchitecture => "unknown-architecture",
            Self::NotAnInstanceImage => "not-an-instance-image",
            Self::NotSelected => "not-selected",
            Self::BeyondKeepVersions => "beyond-keep-versions",
            Self::BeyondVersionConstraint => "beyond-version-constraint",
            Self::NameTaken => "name-taken",
            Self::Ignored => "ignored",
        }
    }

    /// Reads the stable name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == name)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
