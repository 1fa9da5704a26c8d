//! What can go wrong with an image server, in words for whoever runs the remote.

use std::{error::Error as StdError, fmt, io, time::Duration};

use http::StatusCode;
use rustls::CertificateError;
use url::Url;

use super::{clients::RedirectRefused, document::MAX_DOCUMENT_BYTES};
use crate::config::RemoteLimits;

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// `streams/v1/index.json`.
    Index,
    /// A products file that the index names.
    Products,
    /// A file that a products file names.
    Blob,
}

/// A request that failed: which URL, what happened, and what to look at.
#[derive(Debug)]
pub(crate) struct FetchError {
    what: What,
    url: String,
    problem: Problem,
}

/// What happened.
#[derive(Debug)]
pub(crate) enum Problem {
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
        /// What came of the blob, with what was there before.
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
pub(crate) enum TlsProblem {
    /// Nobody whom we trust has issued it.
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
    pub(crate) fn new(what: What, url: &Url, problem: Problem) -> Self {
        Self::of_url(what, url.to_string(), problem)
    }

    /// As [`FetchError::new`], of a URL as text, which may even be none.
    pub(crate) fn of_url(what: What, url: String, problem: Problem) -> Self {
        Self { what, url, problem }
    }

    /// When the server wants to be asked again, when it says so.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match &self.problem {
            Problem::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Whether the server says that there is no such file.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(
            &self.problem,
            Problem::Status {
                status: StatusCode::NOT_FOUND | StatusCode::GONE,
                ..
            }
        )
    }
}

impl FetchError {
    /// Whether there is no talking to the server at all.
    pub(super) fn is_unreachable(&self) -> bool {
        matches!(
            &self.problem,
            Problem::BadRemote(_)
                | Problem::BadTrust(_)
                | Problem::UnknownHost(_)
                | Problem::Unreachable(_)
                | Problem::Tls(_)
                | Problem::NoAnswer(_)
                | Problem::Broken(_)
        )
    }
}

impl Problem {
    /// What a request that got no answer failed on.
    pub(super) fn of_request(error: &reqwest::Error, limits: &RemoteLimits) -> Self {
        if let Some(refused) = find::<RedirectRefused>(error) {
            return Self::Redirect(refused.to_string());
        }
        if let Some(tls) = find_tls(error) {
            return Self::Tls(tls);
        }
        let cause = root_cause(error);
        if !error.is_connect() {
            return Self::Broken(cause);
        }
        if error.is_timeout() {
            return Self::Unreachable(format!("no connection within {:?}", limits.connect_timeout));
        }
        // The connector's errors are private types; a changed wording only makes the text less precise.
        let dns = chain(error).any(|cause| cause.to_string().contains("dns error"));
        if dns {
            Self::UnknownHost(cause)
        } else {
            Self::Unreachable(cause)
        }
    }

    fn of_certificate(error: &CertificateError) -> TlsProblem {
        match error {
            // A bad signature is that of an authority which only has the name of one that we trust.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => TlsProblem::UnknownIssuer,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                TlsProblem::OtherName
            }
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => TlsProblem::OutOfTime,
            other if format!("{other:?}").contains("CaUsedAsEndEntity") => TlsProblem::AuthorityAsServer,
            other => TlsProblem::Other(other.to_string()),
        }
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GET {}: {}", self.url, self.problem)?;
        match hint(self.what, &self.problem) {
            "" => Ok(()),
            hint => write!(f, ": {hint}"),
        }
    }
}

