//! Serials that clients accept: which of a product's true serials can be shown as they are, and
//! what stands for those that cannot.

use rootstock_model::serial;
use time::OffsetDateTime;

/// Unix seconds of 9000-01-01: later moments are taken for this one, so that there is room above
/// before the year needs a fifth digit.
const LATEST_UNIX_SECONDS: i64 = 221_845_392_000;

/// The fewest digits of the version number in a rewritten serial.
const NUMBER_DIGITS: usize = 4;

/// What the catalog knows of one version's place in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersionStamp<'a> {
    /// The true serial.
    pub serial: &'a str,
    /// When the version was created.
    pub created_at: OffsetDateTime,
    /// The version's number in its image, from 0.
    pub number: i32,
}

/// The serial under which clients see a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServedSerial {
    /// Begins with a date, as wide as the others of the product.
    pub serial: String,
    /// The true serial when it is not the served one: it belongs in the version's label.
    pub true_serial: Option<String>,
}

/// The serials of all versions of one product. `versions` are in the catalog's order, oldest
/// first; the answer is in the same order.
///
/// Clients take a version only when its serial begins with a date, and sort a product's serials as
/// plain text, newest last (incus-protocol §1.2, §1.3). When the true serials all begin with a
/// date, are equally wide and sort as text the way the catalog orders them, they stay. Otherwise
/// all of the product are rewritten as `YYYYMMDD_HHMMSS_NNNN`: the moment of creation and the
/// version's number. Where those contradict the catalog's order (a version that was created before
/// an older one), the moment is moved up to its predecessor's, or by one second beyond.
///
/// The answer's serials are unique, equally wide, begin with a valid date, and increase as text.
/// A rewritten one depends only on its own version and older ones of the product (as long as no
/// number has more than four digits), so it stays what it is when newer versions come.
pub fn served_serials(versions: &[VersionStamp<'_>]) -> Vec<ServedSerial> {
    if can_stay(versions) {
        return versions
            .iter()
            .map(|version| ServedSerial {
                serial: version.serial.to_owned(),
                true_serial: None,
            })
            .collect();
    }
    let digits = versions
        .iter()
        .map(|version| version.number.to_string().len())
        .fold(NUMBER_DIGITS, usize::max);
    let mut last = None;
    versions
        .iter()
        .map(|version| {
            let mut place = (
                version.created_at.unix_timestamp().clamp(0, LATEST_UNIX_SECONDS),
                version.number,
            );
            if let Some((last_seconds, last_number)) = last {
                place.0 = place.0.max(last_seconds);
                if place <= (last_seconds, last_number) {
                    place.0 += 1;
                }
            }
            last = Some(place);
            ServedSerial {
                serial: format!("{}_{:0digits$}", date_and_time(place.0), place.1),
                true_serial: Some(version.serial.to_owned()),
            }
        })
        .collect()
}

fn can_stay(versions: &[VersionStamp<'_>]) -> bool {
    versions
        .iter()
        .all(|version| serial::moment(version.serial).is_some())
        && versions
            .windows(2)
            .all(|pair| pair[0].serial.len() == pair[1].serial.len() && pair[0].serial < pair[1].serial)
}

fn date_and_time(unix_seconds: i64) -> String {
    // In range by the clamp above; the epoch stands for what never comes.
    let moment = OffsetDateTime::from_unix_timestamp(unix_seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    format!(
        "{:04}{:02}{:02}_{:02}{:02}{:02}",
        moment.year(),
        u8::from(moment.month()),
        moment.day(),
        moment.hour(),
        moment.minute(),
        moment.second()
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::macros::datetime;

    use super::*;

    fn served(versions: &[(&str, OffsetDateTime, i32)]) -> Vec<String> {
        let stamps: Vec<_> = versions
            .iter()
            .map(|&(serial, created_at, number)| VersionStamp {
                serial,
                created_at,
                number,
            })
            .collect();
        served_serials(&stamps)
            .into_iter()
            .zip(versions)
            .map(|(served, (serial, ..))| {
                if served.serial != *serial {
                    assert_eq!(served.true_serial.as_deref(), Some(*serial));
                }
                served.serial
            })
            .collect()
    }

    #[test]
    fn serials_that_clients_sort_rightly_stay() {
        let now = datetime!(2026-05-08 04:31 UTC);
        for serials in [
            &["20230421_13:00", "20230424_09:42", "20230424_13:01"][..],
            &["20221013", "20221014"],
            &["202605080431"],
            &[],
        ] {
            let versions: Vec<_> = serials.iter().map(|serial| (*serial, now, 7)).collect();
            assert_eq!(served(&versions), serials);
        }
    }

    #[test]
    fn others_are_rewritten_all_together() {
        let may = |day: u8| datetime!(2026-05-01 04:31:07 UTC).replace_day(day).unwrap();
        for (versions, expected) in [
            (
                // Not dates.
                vec![("1.9.1", may(1), 0), ("1.10.0", may(2), 1)],
                vec!["20260501_043107_0000", "20260502_043107_0001"],
            ),
            (
                // Dates of unequal width: as text `20221013.10` comes before `20221013.2`.
                vec![("20221013", may(1), 3), ("20221013.2", may(2), 4)],
                vec!["20260501_043107_0003", "20260502_043107_0004"],
            ),
            (
                // One that is no date takes its neighbours along.
                vec![("20230421_13:00", may(1), 0), ("latest", may(1), 1)],
                vec!["20260501_043107_0000", "20260501_043107_0001"],
            ),
            (
                // The same width, but not the catalog's order.
                vec![("20230424_13:01", may(1), 0), ("20230421_13:00", may(1), 1)],
                vec!["20260501_043107_0000", "20260501_043107_0001"],
            ),
            (
                // Created before an older one.
                vec![
                    ("1", may(9), 0),
                    ("2", may(2), 5),
                    ("3", may(2), 4),
                    ("4", may(10), 6),
                ],
                vec![
                    "20260509_043107_0000",
                    "20260509_043107_0005",
                    "20260509_043108_0004",
                    "20260510_043107_0006",
                ],
            ),
            (
                // Twice the same serial: a container and a virtual machine that differ.
                vec![("20230421", may(1), 0), ("20230421", may(1), 0)],
                vec!["20260501_043107_0000", "20260501_043108_0000"],
            ),
            (
                // Numbers beyond four digits widen all.
                vec![("a", may(1), 9999), ("b", may(2), 10000)],
                vec!["20260501_043107_09999", "20260502_043107_10000"],
            ),
            (
                // A date that is none.
                vec![("20221313", may(1), 0)],
                vec!["20260501_043107_0000"],
            ),
        ] {
            assert_eq!(served(&versions), expected);
        }
    }

    #[test]
    fn the_ends_of_time_have_room() {
        let versions = [
            ("a", datetime!(-9999-01-01 00:00 UTC), 1),
            ("b", datetime!(9999-12-31 23:59:59 UTC), 0),
            ("c", datetime!(9999-12-31 23:59:59 UTC), 0),
        ];
        assert_eq!(
            served(&versions),
            [
                "19700101_000000_0001",
                "90000101_000000_0000",
                "90000101_000001_0000"
            ]
        );
    }

    fn a_serial() -> impl Strategy<Value = String> {
        prop_oneof![
            "2026(0[1-9]|1[0-2])(0[1-9]|[12][0-9])",
            "2026(0[1-9]|1[0-2])(0[1-9]|[12][0-9])_(0[0-9]|1[0-9]):[0-5][0-9]",
            "[0-9]{8}(\\.[0-9]{1,2})?",
            "[1-3]\\.[0-9]{1,2}\\.[0-9]",
            ".{0,12}",
        ]
    }

    proptest! {
        #[test]
        fn clients_accept_and_sort_them(
            mut versions in prop::collection::vec(
                (a_serial(), -99_999_999_999_i64..999_999_999_999, prop_oneof![0..20_i32, 0..=i32::MAX]), 0..12),
            catalog_order in any::<bool>(),
        ) {
            if catalog_order {
                versions.sort_by(|a, b| serial::compare(&a.0, &b.0));
            }
            let stamps: Vec<_> = versions
                .iter()
                .map(|(serial, seconds, number)| VersionStamp {
                    serial,
                    created_at: OffsetDateTime::from_unix_timestamp((*seconds).min(253_402_300_799)).unwrap(),
                    number: *number,
                })
                .collect();
            let served = served_serials(&stamps);
            prop_assert_eq!(served.len(), stamps.len());
            for (served, stamp) in served.iter().zip(&stamps) {
                prop_assert!(serial::moment(&served.serial).is_some(), "{} is no date", served.serial);
                prop_assert_eq!(served.true_serial.as_deref().unwrap_or(&served.serial), stamp.serial);
            }
            for pair in served.windows(2) {
                prop_assert_eq!(pair[0].serial.len(), pair[1].serial.len());
                prop_assert!(pair[0].serial < pair[1].serial, "{:?}", pair);
                // Another catalog that mirrors this one orders them the same.
                if catalog_order {
                    prop_assert!(serial::compare(&pair[0].serial, &pair[1].serial).is_lt(), "{:?}", pair);
                }
            }
        }

        #[test]
        fn a_newer_version_changes_no_rewritten_serial(
            seconds in prop::collection::vec(0..100_i64, 2..8), numbers in prop::collection::vec(0..10_i32, 8),
        ) {
            let stamps: Vec<_> = seconds
                .iter()
                .zip(&numbers)
                .map(|(seconds, number)| VersionStamp {
                    serial: "1.0",
                    created_at: OffsetDateTime::from_unix_timestamp(*seconds).unwrap(),
                    number: *number,
                })
                .collect();
            let all = served_serials(&stamps);
            let but_the_newest = served_serials(&stamps[..stamps.len() - 1]);
            prop_assert_eq!(&all[..stamps.len() - 1], &but_the_newest[..]);
        }
    }
}
