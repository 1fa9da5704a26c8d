//! Logs, traces and metrics of the process: set up once, whatever number of services it runs.

use std::{io::IsTerminal as _, time::Duration};

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use opentelemetry::{KeyValue, trace::TracerProvider as _};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use serde::{Deserialize, Serialize};
use tracing::{Level, Metadata};
use tracing_subscriber::{
    EnvFilter, Layer as _,
    filter::{FilterFn, LevelFilter, ParseError},
    layer::SubscriberExt as _,
    util::{SubscriberInitExt as _, TryInitError},
};

use crate::{
    Shutdown,
    config::{Problems, Validate},
};

/// How long the exporter may take to hand over one batch of spans, and to finish at the end.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// How often histograms are condensed. Their samples pile up in memory when nobody scrapes.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Bounds in seconds of every histogram whose name ends in `_seconds`: from an answer out of memory
/// to a large transfer.
const SECONDS: [f64; 16] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
];

/// Bounds in bytes of every histogram whose name ends in `_bytes`: 1 KiB to 16 GiB, by 16.
const BYTES: [f64; 7] = [
    1024.0,
    16_384.0,
    262_144.0,
    4_194_304.0,
    67_108_864.0,
    1_073_741_824.0,
    17_179_869_184.0,
];

/// Bounds of every other histogram: counts.
const COUNTS: [f64; 10] = [
    1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 1000.0, 10_000.0, 100_000.0,
];

/// The `telemetry` section of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// How log lines look.
    pub log_format: LogFormat,
    /// What is logged, in the syntax of `tracing_subscriber::EnvFilter`: a level, or `target=level`
    /// separated by commas. Traces are not affected.
    pub log_filter: String,
    /// Where spans are sent: the `http://` or `https://` URL of an OTLP collector that speaks gRPC.
    /// Traces are not exported without it, but still carried from process to process.
    pub otlp_endpoint: Option<String>,
}

/// How log lines look. They go to standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line, for collectors.
    Json,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            log_format: LogFormat::Text,
            log_filter: "info".to_owned(),
            otlp_endpoint: None,
        }
    }
}

impl Validate for TelemetryConfig {
    fn validate(&self, problems: &mut Problems) {
        if let Err(error) = parse_filter(&self.log_filter) {
            problems.add(
                "log_filter",
                format!("{:?} is no log filter: {error}", self.log_filter),
            );
        }
        if let Some(endpoint) = &self.otlp_endpoint {
            let scheme = endpoint
                .parse::<http::Uri>()
                .ok()
                .and_then(|uri| uri.scheme_str().map(str::to_owned));
            if !matches!(scheme.as_deref(), Some("http" | "https")) {
                problems.add("otlp_endpoint", "expected an http:// or https:// URL");
            }
        }
    }
}

/// Telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter cannot be read.
    #[error("telemetry.log_filter cannot be read")]
    Filter(#[from] ParseError),
    /// The exporter cannot be made of the endpoint.
    #[error("telemetry.otlp_endpoint cannot be used")]
    Exporter(#[from] ExporterBuildError),
    /// Telemetry belongs to the process: [`init`] was called before, or a library took its place.
    #[error("logging is set up already in this process")]
    LoggingTaken(#[from] TryInitError),
    /// As [`TelemetryError::LoggingTaken`], of metrics.
    #[error("metrics cannot be set up in this process")]
    MetricsTaken(#[from] BuildError),
}

/// What [`init`] set up. Call [`Telemetry::shutdown`] last of all, or the last spans are lost.
#[derive(Debug)]
pub struct Telemetry {
    metrics: Metrics,
    tracer: SdkTracerProvider,
}

/// Reads the metrics that the process recorded.
#[derive(Debug, Clone)]
pub struct Metrics {
    prometheus: PrometheusHandle,
}

/// Sets up logs on standard error, traces and metrics for the whole process. Call it once, inside
/// the runtime. `service` names the process in traces and in `rootstock_build_info`.
///
/// # Errors
/// A part of the configuration cannot be used, or telemetry was set up before.
pub fn init(config: &TelemetryConfig, service: &'static str) -> Result<Telemetry, TelemetryError> {
    let tracer = tracer_provider(config, service)?;
    let spans = tracing_opentelemetry::layer()
        .with_tracer(tracer.tracer("rootstock"))
        .with_filter(traced());
    let stderr = std::io::stderr;
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal());
    let lines = match config.log_format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
    };
    tracing_subscriber::registry()
        .with(spans)
        .with(lines.with_filter(parse_filter(&config.log_filter)?))
        .try_init()?;
    log_panics(config.log_format);

    let metrics = Metrics {
        prometheus: prometheus_builder()?.install_recorder()?,
    };
    crate::grpc::describe_metrics();
    metrics::describe_gauge!("rootstock_build_info", "1, labelled with what is running.");
    metrics::gauge!("rootstock_build_info", "service" => service, "version" => VERSION).set(1.0);
    Ok(Telemetry { metrics, tracer })
}

/// The version of Rootstock that this process runs.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

impl Telemetry {
    /// Where the metrics can be read.
    pub fn metrics(&self) -> Metrics {
        self.metrics.clone()
    }

    /// Sends the spans that wait to be sent, in bounded time.
    pub async fn shutdown(self) {
        // The exporter's thread needs this runtime to move its bytes while we wait for it, so the
        // wait must not take one of the runtime's threads.
        let flushed =
            tokio::task::spawn_blocking(move || self.tracer.shutdown_with_timeout(EXPORT_TIMEOUT)).await;
        match flushed {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the last spans could not be exported"),
            Err(error) => tracing::warn!(%error, "the span exporter broke"),
        }
    }
}

impl Metrics {
    /// The metrics as Prometheus text.
    pub fn render(&self) -> String {
        self.prometheus.render()
    }

    /// Keeps the memory of histograms bounded until `shutdown`. [`serve_admin`](crate::serve_admin)
    /// does it too; a process without an admin listener runs this as a task.
    pub async fn keep_up(&self, shutdown: &Shutdown) {
        while shutdown.race(tokio::time::sleep(UPKEEP_INTERVAL)).await.is_some() {
            self.prometheus.run_upkeep();
        }
    }
}

fn parse_filter(filter: &str) -> Result<EnvFilter, ParseError> {
    EnvFilter::builder().parse(filter)
}

/// Without an endpoint spans still get ids, so that a trace passes through a process that does not
/// export and its id stands in the log.
fn tracer_provider(
    config: &TelemetryConfig,
    service: &'static str,
) -> Result<SdkTracerProvider, ExporterBuildError> {
    let resource = Resource::builder()
        .with_service_name(service)
        .with_attribute(KeyValue::new("service.version", VERSION))
        .build();
    let mut provider = SdkTracerProvider::builder().with_resource(resource);
    if let Some(endpoint) = &config.otlp_endpoint {
        let exporter = SpanExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .with_timeout(EXPORT_TIMEOUT)
            .build()?;
        provider = provider.with_batch_exporter(exporter);
    }
    Ok(provider.build())
}

/// What becomes part of a trace, whatever is logged: a quiet log is no reason to lose traces. Spans
/// made by the parts that send spans do not, or they would be sent too, for ever.
fn traced() -> FilterFn {
    let kept: fn(&Metadata<'_>) -> bool =
        |metadata| *metadata.level() <= Level::INFO && !is_exporter_machinery(metadata.target());
    FilterFn::new(kept).with_max_level_hint(LevelFilter::INFO)
}

fn is_exporter_machinery(target: &str) -> bool {
    let root = target.split("::").next().unwrap_or_default();
    matches!(root, "h2" | "hyper" | "hyper_util" | "tonic" | "tower") || root.starts_with("opentelemetry")
}

fn prometheus_builder() -> Result<PrometheusBuilder, BuildError> {
    PrometheusBuilder::new()
        .set_buckets(&COUNTS)?
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_bytes".to_owned()), &BYTES)
}

/// A panic becomes a log line inside the span that it happened in, so that it can be told whose
/// request it was. Who catches it decides what it means, and does not log it again.
///
/// As text the line comes in addition to what Rust prints, which people know how to read; as JSON it
/// comes instead, because a line that is not JSON would be one too many.
fn log_panics(format: LogFormat) {
    let printed = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let message = crate::tasks::panic_message(panic.payload());
        let location = panic.location().map(ToString::to_string);
        match format {
            LogFormat::Text => {
                printed(panic);
                tracing::error!(panic.message = message, panic.location = location, "panicked");
            }
            LogFormat::Json => {
                let backtrace = std::backtrace::Backtrace::capture().to_string();
                tracing::error!(
                    panic.message = message,
                    panic.location = location,
                    panic.backtrace = backtrace,
                    "panicked"
                );
            }
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_and_the_endpoint_are_checked() {
        let mut config = TelemetryConfig::default();
        assert!(Problems::of(&config).is_empty());
        config.log_filter = "rootstock=debug,sqlx=warn".to_owned();
        config.otlp_endpoint = Some("http://collector:4317".to_owned());
        assert!(Problems::of(&config).is_empty());
        config.log_filter = "rootstock=loud".to_owned();
        config.otlp_endpoint = Some("collector:4317".to_owned());
        let keys: Vec<_> = Problems::of(&config).into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["log_filter", "otlp_endpoint"]);
    }

    #[test]
    fn our_own_spans_are_exported_and_the_exporters_are_not() {
        for target in [
            "h2::client",
            "hyper_util::client",
            "opentelemetry-otlp",
            "tonic",
            "tower::buffer",
        ] {
            assert!(is_exporter_machinery(target), "{target}");
        }
        for target in ["rootstock_runtime::grpc", "towering", "rootstock_catalog"] {
            assert!(!is_exporter_machinery(target), "{target}");
        }
    }

    #[test]
    fn histograms_have_the_buckets_of_their_unit() {
        let recorder = prometheus_builder().unwrap().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            metrics::histogram!("wait_seconds").record(0.3);
            metrics::histogram!("size_bytes").record(5000.0);
            metrics::histogram!("batch_rows").record(3.0);
        });
        let text = handle.render();
        for line in [
            r#"wait_seconds_bucket{le="0.5"} 1"#,
            r#"wait_seconds_bucket{le="0.25"} 0"#,
            r#"size_bytes_bucket{le="16384"} 1"#,
            r#"batch_rows_bucket{le="5"} 1"#,
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
