//! Which part of a file a request asks for: RFC 9110's conditions and ranges.

use std::{ops::Range, time::SystemTime};

use http::{HeaderMap, HeaderValue, header};

/// What names the state of a file.
#[derive(Debug, Clone)]
pub(super) struct Validators {
    /// With its quotes.
    pub(super) etag: String,
    /// To the second.
    pub(super) modified: SystemTime,
}

/// What to send.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Selected {
    /// 200.
    Whole,
    /// 206.
    Part(Range<u64>),
    /// 304.
    NotModified,
    /// 416.
    Unsatisfiable,
}

/// Decides by the request's headers. Without validators no condition holds.
pub(super) fn select(headers: &HeaderMap, size: u64, validators: Option<&Validators>) -> Selected {
    let text = |name| {
        headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    if validators.is_some_and(|validators| not_modified(validators, text)) {
        return Selected::NotModified;
    }
    let same = match text(header::IF_RANGE) {
        None => true,
        Some(condition) => validators.is_some_and(|validators| {
            // Only a strong ETag or the exact date will do.
            condition == validators.etag || date(condition) == Some(validators.modified)
        }),
    };
    match text(header::RANGE)
        .filter(|_| same)
        .and_then(|range| parse_range(range, size))
    {
        None => Selected::Whole,
        Some(range) if range.is_empty() => Selected::Unsatisfiable,
        Some(range) => Selected::Part(range),
    }
}

fn not_modified<'a>(validators: &Validators, text: impl Fn(header::HeaderName) -> Option<&'a str>) -> bool {
    if let Some(list) = text(header::IF_NONE_MATCH) {
        let weak = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
        return list
            .split(',')
            .any(|tag| tag.trim() == "*" || weak(tag) == weak(&validators.etag));
    }
    text(header::IF_MODIFIED_SINCE)
        .and_then(date)
        .is_some_and(|since| validators.modified <= since)
}

fn date(text: &str) -> Option<SystemTime> {
    httpdate::parse_http_date(text).ok()
}

/// `None` for what is to be ignored (another unit, several ranges, nonsense); empty for what cannot
/// be satisfied.
fn parse_range(text: &str, size: u64) -> Option<Range<u64>> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let range = match (first.trim(), last.trim()) {
        ("", suffix) => size.saturating_sub(suffix.parse().ok()?)..size,
        (first, "") => first.parse().ok()?..size,
        (first, last) => {
            let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
            if last < first {
                return None;
            }
            first..size.min(last.saturating_add(1))
        }
    };
    Some(range.start.min(size)..range.end)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn selected(headers: &[(header::HeaderName, &'static str)]) -> Selected {
        let validators = Validators {
            etag: "\"a\"".into(),
            modified: UNIX_EPOCH + Duration::from_secs(86_400),
        };
        let headers = headers
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_static(value)))
            .collect();
        select(&headers, 100, Some(&validators))
    }

    #[test]
    fn ranges() {
        for (text, wanted) in [
            ("bytes=0-9", Selected::Part(0..10)),
            ("bytes=90-", Selected::Part(90..100)),
            ("bytes=90-1000", Selected::Part(90..100)),
            ("bytes=-10", Selected::Part(90..100)),
            ("bytes=-1000", Selected::Part(0..100)),
            ("bytes=100-", Selected::Unsatisfiable),
            ("bytes=9-0", Selected::Whole),
            ("bytes=0-1,5-6", Selected::Whole),
            ("lines=0-9", Selected::Whole),
        ] {
            assert_eq!(selected(&[(header::RANGE, text)]), wanted, "{text}");
        }
    }

    #[test]
    fn conditions() {
        const DAY_1: &str = "Thu, 01 Jan 1970 00:00:00 GMT";
        const DAY_2: &str = "Fri, 02 Jan 1970 00:00:00 GMT";
        use header::{IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, RANGE};
        for (headers, wanted) in [
            (&[(IF_NONE_MATCH, "\"a\"")][..], Selected::NotModified),
            (&[(IF_NONE_MATCH, "\"b\", W/\"a\"")], Selected::NotModified),
            (&[(IF_NONE_MATCH, "\"b\"")], Selected::Whole),
            (&[(IF_MODIFIED_SINCE, DAY_2)], Selected::NotModified),
            (&[(IF_MODIFIED_SINCE, DAY_1)], Selected::Whole),
            (
                &[(IF_NONE_MATCH, "\"b\""), (IF_MODIFIED_SINCE, DAY_2)],
                Selected::Whole,
            ),
            (
                &[(RANGE, "bytes=5-"), (IF_RANGE, "\"a\"")],
                Selected::Part(5..100),
            ),
            (&[(RANGE, "bytes=5-"), (IF_RANGE, "\"b\"")], Selected::Whole),
            (&[(RANGE, "bytes=5-"), (IF_RANGE, "W/\"a\"")], Selected::Whole),
            (&[(RANGE, "bytes=5-"), (IF_RANGE, DAY_2)], Selected::Part(5..100)),
            (&[(RANGE, "bytes=5-"), (IF_RANGE, DAY_1)], Selected::Whole),
        ] {
            assert_eq!(selected(headers), wanted, "{headers:?}");
        }
    }
}
