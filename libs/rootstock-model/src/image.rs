//! Images and their versions: type and status.

use std::{fmt, str::FromStr};

/// What an instance made from the image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageType {
    /// A system container.
    Container,
    /// A virtual machine.
    VirtualMachine,
}

impl ImageType {
    /// Both types, in the order clients try them.
    pub const ALL: [Self; 2] = [Self::Container, Self::VirtualMachine];

    /// `container` or `virtual-machine`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::VirtualMachine => "virtual-machine",
        }
    }
}

impl fmt::Display for ImageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text was neither `container` nor `virtual-machine`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown image type {0:?}: it is container or virtual-machine")]
pub struct UnknownImageType(pub String);

impl FromStr for ImageType {
    type Err = UnknownImageType;

    /// Takes `vm` too: AMS users type it.
    fn from_str(text: &str) -> Result<Self, UnknownImageType> {
        match text {
            "container" => Ok(Self::Container),
            "virtual-machine" | "vm" => Ok(Self::VirtualMachine),
            other => Err(UnknownImageType(other.to_owned())),
        }
    }
}

/// The status of a version, and of an image (that of its best version). The codes are AMS's
/// (semantics §1) and are what the database holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(i16)]
pub enum Status {
    /// Cannot be had; `error_message` says why.
    Error = -1,
    /// Not known.
    Unknown = 0,
    /// Being set up.
    Initializing = 1,
    /// Declared; its bytes are not all here.
    Created = 2,
    /// Every blob is stored and verified.
    Active = 3,
    /// Retired or deleted; its blobs stay readable for the deletion grace.
    Deleted = 4,
    /// Known on the remote, not stored here.
    Available = 5,
    /// Waiting for its transfers.
    Queued = 6,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 8] = [
        Self::Error,
        Self::Unknown,
        Self::Initializing,
        Self::Created,
        Self::Active,
        Self::Deleted,
        Self::Available,
        Self::Queued,
    ];

    /// AMS's code.
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// The status of a code; `None` for a code that is none.
    pub fn from_code(code: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.code() == code)
    }

    /// Lower-case name, as AMS and the command line print it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Unknown => "unknown",
            Self::Initializing => "initializing",
            Self::Created => "created",
            Self::Active => "active",
            Self::Deleted => "deleted",
            Self::Available => "available",
            Self::Queued => "queued",
        }
    }

    /// From best to worst: a version that can be used beats one that will be, which beats one that
    /// could be, which beats one that cannot.
    pub const BEST_FIRST: [Self; 8] = [
        Self::Active,
        Self::Queued,
        Self::Initializing,
        Self::Created,
        Self::Available,
        Self::Error,
        Self::Deleted,
        Self::Unknown,
    ];

    /// The status of an image: that of its best version.
    pub fn of_image(versions: impl IntoIterator<Item = Self>) -> Self {
        let rank = |status: Self| Self::BEST_FIRST.iter().position(|best| *best == status);
        versions
            .into_iter()
            .min_by_key(|status| rank(*status))
            .unwrap_or(Self::Unknown)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_version_gives_the_image_its_status() {
        use Status::*;
        for (versions, expected) in [
            (vec![], Unknown),
            (vec![Deleted, Error], Error),
            (vec![Error, Available], Available),
            (vec![Available, Queued], Queued),
            (vec![Queued, Active, Error], Active),
        ] {
            assert_eq!(Status::of_image(versions), expected);
        }
    }

    #[test]
    fn codes_are_those_of_ams() {
        let codes: Vec<_> = Status::ALL.map(|status| (status.as_str(), status.code())).into();
        assert_eq!(
            codes,
            [
                ("error", -1),
                ("unknown", 0),
                ("initializing", 1),
                ("created", 2),
                ("active", 3),
                ("deleted", 4),
                ("available", 5),
                ("queued", 6)
            ]
        );
        assert!(
            Status::ALL
                .iter()
                .all(|status| Status::from_code(status.code()) == Some(*status))
        );
    }
}
