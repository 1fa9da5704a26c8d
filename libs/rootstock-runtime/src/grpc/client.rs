//! The client's stack: what every call of ours passes before it meets the wire.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use http::{Request, Response};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout, timeout_at},
};
use tonic::{
    Code, GrpcMethod, Status,
    body::Body,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};
use tower::{Service, ServiceExt as _};
use tracing::Instrument as _;

use super::{
    Methods,
    code::{code_name, code_of_head},
    deadline,
    methods::OTHER_METHOD,
    observe::{Call, Observed, Side},
    trace::{InSpan, client_span},
};
use crate::{propagate, retry::Backoff};

mod replay;

use replay::Replay;

/// How a [`ClientStack`] behaves. The defaults suit calls between our own services.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// Certificates to trust instead of the system's, as PEM; for `https://` only.
    pub ca_pem: Option<Vec<u8>>,
    /// Time to connect, TLS included.
    pub connect_timeout: Duration,
    /// Time to the head of an answer for calls that set no timeout of their own; each attempt has
    /// it. Streams are not limited once their head is there.
    pub attempt_timeout: Duration,
    /// How long the connection may be silent, idle or not, before the peer is asked for a sign of
    /// life.
    pub keepalive_interval: Duration,
    /// How long that sign of life may take before the connection is given up.
    pub keepalive_timeout: Duration,
    /// Calls that may wait for their head at a time; further ones wait for a place, at most their
    /// attempt's time.
    pub max_in_flight: usize,
    /// What is tried again.
    pub retry: RetryOptions,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            ca_pem: None,
            connect_timeout: Duration::from_secs(5),
            attempt_timeout: Duration::from_secs(10),
            keepalive_interval: Duration::from_secs(10),
            keepalive_timeout: Duration::from_secs(20),
            max_in_flight: 256,
            retry: RetryOptions::default(),
        }
    }
}

/// What is tried again, how often, and for how long.
#[derive(Debug, Clone)]
pub struct RetryOptions {
    /// The methods that may be repeated.
    pub idempotent: Idempotent,
    /// Attempts in all, the first included.
    pub max_attempts: u32,
    /// Time in all, from the call to the begin of the last attempt.
    pub budget: Duration,
    /// The waits between attempts.
    pub backoff: Backoff,
}

impl Default for RetryOptions {
    fn default() -> Self {
        Self {
            idempotent: Idempotent::None,
            max_attempts: 5,
            budget: Duration::from_secs(30),
            backoff: Backoff::RPC,
        }
    }
}

/// Which methods may be repeated after `UNAVAILABLE`: those that have the same effect done twice as
/// done once. Whether the first attempt did anything cannot be known.
#[derive(Debug, Clone)]
pub enum Idempotent {
    /// None.
    None,
    /// These, by path (`/package.Service/Method`). None of them may stream its request.
    Only(&'static [&'static str]),
    /// All of these that stream in neither direction: every unary method of ours may be repeated.
    Unary(Methods),
}

impl Idempotent {
    fn allows(&self, path: &str) -> bool {
        match self {
            Self::None => false,
            Self::Only(paths) => paths.contains(&path),
            Self::Unary(methods) => methods.is_unary(path),
        }
    }
}

/// The peer's address or certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// It is no `http://` or `https://` URI with a host.
    #[error("{0:?} is no server: expected http://HOST:PORT or https://HOST:PORT")]
    Uri(String),
    /// The certificates cannot be used.
    #[error("TLS towards {uri} cannot be set up")]
    Tls {
        /// The server.
        uri: String,
        /// What is wrong.
        source: tonic::transport::Error,
    },
}

/// A connection to one server behind the client's stack. Cheap to clone; generated clients take it
/// as it is (`XClient::new(stack.clone())`).
#[derive(Debug, Clone)]
pub struct ClientStack {
    channel: Channel,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    peer: String,
    options: ClientOptions,
    places: Semaphore,
}