impl StdError for FetchError {}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadRemote(problem) => write!(f, "the remote cannot be asked: {problem}"),
            Self::BadTrust(problem) => {
                write!(f, "the remote's certificates to trust cannot be used: {problem}")
            }
            Self::BadPath(path) => write!(f, "the path {path:?} does not lie below the remote's URL"),
            Self::UnknownHost(cause) => write!(f, "the host is not found: {cause}"),
            Self::Unreachable(cause) => write!(f, "the server cannot be reached: {cause}"),
            Self::Tls(problem) => problem.fmt(f),
            Self::Redirect(problem) => write!(f, "the server's redirect is not followed: {problem}"),
            Self::NoAnswer(limit) => write!(f, "the server did not answer within {limit:?}"),
            Self::Broken(cause) => write!(f, "the connection broke before an answer: {cause}"),
            Self::Status { status, retry_after } => {
                write!(f, "the server answered {status}")?;
                match retry_after {
                    Some(wait) => write!(f, " and asks to come back in {wait:?}"),
                    None => Ok(()),
                }
            }
            Self::BadDocument(problem) => f.write_str(problem),
            Self::Encoding(encoding) => {
                write!(
                    f,
                    "the server answered with Content-Encoding {encoding:?}, which was not asked for"
                )
            }
            Self::BadGzip(cause) => write!(f, "the answer's gzip cannot be unpacked: {cause}"),
            Self::TooLarge => write!(f, "the document is larger than {} MiB", MAX_DOCUMENT_BYTES >> 20),
            Self::Length {
                claimed_bytes,
                expected_bytes,
            } => {
                write!(
                    f,
                    "the server has {claimed_bytes} bytes there, the index says {expected_bytes}"
                )
            }
            Self::Cut {
                received_bytes,
                cause,
            } => {
                write!(f, "the connection ended after {received_bytes} bytes: {cause}")
            }
            Self::Short {
                received_bytes,
                expected_bytes,
            } => {
                write!(
                    f,
                    "the content ended after {received_bytes} bytes, the index says {expected_bytes}"
                )
            }
            Self::Silent(limit) => write!(f, "no byte came for {limit:?}"),
            Self::TooSlow { bytes_per_second } => {
                write!(f, "only {bytes_per_second} bytes per second came")
            }
            Self::TookTooLong(limit) => write!(f, "the document did not come within {limit:?}"),
            Self::Mismatch(problem) => write!(f, "the server has other bytes than the index says: {problem}"),
        }
    }
}

impl fmt::Display for TlsProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownIssuer => "the server's certificate is issued by nobody whom this worker trusts",
            Self::OtherName => "the server's certificate is for another name",
            Self::OutOfTime => "the server's certificate is not valid at this time",
            Self::AuthorityAsServer => "the server uses an authority's certificate as its own",
            Self::NoTls => "what answers there does not speak TLS",
            Self::Other(problem) => return write!(f, "TLS failed: {problem}"),
        })
    }
}

/// What to look at; empty when the problem says all.
fn hint(what: What, problem: &Problem) -> &'static str {
    match (problem, what) {
        (Problem::UnknownHost(_), _) => "check the host in the remote's URL, and this worker's DNS",
        (Problem::Unreachable(_), _) => {
            "check that the server is up, and that this worker's network lets it get there"
        }
        (Problem::BadTrust(_), _) => "--ca takes certificates in PEM form",
        (Problem::Tls(problem), _) => match problem {
            TlsProblem::UnknownIssuer => {
                "give the remote its authority's certificate with --ca FILE, or install it on this worker"
            }
            TlsProblem::OtherName => "use the name that the certificate has in the remote's URL",
            TlsProblem::OutOfTime => "check this worker's clock, else the server has to renew it",
            TlsProblem::AuthorityAsServer => {
                "have the server use a certificate that this authority signed, or add the remote with --insecure (its files are verified all the same)"
            }
            TlsProblem::NoTls => "check the port in the remote's URL, or use http://",
            TlsProblem::Other(_) => "",
        },
        (Problem::Redirect(_), _) => "check where the server sends its clients",
        (
            Problem::Status {
                status: StatusCode::NOT_FOUND | StatusCode::GONE,
                ..
            },
            what,
        ) => match what {
            What::Index => "the remote's URL must be the base of the tree, without streams/v1/index.json",
            What::Products => "the server's index names a file that is not there",
            What::Blob => "the server lists a file that it does not have, or no longer",
        },
        (
            Problem::Status {
                status: StatusCode::UNAUTHORIZED,
                ..
            },
            _,
        ) => {
            "the server wants credentials that it accepts: give them to the remote with \"rootstock remote update\", as user:password or bearer:<token>"
        }
        (
            Problem::Status {
                status: StatusCode::FORBIDDEN,
                ..
            },
            _,
        ) => "the server does not let this worker in",
        (
            Problem::Status {
                status,
                retry_after: None,
            },
            _,
        ) if status.is_server_error() => "the server is in trouble",
        (Problem::Encoding(_), What::Blob) => "the server must send files as they are",
        _ => "",
    }
}

