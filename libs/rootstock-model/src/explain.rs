//! Explanations: why an image is at the version it is at, and each version as it is.

use std::fmt;

use crate::{Status, plan};

/// Why a version is as it is. Stable: programs tell versions apart by these names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VersionReason {
    /// Clients get it.
    Current,
    /// Stored, and older than the current one.
    Kept,
    /// Stored, and hidden by a hold.
    HeldBack,
    /// Known on the remote, not stored, and older than the current one.
    Superseded,
    /// Known on the remote, not stored.
    Available,
    /// Waits for a worker.
    Queued,
    /// Its bytes are coming.
    Fetching,
    /// It cannot be had, or its transfers gave up.
    Failed,
    /// Newer ones have its place.
    Retired,
    /// A user deleted it.
    Deleted,
    /// It left the store: nobody used it.
    Expired,
}

impl VersionReason {
    /// All reasons.
    pub const ALL: [Self; 11] = [
        Self::Current,
        Self::Kept,
        Self::HeldBack,
        Self::Superseded,
        Self::Available,
        Self::Queued,
        Self::Fetching,
        Self::Failed,
        Self::Retired,
        Self::Deleted,
        Self::Expired,
    ];

    /// The stable name, e.g. `held-back`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Kept => "kept",
            Self::HeldBack => "held-back",
            Self::Superseded => "superseded",
            Self::Available => "available",
            Self::Queued => "queued",
            Self::Fetching => "fetching",
            Self::Failed => "failed",
            Self::Retired => "retired",
            Self::Deleted => "deleted",
            Self::Expired => "expired",
        }
    }
}

/// How the transfers of a version's files stand together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Transfers {
    /// There are none, or all of them wait.
    #[default]
    Waiting,
    /// One is running.
    Running,
    /// One gave up.
    GaveUp,
}

/// What decides about one version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersionFacts<'a> {
    /// Its number.
    pub number: i32,
    /// The remote's name of it.
    pub serial: &'a str,
    /// Where it stands.
    pub status: Status,
    /// Whether a hold hides it.
    pub hidden: bool,
    /// Whether a user deleted it.
    pub deleted_by_user: bool,
    /// Whether it was listed before, and is not any more.
    pub delisted: bool,
    /// Why it is in error, or what its last attempt said; may be empty.
    pub error: &'a str,
    /// How its transfers stand.
    pub transfers: Transfers,
}

/// The version that clients get: number and serial.
pub type Current<'a> = Option<(i32, &'a str)>;

/// Why a version is as it is.
pub fn version_reason(version: &VersionFacts<'_>, current: Current<'_>) -> VersionReason {
    let own = (version.number, version.serial);
    match version.status {
        Status::Active if version.hidden => VersionReason::HeldBack,
        Status::Active if current == Some(own) => VersionReason::Current,
        Status::Active => VersionReason::Kept,
        Status::Available if version.delisted => VersionReason::Expired,
        Status::Available if current.is_some_and(|current| plan::order(own, current).is_lt()) => {
            VersionReason::Superseded
        }
        Status::Available => VersionReason::Available,
        Status::Queued | Status::Created | Status::Initializing => match version.transfers {
            Transfers::GaveUp => VersionReason::Failed,
            Transfers::Running => VersionReason::Fetching,
            Transfers::Waiting if version.status == Status::Queued => VersionReason::Queued,
            Transfers::Waiting => VersionReason::Fetching,
        },
        Status::Error | Status::Unknown => VersionReason::Failed,
        Status::Deleted if version.deleted_by_user => VersionReason::Deleted,
        Status::Deleted => VersionReason::Retired,
    }
}

