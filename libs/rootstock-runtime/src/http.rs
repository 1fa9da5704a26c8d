//! The accept loop: connections, their limits and their orderly end. What is served on them is
//! somebody else's: [`grpc::server::stack`](crate::grpc::server::stack), or any tower service.

use std::{
    convert::Infallible,
    future::{Future, ready},
    io,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{body::Body, extract::ConnectInfo};
use http::{Extensions, Request, Response};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::io::InspectReader;
use tower::{Service, ServiceExt as _};

use self::head_timer::HeadTimer;
use crate::Shutdown;

mod head_timer;

/// The wait after `accept` failed for want of resources (file descriptors, mostly): connections that
/// end give them back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// How much tells HTTP/2 from HTTP/1, in bytes. A request of either is longer.
const HTTP2_PREFACE_BYTES: u64 = 24;

/// Limits of one listener. The defaults suit services that talk to each other.
#[derive(Debug, Clone)]
pub struct ListenOptions {
    /// Connections open at a time; further ones wait in the kernel's queue.
    pub max_connections: usize,
    /// Requests open at a time on one HTTP/2 connection; the peer is told and keeps the rest back.
    pub max_streams_per_connection: u32,
    /// Time for the handshake, for the first bytes after it, and for the head of an HTTP/1 request
    /// that has begun. A connection that is slower is closed.
    pub handshake_timeout: Duration,
    /// How long an HTTP/1 connection may wait for its next request. Longer than clients and load
    /// balancers keep one that is not used (60 to 90 seconds, mostly): were we the first to close it,
    /// we would do so now and then while a request is on its way, which then fails.
    pub idle_timeout: Duration,
    /// How long an HTTP/2 connection may be silent before it is asked for a sign of life.
    pub keepalive_interval: Duration,
    /// How long that sign of life may take before the connection is given up.
    pub keepalive_timeout: Duration,
    /// How long requests may go on once the shutdown is triggered. Then connections are closed. Less
    /// than the grace of [`Tasks::shutdown`](crate::Tasks::shutdown), which would abort the listener.
    pub grace: Duration,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self {
            max_connections: 4096,
            max_streams_per_connection: 256,
            handshake_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(120),
            keepalive_interval: Duration::from_secs(10),
            keepalive_timeout: Duration::from_secs(20),
            grace: Duration::from_secs(10),
        }
    }
}

/// The largest head of a request, in bytes: bearer tokens and trace context fit, abuse does not.
pub const MAX_HEAD_BYTES: u32 = 32 * 1024;

/// The largest HTTP/2 frame we accept, in bytes: the protocol's default. Larger frames save nothing
/// measurable and let one message hold the connection from others.
pub const MAX_FRAME_BYTES: u32 = 16 * 1024;

/// Serves HTTP/1 and HTTP/2 without TLS until `shutdown`; then no connection is accepted any more,
/// requests under way may end within the grace, and connections are closed. Streams that would last
/// longer have to watch the [`Shutdown`] themselves.
///
/// Every request carries its peer's address as [`ConnectInfo<SocketAddr>`].
///
/// # Errors
/// The listener has no address (it is broken).
pub async fn serve<S>(
    listener: TcpListener,
    service: S,
    options: ListenOptions,
    shutdown: Shutdown,
) -> io::Result<()>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let none = |stream| ready(Ok((stream, Extensions::new())));
    serve_with(listener, none, service, options, shutdown).await
}

/// As [`serve`], with a handshake (TLS) before the first request. What the handshake learned of the
/// peer goes into the extensions that it returns, and from there into those of every request.
///
/// # Errors
/// As [`serve`]. A handshake that fails costs its connection only.
pub async fn serve_with<S, Handshake, Handshaken, Io>(
    listener: TcpListener,
    handshake: Handshake,
    service: S,
    options: ListenOptions,
    shutdown: Shutdown,
) -> io::Result<()>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    Handshake: Fn(TcpStream) -> Handshaken,
    Handshaken: Future<Output = io::Result<(Io, Extensions)>> + Send + 'static,
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    tracing::debug!(address = %listener.local_addr()?, "listening");
    let options = Arc::new(options);
    let places = Arc::new(Semaphore::new(options.max_connections));
    let mut connections = JoinSet::new();
    loop {
        let (stream, peer, place) = tokio::select! {
            biased;
            () = shutdown.triggered() => break,
            Some(ended) = connections.join_next() => {
                report(ended);
                continue;
            }
            accepted = accept(&listener, &places) => accepted,
        };
        let connection = serve_connection(
            handshake(stream),
            peer,
            service.clone(),
            Arc::clone(&options),
            shutdown.clone(),
        );
        connections.spawn(async move {
            connection.await;
            drop(place);
        });
    }
    // Closes the port: a peer that connects now is refused at once instead of being left waiting.
    drop(listener);
    drain(connections, options.grace).await;
    Ok(())
}

