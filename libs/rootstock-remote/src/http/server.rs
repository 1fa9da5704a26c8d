//! One image server over HTTP: where its files lie, and how it is asked.

use http::{HeaderMap, HeaderName, HeaderValue, header::AUTHORIZATION};
use reqwest::{RequestBuilder, Response};
use url::Url;

use super::{
    body::Body,
    error::{FetchError, Problem, Target},
    retry_after,
};
use crate::RemoteLimits;

/// An image server, and the connections to it.
#[derive(Debug, Clone)]
pub(crate) struct HttpServer {
    base: Url,
    pub(super) client: reqwest::Client,
    /// Shown with every request; marked as sensitive.
    authorization: Option<HeaderValue>,
    pub(super) limits: RemoteLimits,
}

impl HttpServer {
    pub(super) fn new(
        base: Url,
        client: reqwest::Client,
        authorization: Option<HeaderValue>,
        limits: RemoteLimits,
    ) -> Self {
        Self {
            base,
            client,
            authorization,
            limits,
        }
    }

    /// Where `path` of an index lies on this server.
    ///
    /// What is escaped in the path stays so, as clients of the field read it; everything else that a
    /// URL cannot hold is escaped. The parser has refused paths that leave the tree, and this refuses
    /// them once more, because here is where it would matter.
    pub(crate) fn url(&self, target: Target, path: &str) -> Result<Url, FetchError> {
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
            target,
            &self.base,
            Problem::BadPath(path.to_owned()),
        ))
    }

    /// Sends a request and waits for the head of the answer, redirects included.
    pub(super) async fn send(
        &self,
        target: Target,
        url: &Url,
        request: RequestBuilder,
    ) -> Result<Response, FetchError> {
        let request = match &self.authorization {
            Some(authorization) => request.header(AUTHORIZATION, authorization.clone()),
            None => request,
        };
        let limit = self.limits.header_timeout + self.limits.connect_timeout;
        match tokio::time::timeout(limit, request.send()).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(FetchError::new(
                target,
                url,
                Problem::of_request(&error, &self.limits),
            )),
            Err(_elapsed) => Err(FetchError::new(target, url, Problem::NoAnswer(limit))),
        }
    }

    /// The error that an answer which is no success makes.
    pub(super) fn refusal(target: Target, url: &Url, response: &Response) -> FetchError {
        let retry_after = retry_after::of(response.headers(), std::time::SystemTime::now());
        let status = response.status();
        FetchError::new(target, url, Problem::Status { status, retry_after })
    }

    pub(super) fn body(&self, target: Target, url: &Url, response: Response) -> Body {
        Body::new(target, url.clone(), response, &self.limits)
    }
}

/// A header's text; empty when it is missing or is no text.
pub(super) fn text_of(headers: &HeaderMap, name: HeaderName) -> String {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(base: &str) -> HttpServer {
        let client = crate::http::clients::tests::client();
        HttpServer::new(base.parse().unwrap(), client, None, RemoteLimits::default())
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
            assert_eq!(
                server(base).url(Target::Artifact, path).unwrap().as_str(),
                expected
            );
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
            let result = server("https://h/p").url(Target::Artifact, path);
            assert!(result.is_err(), "{path}: {result:?}");
        }
    }
}
