//! An image server that does what it is told, and writes down what it was asked.
//!
//! A [`FakeRemote`] is a real HTTPS (or HTTP) server on loopback, on a thread of its own. What it
//! serves, and how it fails, can be changed while it runs.

mod content;
mod fault;
mod select;
mod server;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fs, io,
    net::{SocketAddr, TcpListener},
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, bail};
use http::{HeaderMap, HeaderName, Method, StatusCode};

use self::select::Validators;
pub use self::{
    content::{Content, Generated},
    fault::Fault,
};
use crate::{background::Background, certificates::Authority, ports::Port};

/// The path that stands for every path which has no faults of its own.
pub const EVERY_PATH: &str = "*";

/// A server of a tree of files. Stops when dropped.
#[derive(Debug)]
pub struct FakeRemote {
    shared: Arc<Shared>,
    scheme: Scheme,
    /// `None` while the server is stopped.
    server: Option<Background>,
    port: Port,
}

/// Whether connections are encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

/// One request as it was asked and answered.
#[derive(Debug, Clone)]
pub struct Request {
    /// Its method.
    pub method: Method,
    /// The path without its leading slash, percent-decoded.
    pub path: String,
    /// What the client sent.
    pub headers: HeaderMap,
    /// The status of the answer; `None` for a request that was left to hang.
    pub status: Option<StatusCode>,
    /// The bytes of the body handed to the connection so far.
    pub bytes_sent: u64,
}

/// What the test's thread and the server's share.
#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<String, File>,
    faults: HashMap<String, VecDeque<Scheduled>>,
    requests: Vec<Recorded>,
    /// The `Authorization` that every request must have, when set.
    authorization: Option<String>,
}

#[derive(Debug, Clone)]
struct File {
    content: Content,
    validators: Validators,
}

#[derive(Debug)]
struct Scheduled {
    fault: Fault,
    /// How many answers are still to have it; `None` for all.
    left: Option<u32>,
}

#[derive(Debug)]
struct Recorded {
    request: Request,
    bytes_sent: Arc<AtomicU64>,
}

impl FakeRemote {
    /// Starts an empty HTTPS server, whose certificate [`Authority::shared`] has issued.
    pub fn https() -> anyhow::Result<Self> {
        Self::start_with(Scheme::Https)
    }

    /// Starts an empty server without encryption.
    pub fn http() -> anyhow::Result<Self> {
        Self::start_with(Scheme::Http)
    }

    fn start_with(scheme: Scheme) -> anyhow::Result<Self> {
        let mut remote = Self {
            shared: Arc::default(),
            scheme,
            server: None,
            port: Port::reserve()?,
        };
        remote.start()?;
        Ok(remote)
    }

    /// The URL of the root, without a slash at the end.
    pub fn url(&self) -> String {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        format!("{scheme}://{}", self.port.address())
    }

