//! Carrying a trace across processes, and across the time that work waits in a queue.
//!
//! The format is W3C Trace Context everywhere: `traceparent` and `tracestate` in HTTP headers and
//! gRPC metadata (which are HTTP headers), `traceparent` alone as the text kept beside queued work.

use std::collections::HashMap;

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::{
    Context,
    propagation::{Extractor, Injector, TextMapPropagator},
    trace::TraceContextExt,
};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

const TRACEPARENT: &str = "traceparent";

/// Writes the current span's trace context into the headers of an outgoing request.
///
/// Without a current span nothing is written, and what the headers hold stays.
pub fn inject(headers: &mut HeaderMap) {
    let context = Span::current().context();
    TraceContextPropagator::new().inject_context(&context, &mut Headers(headers));
}

/// Reads the trace context of an incoming request; an empty context when there is none or when it
/// is malformed.
pub fn extract(headers: &HeaderMap) -> Context {
    TraceContextPropagator::new().extract_with_context(&Context::new(), &HeadersRef(headers))
}

/// Makes `span` continue the trace that an incoming request carries. Must be called before the span
/// is entered. A request without a trace leaves the span as it is.
pub fn continue_from_headers(span: &Span, headers: &HeaderMap) {
    adopt(span, extract(headers));
}

/// The current span's context as the value of a `traceparent` header; `None` outside of any span
/// (or before [`telemetry::init`](crate::telemetry::init)).
///
/// Keep it beside work that is queued, and give it to [`continue_trace`] when the work is done.
pub fn current_traceparent() -> Option<String> {
    let mut carrier = HashMap::new();
    TraceContextPropagator::new().inject_context(&Span::current().context(), &mut carrier);
    carrier.remove(TRACEPARENT)
}

/// Makes `span` continue the trace that `traceparent` names, and returns it, so that it reads
/// `continue_trace(info_span!("transfer"), job.traceparent.as_deref())`.
///
/// Nothing and nonsense leave the span as it is: a trace is never a reason to refuse work.
pub fn continue_trace(span: Span, traceparent: Option<&str>) -> Span {
    if let Some(traceparent) = traceparent {
        let carrier = HashMap::from([(TRACEPARENT.to_owned(), traceparent.to_owned())]);
        adopt(
            &span,
            TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier),
        );
    }
    span
}

/// The current trace's id as 32 hex digits, as it stands in logs and in trace viewers.
pub fn current_trace_id() -> Option<String> {
    trace_id(&Span::current())
}

/// The id of the trace that `span` belongs to.
pub(crate) fn trace_id(span: &Span) -> Option<String> {
    let context = span.context();
    let span_context = context.span().span_context().clone();
    span_context
        .is_valid()
        .then(|| span_context.trace_id().to_string())
}

fn adopt(span: &Span, parent: Context) {
    if !parent.span().span_context().is_valid() {
        return;
    }
    // Fails only without telemetry, for a disabled span, or for a span that already runs: in the
    // first two there is no trace to continue.
    if let Err(tracing_opentelemetry::SetParentError::AlreadyStarted) = span.set_parent(parent) {
        tracing::debug!("the span has begun already and cannot continue the caller's trace");
    }
}

struct Headers<'a>(&'a mut HeaderMap);

impl Injector for Headers<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(key.as_bytes()),
            HeaderValue::from_str(&value),
        ) {
            self.0.insert(name, value);
        }
    }
}

struct HeadersRef<'a>(&'a HeaderMap);

impl Extractor for HeadersRef<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TracerProvider as _;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn with_tracer<T>(body: impl FnOnce() -> T) -> T {
        let provider = opentelemetry_sdk::trace::SdkTracerProvider::builder().build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), body)
    }

    #[test]
    fn a_trace_survives_being_written_down() {
        with_tracer(|| {
            let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
            let span = continue_trace(tracing::info_span!("queued"), Some(&parent));
            let _entered = span.enter();
            let written = current_traceparent().unwrap();
            assert!(written.starts_with(&format!("00-{TRACE}-")), "{written}");
            assert_ne!(written, parent, "the span is a child, not the caller's own");
            assert_eq!(current_trace_id().as_deref(), Some(TRACE));

            let mut headers = HeaderMap::new();
            inject(&mut headers);
            let context = extract(&headers);
            assert_eq!(context.span().span_context().trace_id().to_string(), TRACE);
        });
    }

    #[test]
    fn nonsense_begins_a_new_trace() {
        with_tracer(|| {
            for parent in [
                None,
                Some(""),
                Some("00-zz-1-01"),
                Some("00-00000000000000000000000000000000-00f067aa0ba902b7-01"),
            ] {
                let span = continue_trace(tracing::info_span!("queued"), parent);
                let _entered = span.enter();
                assert!(current_trace_id().is_some(), "{parent:?}");
            }
        });
    }

    #[test]
    fn without_a_span_there_is_nothing_to_carry() {
        with_tracer(|| assert_eq!(current_traceparent(), None));
        let mut headers = HeaderMap::new();
        inject(&mut headers);
        assert!(headers.is_empty());
    }
}
