//! Serials: how a remote names its versions, how they are ordered, and what moment they name.

use std::cmp::Ordering;

use time::{Date, Month, OffsetDateTime, Time};

/// Orders two serials, part by part: runs of digits compare as numbers, everything else as bytes.
/// `1.10.0` is newer than `1.9.1`, `20230424_13:01` newer than `20230424_09:42`; strings never
/// decide between numbers (semantics §2.11).
pub fn compare(a: &str, b: &str) -> Ordering {
    let (mut a_rest, mut b_rest) = (a, b);
    while !a_rest.is_empty() && !b_rest.is_empty() {
        let (a_part, b_part);
        (a_part, a_rest) = split_part(a_rest);
        (b_part, b_rest) = split_part(b_rest);
        let ordering = match (is_digits(a_part), is_digits(b_part)) {
            (true, true) => compare_numbers(a_part, b_part),
            _ => a_part.cmp(b_part),
        };
        if ordering != Ordering::Equal {
            return ordering;
        }
    }
    // Equal as numbers but not as text (`1.01`, `1.1`): still a total order.
    a_rest.len().cmp(&b_rest.len()).then_with(|| a.cmp(b))
}

fn is_digits(part: &str) -> bool {
    part.starts_with(|c: char| c.is_ascii_digit())
}

fn split_part(text: &str) -> (&str, &str) {
    let digits = is_digits(text);
    let end = text
        .find(|c: char| c.is_ascii_digit() != digits)
        .unwrap_or(text.len());
    text.split_at(end)
}

fn compare_numbers(a: &str, b: &str) -> Ordering {
    let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

/// The moment that a serial names: `YYYYMMDD`, then optionally a time of day as `HHMM`, `HH:MM`,
/// `HHMMSS` after `_`, `-`, `.` or nothing. `None` when it does not begin with a date; the time is
/// midnight UTC when what follows is no time of day.
pub fn moment(serial: &str) -> Option<OffsetDateTime> {
    let date = serial
        .get(..8)
        .filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))?;
    let number = |digits: &str| digits.parse::<u16>().ok();
    let month = Month::try_from(u8::try_from(number(&date[4..6])?).ok()?).ok()?;
    let day = u8::try_from(number(&date[6..])?).ok()?;
    let date = Date::from_calendar_date(i32::from(number(&date[..4])?), month, day).ok()?;
    Some(
        date.with_time(time_of_day(&serial[8..]).unwrap_or(Time::MIDNIGHT))
            .assume_utc(),
    )
}

fn time_of_day(text: &str) -> Option<Time> {
    let digits: String = text
        .strip_prefix(['_', '-', '.'])
        .unwrap_or(text)
        .split(':')
        .collect();
    if !matches!(digits.len(), 4 | 6) || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let part = |range| {
        digits
            .get(range)
            .map_or(Some(0), |part: &str| part.parse::<u8>().ok())
    };
    Time::from_hms(part(0..2)?, part(2..4)?, part(4..6)?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::macros::datetime;

    use super::*;

    #[test]
    fn numbers_compare_as_numbers() {
        for (older, newer) in [
            ("1.9.1", "1.10.0"),
            ("1.9", "1.9.1"),
            ("20230424_09:42", "20230424_13:01"),
            ("20221013", "20221013.2"),
            ("20221013.2", "20221013.10"),
            (
                "1.30.1-20260713113525.git79a5c5e",
                "1.30.2-20260101000000.git0000000",
            ),
            ("9", "99999999999999999999999999999999"),
        ] {
            assert_eq!(compare(older, newer), Ordering::Less, "{older} < {newer}");
            assert_eq!(compare(newer, older), Ordering::Greater, "{newer} > {older}");
        }
    }

    #[test]
    fn serials_name_moments() {
        for (serial, expected) in [
            ("20230424_13:01", Some(datetime!(2023-04-24 13:01 UTC))),
            ("20260508_0431", Some(datetime!(2026-05-08 04:31 UTC))),
            ("202605080431", Some(datetime!(2026-05-08 04:31 UTC))),
            ("20221013.2", Some(datetime!(2022-10-13 00:00 UTC))),
            ("20221013", Some(datetime!(2022-10-13 00:00 UTC))),
            ("20221313", None),
            ("1.9.1", None),
            ("latest", None),
            ("../../x", None),
            ("", None),
            ("2022101é", None),
        ] {
            assert_eq!(moment(serial), expected, "{serial}");
        }
    }

    proptest! {
        #[test]
        fn the_order_is_total(a in "[0-9.a:_]{0,8}", b in "[0-9.a:_]{0,8}", c in "[0-9.a:_]{0,8}") {
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
            prop_assert_eq!(compare(&a, &b) == Ordering::Equal, a == b);
            if compare(&a, &b).is_le() && compare(&b, &c).is_le() {
                prop_assert!(compare(&a, &c).is_le(), "{} <= {} <= {}", a, b, c);
            }
        }

        #[test]
        fn no_serial_panics(serial in ".{0,20}") {
            let _ = moment(&serial);
        }
    }
}
