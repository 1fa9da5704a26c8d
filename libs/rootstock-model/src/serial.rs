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

/// The serial of a version that was imported, as public servers write theirs (`YYYYMMDD_HHMM`): when its
/// content was created. It is no older than `newest`, the image's newest serial: what was imported last
/// counts, so content that was created before that of the last import goes by the moment of the import.
pub fn of_import(created_at: OffsetDateTime, now: OffsetDateTime, newest: Option<&str>) -> String {
    let fits = |serial: &String| newest.is_none_or(|newest| compare(serial, newest).is_gt());
    [created_at, now]
        .map(date_and_minute)
        .into_iter()
        .find(fits)
        // Of equal serials the greater number is the newer version.
        .unwrap_or_else(|| newest.unwrap_or_default().to_owned())
}

fn date_and_minute(moment: OffsetDateTime) -> String {
    let moment = moment.to_offset(time::UtcOffset::UTC);
    let (year, month, day) = (moment.year(), u8::from(moment.month()), moment.day());
    format!(
        "{year:04}{month:02}{day:02}_{:02}{:02}",
        moment.hour(),
        moment.minute()
    )
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

    #[test]
    fn what_is_imported_later_is_never_older() {
        use time::macros::datetime;
        let (old, new) = (datetime!(2025-03-01 10:20:30 UTC), datetime!(2026-11-22 05:24 +2));
        let now = datetime!(2026-11-24 15:00:59 UTC);
        for (created_at, newest, expected) in [
            (new, None, "20261122_0324"),
            (new, Some("20250301_1020"), "20261122_0324"),
            (old, Some("20261122_0324"), "20261124_1500"),
            (new, Some("20261122_0324"), "20261124_1500"),
            (old, Some("20990101_0000"), "20990101_0000"),
            (old, Some("1.2"), "20250301_1020"),
        ] {
            assert_eq!(
                of_import(created_at, now, newest),
                expected,
                "{created_at} {newest:?}"
            );
        }
    }
}
