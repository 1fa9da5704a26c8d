//! Counting calls: one bookkeeping for servers and clients, and the body that waits for the code.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use metrics::{Gauge, counter, gauge, histogram};
use tonic::Code;
use tracing::Span;

use super::code::{code_in, code_name, code_of_error, is_servers_fault};

/// Which side of a call is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Server,
    Client,
}

/// A call under way: counted as in flight until it is dropped, and once under the code it ended with.
#[derive(Debug)]
pub(crate) struct Call {
    side: Side,
    method: String,
    begun: Instant,
    in_flight: Gauge,
    span: Span,
    ended: bool,
}

impl Call {
    /// Begins to count a call; `method` is a label, so it comes from a bounded set.
    pub(crate) fn begin(side: Side, method: String) -> Self {
        let in_flight = match side {
            Side::Server => gauge!("rootstock_grpc_server_in_flight_requests", "method" => method.clone()),
            Side::Client => gauge!("rootstock_grpc_client_in_flight_requests", "method" => method.clone()),
        };
        in_flight.increment(1.0);
        Self {
            side,
            method,
            begun: Instant::now(),
            in_flight,
            span: Span::current(),
            ended: false,
        }
    }

    /// Notes how the call ended. Only the first time counts.
    pub(crate) fn end(&mut self, code: Code) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let elapsed = self.begun.elapsed();
        let (method, name) = (self.method.clone(), code_name(code));
        match self.side {
            Side::Server => {
                counter!("rootstock_grpc_server_requests_total", "method" => method.clone(), "code" => name)
                    .increment(1);
                histogram!("rootstock_grpc_server_request_duration_seconds", "method" => method)
                    .record(elapsed);
            }
            Side::Client => {
                counter!("rootstock_grpc_client_requests_total", "method" => method.clone(), "code" => name)
                    .increment(1);
                histogram!("rootstock_grpc_client_request_duration_seconds", "method" => method)
                    .record(elapsed);
            }
        }
        self.span.record("rpc.grpc.status", name);
        if is_servers_fault(code) {
            self.span.record("otel.status_code", "ERROR");
        }
        let elapsed_ms = elapsed.as_secs_f64() * 1000.0;
        tracing::debug!(parent: &self.span, code = name, elapsed_ms, "call ended");
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        // Dropped before its end: the service panicked, or the caller went away.
        self.end(if std::thread::panicking() {
            Code::Internal
        } else {
            Code::Cancelled
        });
        self.in_flight.decrement(1.0);
    }
}

/// A response's body that ends its [`Call`] with the code in the trailers.
#[derive(Debug)]
pub(crate) struct Observed<B> {
    body: B,
    call: Call,
    /// Set while the inner body is polled: still set when this is dropped, the poll panicked.
    polling: bool,
}

impl<B> Observed<B> {
    pub(crate) fn new(body: B, call: Call) -> Self {
        Self {
            body,
            call,
            polling: false,
        }
    }
}

impl<B> Body for Observed<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::error::Error + 'static,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        self.polling = true;
        let polled = Pin::new(&mut self.body).poll_frame(context);
        self.polling = false;
        match &polled {
            Poll::Pending => {}
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(code) = frame.trailers_ref().and_then(code_in) {
                    self.call.end(code);
                }
            }
            Poll::Ready(Some(Err(error))) => self.call.end(code_of_error(error)),
            // A body that ends without trailers was cut off.
            Poll::Ready(None) => self.call.end(Code::Unknown),
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for Observed<B> {
    fn drop(&mut self) {
        if self.polling {
            self.call.end(Code::Internal);
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use http_body_util::{BodyExt as _, StreamBody};
    use metrics_exporter_prometheus::PrometheusBuilder;
    use tonic::Status;

    use super::*;

    type Frames = Vec<Result<Frame<Bytes>, Status>>;

    fn trailers(code: &'static str) -> Frame<Bytes> {
        let mut map = HeaderMap::new();
        map.insert("grpc-status", http::HeaderValue::from_static(code));
        Frame::trailers(map)
    }

    /// Reads `frames` through an observed body as far as they go, then drops it; the metrics then.
    fn metrics_of(frames: Frames, frames_read: usize) -> String {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            let call = Call::begin(Side::Server, "/a/B".to_owned());
            let mut body = Observed::new(StreamBody::new(futures::stream::iter(frames)), call);
            futures::executor::block_on(async {
                for _ in 0..frames_read {
                    let _ = body.frame().await;
                }
            });
        });
        recorder.handle().render()
    }

    #[test]
    fn the_code_comes_from_wherever_the_stream_ended() {
        let data = || Ok(Frame::data(Bytes::from_static(b"x")));
        let cases: [(&str, Frames, usize); 5] = [
            ("OK", vec![data(), Ok(trailers("0"))], 3),
            ("NOT_FOUND", vec![data(), Ok(trailers("5"))], 3),
            ("DATA_LOSS", vec![data(), Err(Status::data_loss("cut"))], 2),
            ("UNKNOWN", vec![data()], 2),
            ("CANCELLED", vec![data(), Ok(trailers("0"))], 1),
        ];
        for (code, frames, frames_read) in cases {
            let text = metrics_of(frames, frames_read);
            let line = format!(r#"rootstock_grpc_server_requests_total{{method="/a/B",code="{code}"}} 1"#);
            assert!(text.contains(&line), "{line} is missing in\n{text}");
            assert!(
                text.contains(r#"rootstock_grpc_server_in_flight_requests{method="/a/B"} 0"#),
                "{text}"
            );
            assert_eq!(
                text.matches("requests_total{").count(),
                1,
                "counted once:\n{text}"
            );
        }
    }
}
