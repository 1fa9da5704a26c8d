use std::{sync::Arc, sync::atomic::Ordering, time::Duration};

use rootstock_runtime::{
    Readiness, Shutdown, Tasks,
    grpc::{
        client::ClientOptions,
        server::{StackOptions, serve},
        with_health_and_reflection,
    },
    http::{ListenOptions, serve_with},
};
use rootstock_tests::certificates::Authority;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tonic::{Code, Request, service::Routes};
use tonic_health::pb::{health_check_response::ServingStatus, health_client::HealthClient};

use super::probe::{self, LONG, Server, about};

/// A server that has nothing but health and reflection.
struct Plain {
    uri: String,
    readiness: Readiness,
    shutdown: Shutdown,
    _tasks: Tasks,
}

async fn plain() -> Plain {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}", listener.local_addr().unwrap());
    let shutdown = Shutdown::new();
    let readiness = Readiness::new(shutdown.clone());
    let api = with_health_and_reflection(Routes::default(), &[], readiness.clone()).unwrap();
    let mut tasks = Tasks::new(shutdown.clone());
    let stop = shutdown.clone();
    tasks.spawn("plain", async move {
        serve(
            listener,
            api,
            &StackOptions::default(),
            ListenOptions::default(),
            stop,
        )
        .await
    });
    Plain {
        uri,
        readiness,
        shutdown,
        _tasks: tasks,
    }
}

fn stack_to(uri: &str) -> rootstock_runtime::grpc::client::ClientStack {
    rootstock_runtime::grpc::client::connect_lazy(uri, ClientOptions::default()).unwrap()
}

#[tokio::test]
async fn health_follows_readiness() {
    let server = plain().await;
    let component = server.readiness.register("database");
    let mut client = HealthClient::new(stack_to(&server.uri));
    let check = |answer: tonic::Response<tonic_health::pb::HealthCheckResponse>| answer.into_inner().status();

    assert_eq!(
        check(client.check(about("")).await.unwrap()),
        ServingStatus::NotServing
    );
    let mut changes = client
        .watch(about("grpc.health.v1.Health"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        changes.message().await.unwrap().unwrap().status(),
        ServingStatus::NotServing
    );

    component.ready();
    assert_eq!(
        changes.message().await.unwrap().unwrap().status(),
        ServingStatus::Serving
    );
    assert_eq!(
        check(client.check(about("grpc.health.v1.Health")).await.unwrap()),
        ServingStatus::Serving
    );

    assert_eq!(
        client.check(about("made.up")).await.unwrap_err().code(),
        Code::NotFound
    );
    let mut unknown = client.watch(about("made.up")).await.unwrap().into_inner();
    assert_eq!(
        unknown.message().await.unwrap().unwrap().status(),
        ServingStatus::ServiceUnknown
    );
    drop(unknown);

    server.shutdown.trigger();
    assert_eq!(
        changes.message().await.unwrap().unwrap().status(),
        ServingStatus::NotServing
    );
    assert!(
        changes.message().await.unwrap().is_none(),
        "the stream ends with the process"
    );
}

/// The services that a version of reflection lists.
macro_rules! list_services {
    ($version:ident, $uri:expr) => {{
        use tonic_reflection::pb::$version::{
            ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
            server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
        };
        let request = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        };
        let mut client = ServerReflectionClient::new(stack_to($uri));
        let requests = futures::stream::iter([request]);
        let mut answers = client
            .server_reflection_info(requests)
            .await
            .unwrap()
            .into_inner();
        match answers.message().await.unwrap().unwrap().message_response {
            Some(MessageResponse::ListServicesResponse(list)) => {
                let mut names: Vec<String> = list.service.into_iter().map(|service| service.name).collect();
                names.sort();
                names
            }
            other => panic!("no list of services: {other:?}"),
        }
    }};
}

#[tokio::test]
async fn reflection_answers_in_both_versions() {
    let server = plain().await;
    let expected = [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    ];
    assert_eq!(list_services!(v1, &server.uri), expected);
    assert_eq!(list_services!(v1alpha, &server.uri), expected);
}

