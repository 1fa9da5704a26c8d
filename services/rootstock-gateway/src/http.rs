//! What is answered over HTTP: the simplestreams tree, blobs, and a word for people.

mod blob;
pub(crate) mod conditional;
mod download;
mod range;

use std::time::Duration;

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header, uri::Authority};
use rootstock_blobs::BlobStore;
use tokio::{sync::watch, time::Instant};
use tower_http::cors::CorsLayer;

pub(crate) use download::Downloads;

use crate::{
    GatewayConfig,
    listing::audience::{AUDIENCES, Audience},
    metrics::{self, Route},
    read_model::ReadModel,
    simplestreams::{
        IndexReceiver, SharedIndex,
        document::{Document, Encoding},
    },
    uses::Uses,
};

/// What requests are answered from, whoever makes them.
#[derive(Debug, Clone)]
pub(crate) struct Edge {
    model: watch::Receiver<Option<ReadModel>>,
    blobs: BlobStore,
    downloads: Downloads,
    uses: Uses,
    /// How long the URL of a redirect is good; `None` when blobs are not redirected.
    redirect_expiry: Option<Duration>,
}

impl Edge {
    pub(crate) fn new(
        config: &GatewayConfig,
        model: watch::Receiver<Option<ReadModel>>,
        blobs: BlobStore,
    ) -> Self {
        Self {
            model,
            blobs,
            downloads: Downloads::new(config.max_downloads, config.write_stall_timeout),
            uses: Uses::default(),
            redirect_expiry: config.redirect_blobs.then_some(config.redirect_expiry),
        }
    }

    /// The uses that downloads leave notes of, to be told.
    pub(crate) fn uses(&self) -> Uses {
        self.uses.clone()
    }

    /// The downloads under way, to be looked after.
    pub(crate) fn downloads(&self) -> Downloads {
        self.downloads.clone()
    }
}

/// The image server of one audience.
#[derive(Debug, Clone)]
struct ImageServer {
    edge: Edge,
    audience: &'static dyn Audience,
    index: IndexReceiver,
}

/// Everything that is not gRPC.
pub(crate) fn router(edge: &Edge, indexes: &SharedIndex) -> Router {
    let mut router = Router::new()
        .route("/", get(welcome))
        .route("/1.0", any(no_native_api))
        .route("/1.0/{*rest}", any(no_native_api));
    for audience in AUDIENCES.iter().copied() {
        let (Some(path), Some(index)) = (audience.http_path(), indexes.subscribe(audience)) else {
            continue;
        };
        let server = image_server(ImageServer {
            edge: edge.clone(),
            audience,
            index,
        });
        router = match path {
            "" => router.merge(server),
            path => router.nest(path, server),
        };
    }
    router.fallback(|| async { not_found() }).layer(from_fn(observe))
}

fn image_server(server: ImageServer) -> Router {
    // Web clients read the index from pages of other sites.
    let streams = Router::new()
        .route("/streams/v1/index.json", get(index))
        .route("/streams/v1/images.json", get(products))
        .layer(
            CorsLayer::new()
                .allow_origin(tower_http::cors::Any)
                .allow_methods([Method::GET, Method::HEAD])
                .allow_headers(tower_http::cors::Any)
                .expose_headers([header::ETAG]),
        );
    streams
        .route("/blobs/sha256/{name}", get(blob::get))
        .with_state(server)
}

/// Counts and logs each request once, when the head of its answer is known.
async fn observe(request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let agent = request.headers().get(header::USER_AGENT).cloned();
    let response = next.run(request).await;
    let (status, elapsed) = (response.status(), begun.elapsed());
    metrics::http_request(Route::of(&path), status, elapsed);
    let agent = agent
        .as_ref()
        .and_then(|agent| agent.to_str().ok())
        .unwrap_or_default();
    if status.is_server_error() {
        tracing::warn!(%method, path, status = status.as_u16(), ?elapsed, agent, "request failed");
    } else {
        tracing::debug!(%method, path, status = status.as_u16(), ?elapsed, agent, "request");
    }
    response
}

async fn index(State(server): State<ImageServer>, method: Method, headers: HeaderMap) -> Response {
    let index = server.index.borrow().clone();
    document(index.as_deref().map(|index| &index.index), &method, &headers)
}

