//! Sizes and times as people read them.

use std::time::Duration;

use rootstock_proto::convert::moment;
use time::{OffsetDateTime, format_description::well_known::Rfc3339, macros::format_description};

const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];

/// A number of bytes, in three digits: `532 B`, `1.21 GiB`.
pub(super) fn size(bytes: i64) -> String {
    let bytes = bytes.max(0);
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    // Three digits are all that is shown, so what a float drops does not matter.
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    // What would be rounded to 1024 is 1.00 of the next unit.
    while value >= 1023.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let decimals = match value {
        v if v < 9.995 => 2,
        v if v < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$} {}", UNITS[unit])
}

/// A count and its noun: `1 blob`, `3 blobs`.
pub(super) fn count(number: i64, noun: &str) -> String {
    if number == 1 {
        format!("1 {noun}")
    } else {
        format!("{number} {noun}s")
    }
}

/// A moment to the minute, in UTC; `-` when there is none.
pub(super) fn minute(timestamp: Option<&prost_types::Timestamp>) -> String {
    const MINUTE: &[time::format_description::BorrowedFormatItem<'_>] =
        format_description!("[year]-[month]-[day] [hour]:[minute] UTC");
    timestamp
        .and_then(moment)
        .and_then(|moment| moment.format(MINUTE).ok())
        .unwrap_or_else(|| "-".into())
}

/// How long ago, or in how long; `never` when there is no moment.
pub(super) fn relative(timestamp: Option<&prost_types::Timestamp>, now: OffsetDateTime) -> String {
    let Some(moment) = timestamp.and_then(moment) else {
        return "never".to_owned();
    };
    let seconds = (moment - now).whole_seconds();
    let amount = match seconds.unsigned_abs() {
        0 => return "now".to_owned(),
        s if s < 90 => format!("{s} s"),
        s if s < 90 * 60 => format!("{} min", (s + 30) / 60),
        s if s < 36 * 3600 => format!("{} h", (s + 1800) / 3600),
        s => format!("{} days", (s + 43_200) / 86_400),
    };
    if seconds < 0 {
        format!("{amount} ago")
    } else {
        format!("in {amount}")
    }
}

/// A moment for programs: RFC 3339, in UTC.
pub(super) fn rfc3339(timestamp: &prost_types::Timestamp) -> Option<String> {
    moment(timestamp)?.format(&Rfc3339).ok()
}

/// A duration as it is typed: `5m`, `1h30m`.
pub(super) fn duration(duration: &prost_types::Duration) -> String {
    let duration = Duration::try_from(*duration).unwrap_or_default();
    rootstock_model::duration::format(duration)
}

/// The first characters of a digest: enough to tell blobs apart, and to ask for an image.
pub(super) fn short_digest(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

#[cfg(test)]
mod tests {
    use rootstock_proto::convert::timestamp;
    use time::macros::datetime;

    use super::*;

    #[test]
    fn sizes_have_three_digits() {
        for (bytes, text) in [
            (-1, "0 B"),
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (10 * 1024, "10.0 KiB"),
            (1_048_575, "1.00 MiB"),
            (123_456_789, "118 MiB"),
            (1_300_000_000, "1.21 GiB"),
            (i64::MAX, "8192 PiB"),
        ] {
            assert_eq!(size(bytes), text, "{bytes}");
        }
    }

    #[test]
    fn times_are_told_from_now() {
        let now = datetime!(2026-11-22 12:00 UTC);
        for (moment, text) in [
            (now, "now"),
            (datetime!(2026-11-22 11:59:48 UTC), "12 s ago"),
            (datetime!(2026-11-22 11:55 UTC), "5 min ago"),
            (datetime!(2026-11-22 12:04:40 UTC), "in 5 min"),
            (datetime!(2026-11-22 05:24 UTC), "7 h ago"),
            (datetime!(2026-10-22 12:00 UTC), "31 days ago"),
        ] {
            assert_eq!(relative(Some(&timestamp(moment)), now), text);
        }
        assert_eq!(relative(None, now), "never");
        assert_eq!(minute(Some(&timestamp(now))), "2026-11-22 12:00 UTC");
        assert_eq!(minute(None), "-");
        assert_eq!(rfc3339(&timestamp(now)).as_deref(), Some("2026-11-22T12:00:00Z"));
    }

    #[test]
    fn nouns_follow_their_number() {
        assert_eq!(
            [count(0, "blob"), count(1, "blob"), count(2, "blob")],
            ["0 blobs", "1 blob", "2 blobs"]
        );
    }
}
