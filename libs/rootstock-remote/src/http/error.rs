//! What can go wrong with an image server, in words for the remote's operator.

use std::{error::Error as StdError, fmt, time::Duration};

use http::StatusCode;
use url::Url;

use crate::MAX_DOCUMENT_BYTES;

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Nothing yet: the server itself.
    Server,
    /// The document where a protocol begins.
    Index {
        /// What to look at when there is none.
        if_gone: &'static str,
    },
    /// A document that the index names.
    Document,
    /// A file of an image.
    Artifact,
}

/// A request that failed: which URL, what happened, and what to look at.
#[derive(Debug)]
pub struct FetchError {
    target: Target,
    url: String,
    problem: Problem,
}

/// Kinds of failures, for callers that go on differently after each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchErrorKind {
    /// The server says that there is no such file.
    Gone,
    /// There is no talking to the server: no connection, no trust, or no such URL.
    Unreachable,
    /// Anything else: another status, or an answer that broke.
    Failed,
}

/// What happened.
#[derive(Debug)]
pub enum Problem {
    /// The remote itself cannot be as it is.
    BadRemote(String),
    /// The certificates to trust cannot be used.
    BadTrust(String),
    /// The path is none below the remote's URL.
    BadPath(String),
    /// The host's name is not known.
    UnknownHost(String),
    /// No connection.
    Unreachable(String),
    /// No trust, or no TLS.
    Tls(TlsProblem),
    /// A redirect that is not followed.
    Redirect(String),
    /// The head of the answer did not come in time.
    NoAnswer(Duration),
    /// The request broke before there was an answer.
    Broken(String),
    /// The answer is no success.
    Status {
        /// Which.
        status: StatusCode,
        /// When the server wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// A document that is none: the parser's words.
    BadDocument(String),
    /// An encoding that was not asked for.
    Encoding(String),
    /// The gzip is damaged.
    BadGzip(String),
    /// A document beyond the limit.
    TooLarge,
    /// Another length than the index says.
    Length {
        /// Content-Length.
        claimed_bytes: u64,
        /// What the index says.
        expected_bytes: u64,
    },
    /// The connection ended within the body.
    Cut {
        /// What came.
        received_bytes: u64,
        /// Why it ended.
        cause: String,
    },
    /// The body ended before its time, though the connection did not.
    Short {
        /// What came of the file, with what was there before.
        received_bytes: u64,
        /// What the index says.
        expected_bytes: u64,
    },
    /// No byte came for so long.
    Silent(Duration),
    /// Bytes came, and too few.
    TooSlow {
        /// Over the last window.
        bytes_per_second: u64,
    },
    /// A document as a whole took longer than this.
    TookTooLong(Duration),
    /// The bytes are not what the index says; the text says how.
    Mismatch(String),
}

/// What is wrong with the server's certificate or its TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsProblem {
    /// No trusted authority issued it.
    UnknownIssuer,
    /// It is another host's.
    OtherName,
    /// Its time is over, or has not come.
    OutOfTime,
    /// It is an authority's own certificate.
    AuthorityAsServer,
    /// What answers speaks no TLS.
    NoTls,
    /// Something else.
    Other(String),
}

impl FetchError {
    /// An error of a request.
    pub fn new(target: Target, url: &Url, problem: Problem) -> Self {
        Self {
            target,
            url: url.to_string(),
            problem,
        }
    }

    /// A remote that cannot be asked as it is described; its URL may not even be one.
    pub fn bad_remote(url: &str, problem: impl fmt::Display) -> Self {
        Self {
            target: Target::Server,
            url: url.to_owned(),
            problem: Problem::BadRemote(problem.to_string()),
        }
    }

    /// Which kind of failure this is.
    pub fn kind(&self) -> FetchErrorKind {
        self.problem.describe(self.target).kind
    }

