//! Files of images: whole, or from where an earlier attempt got to.

use http::{HeaderMap, StatusCode, header};
use reqwest::Response;
use url::Url;

use super::{
    error::{FetchError, Problem, Target},
    server::{HttpServer, text_of},
};
use crate::{Opened, Resume, Validators};

impl Validators {
    fn of(url: &Url, headers: &HeaderMap) -> Self {
        Self {
            url: url.to_string(),
            etag: text_of(headers, header::ETAG),
            last_modified: text_of(headers, header::LAST_MODIFIED),
        }
    }

    /// What `If-Range` may hold: a strong ETag, else a date. A weak ETag may not stand there.
    fn if_range(&self) -> Option<&str> {
        match (self.etag.as_str(), self.last_modified.as_str()) {
            (etag, _) if !etag.is_empty() && !etag.starts_with("W/") => Some(etag),
            (_, date) if !date.is_empty() => Some(date),
            _ => None,
        }
    }

    /// Whether both name something, and not the same.
    fn differ_from(&self, other: &Self) -> bool {
        let differ = |a: &str, b: &str| !a.is_empty() && !b.is_empty() && a != b;
        differ(&self.etag, &other.etag)
            // A date says less than an ETag: mirrors that agree on the one may differ in the other.
            || ((self.etag.is_empty() || other.etag.is_empty())
                && differ(&self.last_modified, &other.last_modified))
    }
}

impl HttpServer {
    /// Asks for a file of exactly `size_bytes`. The answer begins at `resume`'s offset, or at 0 when
    /// the server knows no ranges, or has other content there than before.
    ///
    /// Without validators the rest is asked for all the same: the digest of the whole decides in the
    /// end.
    pub(crate) async fn file(
        &self,
        path: &str,
        size_bytes: u64,
        resume: Resume<'_>,
    ) -> Result<Opened, FetchError> {
        let url = self.url(Target::Artifact, path)?;
        let resume = Resume {
            validators: resume.validators.filter(|before| before.url == url.as_str()),
            ..resume
        };
        if resume.offset > 0 {
            let response = self.get_file(&url, Some(resume)).await?;
            match rest(&url, &response, size_bytes, resume) {
                Rest::Begins => return self.answer(&url, response, resume.offset),
                Rest::Whole => return self.whole(&url, response, size_bytes),
                Rest::Unusable => {}
            }
        }
        let response = self.get_file(&url, None).await?;
        self.whole(&url, response, size_bytes)
    }

    async fn get_file(&self, url: &Url, resume: Option<Resume<'_>>) -> Result<Response, FetchError> {
        // A file is named by the digest of its bytes as they are: nothing may pack them.
        let mut request = self
            .client
            .get(url.clone())
            .header(header::ACCEPT_ENCODING, "identity");
        if let Some(Resume { offset, validators }) = resume {
            request = request.header(header::RANGE, format!("bytes={offset}-"));
            if let Some(if_range) = validators.and_then(Validators::if_range) {
                request = request.header(header::IF_RANGE, if_range);
            }
        }
        self.send(Target::Artifact, url, request).await
    }

    fn whole(&self, url: &Url, response: Response, size_bytes: u64) -> Result<Opened, FetchError> {
        if response.status() != StatusCode::OK {
            return Err(Self::refusal(Target::Artifact, url, &response));
        }
        match response.content_length() {
            Some(claimed_bytes) if claimed_bytes != size_bytes => {
                let problem = Problem::Length {
                    claimed_bytes,
                    expected_bytes: size_bytes,
                };
                Err(FetchError::new(Target::Artifact, url, problem))
            }
            _ => self.answer(url, response, 0),
        }
    }

    fn answer(&self, url: &Url, response: Response, offset: u64) -> Result<Opened, FetchError> {
        let encoding = text_of(response.headers(), header::CONTENT_ENCODING);
        if !matches!(encoding.as_str(), "" | "identity") {
            return Err(FetchError::new(
                Target::Artifact,
                url,
                Problem::Encoding(encoding),
            ));
        }
        let validators = Validators::of(url, response.headers());
        Ok(Opened {
            body: self.body(Target::Artifact, url, response),
            offset,
            validators,
        })
    }
}

/// What became of a request for the rest.
#[derive(Debug, PartialEq, Eq)]
enum Rest {
    /// The rest comes.
    Begins,
    /// The answer is about the whole: other content, no ranges, or a refusal.
    Whole,
    /// The rest of something else: ask again, for the whole.
    Unusable,
}

fn rest(url: &Url, response: &Response, size_bytes: u64, resume: Resume<'_>) -> Rest {
    match response.status() {
        StatusCode::PARTIAL_CONTENT => {}
        StatusCode::RANGE_NOT_SATISFIABLE => return Rest::Unusable,
        _ => return Rest::Whole,
    }
    let range = text_of(response.headers(), header::CONTENT_RANGE);
    let as_wanted = content_range(&range) == Some((resume.offset, size_bytes));
    let validators = Validators::of(url, response.headers());
    let other_content = resume
        .validators
        .is_some_and(|before| before.differ_from(&validators));
    match as_wanted && !other_content {
        true => Rest::Begins,
        false => Rest::Unusable,
    }
}

/// The first byte and the size of the whole, of a range that reaches to the end.
fn content_range(text: &str) -> Option<(u64, u64)> {
    let (range, size) = text.strip_prefix("bytes ")?.trim().split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let size: u64 = size.parse().ok()?;
    let last: u64 = last.parse().ok()?;
    (last.checked_add(1)? == size).then_some((first.parse().ok()?, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_range_to_the_end_is_taken() {
        for (text, expected) in [
            ("bytes 5-9/10", Some((5, 10))),
            ("bytes 0-0/1", Some((0, 1))),
            ("bytes 5-8/10", None),
            ("bytes 5-9/*", None),
            ("bytes */10", None),
            ("items 5-9/10", None),
            ("bytes 5-18446744073709551615/10", None),
            ("", None),
        ] {
            assert_eq!(content_range(text), expected, "{text:?}");
        }
    }

    fn validators(etag: &str, last_modified: &str) -> Validators {
        Validators {
            url: "https://h/b".into(),
            etag: etag.into(),
            last_modified: last_modified.into(),
        }
    }

    #[test]
    fn if_range_wants_a_strong_validator() {
        for (etag, date, expected) in [
            ("\"1\"", "Mon", Some("\"1\"")),
            ("W/\"1\"", "Mon", Some("Mon")),
            ("W/\"1\"", "", None),
            ("", "Mon", Some("Mon")),
            ("", "", None),
        ] {
            assert_eq!(validators(etag, date).if_range(), expected, "{etag} {date}");
        }
    }

    #[test]
    fn content_differs_when_the_better_validator_says_so() {
        for (before, after, differ) in [
            (("\"1\"", "Mon"), ("\"1\"", "Mon"), false),
            (("\"1\"", "Mon"), ("\"2\"", "Mon"), true),
            (("\"1\"", "Mon"), ("\"1\"", "Tue"), false),
            (("", "Mon"), ("", "Tue"), true),
            (("\"1\"", "Mon"), ("", "Tue"), true),
            (("\"1\"", ""), ("", "Tue"), false),
            (("", ""), ("\"1\"", "Tue"), false),
        ] {
            let (a, b) = (validators(before.0, before.1), validators(after.0, after.1));
            assert_eq!(a.differ_from(&b), differ, "{before:?} {after:?}");
        }
    }
}
