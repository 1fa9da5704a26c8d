//! HTTP clients: one per way of trusting, shared by all remotes that trust alike.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use http::HeaderValue;
use reqwest::{Certificate, tls};
use rootstock_model::{Credentials, Endpoint};
use url::Url;

use super::{
    HttpServer,
    cause::root_cause,
    error::{FetchError, Problem, Target},
    redirect,
};
use crate::RemoteLimits;

const USER_AGENT: &str = concat!("rootstock/", env!("CARGO_PKG_VERSION"));
/// Clients are kept while there are few. Making one reads the system's certificates: milliseconds.
const MAX_CLIENTS: usize = 64;

/// Makes [`HttpServer`]s.
#[derive(Debug, Clone)]
pub(crate) struct HttpClients {
    limits: RemoteLimits,
    oldest_tls: OldestTls,
    by_trust: Arc<Mutex<HashMap<Trust, reqwest::Client>>>,
}

/// The oldest TLS that is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OldestTls {
    /// TLS 1.2.
    V1_2,
    /// TLS 1.3, as Incus and LXD clients have it.
    V1_3,
}

/// Whom a client trusts.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Trust {
    ca_pem: String,
    insecure: bool,
}

impl HttpClients {
    /// Clients within these limits.
    pub(crate) fn new(limits: RemoteLimits, oldest_tls: OldestTls) -> Self {
        Self {
            limits,
            oldest_tls,
            by_trust: Arc::default(),
        }
    }

    /// The server at an endpoint.
    pub(crate) fn server(&self, endpoint: &Endpoint) -> Result<HttpServer, FetchError> {
        let bad_remote = |problem: &dyn fmt::Display| FetchError::bad_remote(&endpoint.url, problem);
        let base: Url = endpoint.url.parse().map_err(|error| bad_remote(&error))?;
        if !matches!(base.scheme(), "http" | "https") || !base.has_host() {
            return Err(bad_remote(&"it must begin with https:// or http://"));
        }
        let trust = Trust {
            ca_pem: endpoint.ca_pem.clone(),
            insecure: endpoint.insecure,
        };
        let client = self
            .client(trust)
            .map_err(|problem| FetchError::new(Target::Server, &base, problem))?;
        let authorization = endpoint.credentials.as_ref().and_then(authorization);
        Ok(HttpServer::new(base, client, authorization, self.limits.clone()))
    }

    fn client(&self, trust: Trust) -> Result<reqwest::Client, Problem> {
        let mut clients = self.by_trust.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&trust) {
            return Ok(client.clone());
        }
        let client = build(&trust, self.oldest_tls, &self.limits)?;
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
            format!("Basic {}", BASE64.encode(format!("{user}:{}", password.expose())))
        }
        Credentials::Bearer(token) => format!("Bearer {}", token.expose()),
    };
    // Credentials hold nothing that a header cannot.
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn build(trust: &Trust, oldest_tls: OldestTls, limits: &RemoteLimits) -> Result<reqwest::Client, Problem> {
    let oldest_tls = match oldest_tls {
        OldestTls::V1_2 => tls::Version::TLS_1_2,
        OldestTls::V1_3 => tls::Version::TLS_1_3,
    };
    let own = Certificate::from_pem_bundle(trust.ca_pem.as_bytes())
        .map_err(|error| Problem::BadTrust(root_cause(&error)))?;
    if own.is_empty() && !trust.ca_pem.trim().is_empty() {
        return Err(Problem::BadTrust("it holds no certificate".to_owned()));
    }
    let builder = || {
        reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .connect_timeout(limits.connect_timeout)
            .redirect(redirect::policy())
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

    /// A client that trusts no server: enough for tests that send no request.
    pub(in crate::http) fn client() -> reqwest::Client {
        // The program's own part; another test may have been faster.
        let _ = rustls::crypto::ring::default_provider().install_default();
        reqwest::Client::builder().tls_certs_only([]).build().unwrap()
    }

    fn endpoint(url: &str, ca_pem: &str) -> Endpoint {
        Endpoint {
            ca_pem: ca_pem.to_owned(),
            ..Endpoint::new(url)
        }
    }

    #[test]
    fn remotes_that_trust_alike_share_a_client() {
        let _ = client();
        let clients = HttpClients::new(RemoteLimits::default(), OldestTls::V1_2);
        clients.server(&endpoint("https://a", "")).unwrap();
        clients.server(&endpoint("https://b/c", "")).unwrap();
        assert_eq!(clients.by_trust.lock().unwrap().len(), 1);
        clients
            .server(&Endpoint {
                insecure: true,
                ..endpoint("https://a", "")
            })
            .unwrap();
        assert_eq!(clients.by_trust.lock().unwrap().len(), 2);
    }

    #[test]
    fn a_remote_that_cannot_be_asked_says_why() {
        let _ = client();
        let clients = HttpClients::new(RemoteLimits::default(), OldestTls::V1_2);
        for (endpoint, expected) in [
            (endpoint("ftp://a", ""), "must begin with https://"),
            (endpoint("https://[", ""), "invalid IPv6 address"),
            (endpoint("https://a", "nonsense"), "no certificate"),
        ] {
            let error = clients.server(&endpoint).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
