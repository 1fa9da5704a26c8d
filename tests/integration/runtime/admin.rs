use std::net::SocketAddr;

use rootstock_runtime::{Readiness, Shutdown, Tasks, serve_admin};
use rootstock_tests::telemetry;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::probe::{CHECK, LONG, Server, about};

/// The head and the body of an answer.
async fn get(address: SocketAddr, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

#[tokio::test]
async fn probes_and_scrapers_are_answered() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let services = Shutdown::new();
    let readiness = Readiness::new(services.clone());
    let component = readiness.register("catalog.database");
    component.not_ready("connection refused");
    let last = Shutdown::new();
    let mut tasks = Tasks::new(last.clone());
    tasks.spawn(
        "admin",
        serve_admin(listener, readiness, telemetry::metrics(), last),
    );

    let (head, _) = get(address, "/livez").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let (head, body) = get(address, "/readyz").await;
    assert!(head.starts_with("HTTP/1.1 503"), "{head}");
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        body,
        serde_json::json!({
            "ready": false,
            "not_ready": [{ "component": "catalog.database", "reason": "connection refused" }],
        })
    );
    component.ready();
    let (head, body) = get(address, "/readyz").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(body.contains(r#""ready":true"#), "{body}");

    let (head, metrics) = get(address, "/metrics").await;
    assert!(head.contains("text/plain"), "{head}");
    assert!(metrics.contains("rootstock_build_info{"), "{metrics}");

    services.trigger();
    let (head, body) = get(address, "/readyz").await;
    assert!(
        head.starts_with("HTTP/1.1 503") && body.contains("shutting down"),
        "{head} {body}"
    );
    assert!(tasks.shutdown(LONG).await.is_clean());
}

/// The number behind a series, 0 when it is not there yet.
fn value(metrics: &str, series: &str) -> f64 {
    metrics
        .lines()
        .find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
        .unwrap_or_default()
}

#[tokio::test]
async fn calls_are_counted_on_both_sides_under_documented_names() {
    let metrics = telemetry::metrics();
    let before = metrics.render();
    let server = Server::with_defaults().await;
    let mut client = server.client();
    client.check(about("refuse")).await.unwrap_err();
    client.check(about("")).await.unwrap();
    let mut stream = client.watch(about("")).await.unwrap().into_inner();
    stream.message().await.unwrap();
    drop(stream);

    let failed = r#"code="FAILED_PRECONDITION""#;
    for (series, at_least) in [
        (
            format!(r#"rootstock_grpc_server_requests_total{{method="{CHECK}",{failed}}}"#),
            1.0,
        ),
        (
            format!(r#"rootstock_grpc_client_requests_total{{method="{CHECK}",{failed}}}"#),
            1.0,
        ),
        (
            format!(r#"rootstock_grpc_server_requests_total{{method="{CHECK}",code="OK"}}"#),
            1.0,
        ),
        (
            format!(r#"rootstock_grpc_server_request_duration_seconds_count{{method="{CHECK}"}}"#),
            2.0,
        ),
        (
            format!(r#"rootstock_grpc_client_request_duration_seconds_count{{method="{CHECK}"}}"#),
            2.0,
        ),
    ] {
        let counted = value(&metrics.render(), &series) - value(&before, &series);
        assert!(
            counted >= at_least,
            "{series} counted {counted}\n{}",
            metrics.render()
        );
    }
    let after = metrics.render();
    for name in [
        "rootstock_grpc_server_requests_total",
        "rootstock_grpc_server_request_duration_seconds",
        "rootstock_grpc_server_in_flight_requests",
        "rootstock_grpc_client_requests_total",
        "rootstock_grpc_client_request_duration_seconds",
        "rootstock_grpc_client_in_flight_requests",
    ] {
        assert!(
            after.contains(&format!("# HELP {name} ")),
            "{name} is not documented in\n{after}"
        );
    }

    // A path that somebody made up is not a label.
    let mut made_up = tonic::client::Grpc::new(
        rootstock_runtime::grpc::client::connect_lazy(
            &format!("http://{}", server.address),
            rootstock_runtime::grpc::client::ClientOptions::default(),
        )
        .unwrap(),
    );
    made_up.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    let path = http::uri::PathAndQuery::from_static("/made.up/Method");
    made_up
        .unary(tonic::Request::new(()), path, codec)
        .await
        .unwrap_err();
    let after = metrics.render();
    assert!(
        value(
            &after,
            r#"rootstock_grpc_server_requests_total{method="other",code="UNIMPLEMENTED"}"#
        ) >= 1.0
    );
    assert!(!after.contains("/made.up/Method"), "on neither side:\n{after}");
}