/// The same for people, of an image of this name: why, and what to do if something is to be done.
pub fn version_message(image: &str, version: &VersionFacts<'_>, reason: VersionReason) -> String {
    let number = version.number;
    match reason {
        VersionReason::Current => "clients get it: the newest that is stored and not hidden".to_owned(),
        VersionReason::Kept => "stored, and older than the current one".to_owned(),
        VersionReason::HeldBack => {
            format!("stored, and hidden while the image is held: `rootstock image release {image}` shows it")
        }
        VersionReason::Superseded => format!(
            "known on the remote, and older than the current one: `rootstock image fetch {image} --version {number}` \
             stores it"
        ),
        VersionReason::Available => {
            format!(
                "known on the remote, not stored: `rootstock image fetch {image} --version {number}` stores it"
            )
        }
        VersionReason::Queued => "waits for a worker".to_owned(),
        VersionReason::Fetching => "is being fetched".to_owned(),
        VersionReason::Failed if version.error.is_empty() => {
            "its transfers gave up: a sync of its remote tries again".to_owned()
        }
        VersionReason::Failed => format!("{}; a sync of its remote tries again", version.error),
        VersionReason::Retired => {
            "newer ones have its place; its bytes stay readable for images.deletion_grace".to_owned()
        }
        VersionReason::Deleted => {
            "a user deleted it; its bytes stay readable for images.deletion_grace, and it does not come back"
                .to_owned()
        }
        VersionReason::Expired => format!(
            "it left the store, where nobody used it: `rootstock image fetch {image} --version {number}` stores it again"
        ),
    }
}

/// Names a version to people.
struct Named<'a>(&'a VersionFacts<'a>);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "version {} ({})", self.0.number, self.0.serial)
    }
}

