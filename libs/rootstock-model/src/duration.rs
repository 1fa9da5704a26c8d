//! Durations as text, in configurations, settings and commands.
//!
//! A sum of numbers with a unit (`ms`, `s`, `m`, `h`, `d`): `30s`, `250ms`, `1h30m`.

use std::time::Duration;

use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer, de::Error as _};

/// Is read, but not written: a day is shown as `24h`.
const DAY: &str = "d";
/// The units, largest first, in milliseconds.
const UNITS: [(&str, u64); 5] = [
    (DAY, 24 * 60 * 60 * 1000),
    ("h", 60 * 60 * 1000),
    ("m", 60 * 1000),
    ("s", 1000),
    ("ms", 1),
];

/// Reads a duration; `None` when the text is not one.
pub fn parse(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total_ms = 0u64;
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let (unit, after) = after.split_at(after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len()));
        let (_, unit_ms) = UNITS.iter().find(|(name, _)| *name == unit)?;
        total_ms = total_ms.checked_add(number.parse::<u64>().ok()?.checked_mul(*unit_ms)?)?;
        rest = after;
    }
    (!text.is_empty()).then_some(Duration::from_millis(total_ms))
}

/// Writes a duration so that [`parse`] reads it back, to the millisecond.
pub fn format(duration: Duration) -> String {
    let mut rest_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (name, unit_ms) in UNITS.into_iter().filter(|(name, _)| *name != DAY) {
        if rest_ms >= unit_ms {
            text += &format!("{}{name}", rest_ms / unit_ms);
            rest_ms %= unit_ms;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// For `#[serde(with)]`.
///
/// # Errors
/// The serializer's own.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    format(*duration).serialize(serializer)
}

/// For `#[serde(with)]`.
///
/// # Errors
/// The text is not a duration.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse(&text).ok_or_else(|| {
        D::Error::custom(format_args!(
            "{text:?} is not a duration: expected one such as 30s, 250ms or 1h30m"
        ))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_with_their_units() {
        for (text, expected_ms) in [
            ("5m", Some(300_000)),
            ("1h30m", Some(5_400_000)),
            ("250ms", Some(250)),
            ("1s500ms", Some(1_500)),
            ("2d", Some(172_800_000)),
            ("0s", Some(0)),
            ("", None),
            ("5", None),
            ("m", None),
            ("5 m", None),
            ("-5m", None),
            ("5µs", None),
            ("99999999999999999999s", None),
            ("18446744073709551615d", None),
            ("18446744073709551615ms1ms", None),
        ] {
            assert_eq!(parse(text), expected_ms.map(Duration::from_millis), "{text}");
        }
    }

    #[test]
    fn durations_are_written_in_hours_and_smaller_units() {
        for (ms, expected) in [
            (0, "0s"),
            (250, "250ms"),
            (90_000, "1m30s"),
            (300_000, "5m"),
            (86_400_000, "24h"),
            (176_461_001, "49h1m1s1ms"),
        ] {
            assert_eq!(format(Duration::from_millis(ms)), expected);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(ms in any::<u64>()) {
            let duration = Duration::from_millis(ms);
            prop_assert_eq!(parse(&format(duration)), Some(duration));
        }

        #[test]
        fn nothing_makes_it_panic(text in ".*") {
            let _ = parse(&text);
        }
    }
}
