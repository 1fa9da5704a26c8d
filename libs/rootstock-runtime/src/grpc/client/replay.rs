//! Requests that can be sent more than once.

use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, stream};
use http::{Request, request};
use http_body::Frame;
use http_body_util::{BodyExt as _, BodyStream, Full, StreamBody};
use tonic::{Status, body::Body};

/// The largest request that is kept for a retry, in bytes. Larger ones are sent once.
const MAX_REPLAY_BYTES: usize = 1024 * 1024;

/// A request, read as far as is worth keeping.
pub(super) enum Replay {
    /// All of it: it can be sent any number of times.
    Whole(Whole),
    /// It is larger than what is kept; it can be sent once, as if it had not been touched.
    TooLarge(Request<Body>),
}

/// A request that is kept in memory.
pub(super) struct Whole {
    head: request::Parts,
    body: Bytes,
}

impl Replay {
    /// Reads the request. That of a unary call is at hand; the caller bounds the wait all the same.
    pub(super) async fn of(request: Request<Body>) -> Result<Self, Status> {
        let (head, mut body) = request.into_parts();
        let mut kept = BytesMut::new();
        while let Some(frame) = body.frame().await {
            // A client sends no trailers: what is no data is nothing.
            let Ok(data) = frame?.into_data() else { continue };
            kept.extend_from_slice(&data);
            if kept.len() > MAX_REPLAY_BYTES {
                let begun = stream::iter([Ok(Frame::data(kept.freeze()))]);
                let body = StreamBody::new(begun.chain(BodyStream::new(body)));
                return Ok(Self::TooLarge(Request::from_parts(head, Body::new(body))));
            }
        }
        Ok(Self::Whole(Whole {
            head,
            body: kept.freeze(),
        }))
    }
}

impl Whole {
    /// The request once more.
    pub(super) fn request(&self) -> Request<Body> {
        Request::from_parts(self.head.clone(), Body::new(Full::new(self.body.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(chunks: &[usize]) -> Request<Body> {
        let frames: Vec<Result<_, Status>> = chunks
            .iter()
            .map(|size| Ok(Frame::data(Bytes::from(vec![b'x'; *size]))))
            .collect();
        Request::builder()
            .uri("/a/B")
            .header("k", "v")
            .body(Body::new(StreamBody::new(stream::iter(frames))))
            .unwrap()
    }

    async fn size(request: Request<Body>) -> usize {
        assert_eq!(request.headers()["k"], "v");
        assert_eq!(request.uri().path(), "/a/B");
        request.into_body().collect().await.unwrap().to_bytes().len()
    }

    #[tokio::test]
    async fn a_small_request_is_sent_as_often_as_needed() {
        for chunks in [
            &[][..],
            &[0],
            &[7, 8],
            &[MAX_REPLAY_BYTES / 2, MAX_REPLAY_BYTES / 2],
        ] {
            let Ok(Replay::Whole(whole)) = Replay::of(request(chunks)).await else {
                panic!("{chunks:?} is small");
            };
            for _ in 0..3 {
                assert_eq!(size(whole.request()).await, chunks.iter().sum::<usize>());
            }
        }
    }

    #[tokio::test]
    async fn a_large_request_is_sent_once_and_whole() {
        let chunks = [MAX_REPLAY_BYTES, 1, MAX_REPLAY_BYTES, 5];
        let Ok(Replay::TooLarge(request)) = Replay::of(request(&chunks)).await else {
            panic!("too large to be kept");
        };
        assert_eq!(size(request).await, chunks.iter().sum::<usize>());
    }

    #[tokio::test]
    async fn a_request_that_breaks_is_not_sent() {
        let frames = stream::iter([Err::<Frame<Bytes>, _>(Status::aborted("changed my mind"))]);
        let broken = Request::new(Body::new(StreamBody::new(frames)));
        assert!(matches!(Replay::of(broken).await, Err(status) if status.code() == tonic::Code::Aborted));
    }
}
