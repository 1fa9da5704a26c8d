//! A gRPC service whose calls do what their argument says, and a server around it.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{StreamExt as _, stream, stream::BoxStream};
use rootstock_runtime::{
    Shutdown, Tasks,
    grpc::{
        Methods, RequestId,
        client::{ClientOptions, ClientStack, RetryOptions, connect_lazy},
        server::{StackOptions, stack},
    },
    http::{self, ListenOptions},
    propagate,
    retry::{Backoff, Jitter},
};
use tokio::{net::TcpListener, sync::Notify};
use tonic::{Request, Response, Status, service::Routes};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse,
    health_check_response::ServingStatus,
    health_client::HealthClient,
    health_server::{Health, HealthServer},
};

/// The path of [`check`].
pub(super) const CHECK: &str = "/grpc.health.v1.Health/Check";

/// Longer than any test takes: what ends by it has failed.
pub(super) const LONG: Duration = Duration::from_secs(60);

/// What the service has seen and waits for.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Calls so far.
    pub(super) calls: AtomicUsize,
    /// Told once for each call that began to wait.
    pub(super) waiting: Notify,
    /// Lets a call that waits go on.
    pub(super) go_on: Notify,
    /// The trace of the last call, seen from inside of the service.
    pub(super) trace_id: Mutex<Option<String>>,
    /// The request id of the last call.
    pub(super) request_id: Mutex<Option<String>>,
}

/// `grpc.health.v1` as a puppet.
struct Probe(Arc<Seen>);

fn serving() -> HealthCheckResponse {
    HealthCheckResponse {
        status: ServingStatus::Serving.into(),
    }
}

#[tonic::async_trait]
impl Health for Probe {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let calls = self.0.calls.fetch_add(1, Ordering::SeqCst) + 1;
        *self.0.trace_id.lock().unwrap() = propagate::current_trace_id();
        *self.0.request_id.lock().unwrap() = request
            .extensions()
            .get::<RequestId>()
            .map(|id| id.as_str().to_owned());
        match request.into_inner().service.as_str() {
            "panic" => panic!("asked to"),
            "wait" => {
                self.0.waiting.notify_one();
                self.0.go_on.notified().await;
            }
            "third time lucky" if calls < 3 => return Err(Status::unavailable("not yet")),
            "refuse" => return Err(Status::failed_precondition("never")),
            _ => {}
        }
        Ok(Response::new(serving()))
    }

    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let first = stream::iter([Ok(serving())]);
        let rest = match request.into_inner().service.as_str() {
            "panic" => stream::once(async {
                // Lets the first message out: what is encoded is sent when the stream waits.
                tokio::task::yield_now().await;
                panic!("asked to, in a stream")
            })
            .boxed(),
            _ => stream::pending().boxed(),
        };
        Ok(Response::new(first.chain(rest).boxed()))
    }
}

/// A served [`Probe`].
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) seen: Arc<Seen>,
    pub(super) shutdown: Shutdown,
    pub(super) tasks: Tasks,
}

impl Server {
    pub(super) async fn start(stack_options: StackOptions, listen_options: ListenOptions) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::start_on(listener, stack_options, listen_options)
    }

    pub(super) fn start_on(
        listener: TcpListener,
        stack_options: StackOptions,
        listen_options: ListenOptions,
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let shutdown = Shutdown::new();
        let mut tasks = Tasks::new(shutdown.clone());
        let service = probe_stack(Arc::clone(&seen), &stack_options);
        tasks.spawn(
            "probe",
            http::serve(listener, service, listen_options, shutdown.clone()),
        );
        Self {
            address,
            seen,
            shutdown,
            tasks,
        }
    }

    pub(super) async fn with_defaults() -> Self {
        Self::start(StackOptions::default(), ListenOptions::default()).await
    }

    /// A client that retries nothing.
    pub(super) fn client(&self) -> HealthClient<ClientStack> {
        client(self.address, ClientOptions::default())
    }
}

/// The probe inside the server's stack.
pub(super) fn probe_stack(seen: Arc<Seen>, options: &StackOptions) -> rootstock_runtime::grpc::server::Stack {
    let methods = Methods::of([tonic_health::pb::FILE_DESCRIPTOR_SET]).unwrap();
    let routes = Routes::new(HealthServer::new(Probe(seen)));
    stack(routes.into_axum_router(), methods, options)
}

pub(super) fn client(address: SocketAddr, options: ClientOptions) -> HealthClient<ClientStack> {
    HealthClient::new(connect_lazy(&format!("http://{address}"), options).unwrap())
}

/// Retries of this kind, soon and many.
pub(super) fn retrying(idempotent: rootstock_runtime::grpc::client::Idempotent) -> ClientOptions {
    let backoff = Backoff {
        initial: Duration::from_millis(20),
        max: Duration::from_millis(20),
        factor: 1.0,
        jitter: Jitter::None,
    };
    let retry = RetryOptions {
        idempotent,
        max_attempts: 1000,
        budget: LONG,
        backoff,
    };
    ClientOptions {
        retry,
        ..ClientOptions::default()
    }
}

/// The argument of a call.
pub(super) fn about(service: &str) -> HealthCheckRequest {
    HealthCheckRequest {
        service: service.to_owned(),
    }
}
