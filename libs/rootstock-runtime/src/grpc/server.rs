//! The server's stack: what every request passes before it meets a service.
//!
//! Time limits and load shedding are layers of ours rather than settings of tonic's `Server`: those
//! wrap outside of our layers (so that metrics and traces never see what they refuse) and count per
//! connection instead of per process.

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Request, State},
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
};
use tokio::{net::TcpListener, sync::Semaphore, time::timeout};
use tonic::Status;
use tower::{Service, ServiceBuilder, util::BoxCloneSyncService};

use super::{
    Api, Methods,
    code::{code_of_head, is_grpc, refuse},
    deadline,
    observe::{Call, Observed, Side},
    panic::catch_panic,
    trace::trace_request,
};
use crate::{
    Shutdown,
    http::{self, ListenOptions},
};

/// A service inside its stack.
pub type Stack = BoxCloneSyncService<Request, Response, Infallible>;

/// Limits of a stack. They hold for the stack, whatever number of connections and listeners it has.
#[derive(Debug, Clone)]
pub struct StackOptions {
    /// Requests that may wait for the head of their answer at a time; further ones are refused with
    /// `UNAVAILABLE`, which clients may retry because nothing was begun. A stream counts until its
    /// head is out: open streams cost little, and must not lock out everything else.
    pub max_in_flight: usize,
    /// Time to the head of the answer for callers that send no `grpc-timeout`.
    pub default_timeout: Duration,
    /// The most that a `grpc-timeout` is honoured for. A call that streams its request gets its head
    /// after the last message, so its callers ask for more than the default.
    pub max_timeout: Duration,
}

impl Default for StackOptions {
    fn default() -> Self {
        Self {
            max_in_flight: 1024,
            default_timeout: Duration::from_secs(30),
            max_timeout: Duration::from_secs(10 * 60),
        }
    }
}

/// Puts `service` behind the stack. `methods` are those it has; see [`Api`].
///
/// Requests that are not gRPC pass the same layers: they are traced, limited and timed, refused in
/// HTTP, and not counted, because their paths are no bounded set of labels.
pub fn stack<S>(service: S, methods: Methods, options: &StackOptions) -> Stack
where
    S: Service<Request, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Response: IntoResponse,
    S::Future: Send,
{
    let places = Arc::new(Semaphore::new(options.max_in_flight));
    let stack = ServiceBuilder::new()
        // Outermost: a panic in any layer, and in the service, costs one request.
        .layer(from_fn(catch_panic))
        // Before anything that can refuse: what is refused has an id and a place in its trace too.
        .layer(from_fn(trace_request))
        // Inside the trace, so that its log line has the id; outside of what refuses, so that
        // refusals count, with the code that the caller sees.
        .layer(from_fn_with_state(methods, count))
        // Before the time limit: waiting is what an overloaded server must not do.
        .layer(from_fn_with_state(places, shed))
        // Innermost: the time is the service's (and the edge's authentication, which is part of it).
        .layer(from_fn_with_state(options.clone(), limit_time))
        .service(service);
    BoxCloneSyncService::new(stack)
}

/// Serves an [`Api`] behind the stack until `shutdown`, without TLS. See [`http::serve`] for how it
/// ends.
///
/// # Errors
/// The listener is broken.
pub async fn serve(
    listener: TcpListener,
    api: Api,
    stack_options: &StackOptions,
    listen_options: ListenOptions,
    shutdown: Shutdown,
) -> io::Result<()> {
    let service = stack(api.router, api.methods, stack_options);
    http::serve(listener, service, listen_options, shutdown).await
}

async fn count(State(methods): State<Methods>, request: Request, next: Next) -> Response {
    if !is_grpc(request.headers()) {
        return next.run(request).await;
    }
    let mut call = Call::begin(Side::Server, methods.label(request.uri().path()));
    let response = next.run(request).await;
    match code_of_head(&response) {
        Some(code) => {
            call.end(code);
            response
        }
        None => response.map(|body| Body::new(Observed::new(body, call))),
    }
}

async fn shed(State(places): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    let Ok(_place) = places.try_acquire() else {
        metrics::counter!("rootstock_grpc_server_shed_total").increment(1);
        let status = Status::unavailable("the server has as many requests as it can take; try again later");
        return refuse(is_grpc(request.headers()), status);
    };
    next.run(request).await
}

async fn limit_time(State(options): State<StackOptions>, request: Request, next: Next) -> Response {
    let to_grpc = is_grpc(request.headers());
    let asked = deadline::asked_by(request.headers());
    let allowed = asked.unwrap_or(options.default_timeout).min(options.max_timeout);
    timeout(allowed, next.run(request))
        .await
        .unwrap_or_else(|_elapsed| {
            refuse(
                to_grpc,
                Status::deadline_exceeded(format!("no answer within {allowed:?}")),
            )
        })
}