/// Prepares calls to `uri`. The connection is made at the first call, and made again whenever it is
/// lost; the server need not be there yet. Call it inside the runtime.
///
/// # Errors
/// The URI or the certificates cannot be used.
pub fn connect_lazy(uri: &str, options: ClientOptions) -> Result<ClientStack, ConnectError> {
    let channel = endpoint(uri, &options)?.connect_lazy();
    let places = Semaphore::new(options.max_in_flight);
    Ok(ClientStack {
        channel,
        shared: Arc::new(Shared {
            peer: uri.to_owned(),
            options,
            places,
        }),
    })
}

/// A request whose answer must begin within `timeout`, all attempts included.
pub fn within<T>(message: T, timeout: Duration) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(timeout);
    request
}

fn endpoint(uri: &str, options: &ClientOptions) -> Result<Endpoint, ConnectError> {
    let not_a_server = || ConnectError::Uri(uri.to_owned());
    let parsed: http::Uri = uri.parse().map_err(|_| not_a_server())?;
    let secure = match parsed.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err(not_a_server()),
    };
    let endpoint = Endpoint::from(parsed)
        .connect_timeout(options.connect_timeout)
        .http2_keep_alive_interval(options.keepalive_interval)
        .keep_alive_timeout(options.keepalive_timeout)
        .keep_alive_while_idle(true);
    if !secure {
        return Ok(endpoint);
    }
    let tls = match &options.ca_pem {
        Some(pem) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)),
        None => ClientTlsConfig::new().with_native_roots(),
    };
    endpoint.tls_config(tls).map_err(|source| ConnectError::Tls {
        uri: uri.to_owned(),
        source,
    })
}

/// The layers, outermost first, each calling the next.
impl ClientStack {
    /// Outermost: one span is one call, whatever it took. The trace context goes into the request
    /// here, so all attempts carry the same.
    async fn traced(self, mut request: Request<Body>) -> Result<Response<Body>, Status> {
        let span = client_span(request.uri().path());
        span.in_scope(|| propagate::inject(request.headers_mut()));
        let response = self.counted(request).instrument(span.clone()).await?;
        Ok(response.map(|body| Body::new(InSpan { body, span })))
    }

    /// Outside of the retries: counts what the caller gets. Retries have a counter of their own.
    async fn counted(self, request: Request<Body>) -> Result<Response<Body>, Status> {
        let mut call = Call::begin(Side::Client, label(&request));
        match self.retried(request).await {
            Ok(response) => match code_of_head(&response) {
                Some(code) => {
                    call.end(code);
                    Ok(response)
                }
                None => Ok(response.map(|body| Body::new(Observed::new(body, call)))),
            },
            Err(status) => {
                call.end(status.code());
                Err(status)
            }
        }
    }

    /// Outside of the time limit, so that each attempt has its own. The last attempt begins within
    /// the budget; if the caller said how long it waits, everything ends within that.
    async fn retried(self, request: Request<Body>) -> Result<Response<Body>, Status> {
        let ClientOptions {
            retry,
            attempt_timeout,
            ..
        } = &self.shared.options;
        let path = request.uri().path().to_owned();
        let asked = deadline::asked_by(request.headers());
        if !retry.idempotent.allows(&path) {
            return self.limited(request, asked.unwrap_or(*attempt_timeout)).await;
        }
        let begun = Instant::now();
        let until = begun + asked.unwrap_or(retry.budget).min(retry.budget);
        let time_left = || asked.map_or(*attempt_timeout, |asked| asked.saturating_sub(begun.elapsed()));
        let replay = timeout_at(until, Replay::of(request)).await;
        let replay = match replay.map_err(|_elapsed| not_there(&path))?? {
            Replay::Whole(replay) => replay,
            Replay::TooLarge(request) => return self.limited(request, time_left()).await,
        };
        let mut failures = 0;
        loop {
            let outcome = self.limited(replay.request(), time_left()).await;
            let Some(reason) = unavailable(&outcome) else {
                return outcome;
            };
            let delay = retry.backoff.delay(failures, &mut rand::rng());
            failures += 1;
            if failures >= retry.max_attempts || Instant::now() + delay >= until {
                return outcome;
            }
            tracing::debug!(failures, reason, ?delay, "trying again");
            metrics::counter!("rootstock_grpc_client_retries_total", "method" => path.clone()).increment(1);
            tokio::time::sleep(delay).await;
        }
    }

