//! The admin listener: health and metrics over plain HTTP, for probes and scrapers.

use std::{io, time::Duration};

use axum::{Router, extract::State, response::IntoResponse, routing::get};
use http::{StatusCode, header};
use tokio::net::TcpListener;

use crate::{
    Readiness, Shutdown,
    http::{ListenOptions, serve},
    telemetry::Metrics,
};

/// Answers `/livez` (200 while the process can answer at all), `/readyz` (200, or 503 with a JSON
/// list of what is not ready and why) and `/metrics` (Prometheus text) until `shutdown`.
///
/// There is no authentication: listen on loopback or on a network of operators. Give it a
/// [`Shutdown`] that is triggered after those of the services, so that probes see the drain.
///
/// # Errors
/// The listener broke.
pub async fn serve_admin(
    listener: TcpListener,
    readiness: Readiness,
    metrics: Metrics,
    shutdown: Shutdown,
) -> io::Result<()> {
    let router = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .with_state(readiness)
        .route("/metrics", get(render))
        .with_state(metrics.clone());
    let options = ListenOptions {
        max_connections: 64,
        grace: Duration::from_secs(1),
        ..ListenOptions::default()
    };
    let (served, ()) = tokio::join!(
        serve(listener, router, options, shutdown.clone()),
        metrics.keep_up(&shutdown)
    );
    served
}

async fn readyz(State(readiness): State<Readiness>) -> impl IntoResponse {
    let not_ready = readiness.not_ready();
    let status = if not_ready.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = serde_json::json!({ "ready": not_ready.is_empty(), "not_ready": not_ready });
    (
        status,
        [(header::CONTENT_TYPE, "application/json")],
        format!("{body}\n"),
    )
}

async fn render(State(metrics): State<Metrics>) -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        metrics.render(),
    )
}
