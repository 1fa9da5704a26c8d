//! The span of a call, on either side, and the request's id.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::{extract::Request, middleware::Next, response::Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use tracing::{Instrument as _, Span, field::Empty, info_span};

use crate::propagate;

/// Where a request's id travels, in and out.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id of the request being served, in its extensions: the caller's own if it sent one in
/// `x-request-id`, otherwise made here. It stands in the span and in the answer's headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    /// The caller's id when it is short and printable: it goes into every log line.
    fn of(headers: &HeaderMap) -> Option<Self> {
        let id = headers.get(REQUEST_ID)?;
        let printable = id.as_bytes().iter().all(u8::is_ascii_graphic);
        ((1..=64).contains(&id.len()) && printable).then(|| Self(id.clone()))
    }

    fn random() -> Self {
        let hex = format!("{:016x}", rand::random::<u64>());
        Self(HeaderValue::try_from(hex).unwrap_or_else(|_| HeaderValue::from_static("none")))
    }
}

/// Gives the request an id and a span that continues the caller's trace; both live until the
/// answer's body has ended.
pub(crate) async fn trace_request(mut request: Request, next: Next) -> Response {
    let id = RequestId::of(request.headers()).unwrap_or_else(RequestId::random);
    let span = info_span!(
        "request",
        otel.name = rpc_name(request.uri().path()),
        otel.kind = "server",
        otel.status_code = Empty,
        rpc.grpc.status = Empty,
        request.id = id.as_str(),
        trace_id = Empty,
    );
    propagate::continue_from_headers(&span, request.headers());
    if let Some(trace_id) = propagate::trace_id(&span) {
        span.record("trace_id", trace_id);
    }
    // Also in the headers, so that a gateway hands it on with the rest.
    request.headers_mut().insert(REQUEST_ID, id.0.clone());
    request.extensions_mut().insert(id.clone());

    let mut response = next.run(request).instrument(span.clone()).await;
    response.headers_mut().insert(REQUEST_ID, id.0);
    response.map(|body| axum::body::Body::new(InSpan { body, span }))
}

/// The span of an outgoing call of a method, below the current span.
pub(crate) fn client_span(path: &str) -> Span {
    info_span!(
        "call",
        otel.name = rpc_name(path),
        otel.kind = "client",
        otel.status_code = Empty,
        rpc.grpc.status = Empty,
    )
}

/// `package.Service/Method`, as traces name calls.
fn rpc_name(path: &str) -> &str {
    path.strip_prefix('/').unwrap_or(path)
}

/// A body that is produced inside a span and keeps it open.
pub(crate) struct InSpan<B> {
    pub(crate) body: B,
    pub(crate) span: Span,
}

impl<B: Body<Data = Bytes> + Unpin> Body for InSpan<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = &mut *self;
        let _entered = this.span.enter();
        Pin::new(&mut this.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_short_printable_id_is_taken_over() {
        let id_of = |value: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_bytes(value).unwrap());
            RequestId::of(&headers).map(|id| id.as_str().to_owned())
        };
        assert_eq!(id_of(b"7f3a-1").as_deref(), Some("7f3a-1"));
        assert_eq!(id_of(b""), None);
        assert_eq!(id_of(b"two words"), None);
        assert_eq!(id_of(b"\xff\xfe"), None);
        assert_eq!(id_of(&[b'a'; 65]), None);
        assert_eq!(RequestId::random().as_str().len(), 16);
    }
}
