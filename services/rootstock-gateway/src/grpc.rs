//! gRPC at the edge: what is public passes through to the catalog as it is, the gateway answers for
//! content, for its own health and for reflection, and everything else does not exist here.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::Response,
    routing::post,
};
use bytes::Bytes;
use http::{HeaderMap, Version, header};
use http_body::{Frame, SizeHint};
use rootstock_proto::{PUBLIC_DESCRIPTORS, catalog::v1::content_service_server::ContentServiceServer};
use rootstock_runtime::{
    Readiness, Shutdown,
    grpc::{Api, Methods, api::ApiError, client::ClientStack, with_health_and_reflection},
};
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::{Status, service::Routes};
use tower::ServiceExt as _;

use crate::{content::Content, listing::audience::Audience, upstream};

/// The services of the catalog that pass. What is not named here is not served at the edge.
const PUBLIC_SERVICES: [&str; 8] = [
    "rootstock.catalog.v1.AliasService",
    "rootstock.catalog.v1.ApplicationService",
    "rootstock.catalog.v1.BlobService",
    "rootstock.catalog.v1.ImageService",
    "rootstock.catalog.v1.RemoteService",
    "rootstock.catalog.v1.SettingService",
    "rootstock.catalog.v1.WatchService",
    "rootstock.catalog.v1.WebhookService",
];

/// The services whose answers hold what belongs to images of every audience: for callers alone that may
/// see every image.
const UNRESTRICTED_SERVICES: [&str; 1] = ["rootstock.catalog.v1.BlobService"];

/// What passing a call on needs.
#[derive(Clone)]
struct Passage {
    catalog: ClientStack,
    methods: Methods,
    shutdown: Shutdown,
}

/// The gateway's gRPC services, as callers of this audience find them.
///
/// # Errors
/// The descriptors are broken: a fault of the build.
pub(crate) fn api(
    catalog: ClientStack,
    content: &Content,
    audience: &'static dyn Audience,
    readiness: Readiness,
    shutdown: Shutdown,
) -> Result<Api, ApiError> {
    // The one public service of our own.
    let own = Routes::new(ContentServiceServer::new(content.for_audience(audience)));
    let Api { router, methods } = with_health_and_reflection(own, &[PUBLIC_DESCRIPTORS], readiness)?;
    let passage = Passage {
        catalog,
        methods: methods.clone(),
        shutdown,
    };
    let router = PUBLIC_SERVICES.iter().fold(router, |router, service| {
        let handler = match UNRESTRICTED_SERVICES.contains(service) && !audience.is_unrestricted() {
            true => post(refuse),
            false => post(pass).with_state(passage.clone()),
        };
        router.merge(Router::new().route(&format!("/{service}/{{method}}"), handler))
    });
    Ok(Api { router, methods })
}

/// Whether a request is gRPC. Over HTTP/1 there is none.
pub(crate) fn is_grpc(request: &Request) -> bool {
    request.version() == Version::HTTP_2
        && request
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|content_type| content_type.as_bytes().starts_with(b"application/grpc"))
}

/// Hands a call to the catalog and its answer to the caller, both as they come: messages are not
/// looked at, and deadline, metadata and trailers stay. It is not repeated when it fails; that is the
/// caller's decision.
async fn pass(State(passage): State<Passage>, request: Request) -> Response {
    let is_unary = passage.methods.is_unary(request.uri().path());
    let mut request = request.map(tonic::body::Body::new);
    drop_connection_headers(request.headers_mut());
    let response = match passage.catalog.oneshot(request).await {
        Ok(response) => response.map(Body::new),
        Err(status) => return upstream::sanitize(&status).into_http(),
    };
    if is_unary {
        return response;
    }
    let ending = passage.shutdown.token().cancelled_owned();
    response.map(|body| {
        Body::new(UntilShutdown {
            body: Some(body),
            ending: Box::pin(ending),
        })
    })
}

async fn refuse() -> Response {
    Status::permission_denied(
        "blobs of all images are listed and collected through the gateway's gRPC listener (grpc_listen) alone",
    )
    .into_http()
}

/// These speak of one connection, not of the call.
fn drop_connection_headers(headers: &mut HeaderMap) {
    for name in [
        header::HOST,
        header::CONNECTION,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ] {
        headers.remove(name);
    }
}

/// A stream that ends with the process: watches have no end of their own, and would keep it from
/// ending.
struct UntilShutdown {
    body: Option<Body>,
    ending: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl http_body::Body for UntilShutdown {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        let Some(body) = this.body.as_mut() else {
            return Poll::Ready(None);
        };
        if let Poll::Ready(frame) = Pin::new(body).poll_frame(context) {
            return Poll::Ready(frame);
        }
        if this.ending.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        this.body = None;
        let mut trailers = HeaderMap::new();
        let last = Status::unavailable("the gateway is shutting down; connect again")
            .add_header(&mut trailers)
            .map(|()| Frame::trailers(trailers))
            .map_err(axum::Error::new);
        Poll::Ready(Some(last))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(|body| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_passes_is_public_and_the_rest_is_not_known() {
        let methods = Methods::of([PUBLIC_DESCRIPTORS]).unwrap();
        for service in PUBLIC_SERVICES {
            assert!(methods.has_service(service), "{service}");
        }
        let all = Methods::of([rootstock_proto::ALL_DESCRIPTORS]).unwrap();
        assert!(all.has_service("rootstock.sync.v1.WorkService"));
        assert!(!methods.has_service("rootstock.sync.v1.WorkService"));
    }
}