#[tokio::test]
async fn a_panic_costs_one_call_and_not_the_connection() {
    let server = Server::with_defaults().await;
    let mut client = server.client();
    let mut bystander = client.watch(about("")).await.unwrap().into_inner();
    bystander.message().await.unwrap().unwrap();

    let refused = client.check(about("panic")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Internal);
    assert!(
        !refused.message().contains("asked to"),
        "the inside stays inside: {refused}"
    );

    let mut stream = client.watch(about("panic")).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();
    assert_eq!(stream.message().await.unwrap_err().code(), Code::Internal);

    client.check(about("")).await.unwrap();
    let still_open = tokio::time::timeout(Duration::from_millis(50), bystander.message()).await;
    assert!(still_open.is_err(), "the other stream was ended: {still_open:?}");
}

#[tokio::test]
async fn a_full_server_sheds_and_recovers() {
    let options = StackOptions {
        max_in_flight: 1,
        ..StackOptions::default()
    };
    let server = Server::start(options, ListenOptions::default()).await;
    let mut client = server.client();
    let mut stream = client.watch(about("")).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();

    let mut first = client.clone();
    let first = tokio::spawn(async move { first.check(about("wait")).await });
    server.seen.waiting.notified().await;
    assert_eq!(
        client.check(about("")).await.unwrap_err().code(),
        Code::Unavailable
    );
    assert_eq!(
        server.seen.calls.load(Ordering::SeqCst),
        1,
        "what is shed does not reach the service"
    );

    server.seen.go_on.notify_one();
    first.await.unwrap().unwrap();
    client.check(about("")).await.unwrap();
}

#[tokio::test]
async fn time_is_limited_to_the_head_and_by_the_caller() {
    let options = StackOptions {
        default_timeout: Duration::from_millis(50),
        ..StackOptions::default()
    };
    let server = Server::start(options, ListenOptions::default()).await;
    let mut client = server.client();
    let mut stream = client.watch(about("")).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();
    assert_eq!(
        client.check(about("wait")).await.unwrap_err().code(),
        Code::DeadlineExceeded
    );
    let cut = tokio::time::timeout(Duration::from_millis(100), stream.message()).await;
    assert!(cut.is_err(), "the stream was cut: {cut:?}");

    server.seen.waiting.notified().await;
    let mut patient = Request::new(about("wait"));
    patient.set_timeout(LONG);
    let mut second = client.clone();
    let patient = tokio::spawn(async move { second.check(patient).await });
    server.seen.waiting.notified().await;
    tokio::time::sleep(Duration::from_millis(150)).await;
    server.seen.go_on.notify_one();
    patient
        .await
        .unwrap()
        .expect("the caller asked for more than the default");
}

#[tokio::test]
async fn a_drain_finishes_what_is_under_way() {
    let server = Server::with_defaults().await;
    let mut client = server.client();
    let call = tokio::spawn(async move { client.check(about("wait")).await });
    server.seen.waiting.notified().await;
    server.shutdown.trigger();

    // The port closes at once …
    while TcpStream::connect(server.address).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // … and the call goes on.
    assert!(!call.is_finished());
    server.seen.go_on.notify_one();
    call.await.unwrap().unwrap();
    assert!(server.tasks.shutdown(LONG).await.is_clean());
}

#[tokio::test]
async fn a_stream_that_does_not_listen_is_cut_after_the_grace() {
    let options = ListenOptions {
        grace: Duration::from_millis(50),
        ..ListenOptions::default()
    };
    let server = Server::start(StackOptions::default(), options).await;
    let mut client = server.client();
    let mut stream = client.watch(about("")).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();
    assert!(server.tasks.shutdown(LONG).await.is_clean());
    assert!(stream.message().await.is_err());
}

#[tokio::test]
async fn a_silent_connection_is_closed() {
    let options = ListenOptions {
        handshake_timeout: Duration::from_millis(50),
        ..ListenOptions::default()
    };
    let server = Server::start(StackOptions::default(), options).await;
    // Nothing, and half of what begins HTTP/2.
    for said in [&b""[..], b"PRI * HTTP"] {
        let mut silent = TcpStream::connect(server.address).await.unwrap();
        silent.write_all(said).await.unwrap();
        let _ = silent.read_to_end(&mut Vec::new()).await;
    }
    // Whoever has said enough may be silent.
    let mut client = server.client();
    client.check(about("")).await.unwrap();
    let mut stream = client.watch(about("")).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();
    let closed = tokio::time::timeout(Duration::from_millis(150), stream.message()).await;
    assert!(closed.is_err(), "{closed:?}");
}