    /// The address it listens on; the same over every stop and start.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// The certificate to trust, for an HTTPS server.
    pub fn ca_pem(&self) -> &'static str {
        Authority::shared().pem()
    }

    /// Stops: every connection is cut, new ones are refused.
    pub fn stop(&mut self) {
        self.server = None;
    }

    /// Starts again on the same port, with the files, faults and records it had.
    pub fn start(&mut self) -> anyhow::Result<()> {
        if self.server.is_none() {
            let listener = TcpListener::bind(self.address()).context("the remote cannot listen")?;
            listener.set_nonblocking(true)?;
            self.server = Some(server::start(listener, self.scheme, Arc::clone(&self.shared)));
        }
        Ok(())
    }

    /// Puts a file at a path (without its leading slash). Other content is another `ETag`; and a
    /// `Last-Modified` later than the one before, even within the same second.
    pub fn put(&self, path: &str, content: impl Into<Content>) -> io::Result<()> {
        let content = content.into();
        let etag = match &content {
            Content::Bytes(_) => format!("\"{}\"", &content.digest()?.to_hex()[..32]),
            Content::File { path, size } => {
                let modified = fs::metadata(path)?.modified()?;
                let since_epoch = modified
                    .duration_since(SystemTime::UNIX_EPOCH)
                    .unwrap_or_default();
                format!("\"{:x}-{size:x}\"", since_epoch.as_micros())
            }
            Content::Generated(generated) => generated.etag(),
        };
        let mut state = self.shared.lock();
        let before = state.files.get(path).map(|file| &file.validators);
        let modified = match before {
            Some(before) if before.etag == etag => before.modified,
            Some(before) => whole_seconds(SystemTime::now()).max(before.modified + Duration::from_secs(1)),
            None => whole_seconds(SystemTime::now()),
        };
        state.files.insert(
            path.to_owned(),
            File {
                content,
                validators: Validators { etag, modified },
            },
        );
        Ok(())
    }

    /// From now on a request must have this `Authorization`, or is answered 401; `None`: none is needed.
    pub fn require_authorization(&self, authorization: Option<&str>) {
        self.shared.lock().authorization = authorization.map(str::to_owned);
    }

    /// Whether there is a file at a path.
    pub fn has(&self, path: &str) -> bool {
        self.shared.lock().files.contains_key(path)
    }

    /// Takes a file away: it is 404 from now on.
    pub fn remove(&self, path: &str) {
        self.shared.lock().files.remove(path);
    }

    /// Puts every file below a directory at its path relative to it.
    pub fn put_directory(&self, directory: &Path) -> io::Result<()> {
        self.put_below(directory, "")
    }

    fn put_below(&self, directory: &Path, prefix: &str) -> io::Result<()> {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name
                .to_str()
                .ok_or_else(|| io::Error::other("a file name that is no UTF-8"))?;
            let path = format!("{prefix}{name}");
            if entry.path().is_dir() {
                self.put_below(&entry.path(), &format!("{path}/"))?;
            } else {
                self.put(&path, Content::file(entry.path())?)?;
            }
        }
        Ok(())
    }

    /// The answers for `path` (or [`EVERY_PATH`]) have this fault, after those scheduled before,
    /// until [`clear_faults`](Self::clear_faults).
    pub fn fault(&self, path: &str, fault: Fault) {
        self.schedule(path, Scheduled { fault, left: None });
    }

    /// The next `times` answers for `path` (or [`EVERY_PATH`]), after those scheduled before, have
    /// this fault.
    pub fn fault_times(&self, path: &str, times: u32, fault: Fault) {
        self.schedule(
            path,
            Scheduled {
                fault,
                left: Some(times),
            },
        );
    }

    fn schedule(&self, path: &str, scheduled: Scheduled) {
        self.shared
            .lock()
            .faults
            .entry(path.to_owned())
            .or_default()
            .push_back(scheduled);
    }

    /// Forgets the faults scheduled for `path`; answers under way keep theirs.
    pub fn clear_faults(&self, path: &str) {
        self.shared.lock().faults.remove(path);
    }

    /// Every request so far, in order of arrival.
    pub fn requests(&self) -> Vec<Request> {
        self.shared
            .lock()
            .requests
            .iter()
            .map(Recorded::snapshot)
            .collect()
    }

    /// The requests so far for one path.
    pub fn requests_for(&self, path: &str) -> Vec<Request> {
        self.requests()
            .into_iter()
            .filter(|request| request.path == path)
            .collect()
    }

    /// Forgets the requests so far.
    pub fn forget_requests(&self) {
        self.shared.lock().requests.clear();
    }

    /// Waits until the requests so far are what `enough` asks for; an error after a minute.
    pub async fn wait_for(&self, what: &str, enough: impl Fn(&[Request]) -> bool) -> anyhow::Result<()> {
        let start = Instant::now();
        loop {
            let requests = self.requests();
            if enough(&requests) {
                return Ok(());
            }
            if start.elapsed() > Duration::from_secs(60) {
                bail!("the remote still waits for {what}; it has seen {requests:#?}");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Request {
    /// A header that the client sent, as text.
    pub fn header(&self, name: HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The `Range` header.
    pub fn range(&self) -> Option<&str> {
        self.header(http::header::RANGE)
    }

    /// Whether the client asked for the file only if it has changed.
    pub fn is_conditional(&self) -> bool {
        use http::header::{IF_MODIFIED_SINCE, IF_NONE_MATCH};
        self.headers.contains_key(IF_NONE_MATCH) || self.headers.contains_key(IF_MODIFIED_SINCE)
    }
}

impl Recorded {
    fn snapshot(&self) -> Request {
        Request {
            bytes_sent: self.bytes_sent.load(Ordering::Relaxed),
            ..self.request.clone()
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The fault of the next answer for `path`, which counts as had.
    fn next_fault(&mut self, path: &str) -> Option<Fault> {
        let own = self.faults.get(path).is_some_and(|queue| !queue.is_empty());
        let queue = self.faults.get_mut(if own { path } else { EVERY_PATH })?;
        let next = queue.front_mut()?;
        let fault = next.fault.clone();
        if let Some(left) = &mut next.left {
            *left = left.saturating_sub(1);
            if *left == 0 {
                queue.pop_front();
            }
        }
        Some(fault)
    }
}

/// HTTP's dates know no fractions.
fn whole_seconds(time: SystemTime) -> SystemTime {
    let since_epoch = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_secs(since_epoch.as_secs())
}