/// Why the image is at its version, in a sentence. `hold` is the reason of a hold, if there is one,
/// and `poll_error` what the last poll of its remote failed on, or empty.
pub fn summary(
    image: &str,
    versions: &[VersionFacts<'_>],
    current: Current<'_>,
    hold: Option<&str>,
    poll_error: &str,
) -> String {
    let with_reasons = || {
        versions
            .iter()
            .map(|version| (version, version_reason(version, current)))
    };
    let shown = with_reasons().find(|(_, reason)| *reason == VersionReason::Current);
    let mut text = match (shown, hold) {
        (Some((version, _)), Some("")) => format!("{image} is held at {}", Named(version)),
        (Some((version, _)), Some(why)) => format!("{image} is held at {}: {why}", Named(version)),
        (Some((version, _)), None) => {
            format!("{image} is at {}, the newest that is stored", Named(version))
        }
        (None, _) => format!("{image} has no version that can be used"),
    };
    let newer = with_reasons()
        .filter(|(version, _)| {
            current.is_none_or(|current| plan::order((version.number, version.serial), current).is_gt())
        })
        .max_by(|(a, _), (b, _)| plan::order((a.number, a.serial), (b.number, b.serial)));
    if let Some((version, reason)) = newer {
        let named = Named(version);
        let told = match reason {
            VersionReason::HeldBack => Some(format!("{named} is stored and hidden")),
            VersionReason::Available => Some(format!("{named} is known and not stored")),
            VersionReason::Expired => Some(format!("{named} left the store, where nobody used it")),
            VersionReason::Queued => Some(format!("{named} waits to be fetched")),
            VersionReason::Fetching => Some(format!("{named} is being fetched")),
            VersionReason::Failed => Some(format!("{named} could not be had: {}", failure(version))),
            VersionReason::Deleted => Some(format!("{named} was deleted by a user")),
            VersionReason::Current
            | VersionReason::Kept
            | VersionReason::Superseded
            | VersionReason::Retired => None,
        };
        if let Some(told) = told {
            text.push_str("; ");
            text.push_str(&told);
        }
    }
    if !poll_error.is_empty() {
        text.push_str("; its remote could not be asked the last time: ");
        text.push_str(poll_error);
    }
    text
}

fn failure<'a>(version: &VersionFacts<'a>) -> &'a str {
    match version.error {
        "" => "its transfers gave up",
        error => error,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn facts(number: i32, serial: &str, status: Status) -> VersionFacts<'_> {
        VersionFacts {
            number,
            serial,
            status,
            hidden: false,
            deleted_by_user: false,
            delisted: false,
            error: "",
            transfers: Transfers::Waiting,
        }
    }

    #[test]
    fn every_reason_has_its_cause() {
        let current = Some((1, "1.9"));
        let hidden = VersionFacts {
            hidden: true,
            ..facts(2, "1.10", Status::Active)
        };
        let with = |transfers, status| VersionFacts {
            transfers,
            ..facts(2, "1.10", status)
        };
        let expired = VersionFacts {
            delisted: true,
            ..facts(0, "1.8", Status::Available)
        };
        let deleted = VersionFacts {
            deleted_by_user: true,
            ..facts(2, "1.10", Status::Deleted)
        };
        for (version, expected) in [
            (facts(1, "1.9", Status::Active), VersionReason::Current),
            (facts(0, "1.8", Status::Active), VersionReason::Kept),
            (hidden, VersionReason::HeldBack),
            (facts(0, "1.8", Status::Available), VersionReason::Superseded),
            (facts(2, "1.10", Status::Available), VersionReason::Available),
            (facts(2, "1.10", Status::Queued), VersionReason::Queued),
            (with(Transfers::Running, Status::Queued), VersionReason::Fetching),
            (with(Transfers::Waiting, Status::Created), VersionReason::Fetching),
            (with(Transfers::GaveUp, Status::Queued), VersionReason::Failed),
            (facts(2, "1.10", Status::Error), VersionReason::Failed),
            (facts(0, "1.8", Status::Deleted), VersionReason::Retired),
            (deleted, VersionReason::Deleted),
            (expired, VersionReason::Expired),
        ] {
            assert_eq!(version_reason(&version, current), expected, "{version:?}");
        }
    }

    #[test]
    fn the_summary_says_what_stands_in_the_way() {
        let stored = facts(1, "1.9", Status::Active);
        let current = Some((1, "1.9"));
        let failed = VersionFacts {
            error: "the remote claims another size",
            ..facts(2, "1.10", Status::Error)
        };
        let hidden = VersionFacts {
            hidden: true,
            ..facts(2, "1.10", Status::Active)
        };
        let available = facts(0, "1.8", Status::Available);
        for (versions, current, hold, poll_error, expected) in [
            (
                vec![stored],
                current,
                None,
                "",
                "d is at version 1 (1.9), the newest that is stored",
            ),
            (
                vec![stored, failed],
                current,
                None,
                "",
                "d is at version 1 (1.9), the newest that is stored; version 2 (1.10) could not be had: the remote \
                 claims another size",
            ),
            (
                vec![stored, hidden],
                current,
                Some("it does not boot"),
                "",
                "d is held at version 1 (1.9): it does not boot; version 2 (1.10) is stored and hidden",
            ),
            (
                vec![available],
                None,
                None,
                "503",
                "d has no version that can be used; version 0 (1.8) is known and not stored; its remote could not be \
                 asked the last time: 503",
            ),
            (
                vec![stored, available],
                current,
                None,
                "",
                "d is at version 1 (1.9), the newest that is stored",
            ),
        ] {
            assert_eq!(summary("d", &versions, current, hold, poll_error), expected);
        }
    }

    proptest! {
        /// Whatever the facts: one version at most is current, it is one that clients can have, and all
        /// that is said is said without a panic.
        #[test]
        fn at_most_one_version_is_current(
            drawn in prop::collection::vec((0..8usize, any::<bool>(), any::<bool>(), any::<bool>()), 0..6),
            current in prop::option::of(0..6i32),
        ) {
            let serials: Vec<String> = (0..drawn.len()).map(|number| format!("1.{number}")).collect();
            let versions: Vec<_> = drawn
                .iter()
                .zip(&serials)
                .zip(0..)
                .map(|(((status, hidden, deleted_by_user, delisted), serial), number)| VersionFacts {
                    hidden: *hidden,
                    deleted_by_user: *deleted_by_user,
                    delisted: *delisted,
                    ..facts(number, serial, Status::ALL[*status])
                })
                .collect();
            let current = current.and_then(|number| {
                Some((number, serials.get(usize::try_from(number).ok()?)?.as_str()))
            });
            let shown: Vec<_> = versions
                .iter()
                .filter(|version| version_reason(version, current) == VersionReason::Current)
                .collect();
            prop_assert!(shown.len() <= 1);
            prop_assert!(shown.iter().all(|version| version.status == Status::Active && !version.hidden));
            for version in &versions {
                prop_assert!(!version_message("d", version, version_reason(version, current)).is_empty());
            }
            prop_assert!(summary("d", &versions, current, None, "").starts_with("d "));
        }
    }
}