/// Waits for a free place, then for a connection. Never fails for good: what `accept` complains
/// about is one peer's fault or passes.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (TcpStream, SocketAddr, Option<OwnedSemaphorePermit>) {
    // Acquiring fails only on a closed semaphore, and nobody closes this one.
    let place = Arc::clone(places).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%peer, %error, "cannot turn off the delay of small packets");
                }
                return (stream, peer, place);
            }
            Err(error) if concerns_one_peer(&error) => {
                tracing::debug!(%error, "a connection ended before it was accepted");
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections, trying again");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn concerns_one_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}

async fn serve_connection<S, Io>(
    handshake: impl Future<Output = io::Result<(Io, Extensions)>>,
    peer: SocketAddr,
    service: S,
    options: Arc<ListenOptions>,
    shutdown: Shutdown,
) where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handshaken = shutdown.race(timeout(options.handshake_timeout, handshake)).await;
    let (io, mut extensions) = match handshaken {
        Some(Ok(Ok(accepted))) => accepted,
        Some(Ok(Err(error))) => return tracing::debug!(%peer, %error, "handshake failed"),
        Some(Err(_elapsed)) => return tracing::debug!(%peer, "handshake took too long"),
        None => return,
    };
    extensions.insert(ConnectInfo(peer));
    let service = service.map_request(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().extend(extensions.clone());
        request
    });
    let read_bytes = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&read_bytes);
    let io = InspectReader::new(io, move |read: &[u8]| {
        counted.fetch_add(read.len() as u64, Ordering::Relaxed);
    });
    let builder = connection_builder(&options, Arc::clone(&read_bytes));
    let connection = builder.serve_connection(TokioIo::new(io), TowerToHyperService::new(service));
    let mut connection = pin!(connection);
    let mut undecided = pin!(sleep(options.handshake_timeout));
    let mut begun = false;
    let ended = loop {
        tokio::select! {
            // First of all: what came in time counts, however late we come to look at it.
            biased;
            ended = connection.as_mut() => break ended,
            () = shutdown.triggered() => {
                connection.as_mut().graceful_shutdown();
                break connection.await;
            }
            // hyper waits without limit for the bytes that tell HTTP/2 from HTTP/1.
            () = undecided.as_mut(), if !begun => {
                begun = read_bytes.load(Ordering::Relaxed) >= HTTP2_PREFACE_BYTES;
                if !begun {
                    return tracing::debug!(%peer, "nothing was asked in time");
                }
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, error, "connection ended with an error");
    }
}

/// For one connection, whose bytes are counted in `read_bytes`.
fn connection_builder(options: &ListenOptions, read_bytes: Arc<AtomicU64>) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(HeadTimer::new(options.handshake_timeout, read_bytes))
        .header_read_timeout(options.idle_timeout)
        .max_buf_size(MAX_HEAD_BYTES as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(options.keepalive_interval)
        .keep_alive_timeout(options.keepalive_timeout)
        .max_concurrent_streams(options.max_streams_per_connection)
        .max_frame_size(MAX_FRAME_BYTES)
        .max_header_list_size(MAX_HEAD_BYTES);
    builder
}

async fn drain(mut connections: JoinSet<()>, grace: Duration) {
    let deadline = Instant::now() + grace;
    while let Ok(Some(ended)) = timeout_at(deadline, connections.join_next()).await {
        report(ended);
    }
    if !connections.is_empty() {
        tracing::warn!(
            connections = connections.len(),
            ?grace,
            "closing connections that did not end within the grace"
        );
        connections.shutdown().await;
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "connection broke");
    }
}
