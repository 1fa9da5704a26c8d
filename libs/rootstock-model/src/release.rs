//! Releases: which version an image is pinned to (semantics §3).

use crate::plan;

/// The version that a release names: the one whose serial it is, else the newest whose serial begins
/// with it. Takes (number, serial) of the versions that can be had.
pub fn choose<'v>(versions: impl IntoIterator<Item = (i32, &'v str)>, release: &str) -> Option<i32> {
    let fitting = versions
        .into_iter()
        .filter(|(_, serial)| serial.starts_with(release));
    let best = fitting.max_by(|a, b| (a.1 == release).cmp(&(b.1 == release)).then(plan::order(*a, *b)));
    best.map(|(number, _)| number)
}

/// The serials nearest to a release that none has, at most as many, newest first: those about where it
/// would stand.
pub fn nearest<'v>(serials: impl IntoIterator<Item = &'v str>, release: &str, count: usize) -> Vec<&'v str> {
    let mut sorted: Vec<&str> = serials.into_iter().collect();
    sorted.sort_by(|a, b| crate::serial::compare(b, a));
    sorted.dedup();
    let newer = sorted.partition_point(|serial| crate::serial::compare(serial, release).is_gt());
    let first = newer
        .saturating_sub(count.div_ceil(2))
        .min(sorted.len().saturating_sub(count));
    sorted.into_iter().skip(first).take(count).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_release_is_a_serial_or_what_the_newest_one_begins_with() {
        let versions = [
            (0, "1.18.0-2023"),
            (1, "1.18.1-2024"),
            (2, "1.19.0"),
            (3, "1.18.1"),
            (4, "1.19.0"),
        ];
        for (release, expected) in [
            ("1.18.1", Some(3)),
            ("1.18", Some(1)),
            ("1.18.0", Some(0)),
            ("1.19.0", Some(4)),
            ("1.20", None),
        ] {
            assert_eq!(choose(versions, release), expected, "{release}");
        }
    }

    #[test]
    fn the_nearest_are_those_about_it() {
        let serials = ["1.9", "1.10", "1.11", "1.12", "1.13"];
        for (release, expected) in [
            ("1.10.5", &["1.12", "1.11", "1.10"][..]),
            ("2", &["1.13", "1.12", "1.11"]),
            ("0", &["1.11", "1.10", "1.9"]),
        ] {
            assert_eq!(nearest(serials, release, 3), expected, "{release}");
        }
        assert_eq!(nearest([], "1", 3), [] as [&str; 0]);
    }

    proptest! {
        #[test]
        fn what_is_chosen_begins_with_the_release(
            serials in prop::collection::vec("[01.]{1,4}", 0..6), release in "[01.]{1,2}"
        ) {
            let versions: Vec<_> = (0..).zip(serials.iter().map(String::as_str)).collect();
            let chosen = choose(versions.iter().copied(), &release);
            prop_assert_eq!(chosen.is_some(), serials.iter().any(|serial| serial.starts_with(&release)));
            if let Some(number) = chosen {
                prop_assert!(serials[number as usize].starts_with(&release));
            }
            prop_assert!(nearest(serials.iter().map(String::as_str), &release, 3).len() <= 3);
        }
    }
}