/// The innermost cause, which says what happened; what is around it says where.
pub(crate) fn root_cause(error: &(dyn StdError + 'static)) -> String {
    chain(error).last().map_or_else(String::new, ToString::to_string)
}

fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    chain(error).find_map(|cause| cause.downcast_ref())
}

fn find_tls(error: &(dyn StdError + 'static)) -> Option<TlsProblem> {
    Some(match chain(error).find_map(tls_within)? {
        rustls::Error::InvalidCertificate(certificate) => Problem::of_certificate(certificate),
        rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType) => TlsProblem::NoTls,
        other => TlsProblem::Other(other.to_string()),
    })
}

/// A TLS error, or one in an `io::Error` in an `io::Error`: those hide from `source` what they wrap.
fn tls_within<'a>(cause: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    match cause.downcast_ref::<io::Error>() {
        Some(wrapper) => tls_within(wrapper.get_ref()?),
        None => cause.downcast_ref(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(what: What, problem: Problem) -> String {
        FetchError::new(what, &"https://images.example.org/p".parse().unwrap(), problem).to_string()
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
        for (what, problem, expected) in [
            (
                What::Index,
                status(404, None),
                "GET https://images.example.org/p: the server answered 404 Not Found: the remote's URL must be the base of the tree, without streams/v1/index.json",
            ),
            (
                What::Blob,
                status(404, None),
                "GET https://images.example.org/p: the server answered 404 Not Found: the server lists a file that it does not have, or no longer",
            ),
            (
                What::Index,
                status(429, Some(90)),
                "GET https://images.example.org/p: the server answered 429 Too Many Requests and asks to come back in 90s",
            ),
            (
                What::Index,
                Problem::Tls(TlsProblem::UnknownIssuer),
                "GET https://images.example.org/p: the server's certificate is issued by nobody whom this worker trusts: give the remote its authority's certificate with --ca FILE, or install it on this worker",
            ),
            (
                What::Products,
                Problem::BadDocument("the document is empty".to_owned()),
                "GET https://images.example.org/p: the document is empty",
            ),
        ] {
            assert_eq!(text(what, problem), expected);
        }
    }

    #[test]
    fn only_a_status_asks_to_come_back() {
        let error = |problem| FetchError::new(What::Index, &"https://h".parse().unwrap(), problem);
        assert_eq!(
            error(status(503, Some(7))).retry_after(),
            Some(Duration::from_secs(7))
        );
        assert_eq!(error(status(503, None)).retry_after(), None);
        assert_eq!(error(Problem::TooLarge).retry_after(), None);
    }

    #[test]
    fn tls_errors_are_found_below_what_wraps_them() {
        #[derive(Debug, thiserror::Error)]
        #[error("client error")]
        struct Outer(#[source] io::Error);

        for (tls, expected) in [
            (
                rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer),
                TlsProblem::UnknownIssuer,
            ),
            (
                rustls::Error::InvalidCertificate(CertificateError::Expired),
                TlsProblem::OutOfTime,
            ),
            (
                rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType),
                TlsProblem::NoTls,
            ),
        ] {
            let error = Outer(io::Error::other(io::Error::new(io::ErrorKind::InvalidData, tls)));
            assert_eq!(find_tls(&error), Some(expected));
        }
        assert_eq!(find_tls(&io::Error::other("cut")), None);
    }
}
