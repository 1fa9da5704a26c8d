//! The gateway's metrics: every name, and what it means.
//!
//! | name | kind | labels | |
//! |---|---|---|---|
//! | `rootstock_gateway_http_requests_total` | counter | `route`, `code` | requests that are not gRPC, answered; `route` is one of [`Route`] |
//! | `rootstock_gateway_http_request_duration_seconds` | histogram | `route` | time to the head of the answer |
//! | `rootstock_gateway_connections` | gauge | | TLS connections open |
//! | `rootstock_gateway_handshakes_failed_total` | counter | `reason` | `plain`, `tls` |
//! | `rootstock_gateway_downloads` | gauge | | blobs being sent |
//! | `rootstock_gateway_downloads_total` | counter | `outcome` | `complete`, `abandoned` (the client left), `failed` (the store did), `refused` (too many) |
//! | `rootstock_gateway_blob_bytes_total` | counter | | bytes of blobs handed to clients |
//! | `rootstock_gateway_uploads` | gauge | | blobs being received |
//! | `rootstock_gateway_uploaded_bytes_total` | counter | | bytes of blobs that clients sent |
//! | `rootstock_gateway_catalog_connected` | gauge | | 1 while changes are being followed |
//! | `rootstock_gateway_model_revision` | gauge | | the catalog's revision that is served |
//! | `rootstock_gateway_model_confirmed_timestamp_seconds` | gauge | | Unix time of the catalog's last word; the model's age is `time()` minus this |
//! | `rootstock_gateway_index_renders_total` | counter | | |
//! | `rootstock_gateway_index_render_duration_seconds` | histogram | | |
//! | `rootstock_gateway_index_bytes` | gauge | | the products file, unpacked |
//!
//! gRPC calls count under `rootstock_grpc_server_*`, as in every process.

use std::time::Duration;

use http::StatusCode;
use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

/// The `route` label: paths themselves are no bounded set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    Streams,
    Blob,
    Other,
}

impl Route {
    /// The route of a path.
    pub(crate) fn of(path: &str) -> Self {
        if path.starts_with("/streams/") {
            Self::Streams
        } else if path.starts_with("/blobs/") {
            Self::Blob
        } else {
            Self::Other
        }
    }

    /// The label.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Streams => "streams",
            Self::Blob => "blob",
            Self::Other => "other",
        }
    }
}

/// Counts an upload while it lives.
#[derive(Debug)]
pub(crate) struct UploadGauge(());

impl UploadGauge {
    pub(crate) fn begin() -> Self {
        gauge!("rootstock_gateway_uploads").increment(1);
        Self(())
    }
}

impl Drop for UploadGauge {
    fn drop(&mut self) {
        gauge!("rootstock_gateway_uploads").decrement(1);
    }
}

/// Bytes came from a client.
pub(crate) fn uploaded(bytes: usize) {
    counter!("rootstock_gateway_uploaded_bytes_total").increment(bytes as u64);
}

/// How a download ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Complete,
    Abandoned,
    Failed,
    Refused,
}

/// Describes the metrics to whoever scrapes them.
pub(crate) fn describe() {
    describe_counter!(
        "rootstock_gateway_http_requests_total",
        "Requests that are not gRPC, answered."
    );
    describe_histogram!(
        "rootstock_gateway_http_request_duration_seconds",
        Unit::Seconds,
        "Time to the head of the answer."
    );
    describe_gauge!("rootstock_gateway_uploads", "Blobs being received.");
    describe_counter!(
        "rootstock_gateway_uploaded_bytes_total",
        Unit::Bytes,
        "Bytes of blobs that clients sent."
    );
    describe_gauge!("rootstock_gateway_connections", "TLS connections open.");
    describe_counter!(
        "rootstock_gateway_handshakes_failed_total",
        "Connections closed before a request."
    );
    describe_gauge!("rootstock_gateway_downloads", "Blobs being sent.");
    describe_counter!(
        "rootstock_gateway_downloads_total",
        "Blob downloads, by how they ended."
    );
    describe_counter!(
        "rootstock_gateway_blob_bytes_total",
        Unit::Bytes,
        "Bytes of blobs handed to clients."
    );
    describe_gauge!(
        "rootstock_gateway_catalog_connected",
        "1 while the catalog's changes are followed."
    );
    describe_gauge!(
        "rootstock_gateway_model_revision",
        "The catalog's revision that is served."
    );
    describe_gauge!(
        "rootstock_gateway_model_confirmed_timestamp_seconds",
        Unit::Seconds,
        "Unix time of the catalog's last word."
    );
    describe_counter!(
        "rootstock_gateway_index_renders_total",
        "Renderings of the index."
    );
    describe_histogram!(
        "rootstock_gateway_index_render_duration_seconds",
        Unit::Seconds,
        "Time of rendering the index."
    );
    describe_gauge!(
        "rootstock_gateway_index_bytes",
        Unit::Bytes,
        "Size of the products file, unpacked."
    );
}

pub(crate) fn http_request(route: Route, status: StatusCode, elapsed: Duration) {
    let route = route.label();
    // Label values are texts that live on; statuses are few.
    counter!("rootstock_gateway_http_requests_total", "route" => route, "code" => status.as_u16().to_string())
        .increment(1);
    histogram!("rootstock_gateway_http_request_duration_seconds", "route" => route).record(elapsed);
}

pub(crate) fn connection_opened() {
    gauge!("rootstock_gateway_connections").increment(1.0);
}

pub(crate) fn connection_closed() {
    gauge!("rootstock_gateway_connections").decrement(1.0);
}

pub(crate) fn handshake_failed(reason: &'static str) {
    counter!("rootstock_gateway_handshakes_failed_total", "reason" => reason).increment(1);
}

pub(crate) fn download_begun() {
    gauge!("rootstock_gateway_downloads").increment(1.0);
}

pub(crate) fn download_ended(outcome: Outcome) {
    let label = match outcome {
        Outcome::Complete => "complete",
        Outcome::Abandoned => "abandoned",
        Outcome::Failed => "failed",
        Outcome::Refused => "refused",
    };
    if outcome != Outcome::Refused {
        gauge!("rootstock_gateway_downloads").decrement(1.0);
    }
    counter!("rootstock_gateway_downloads_total", "outcome" => label).increment(1);
}

pub(crate) fn blob_bytes(count: usize) {
    counter!("rootstock_gateway_blob_bytes_total").increment(count as u64);
}

pub(crate) fn catalog_connected(connected: bool) {
    gauge!("rootstock_gateway_catalog_connected").set(if connected { 1.0 } else { 0.0 });
}

pub(crate) fn model_confirmed(revision: i64, now: time::OffsetDateTime) {
    // Both are far below 2^53, where a float would begin to round.
    gauge!("rootstock_gateway_model_revision").set(revision as f64);
    gauge!("rootstock_gateway_model_confirmed_timestamp_seconds").set(now.unix_timestamp() as f64);
}

pub(crate) fn index_rendered(audience: &'static str, elapsed: Duration, size_bytes: u64) {
    counter!("rootstock_gateway_index_renders_total", "audience" => audience).increment(1);
    histogram!("rootstock_gateway_index_render_duration_seconds", "audience" => audience).record(elapsed);
    gauge!("rootstock_gateway_index_bytes", "audience" => audience).set(size_bytes as f64);
}
