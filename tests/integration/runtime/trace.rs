use std::time::Duration;

use rootstock_runtime::propagate;
use rootstock_tests::telemetry;
use tonic::Request;
use tracing::{Instrument as _, info_span};

use super::probe::{LONG, Server, about};

/// A trace that nobody else uses, as it would have been kept beside queued work.
fn traceparent() -> (String, String) {
    let trace_id = format!("{:032x}", rand::random::<u128>());
    let parent = format!("00-{trace_id}-00f067aa0ba902b7-01");
    (trace_id, parent)
}

#[tokio::test]
async fn a_trace_crosses_from_client_to_server_and_is_exported() {
    let collector = telemetry::collector();
    let (trace_id, parent) = traceparent();
    let server = Server::with_defaults().await;
    let mut client = server.client();

    let span = propagate::continue_trace(info_span!("queued work", job = "tulip"), Some(&parent));
    client.check(about("")).instrument(span).await.unwrap();
    assert_eq!(
        server.seen.trace_id.lock().unwrap().as_deref(),
        Some(trace_id.as_str())
    );

    let exported = async {
        let name = "grpc.health.v1.Health/Check";
        while !(collector.has(&trace_id, &["queued work", "tulip"])
            && collector.has(&trace_id, &[name, "request.id"]))
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LONG, exported)
        .await
        .expect("the trace arrives at the collector");
}

#[tokio::test]
async fn without_a_caller_a_call_begins_a_trace() {
    telemetry::collector();
    let server = Server::with_defaults().await;
    let mut client = server.client();
    client.check(about("")).await.unwrap();
    let first = server.seen.trace_id.lock().unwrap().take();
    client.check(about("")).await.unwrap();
    let second = server.seen.trace_id.lock().unwrap().take();
    assert!(
        first.is_some() && second.is_some() && first != second,
        "{first:?} {second:?}"
    );
}

#[tokio::test]
async fn a_request_has_an_id_that_its_caller_may_choose() {
    let server = Server::with_defaults().await;
    let mut client = server.client();
    let made = client.check(about("")).await.unwrap();
    let made = made.metadata().get("x-request-id").unwrap().to_str().unwrap();
    assert_eq!(server.seen.request_id.lock().unwrap().as_deref(), Some(made));

    let mut request = Request::new(about(""));
    request
        .metadata_mut()
        .insert("x-request-id", "chosen-1".parse().unwrap());
    let answer = client.check(request).await.unwrap();
    assert_eq!(answer.metadata().get("x-request-id").unwrap(), "chosen-1");
    assert_eq!(
        server.seen.request_id.lock().unwrap().as_deref(),
        Some("chosen-1")
    );
}