    /// Outside of the concurrency limit: waiting for a place costs the attempt's time, so a peer
    /// that is stuck cannot pile up callers.
    async fn limited(&self, request: Request<Body>, allowed: Duration) -> Result<Response<Body>, Status> {
        let too_late = || format!("no answer from {} within {allowed:?}", self.shared.peer);
        match timeout(allowed, self.sent(request)).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => Err(Status::deadline_exceeded(too_late())),
        }
    }

    /// Innermost: a place, held until the head is there, and the wire.
    async fn sent(&self, request: Request<Body>) -> Result<Response<Body>, Status> {
        // Acquiring fails only on a closed semaphore, and nobody closes this one.
        let _place = self.shared.places.acquire().await.ok();
        let mut channel = self.channel.clone();
        let answered = async { channel.ready().await?.call(request).await };
        answered.await.map_err(|error| self.lost(error))
    }

    /// The status of an exchange that broke before a head arrived: no server said it, so it is never
    /// one of the codes that a server decides on.
    fn lost(&self, error: tonic::transport::Error) -> Status {
        let cause = root_cause(&error);
        // tonic's channel watches the caller's `grpc-timeout` too, and may be first.
        if cause.is::<tonic::TimeoutExpired>() {
            return Status::deadline_exceeded(format!("no answer from {} in time", self.shared.peer));
        }
        let mut status = Status::unavailable(format!("{} cannot be reached: {cause}", self.shared.peer));
        status.set_source(Arc::new(error));
        status
    }
}

impl Service<Request<Body>> for ClientStack {
    type Response = Response<Body>;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Response<Body>, Status>>;

    /// Always ready: a call waits for its place within its time limit, not before it.
    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.clone().traced(request))
    }
}

/// The method as a label. Generated clients say which of theirs it is; a request that was only handed
/// on carries a path from the outside, and those are without bound.
fn label(request: &Request<Body>) -> String {
    match request.extensions().get::<GrpcMethod<'static>>() {
        Some(known) => format!("/{}/{}", known.service(), known.method()),
        None => OTHER_METHOD.to_owned(),
    }
}

/// Why the outcome is one that may be tried again; `None` when it is not.
fn unavailable(outcome: &Result<Response<Body>, Status>) -> Option<String> {
    match outcome {
        Ok(response) if code_of_head(response) == Some(Code::Unavailable) => {
            Some(code_name(Code::Unavailable).to_owned())
        }
        Err(status) if status.code() == Code::Unavailable => Some(status.message().to_owned()),
        _ => None,
    }
}

fn not_there(path: &str) -> Status {
    Status::deadline_exceeded(format!("the request of {path} was not there in time"))
}

fn root_cause<'a>(error: &'a (dyn std::error::Error + 'static)) -> &'a (dyn std::error::Error + 'static) {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_servers_are_accepted() {
        for uri in ["", "catalog:7443", "ftp://catalog", "/run/socket", "https://"] {
            let refused = endpoint(uri, &ClientOptions::default());
            assert!(matches!(refused, Err(ConnectError::Uri(_))), "{uri}: {refused:?}");
        }
        for uri in ["http://127.0.0.1:7443", "https://catalog.example"] {
            endpoint(uri, &ClientOptions::default()).unwrap();
        }
        let options = ClientOptions {
            ca_pem: Some(b"no certificate".to_vec()),
            ..ClientOptions::default()
        };
        endpoint("http://plain:1", &options).unwrap();
    }

    #[test]
    fn what_may_be_repeated_is_declared() {
        let methods = Methods::of([tonic_health::pb::FILE_DESCRIPTOR_SET]).unwrap();
        let (check, watch) = ("/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch");
        assert!(!Idempotent::None.allows(check));
        assert!(Idempotent::Only(&["/grpc.health.v1.Health/Check"]).allows(check));
        assert!(!Idempotent::Only(&["/grpc.health.v1.Health/Check"]).allows(watch));
        assert!(Idempotent::Unary(methods.clone()).allows(check));
        assert!(!Idempotent::Unary(methods).allows(watch));
    }
}
