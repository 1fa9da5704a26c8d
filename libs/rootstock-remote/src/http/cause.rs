//! What lies below an error of the HTTP client: the cause that says what happened.

use std::{error::Error as StdError, io};

use rustls::CertificateError;

use super::{
    error::{Problem, TlsProblem},
    redirect::RedirectRefused,
};
use crate::RemoteLimits;

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

/// The innermost cause, which says what happened; what is around it says where.
pub fn root_cause(error: &(dyn StdError + 'static)) -> String {
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
