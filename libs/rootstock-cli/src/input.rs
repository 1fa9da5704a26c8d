//! Words that mean something: truth, moments, pairs, types.

use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use rootstock_model::ImageType;
use rootstock_proto::{catalog::v1 as wire, convert::timestamp};
use time::{Date, OffsetDateTime, format_description::well_known::Rfc3339, macros::format_description};

/// A moment as it is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// That one.
    At(OffsetDateTime),
    /// So long from now.
    In(Duration),
}

impl When {
    /// The moment, given what time it is.
    pub(super) fn seen_from(self, now: OffsetDateTime) -> prost_types::Timestamp {
        timestamp(match self {
            Self::At(moment) => moment,
            // Longer than can be counted is as late as can be.
            Self::In(duration) => time::Duration::try_from(duration)
                .ok()
                .and_then(|duration| now.checked_add(duration))
                .unwrap_or(time::PrimitiveDateTime::MAX.assume_utc()),
        })
    }
}

/// `2026-12-24` (its first moment, in UTC), RFC 3339, or a time from now: `7d`, `36h`.
pub(super) fn when(text: &str) -> Result<When, String> {
    let day = format_description!("[year]-[month]-[day]");
    if let Ok(date) = Date::parse(text, &day) {
        return Ok(When::At(date.midnight().assume_utc()));
    }
    if let Ok(moment) = OffsetDateTime::parse(text, &Rfc3339) {
        return Ok(When::At(moment));
    }
    let duration = text.strip_prefix('+').unwrap_or(text);
    rootstock_model::duration::parse(duration)
        .map(When::In)
        .ok_or_else(|| {
            "it is a day (2026-12-24), a moment (2026-12-24T18:00:00Z), or a time from now (7d, 36h)"
                .to_owned()
        })
}

/// When something ends, if it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End(pub(super) Option<When>);

/// [`when`], or `never`.
pub(super) fn when_or_never(text: &str) -> Result<End, String> {
    match text {
        "never" => Ok(End(None)),
        _ => when(text)
            .map(|when| End(Some(when)))
            .map_err(|problem| format!("{problem}, or never")),
    }
}

/// `true` or `false`, and what else people type for them.
pub(super) fn truth(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err("it is true or false".to_owned()),
    }
}

/// `KEY=VALUE`; the value may be empty and may hold further `=`.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("it is KEY=VALUE".to_owned()),
    }
}

/// Container or virtual machine.
pub(super) fn image_type(text: &str) -> Result<ImageType, String> {
    text.parse()
        .map_err(|_| "it is container, or virtual-machine (vm)".to_owned())
}

/// Which of a container and a virtual machine of one name is meant.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct TypeArgs {
    /// The virtual machine, where a container has the same name
    #[arg(long, conflicts_with = "image_type")]
    vm: bool,

    /// The same, in full: container or virtual-machine
    #[arg(long = "type", value_name = "TYPE", value_parser = image_type)]
    image_type: Option<ImageType>,
}

impl TypeArgs {
    /// As requests have it.
    pub(super) fn wire(self) -> wire::ImageType {
        if self.vm {
            wire::ImageType::VirtualMachine
        } else {
            self.image_type.map_or(wire::ImageType::Unspecified, Into::into)
        }
    }
}

/// Kinds of changes that are wanted.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ChangeKinds {
    /// Only changes of these kinds
    #[arg(
        long = "kind",
        value_name = "KIND",
        value_delimiter = ',',
        value_parser = PossibleValuesParser::new(wire::ChangeKind::ALL.iter().map(|kind| kind.label()))
            .map(|label| change_kind(&label))
    )]
    kinds: Vec<wire::ChangeKind>,
}

/// The kind of this label.
fn change_kind(label: &str) -> wire::ChangeKind {
    let mut all = wire::ChangeKind::ALL.iter().copied();
    all.find(|kind| kind.label() == label).unwrap_or_default()
}

impl ChangeKinds {
    /// As requests have them.
    pub(super) fn wire(&self) -> Vec<i32> {
        self.kinds.iter().copied().map(Into::into).collect()
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn moments_are_days_instants_or_times_from_now() {
        let now = datetime!(2026-11-22 12:00 UTC);
        for (text, moment) in [
            ("2026-12-24", datetime!(2026-12-24 00:00 UTC)),
            ("2026-12-24T18:00:00+01:00", datetime!(2026-12-24 17:00 UTC)),
            ("7d", datetime!(2026-11-29 12:00 UTC)),
            ("+1h30m", datetime!(2026-11-22 13:30 UTC)),
        ] {
            assert_eq!(
                when(text).map(|when| when.seen_from(now)),
                Ok(timestamp(moment)),
                "{text}"
            );
        }
        for text in ["", "tomorrow", "2026-13-01", "24.12.2026", "7", "-7d", "never"] {
            assert!(when(text).is_err(), "{text}");
        }
        assert_eq!(when_or_never("never"), Ok(End(None)));
        assert!(when_or_never("1d").is_ok_and(|end| end.0.is_some()));
        // Far beyond what a calendar holds.
        let far = when("99999999999d").map(|when| when.seen_from(now));
        assert!(far.is_ok_and(|far| far.seconds > 0));
    }

    #[test]
    fn truth_and_pairs_are_read_as_people_type_them() {
        assert_eq!(
            ["true", "Yes", "on", "1"].map(truth),
            [Ok(true), Ok(true), Ok(true), Ok(true)]
        );
        assert_eq!(
            ["false", "no", "OFF"].map(truth),
            [Ok(false), Ok(false), Ok(false)]
        );
        assert!(truth("maybe").is_err());
        assert_eq!(pair("os=a=b"), Ok(("os".into(), "a=b".into())));
        assert_eq!(pair("os="), Ok(("os".into(), String::new())));
        assert!(pair("=x").is_err() && pair("x").is_err());
    }
}
