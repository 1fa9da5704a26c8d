//! The telemetry of the test process, and a collector that receives its traces.
//!
//! Telemetry belongs to a process, so all tests share it, as the services of standalone do.

use std::sync::{Arc, LazyLock, Mutex, PoisonError, mpsc};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    response::Response,
    routing::post,
};
use http::{HeaderValue, header};
use rootstock_runtime::telemetry::{self, Metrics, Telemetry, TelemetryConfig};

use crate::background::Background;

/// Exports kept; older ones are dropped.
const KEPT: usize = 256;

/// An OTLP collector. It keeps what it receives as bytes: a trace is in there when its id is.
#[derive(Debug)]
pub struct Collector {
    endpoint: String,
    received: Received,
    _server: Background,
}

type Received = Arc<Mutex<Vec<Bytes>>>;

struct Shared {
    collector: Collector,
    telemetry: Telemetry,
    _runtime: tokio::runtime::Runtime,
}

static SHARED: LazyLock<Shared> = LazyLock::new(|| {
    // The exporter outlives the runtime of the test that happens to be first.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("telemetry")
        .enable_all()
        .build()
        .expect("a runtime starts");
    let collector = Collector::start();
    let config = TelemetryConfig {
        log_filter: std::env::var("ROOTSTOCK_TEST_LOG").unwrap_or_else(|_| "off".to_owned()),
        otlp_endpoint: Some(collector.endpoint.clone()),
        ..TelemetryConfig::default()
    };
    let telemetry = {
        let _entered = runtime.enter();
        telemetry::init(&config, "rootstock-tests").expect("nobody else sets telemetry up")
    };
    Shared {
        collector,
        telemetry,
        _runtime: runtime,
    }
});

/// The metrics of this process. Tests run side by side: assert on labels that are yours.
pub fn metrics() -> Metrics {
    SHARED.telemetry.metrics()
}

/// Where the traces of this process arrive.
pub fn collector() -> &'static Collector {
    &SHARED.collector
}

impl Collector {
    /// Starts one on a free port.
    pub fn start() -> Self {
        let received = Received::default();
        let router = Router::new()
            .route(
                "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
                post(export),
            )
            .with_state(Arc::clone(&received));
        let (address, bound) = mpsc::channel();
        let server = Background::start("collector", |stop| async move {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
                .await
                .expect("a free port");
            let _ = address.send(listener.local_addr().expect("an address"));
            let _ = stop
                .run_until_cancelled(axum::serve(listener, router).into_future())
                .await;
        });
        let address = bound.recv().expect("the collector starts");
        Self {
            endpoint: format!("http://{address}"),
            received,
            _server: server,
        }
    }

    /// The URL to export to.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Whether one export holds the trace (32 hex digits) and all of these texts, such as names of
    /// spans and values of attributes.
    pub fn has(&self, trace_id: &str, texts: &[&str]) -> bool {
        let id = hex::decode(trace_id).expect("a trace id in hex");
        let received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        received
            .iter()
            .any(|export| contains(export, &id) && texts.iter().all(|text| contains(export, text.as_bytes())))
    }
}

async fn export(State(received): State<Received>, request: Bytes) -> Response {
    {
        let mut received = received.lock().unwrap_or_else(PoisonError::into_inner);
        if received.len() == KEPT {
            received.remove(0);
        }
        received.push(request);
    }
    // An empty message: five bytes of prefix and nothing. The status is in the head, which clients
    // accept beside a message.
    let mut response = Response::new(Body::from(&[0u8; 5][..]));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from_static("0"));
    response
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}
