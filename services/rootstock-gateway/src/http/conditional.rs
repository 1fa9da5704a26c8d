//! Conditional requests: is what the client has still current? (RFC 9110 §13)

use http::{HeaderMap, HeaderValue, Method, header};
use rootstock_model::Digest;
use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};

/// What tells one state of a resource from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Validators {
    /// Strong, in quotes.
    pub(crate) etag: HeaderValue,
    /// When it last changed.
    pub(crate) last_modified: Option<HeaderValue>,
}

impl Validators {
    /// The strong ETag of bytes with this digest.
    pub(crate) fn etag_of(digest: &Digest) -> HeaderValue {
        HeaderValue::from_str(&format!("\"{digest}\"")).unwrap_or(HeaderValue::from_static("\"\""))
    }

    /// Writes them into a response's headers.
    pub(crate) fn insert_into(&self, headers: &mut HeaderMap) {
        headers.insert(header::ETAG, self.etag.clone());
        if let Some(last_modified) = &self.last_modified {
            headers.insert(header::LAST_MODIFIED, last_modified.clone());
        }
    }

    /// Whether the answer to a request with these headers is 304.
    pub(crate) fn is_current(&self, method: &Method, request: &HeaderMap) -> bool {
        if !matches!(*method, Method::GET | Method::HEAD) {
            return false;
        }
        if request.contains_key(header::IF_NONE_MATCH) {
            // Then the date says nothing.
            return request
                .get_all(header::IF_NONE_MATCH)
                .iter()
                .any(|tags| names(tags, &self.etag));
        }
        let since = request.get(header::IF_MODIFIED_SINCE).and_then(moment);
        match (since, self.last_modified.as_ref().and_then(moment)) {
            (Some(since), Some(modified)) => modified <= since,
            _ => false,
        }
    }

    /// Whether a part of what the client has a part of already can be sent: `If-Range` names this
    /// very state, or is not there.
    pub(crate) fn allows_range(&self, request: &HeaderMap) -> bool {
        let Some(condition) = request.get(header::IF_RANGE) else {
            return true;
        };
        *condition == self.etag
            || (self.last_modified.is_some() && self.last_modified.as_ref() == Some(condition))
    }
}

/// Whether a list of entity tags names this one. `W/` counts for nothing: a GET compares weakly.
fn names(tags: &HeaderValue, etag: &HeaderValue) -> bool {
    tags.as_bytes()
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .any(|tag| tag == b"*" || tag.strip_prefix(b"W/").unwrap_or(tag) == etag.as_bytes())
}

const HTTP_DATE: &[BorrowedFormatItem<'_>] =
    format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");

/// A moment as HTTP writes it, cut to the second.
pub(crate) fn http_date(moment: OffsetDateTime) -> HeaderValue {
    moment
        .to_offset(time::UtcOffset::UTC)
        .format(HTTP_DATE)
        .ok()
        .and_then(|text| HeaderValue::try_from(text).ok())
        // Years that do not fit four digits; there is no such clock.
        .unwrap_or(HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"))
}

/// The two older forms that HTTP knows are passed over: nothing sends them any more.
fn moment(date: &HeaderValue) -> Option<OffsetDateTime> {
    let date = time::PrimitiveDateTime::parse(date.to_str().ok()?, HTTP_DATE).ok()?;
    Some(date.assume_utc())
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn validators() -> Validators {
        Validators {
            etag: HeaderValue::from_static("\"a\""),
            last_modified: Some(http_date(datetime!(2026-11-22 05:24:00.9 UTC))),
        }
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn dates_are_written_as_http_writes_them() {
        assert_eq!(
            http_date(datetime!(1994-11-06 08:49:37 UTC)),
            "Sun, 06 Nov 1994 08:49:37 GMT"
        );
    }

    #[test]
    fn what_is_current_needs_no_body() {
        for (request, expected) in [
            (&[][..], false),
            (&[("if-none-match", "\"a\"")], true),
            (&[("if-none-match", "W/\"a\"")], true),
            (&[("if-none-match", "\"b\", \"a\"")], true),
            (&[("if-none-match", "*")], true),
            (&[("if-none-match", "\"b\"")], false),
            (&[("if-none-match", "a")], false),
            (&[("if-modified-since", "Sun, 22 Nov 2026 05:24:00 GMT")], true),
            (&[("if-modified-since", "Sun, 22 Nov 2026 05:24:01 GMT")], true),
            (&[("if-modified-since", "Sun, 22 Nov 2026 05:23:59 GMT")], false),
            (&[("if-modified-since", "yesterday")], false),
            // The tag is the better witness.
            (
                &[
                    ("if-none-match", "\"b\""),
                    ("if-modified-since", "Sun, 22 Nov 2026 05:24:00 GMT"),
                ],
                false,
            ),
        ] {
            assert_eq!(
                validators().is_current(&Method::GET, &headers(request)),
                expected,
                "{request:?}"
            );
            assert!(!validators().is_current(&Method::POST, &headers(request)));
        }
    }

    #[test]
    fn a_part_is_only_sent_of_the_same_whole() {
        for (request, expected) in [
            (&[][..], true),
            (&[("if-range", "\"a\"")], true),
            (&[("if-range", "W/\"a\"")], false),
            (&[("if-range", "\"b\"")], false),
            (&[("if-range", "Sun, 22 Nov 2026 05:24:00 GMT")], true),
            (&[("if-range", "Sun, 22 Nov 2026 05:24:01 GMT")], false),
        ] {
            assert_eq!(
                validators().allows_range(&headers(request)),
                expected,
                "{request:?}"
            );
        }
    }
}