    /// When the server wants to be asked again, when it says so.
    pub fn retry_after(&self) -> Option<Duration> {
        match &self.problem {
            Problem::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Description { text, hint, .. } = self.problem.describe(self.target);
        write!(f, "GET {}: {text}", self.url)?;
        if hint.is_empty() {
            Ok(())
        } else {
            write!(f, ": {hint}")
        }
    }
}

impl StdError for FetchError {}

/// Everything there is to say of a problem.
struct Description {
    kind: FetchErrorKind,
    text: String,
    /// What to look at; empty when the text says all.
    hint: &'static str,
}

impl Problem {
    /// The one place where a problem gets its kind, its text and its hint.
    fn describe(&self, target: Target) -> Description {
        use FetchErrorKind::{Failed, Unreachable};
        let say = |kind, text, hint| Description { kind, text, hint };
        match self {
            Self::BadRemote(problem) => {
                say(Unreachable, format!("the remote cannot be asked: {problem}"), "")
            }
            Self::BadTrust(problem) => say(
                Unreachable,
                format!("the remote's certificates to trust cannot be used: {problem}"),
                "--ca takes certificates in PEM form",
            ),
            Self::BadPath(path) => say(
                Failed,
                format!("the path {path:?} does not lie below the remote's URL"),
                "",
            ),
            Self::UnknownHost(cause) => say(
                Unreachable,
                format!("the host is not found: {cause}"),
                "check the host in the remote's URL, and this worker's DNS",
            ),
            Self::Unreachable(cause) => say(
                Unreachable,
                format!("the server cannot be reached: {cause}"),
                "check that the server is up, and that this worker's network lets it get there",
            ),
            Self::Tls(problem) => {
                let (text, hint) = problem.describe();
                say(Unreachable, text, hint)
            }
            Self::Redirect(problem) => say(
                Failed,
                format!("the server's redirect is not followed: {problem}"),
                "check where the server sends its clients",
            ),
            Self::NoAnswer(limit) => say(
                Unreachable,
                format!("the server did not answer within {limit:?}"),
                "",
            ),
            Self::Broken(cause) => say(
                Unreachable,
                format!("the connection broke before an answer: {cause}"),
                "",
            ),
            Self::Status { status, retry_after } => describe_status(target, *status, *retry_after),
            Self::BadDocument(problem) => say(Failed, problem.clone(), ""),
            Self::Encoding(encoding) => say(
                Failed,
                format!("the server answered with Content-Encoding {encoding:?}, which was not asked for"),
                match target {
                    Target::Artifact => "the server must send files as they are",
                    Target::Server | Target::Index { .. } | Target::Document => "",
                },
            ),
            Self::BadGzip(cause) => say(
                Failed,
                format!("the answer's gzip cannot be unpacked: {cause}"),
                "",
            ),
            Self::TooLarge => say(
                Failed,
                format!("the document is larger than {} MiB", MAX_DOCUMENT_BYTES >> 20),
                "",
            ),
            Self::Length {
                claimed_bytes,
                expected_bytes,
            } => say(
                Failed,
                format!("the server has {claimed_bytes} bytes there, the index says {expected_bytes}"),
                "",
            ),
            Self::Cut {
                received_bytes,
                cause,
            } => say(
                Failed,
                format!("the connection ended after {received_bytes} bytes: {cause}"),
                "",
            ),
            Self::Short {
                received_bytes,
                expected_bytes,
            } => say(
                Failed,
                format!("the content ended after {received_bytes} bytes, the index says {expected_bytes}"),
                "",
            ),
            Self::Silent(limit) => say(Failed, format!("no byte came for {limit:?}"), ""),
            Self::TooSlow { bytes_per_second } => say(
                Failed,
                format!("only {bytes_per_second} bytes per second came"),
                "",
            ),
            Self::TookTooLong(limit) => {
                say(Failed, format!("the document did not come within {limit:?}"), "")
            }
            Self::Mismatch(problem) => say(
                Failed,
                format!("the server has other bytes than the index says: {problem}"),
                "",
            ),
        }
    }
}

fn describe_status(target: Target, status: StatusCode, retry_after: Option<Duration>) -> Description {
    let mut kind = FetchErrorKind::Failed;
    let hint = match status {
        StatusCode::NOT_FOUND | StatusCode::GONE => {
            kind = FetchErrorKind::Gone;
            match target {
                Target::Server => "",
                Target::Index { if_gone } => if_gone,
                Target::Document => "the server's index names a file that is not there",
                Target::Artifact => "the server lists a file that it does not have, or no longer",
            }
        }
        StatusCode::UNAUTHORIZED => {
            "the server wants credentials that it accepts: give them to the remote with \"rootstock remote update\", as user:password or bearer:<token>"
        }
        StatusCode::FORBIDDEN => "the server does not let this worker in",
        status if status.is_server_error() && retry_after.is_none() => "the server is in trouble",
        _ => "",
    };
    let text = match retry_after {
        Some(wait) => format!("the server answered {status} and asks to come back in {wait:?}"),
        None => format!("the server answered {status}"),
    };
    Description { kind, text, hint }
}

impl TlsProblem {
    /// Text and hint.
    fn describe(&self) -> (String, &'static str) {
        let (text, hint) = match self {
            Self::UnknownIssuer => (
                "the server's certificate is issued by nobody whom this worker trusts",
                "give the remote its authority's certificate with --ca FILE, or install it on this worker",
            ),
            Self::OtherName => (
                "the server's certificate is for another name",
                "use the name that the certificate has in the remote's URL",
            ),
            Self::OutOfTime => (
                "the server's certificate is not valid at this time",
                "check this worker's clock, else the server has to renew it",
            ),
            Self::AuthorityAsServer => (
                "the server uses an authority's certificate as its own",
                "have the server use a certificate that this authority signed, or add the remote with --insecure (its files are verified all the same)",
            ),
            Self::NoTls => (
                "what answers there does not speak TLS",
                "check the port in the remote's URL, or use http://",
            ),
            Self::Other(problem) => return (format!("TLS failed: {problem}"), ""),
        };
        (text.to_owned(), hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INDEX: Target = Target::Index {
        if_gone: "the URL must be the base",
    };

    fn text(target: Target, problem: Problem) -> String {
        FetchError::new(target, &"https://images.example.org/p".parse().unwrap(), problem).to_string()
    }

    fn status(code: u16, retry_after: Option<u64>) -> Problem {
        let status = StatusCode::from_u16(code).unwrap();
        Problem::Status {
            status,
            retry_after: retry_after.map(Duration::from_secs),
        }
    }

    #[test]
    fn texts_say_where_what_and_what_to_look_at() {
        for (target, problem, expected) in [
            (
                INDEX,
                status(404, None),
                "GET https://images.example.org/p: the server answered 404 Not Found: the URL must be the base",
            ),
            (
                Target::Artifact,
                status(404, None),
                "GET https://images.example.org/p: the server answered 404 Not Found: the server lists a file that it does not have, or no longer",
            ),
            (
                INDEX,
                status(429, Some(90)),
                "GET https://images.example.org/p: the server answered 429 Too Many Requests and asks to come back in 90s",
            ),
            (
                INDEX,
                Problem::Tls(TlsProblem::UnknownIssuer),
                "GET https://images.example.org/p: the server's certificate is issued by nobody whom this worker trusts: give the remote its authority's certificate with --ca FILE, or install it on this worker",
            ),
            (
                Target::Document,
                Problem::BadDocument("the document is empty".to_owned()),
                "GET https://images.example.org/p: the document is empty",
            ),
        ] {
            assert_eq!(text(target, problem), expected);
        }
    }

    #[test]
    fn only_a_status_asks_to_come_back() {
        let error = |problem| FetchError::new(INDEX, &"https://h".parse().unwrap(), problem);
        assert_eq!(
            error(status(503, Some(7))).retry_after(),
            Some(Duration::from_secs(7))
        );
        assert_eq!(error(status(503, None)).retry_after(), None);
        assert_eq!(error(Problem::TooLarge).retry_after(), None);
    }
}
