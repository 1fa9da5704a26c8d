//! Catching panics, of handlers and of the streams they return.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

use axum::{body::Body, extract::Request, middleware::Next, response::Response};
use bytes::Bytes;
use futures::FutureExt as _;
use http_body::{Frame, SizeHint};
use tonic::Status;

use super::code::{is_grpc, refuse};

/// Turns a panic into `INTERNAL` (HTTP: 500). Without it one bad request would end every other call
/// on the same connection.
pub(crate) async fn catch_panic(request: Request, next: Next) -> Response {
    let to_grpc = is_grpc(request.headers());
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response.map(|body| {
            Body::new(CatchPanic {
                body: Some(body),
                to_grpc,
            })
        }),
        Err(_logged) => refuse(to_grpc, panicked()),
    }
}

/// What the caller is told. The panic itself is in the log already: the process's hook writes it
/// where it happens, inside the request's span.
fn panicked() -> Status {
    Status::internal("the server failed at this request; its log says how")
}

/// A body that ends with `INTERNAL` when the stream behind it panics.
struct CatchPanic {
    /// `None` after the panic: what panicked once is not polled again.
    body: Option<Body>,
    to_grpc: bool,
}

impl http_body::Body for CatchPanic {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(body) = self.body.as_mut() else {
            return Poll::Ready(None);
        };
        match catch_unwind(AssertUnwindSafe(|| Pin::new(body).poll_frame(context))) {
            Ok(polled) => polled,
            Err(_logged) => {
                self.body = None;
                Poll::Ready(Some(self.last_frame()))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}

impl CatchPanic {
    fn last_frame(&self) -> Result<Frame<Bytes>, axum::Error> {
        let status = panicked();
        if !self.to_grpc {
            return Err(axum::Error::new(status));
        }
        let mut trailers = http::HeaderMap::new();
        match status.add_header(&mut trailers) {
            Ok(()) => Ok(Frame::trailers(trailers)),
            Err(status) => Err(axum::Error::new(status)),
        }
    }
}
