//! The HTTP side of the fake remote.

use std::{
    convert::Infallible,
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::StreamExt as _;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{body::Frame, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use percent_encoding::percent_decode_str;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use super::{
    Fault, File, Recorded, Request, Scheme, Shared,
    fault::body,
    select::{Selected, Validators, select},
};
use crate::{background::Background, certificates::Authority};

type Body = UnsyncBoxBody<bytes::Bytes, std::io::Error>;

/// Serves on the listener until the returned handle is dropped.
pub(super) fn start(listener: TcpListener, scheme: Scheme, shared: Arc<Shared>) -> Background {
    Background::start("fake-remote", async move |stop| {
        let listener = tokio::net::TcpListener::from_std(listener).expect("a listener of this runtime");
        let tls = (scheme == Scheme::Https).then(tls_acceptor);
        // Dropped, and every connection with it, when the server stops.
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Some(_) = connections.join_next() => {}
                accepted = listener.accept() => {
                    if let Ok((stream, _)) = accepted {
                        connections.spawn(serve(stream, tls.clone(), Arc::clone(&shared)));
                    }
                }
            }
        }
    })
}

fn tls_acceptor() -> TlsAcceptor {
    let certificate = Authority::shared().issue();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has the default versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der], certificate.key_der)
        .expect("the key belongs to the certificate");
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

async fn serve(stream: TcpStream, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    match tls {
        None => serve_http(stream, shared).await,
        Some(tls) => {
            if let Ok(stream) = tls.accept(stream).await {
                serve_http(stream, shared).await;
            }
        }
    }
}

async fn serve_http(stream: impl AsyncRead + AsyncWrite + Unpin, shared: Arc<Shared>) {
    let service = service_fn(|request| answer(request, Arc::clone(&shared)));
    // An error is a client that went away, or a fault that was asked for.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(60))
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(
    request: http::Request<hyper::body::Incoming>,
    shared: Arc<Shared>,
) -> Result<Response<Body>, Infallible> {
    let path = percent_decode_str(request.uri().path()).decode_utf8_lossy();
    let path = path.trim_start_matches('/').to_owned();
    let bytes_sent = Arc::new(AtomicU64::new(0));
    let (file, fault, let_in, record) = {
        let mut state = shared.lock();
        let file = state.files.get(&path).cloned();
        let fault = state.next_fault(&path);
        let shown = request.headers().get(header::AUTHORIZATION);
        let shown = shown.and_then(|value| value.to_str().ok());
        let let_in = state.authorization.is_none() || state.authorization.as_deref() == shown;
        let record = state.requests.len();
        state.requests.push(Recorded {
            request: Request {
                method: request.method().clone(),
                path,
                headers: request.headers().clone(),
                status: None,
                bytes_sent: 0,
            },
            bytes_sent: Arc::clone(&bytes_sent),
        });
        (file, fault, let_in, record)
    };
    if fault == Some(Fault::HangBeforeHeaders) {
        std::future::pending::<()>().await;
    }
    let response = match fault {
        _ if !let_in => failure(
            401,
            header::WWW_AUTHENTICATE,
            Some("Basic realm=\"images\"".to_owned()),
        ),
        Some(Fault::Status { code, retry_after }) => failure(code, header::RETRY_AFTER, retry_after),
        Some(Fault::Redirect { code, location }) => failure(code, header::LOCATION, Some(location)),
        _ if ![Method::GET, Method::HEAD].contains(request.method()) => {
            failure(405, header::ALLOW, Some("GET, HEAD".to_owned()))
        }
        fault => match file {
            None => failure(404, header::ALLOW, None),
            Some(file) => {
                let number = record as u64 + 1;
                serve_file(&request, &file, fault.as_ref(), number, Arc::clone(&bytes_sent))
            }
        },
    };
    // The record is another one by now only if the test forgot the requests in between.
    if let Some(recorded) = shared.lock().requests.get_mut(record)
        && Arc::ptr_eq(&recorded.bytes_sent, &bytes_sent)
    {
        recorded.request.status = Some(response.status());
    }
    Ok(response)
}

/// A short text, with one header.
fn failure(code: u16, name: header::HeaderName, value: Option<String>) -> Response<Body> {
    let status = StatusCode::from_u16(code).expect("a fault's status is a status");
    let text = format!("{status}\n");
    let mut response = Response::new(Full::from(text).map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
        response.headers_mut().insert(name, value);
    }
    response
}

fn serve_file(
    request: &http::Request<hyper::body::Incoming>,
    file: &File,
    fault: Option<&Fault>,
    number: u64,
    bytes_sent: Arc<AtomicU64>,
) -> Response<Body> {
    let size = fault.map_or(file.content.size(), |fault| fault.size(file.content.size()));
    let validators = validators(file, fault, number);
    let selected = match fault {
        Some(Fault::IgnoreRange) => select(&without_range(request.headers()), size, validators.as_ref()),
        _ => select(request.headers(), size, validators.as_ref()),
    };
    let (status, range) = match &selected {
        Selected::Whole => (StatusCode::OK, 0..size),
        Selected::Part(range) => (StatusCode::PARTIAL_CONTENT, range.clone()),
        Selected::NotModified => (StatusCode::NOT_MODIFIED, 0..0),
        Selected::Unsatisfiable => (StatusCode::RANGE_NOT_SATISFIABLE, 0..0),
    };
    let mut headers = HeaderMap::new();
    let mut set = |name, text: String| {
        headers.insert(name, HeaderValue::try_from(text).expect("our own header text"));
    };
    if let Some(Validators { etag, modified }) = validators {
        set(header::ETAG, etag);
        set(header::LAST_MODIFIED, httpdate::fmt_http_date(modified));
    }
    if fault != Some(&Fault::IgnoreRange) {
        set(header::ACCEPT_RANGES, "bytes".to_owned());
    }
    match &selected {
        Selected::Part(range) => {
            set(
                header::CONTENT_RANGE,
                format!("bytes {}-{}/{size}", range.start, range.end - 1),
            );
        }
        Selected::Unsatisfiable => set(header::CONTENT_RANGE, format!("bytes */{size}")),
        Selected::Whole | Selected::NotModified => {}
    }
    if selected != Selected::NotModified && fault != Some(&Fault::Chunked) {
        set(header::CONTENT_LENGTH, (range.end - range.start).to_string());
    }
    let body = if request.method() == Method::HEAD || range.is_empty() {
        Full::default().map_err(|never| match never {}).boxed_unsync()
    } else {
        let frames = body(&file.content, range, fault).map(move |chunk| {
            let chunk = chunk?;
            bytes_sent.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            Ok(Frame::data(chunk))
        });
        StreamBody::new(frames).boxed_unsync()
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

fn validators(file: &File, fault: Option<&Fault>, number: u64) -> Option<Validators> {
    let Validators { etag, modified } = file.validators.clone();
    match fault {
        Some(Fault::NoValidators) => None,
        Some(Fault::ChangeValidators) => Some(Validators {
            etag: format!("{}-{number}\"", etag.trim_end_matches('"')),
            modified: modified + Duration::from_secs(number),
        }),
        _ => Some(Validators { etag, modified }),
    }
}

fn without_range(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    headers.remove(header::RANGE);
    headers
}
