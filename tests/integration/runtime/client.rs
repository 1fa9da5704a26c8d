use std::{sync::atomic::Ordering, time::Duration};

use rootstock_runtime::{
    grpc::{
        Methods,
        client::{ClientOptions, Idempotent},
        server::StackOptions,
    },
    http::ListenOptions,
};
use tokio::net::{TcpListener, TcpSocket};
use tonic::{Code, Request};

use super::probe::{CHECK, LONG, Server, about, client, retrying};

#[tokio::test]
async fn a_retry_recovers_from_a_server_that_comes_up_late() {
    // Bound but not listening: the port is ours, and connecting to it is refused.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();

    let mut impatient = client(address, ClientOptions::default());
    let refused = impatient.check(about("")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.message().contains("Connection refused"), "{refused}");

    let methods = Methods::of([tonic_health::pb::FILE_DESCRIPTOR_SET]).unwrap();
    let mut patient = client(address, retrying(Idempotent::Unary(methods)));
    let call = tokio::spawn(async move { patient.check(about("")).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!call.is_finished());
    let server = Server::start_on(
        socket.listen(16).unwrap(),
        StackOptions::default(),
        ListenOptions::default(),
    );
    call.await.unwrap().unwrap();
    assert_eq!(server.seen.calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn only_what_is_idempotent_and_unavailable_is_repeated() {
    for (idempotent, about_what, code, calls) in [
        (Idempotent::Only(&[CHECK]), "third time lucky", Code::Ok, 3),
        (
            Idempotent::Only(&["/another/Method"]),
            "third time lucky",
            Code::Unavailable,
            1,
        ),
        (Idempotent::None, "third time lucky", Code::Unavailable, 1),
        (Idempotent::Only(&[CHECK]), "refuse", Code::FailedPrecondition, 1),
    ] {
        let server = Server::with_defaults().await;
        let case = format!("{about_what} with {idempotent:?}");
        let outcome = client(server.address, retrying(idempotent))
            .check(about(about_what))
            .await;
        assert_eq!(
            outcome.map_or_else(|status| status.code(), |_| Code::Ok),
            code,
            "{case}"
        );
        assert_eq!(server.seen.calls.load(Ordering::SeqCst), calls, "{case}");
    }
}

#[tokio::test]
async fn attempts_are_bounded() {
    let server = Server::with_defaults().await;
    let mut options = retrying(Idempotent::Only(&[CHECK]));
    options.retry.max_attempts = 2;
    let refused = client(server.address, options)
        .check(about("third time lucky"))
        .await
        .unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::Unavailable, "not yet")
    );
    assert_eq!(server.seen.calls.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn retries_end_when_the_caller_waits_no_longer() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let mut client = client(socket.local_addr().unwrap(), retrying(Idempotent::Only(&[CHECK])));
    let mut request = Request::new(about(""));
    request.set_timeout(Duration::from_millis(200));
    let code = client.check(request).await.unwrap_err().code();
    // The time may end in an attempt as well as between two.
    assert!(
        [Code::Unavailable, Code::DeadlineExceeded].contains(&code),
        "{code:?}"
    );
}

#[tokio::test]
async fn a_lost_connection_is_made_again() {
    let server = Server::with_defaults().await;
    let address = server.address;
    let mut client = client(address, retrying(Idempotent::Only(&[CHECK])));
    client.check(about("")).await.unwrap();
    assert!(server.tasks.shutdown(LONG).await.is_clean());

    let listener = TcpListener::bind(address).await.unwrap();
    let server = Server::start_on(listener, StackOptions::default(), ListenOptions::default());
    client.check(about("")).await.unwrap();
    assert_eq!(server.seen.calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn each_attempt_is_limited_unless_the_caller_says_how_long() {
    let server = Server::with_defaults().await;
    let options = ClientOptions {
        attempt_timeout: Duration::from_millis(500),
        ..ClientOptions::default()
    };
    let mut client = client(server.address, options);
    let refused = client.check(about("wait")).await.unwrap_err();
    assert_eq!(refused.code(), Code::DeadlineExceeded);
    server.seen.waiting.notified().await;

    let mut stream = client.watch(about("")).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();
    let cut = tokio::time::timeout(Duration::from_millis(800), stream.message()).await;
    assert!(cut.is_err(), "a stream is not limited after its head: {cut:?}");

    let mut request = Request::new(about("wait"));
    request.set_timeout(LONG);
    let patient = tokio::spawn(async move { client.check(request).await });
    server.seen.waiting.notified().await;
    tokio::time::sleep(Duration::from_millis(800)).await;
    server.seen.go_on.notify_one();
    patient.await.unwrap().unwrap();

    let mut request = Request::new(about("wait"));
    request.set_timeout(Duration::from_millis(50));
    let refused = server.client().check(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn a_dead_peer_is_noticed() {
    // Accepts, and never says a word.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = ClientOptions {
        attempt_timeout: LONG,
        keepalive_interval: Duration::from_millis(50),
        keepalive_timeout: Duration::from_millis(50),
        ..ClientOptions::default()
    };
    let mut client = client(listener.local_addr().unwrap(), options);
    let silent = tokio::spawn(async move { listener.accept().await.map(|accepted| (listener, accepted)) });
    assert_eq!(
        client.check(about("")).await.unwrap_err().code(),
        Code::Unavailable
    );
    drop(silent.await.unwrap().unwrap());
}

#[tokio::test]
async fn calls_wait_for_a_place() {
    let server = Server::with_defaults().await;
    let options = ClientOptions {
        max_in_flight: 1,
        ..ClientOptions::default()
    };
    let client = client(server.address, options);
    let call = |service: &'static str| {
        let mut client = client.clone();
        tokio::spawn(async move { client.check(about(service)).await })
    };
    let first = call("wait");
    server.seen.waiting.notified().await;
    let second = call("");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(server.seen.calls.load(Ordering::SeqCst), 1);
    server.seen.go_on.notify_one();
    first.await.unwrap().unwrap();
    second.await.unwrap().unwrap();
}
