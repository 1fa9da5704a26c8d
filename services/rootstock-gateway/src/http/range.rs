//! The `Range` header (RFC 9110 §14).

use std::ops::Range;

/// What part of a resource is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// All of it: no range was asked for, or one that a server may pass over (another unit, several
    /// ranges, nonsense).
    Whole,
    /// These bytes; never empty, always inside.
    Part(Range<u64>),
    /// Nothing of what was asked for is there.
    NotSatisfiable,
}

/// Reads a `Range` header for a resource of `size_bytes`.
pub(crate) fn wanted(range: Option<&[u8]>, size_bytes: u64) -> Wanted {
    let spec = range
        .and_then(|range| std::str::from_utf8(range).ok())
        .and_then(single_spec);
    let Some((first, last)) = spec else {
        return Wanted::Whole;
    };
    let range = match (first, last) {
        ("", last) => match number(last) {
            // The last so many bytes.
            Some(count) => size_bytes.saturating_sub(count)..size_bytes,
            None => return Wanted::Whole,
        },
        (first, "") => match number(first) {
            Some(first) => first..size_bytes,
            None => return Wanted::Whole,
        },
        (first, last) => match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(size_bytes),
            _ => return Wanted::Whole,
        },
    };
    if range.is_empty() {
        Wanted::NotSatisfiable
    } else {
        Wanted::Part(range)
    }
}

fn single_spec(range: &str) -> Option<(&str, &str)> {
    let (unit, specs) = range.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") || specs.contains(',') {
        return None;
    }
    specs.trim().split_once('-')
}

/// Digits only; a number too large for 64 bits is as good as the largest.
fn number(digits: &str) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_are_read_as_http_means_them() {
        use Wanted::{NotSatisfiable, Part, Whole};
        for (range, size_bytes, expected) in [
            (None, 10, Whole),
            (Some("bytes=0-0"), 10, Part(0..1)),
            (Some("bytes=0-9"), 10, Part(0..10)),
            (Some("bytes=2-4"), 10, Part(2..5)),
            (Some("bytes=2-"), 10, Part(2..10)),
            (Some("bytes=-3"), 10, Part(7..10)),
            (Some("bytes=-30"), 10, Part(0..10)),
            (Some("bytes=5-100"), 10, Part(5..10)),
            (Some("bytes=5-18446744073709551615"), 10, Part(5..10)),
            (Some("bytes=5-99999999999999999999999"), 10, Part(5..10)),
            (Some("Bytes = 2-4"), 10, Part(2..5)),
            (Some("bytes=10-"), 10, NotSatisfiable),
            (Some("bytes=10-20"), 10, NotSatisfiable),
            (Some("bytes=99999999999999999999999-"), 10, NotSatisfiable),
            (Some("bytes=-0"), 10, NotSatisfiable),
            (Some("bytes=0-"), 0, NotSatisfiable),
            (Some("bytes=-1"), 0, NotSatisfiable),
            // What a server may pass over, it does.
            (Some("bytes=4-2"), 10, Whole),
            (Some("bytes=0-1,3-4"), 10, Whole),
            (Some("bytes=-"), 10, Whole),
            (Some("bytes=+1-2"), 10, Whole),
            (Some("bytes=a-b"), 10, Whole),
            (Some("bytes=1-b"), 10, Whole),
            (Some("bytes=--1"), 10, Whole),
            (Some("bytes="), 10, Whole),
            (Some("bytes"), 10, Whole),
            (Some("items=0-1"), 10, Whole),
            (Some(""), 10, Whole),
        ] {
            assert_eq!(
                wanted(range.map(str::as_bytes), size_bytes),
                expected,
                "{range:?} of {size_bytes}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_part_is_never_empty_and_always_inside(range in "(bytes=)?[0-9]{0,20}-[0-9]{0,20}|.{0,20}", size_bytes: u64) {
            if let Wanted::Part(part) = wanted(Some(range.as_bytes()), size_bytes) {
                prop_assert!(part.start < part.end && part.end <= size_bytes);
            }
        }
    }
}