async fn products(State(server): State<ImageServer>, method: Method, headers: HeaderMap) -> Response {
    let index = server.index.borrow().clone();
    document(index.as_deref().map(|index| &index.products), &method, &headers)
}

fn document(document: Option<&Document>, method: &Method, request: &HeaderMap) -> Response {
    let Some(document) = document else {
        return not_ready();
    };
    let encoding = match takes_gzip(request) {
        true => Encoding::Gzip,
        false => Encoding::Plain,
    };
    let validators = document.validators(encoding);
    let mut response = if validators.is_current(method, request) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let mut response = Body::new(document.body(encoding)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if encoding == Encoding::Gzip {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    };
    let headers = response.headers_mut();
    validators.insert_into(headers);
    headers.append(header::VARY, HeaderValue::from_static("accept-encoding"));
    // Caches may keep it and ask whether it is current: the answer costs nothing, and a stale index
    // costs somebody a failed download.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// Whether `Accept-Encoding` allows gzip (RFC 9110 §12.5.3).
fn takes_gzip(request: &HeaderMap) -> bool {
    let mut any = None;
    let mut gzip = None;
    for list in request.get_all(header::ACCEPT_ENCODING) {
        for coding in list.to_str().unwrap_or_default().split(',') {
            let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
            let refused = weight
                .trim()
                .strip_prefix("q=")
                .and_then(|weight| weight.trim().parse::<f32>().ok())
                .is_some_and(|weight| weight <= 0.0);
            match name.trim() {
                "*" => any = Some(!refused),
                name if name.eq_ignore_ascii_case("gzip") => gzip = Some(!refused),
                _ => {}
            }
        }
    }
    gzip.or(any).unwrap_or(false)
}

async fn welcome(uri: Uri, headers: HeaderMap) -> Response {
    // Only to be shown back to who sent it, as plain text. HTTP/2 has it in the URI.
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host
        .or_else(|| uri.authority().map(Authority::as_str))
        .unwrap_or("HOST:PORT");
    let text = format!(
        "This is Rootstock, an image server for Incus and LXD.\n\n\
         To use it:\n\n    \
         incus remote add NAME https://{host} --protocol simplestreams --public\n    \
         lxc remote add NAME https://{host} --protocol simplestreams --public\n\n\
         The images it has: /streams/v1/images.json\n\
         Its API is gRPC, on this port; it can be reflected on.\n"
    );
    plain(StatusCode::OK, text, &[])
}

/// An error in the form that Incus gives them; clients print the `error`.
const NO_NATIVE_API: &str = concat!(
    r#"{"type":"error","status":"","status_code":0,"operation":"","error_code":404,"#,
    r#""error":"this server speaks simplestreams: add it with --protocol simplestreams","metadata":null}"#
);

async fn no_native_api() -> Response {
    let json = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    plain(StatusCode::NOT_FOUND, NO_NATIVE_API, &[json])
}

const NO_STORE: [(HeaderName, HeaderValue); 1] =
    [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];

fn not_found() -> Response {
    plain(StatusCode::NOT_FOUND, "not found\n", &[])
}

/// The answer before the first state of the catalog is known. Not 404: what is asked for may well be
/// there.
fn not_ready() -> Response {
    unavailable(
        "this server has just started and does not know its images yet; try again in a moment\n",
        2,
    )
}

fn unavailable(text: &'static str, retry_after_seconds: u32) -> Response {
    plain(
        StatusCode::SERVICE_UNAVAILABLE,
        text,
        &[(header::RETRY_AFTER, retry_after_seconds.into())],
    )
}

/// A short text that no cache may keep.
fn plain(status: StatusCode, text: impl IntoResponse, more: &[(HeaderName, HeaderValue)]) -> Response {
    let mut response = (status, NO_STORE, text).into_response();
    for (name, value) in more {
        response.headers_mut().insert(name, value.clone());
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_sent_to_who_takes_it() {
        for (accept, expected) in [
            (None, false),
            (Some("gzip"), true),
            (Some("deflate, GZip;q=0.5"), true),
            (Some("*"), true),
            (Some("gzip;q=0, *"), false),
            (Some("gzip; q=0.000"), false),
            (Some("identity"), false),
            (Some(""), false),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(accept));
            }
            assert_eq!(takes_gzip(&headers), expected, "{accept:?}");
        }
    }
}