#[tokio::test]
async fn a_head_that_never_ends_is_refused() {
    let options = ListenOptions {
        handshake_timeout: Duration::from_millis(50),
        ..ListenOptions::default()
    };
    let server = Server::start(StackOptions::default(), options).await;
    let mut slow = TcpStream::connect(server.address).await.unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let mut answer = Vec::new();
    slow.read_to_end(&mut answer).await.unwrap();
}

/// Asks for something over HTTP/1, and reads the head of the answer, which has no body.
async fn ask(connection: &mut TcpStream) {
    connection
        .write_all(b"GET / HTTP/1.1\r\nhost: it\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(connection.read_u8().await.expect("the answer ends with its head"));
    }
    assert!(answer.starts_with(b"HTTP/1.1 "), "{}", answer.escape_ascii());
}

#[tokio::test]
async fn a_client_may_think_for_longer_than_a_head_may_take() {
    let options = ListenOptions {
        handshake_timeout: Duration::from_millis(200),
        ..ListenOptions::default()
    };
    let server = Server::start(StackOptions::default(), options).await;
    let mut thinking = TcpStream::connect(server.address).await.unwrap();
    for _ in 0..2 {
        ask(&mut thinking).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    // A head that has begun is to end all the same.
    thinking.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    thinking.read_to_end(&mut Vec::new()).await.unwrap();
}

#[tokio::test]
async fn an_idle_connection_is_closed_in_the_end() {
    let options = ListenOptions {
        idle_timeout: Duration::from_millis(200),
        ..ListenOptions::default()
    };
    let server = Server::start(StackOptions::default(), options).await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    ask(&mut idle).await;
    idle.read_to_end(&mut Vec::new()).await.unwrap();
}

#[tokio::test]
async fn connections_wait_for_a_place() {
    let options = ListenOptions {
        max_connections: 1,
        ..ListenOptions::default()
    };
    let server = Server::start(StackOptions::default(), options).await;
    let mut first = server.client();
    first.check(about("")).await.unwrap();
    let mut second = server.client();
    let waiting = tokio::spawn(async move { second.check(about("")).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(server.seen.calls.load(Ordering::SeqCst), 1);
    drop(first);
    waiting.await.unwrap().unwrap();
}

#[tokio::test]
async fn the_same_stack_serves_behind_tls() {
    #[derive(Debug, Clone, PartialEq)]
    struct Alpn(Vec<u8>);

    let authority = Authority::new();
    let certificate = authority.issue();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der], certificate.key_der)
        .unwrap();
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
    let handshake = move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let stream = acceptor.accept(stream).await?;
            let mut extensions = http::Extensions::new();
            extensions.insert(Alpn(
                stream.get_ref().1.alpn_protocol().unwrap_or_default().to_vec(),
            ));
            Ok((stream, extensions))
        }
    };
    let (told, learned) = std::sync::mpsc::channel();
    let service = tower::ServiceBuilder::new()
        .map_request(move |request: http::Request<axum::body::Body>| {
            told.send(request.extensions().get::<Alpn>().cloned()).unwrap();
            request
        })
        .service(probe::probe_stack(Arc::default(), &StackOptions::default()));

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("https://{}", listener.local_addr().unwrap());
    let shutdown = Shutdown::new();
    let mut tasks = Tasks::new(shutdown.clone());
    let serving = serve_with(listener, handshake, service, ListenOptions::default(), shutdown);
    tasks.spawn("tls", serving);

    let trusting = ClientOptions {
        ca_pem: Some(authority.pem().into()),
        ..ClientOptions::default()
    };
    let connect = |options| rootstock_runtime::grpc::client::connect_lazy(&uri, options).unwrap();
    HealthClient::new(connect(trusting))
        .check(about(""))
        .await
        .unwrap();
    assert_eq!(learned.recv().unwrap(), Some(Alpn(b"h2".to_vec())));

    let other = Authority::new();
    let doubting = ClientOptions {
        ca_pem: Some(other.pem().into()),
        ..ClientOptions::default()
    };
    let refused = HealthClient::new(connect(doubting))
        .check(about(""))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.message().contains("certificate"), "{refused}");
}
