//! The HTTP side: one image server, what can be had from it, and what can go wrong.
//!
//! Every wait has an end: connecting, the head of an answer, each read of a body, and a body that
//! trickles. Nothing is retried here; the next claim of the work is the retry.

mod blob;
mod body;
mod clients;
mod document;
mod error;
mod low_speed;
mod probe;
mod retry_after;

pub(crate) use blob::{Resume, Validators};
pub(crate) use body::Body;
pub(crate) use clients::RemoteClients;
pub(crate) use document::{Document, Fetched};
pub(crate) use error::{FetchError, Problem, What, root_cause};
pub use probe::{Content, ImageServer, ProbeError, ProbeKind};
pub(crate) use retry_after::of as retry_after;

use std::time::Duration;

use http::{HeaderValue, header::AUTHORIZATION};
use reqwest::{RequestBuilder, Response};
use rootstock_model::RemoteName;
use url::Url;

use crate::config::RemoteLimits;

/// An image server, and the connections to it.
#[derive(Debug, Clone)]
pub(crate) struct RemoteServer {
    name: RemoteName,
    base: Url,
    client: reqwest::Client,
    /// Shown with every request; marked as sensitive.
    authorization: Option<HeaderValue>,
    limits: RemoteLimits,
}

impl RemoteServer {
    /// The remote's name.
    pub(crate) fn name(&self) -> &RemoteName {
        &self.name
    }

    /// Where `path` of an index lies on this server.
    ///
    /// What is escaped in the path stays so, as clients of the field read it; everything else that a
    /// URL cannot hold is escaped. The parser has refused paths that leave the tree, and this refuses
    /// them once more, because here is where it would matter.
    pub(crate) fn url(&self, what: What, path: &str) -> Result<Url, FetchError> {
        let base = self.base.path().trim_end_matches('/');
        let escaped = path.replace('?', "%3F").replace('#', "%23").replace('\\', "%5C");
        let mut url = self.base.clone();
        url.set_path(&format!("{base}/{escaped}"));
        let inside = url
            .path()
            .strip_prefix(base)
            .is_some_and(|rest| rest.len() > 1 && rest.starts_with('/') && !rest.contains("//"));
        let steps = |path: &str| path.split('/').filter(|part| !part.is_empty()).count();
        // A part that was `..`, in whatever spelling, has taken another one with it.
        if inside && steps(url.path()) == steps(base) + steps(path) {
            return Ok(url);
        }
        Err(FetchError::new(
            what,
            &self.base,
            Problem::BadPath(path.to_owned()),
        ))
    }

    /// Sends a request and waits for the head of the answer, redirects included.
    async fn send(&self, what: What, url: &Url, request: RequestBuilder) -> Result<Response, FetchError> {
        let request = match &self.authorization {
            Some(authorization) => request.header(AUTHORIZATION, authorization.clone()),
            None => request,
        };
        let limit = self.limits.header_timeout + self.limits.connect_timeout;
        match tokio::time::timeout(limit, request.send()).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(FetchError::new(
                what,
                url,
                Problem::of_request(&error, &self.limits),
            )),
            Err(_elapsed) => Err(FetchError::new(what, url, Problem::NoAnswer(limit))),
        }
    }

    /// The error that an answer which is no success makes.
    fn refusal(what: What, url: &Url, response: &Response) -> FetchError {
        let retry_after = retry_after::of(response.headers(), std::time::SystemTime::now());
        let status = response.status();
        FetchError::new(what, url, Problem::Status { status, retry_after })
    }

    fn body(&self, what: What, url: &Url, response: Response) -> Body {
        Body::new(what, url.clone(), response, &self.limits)
    }

    fn document_timeout(&self) -> Duration {
        self.limits.document_timeout
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(base: &str) -> RemoteServer {
        RemoteServer {
            name: "test".parse().unwrap(),
            base: base.parse().unwrap(),
            client: clients::tests::client(),
            authorization: None,
            limits: RemoteLimits::default(),
        }
    }

    #[test]
    fn paths_lie_below_the_base() {
        for (base, path, expected) in [
            (
                "https://h",
                "streams/v1/index.json",
                "https://h/streams/v1/index.json",
            ),
            ("https://h/some/pre/", "images/a", "https://h/some/pre/images/a"),
            (
                "https://h:8443/p",
                "images/20231007_13:00/root",
                "https://h:8443/p/images/20231007_13:00/root",
            ),
            ("https://h", "a/b c?d#e", "https://h/a/b%20c%3Fd%23e"),
            ("https://h", "a/b%20c", "https://h/a/b%20c"),
            ("https://h", "images/é", "https://h/images/%C3%A9"),
            ("https://h", "c:/x", "https://h/c:/x"),
        ] {
            assert_eq!(server(base).url(What::Blob, path).unwrap().as_str(), expected);
        }
    }

    #[test]
    fn no_path_leaves_the_base() {
        for path in [
            "..",
            "a/../b",
            "a/%2e%2e/b",
            "a/.%2E/../b",
            ".",
            "a/./b",
            "",
            "/",
            "//other/x",
            "a//b",
            "a\\..\\b/..",
        ] {
            let result = server("https://h/p").url(What::Blob, path);
            assert!(result.is_err(), "{path}: {result:?}");
        }
    }
}
