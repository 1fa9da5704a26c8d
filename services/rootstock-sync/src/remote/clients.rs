//! HTTP clients: one per way of trusting, shared by all remotes that trust alike.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use http::HeaderValue;
use reqwest::{Certificate, redirect, tls};
use rootstock_model::Credentials;
use rootstock_proto::{catalog::v1 as wire, convert};
use url::Url;

use super::{
    RemoteServer,
    error::{FetchError, Problem, What, root_cause},
};
use crate::config::RemoteLimits;

const USER_AGENT: &str = concat!("rootstock/", env!("CARGO_PKG_VERSION"));
/// Enough for a mirror network and its object store; a loop ends soon.
const MAX_REDIRECTS: usize = 5;
/// Clients are kept while there are few. Making one reads the system's certificates: milliseconds.
const MAX_CLIENTS: usize = 64;

/// Makes [`RemoteServer`]s.
#[derive(Debug, Clone)]
pub(crate) struct RemoteClients {
    limits: RemoteLimits,
    by_trust: Arc<Mutex<HashMap<Trust, reqwest::Client>>>,
}

/// Whom a client trusts.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Trust {
    pub(super) ca_pem: String,
    pub(super) insecure: bool,
}

impl RemoteClients {
    /// Clients within these limits.
    pub(crate) fn new(limits: RemoteLimits) -> Self {
        Self {
            limits,
            by_trust: Arc::default(),
        }
    }

    /// The server that the catalog describes.
    pub(crate) fn server(&self, remote: &wire::Remote) -> Result<RemoteServer, FetchError> {
        let bad_remote = |problem: String| {
            FetchError::of_url(What::Index, remote.url.clone(), Problem::BadRemote(problem))
        };
        let spec = convert::remote_spec(remote).map_err(|error| bad_remote(error.to_string()))?;
        let base: Url = spec
            .url
            .parse()
            .map_err(|error: url::ParseError| bad_remote(error.to_string()))?;
        let trust = Trust {
            ca_pem: spec.ca_pem,
            insecure: spec.insecure,
        };
        let client = self
            .client(trust)
            .map_err(|problem| FetchError::new(What::Index, &base, problem))?;
        Ok(RemoteServer {
            name: spec.name,
            authorization: spec.credentials.as_ref().and_then(authorization),
            base,
            client,
            limits: self.limits.clone(),
        })
    }

    fn client(&self, trust: Trust) -> Result<reqwest::Client, Problem> {
        let mut clients = self.by_trust.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&trust) {
            return Ok(client.clone());
        }
        let client = build(&trust, tls::Version::TLS_1_2, &self.limits)?;
        if clients.len() >= MAX_CLIENTS {
            clients.clear();
        }
        clients.insert(trust, client.clone());
        Ok(client)
    }
}

/// The header that shows the credentials. It is marked: nothing prints it.
///
/// It goes where the remote's URL says: over `https://`, or over `http://` when the URL itself says so. A
/// redirect to another host or port leaves it behind, and one from `https://` to `http://` is refused.
fn authorization(credentials: &Credentials) -> Option<HeaderValue> {
    let text = match credentials {
        Credentials::Basic { user, password } => {
            format!("Basic {}", BASE64.encode(format!("{user}:{password}")))
        }
        Credentials::Bearer(token) => format!("Bearer {token}"),
    };
    // Credentials hold nothing that a header cannot.
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

pub(super) fn build(
    trust: &Trust,
    oldest_tls: tls::Version,
    limits: &RemoteLimits,
) -> Result<reqwest::Client, Problem> {
    let own = Certificate::from_pem_bundle(trust.ca_pem.as_bytes())
        .map_err(|error| Problem::BadTrust(root_cause(&error)))?;
    if own.is_empty() && !trust.ca_pem.trim().is_empty() {
        return Err(Problem::BadTrust("it holds no certificate".to_owned()));
    }
    let builder = || {
        reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .connect_timeout(limits.connect_timeout)
            .redirect(redirects())
            .tls_danger_accept_invalid_certs(trust.insecure)
            .tls_version_min(oldest_tls)
            // Over HTTP/2 all transfers from a server would share one TCP connection, and its losses.
            .http1_only()
    };
    match builder().tls_certs_merge(own.clone()).build() {
        Ok(client) => Ok(client),
        Err(error) => {
            // A container may have no certificates at all. That matters when a server wants to be
            // trusted, and is said then; `http://` and `--ca` go without.
            tracing::warn!(
                error = root_cause(&error),
                "the system's certificates cannot be loaded"
            );
            let client = builder().tls_certs_only(own).build();
            client.map_err(|error| Problem::BadTrust(root_cause(&error)))
        }
    }
}

/// A redirect that is not followed.
#[derive(Debug, thiserror::Error)]
pub(super) enum RedirectRefused {
    #[error("it redirects more than {MAX_REDIRECTS} times")]
    TooMany,
    #[error("it redirects from https:// to {0}://")]
    Downgrade(String),
}

fn redirects() -> redirect::Policy {
    redirect::Policy::custom(|attempt| {
        if attempt.previous().len() > MAX_REDIRECTS {
            return attempt.error(RedirectRefused::TooMany);
        }
        let was_https = attempt.previous().iter().any(|url| url.scheme() == "https");
        match attempt.url().scheme() {
            "https" => attempt.follow(),
            "http" if !was_https => attempt.follow(),
            other => {
                let refused = RedirectRefused::Downgrade(other.to_owned());
                attempt.error(refused)
            }
        }
    })
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ca_bytes = self.ca_pem.len();
        f.debug_struct("Trust")
            .field("ca_bytes", &ca_bytes)
            .field("insecure", &self.insecure)
            .finish()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A client that trusts nobody; whoever asks for nothing needs no more.
    pub(in crate::remote) fn client() -> reqwest::Client {
        // The program's own part; another test may have been faster.
        let _ = rustls::crypto::ring::default_provider().install_default();
        reqwest::Client::builder().tls_certs_only([]).build().unwrap()
    }

    fn remote(url: &str, ca_pem: &str) -> wire::Remote {
        wire::Remote {
            name: "test".into(),
            url: url.into(),
            ca_pem: ca_pem.into(),
            ..Default::default()
        }
    }

    #[test]
    fn remotes_that_trust_alike_share_a_client() {
        let _ = client();
        let clients = RemoteClients::new(RemoteLimits::default());
        clients.server(&remote("https://a", "")).unwrap();
        clients.server(&remote("https://b/c", "")).unwrap();
        assert_eq!(clients.by_trust.lock().unwrap().len(), 1);
        clients
            .server(&wire::Remote {
                insecure: true,
                ..remote("https://a", "")
            })
            .unwrap();
        assert_eq!(clients.by_trust.lock().unwrap().len(), 2);
    }

    #[test]
    fn a_remote_that_cannot_be_asked_says_why() {
        let _ = client();
        let clients = RemoteClients::new(RemoteLimits::default());
        for (remote, expected) in [
            (remote("ftp://a", ""), "must begin with https://"),
            (remote("https://[", ""), "invalid IPv6 address"),
            (remote("https://a", "nonsense"), "no certificate"),
        ] {
            let error = clients.server(&remote).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
