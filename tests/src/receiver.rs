//! A receiver of webhooks that remembers what it got and answers what it is told to.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::bail;
use axum::{Router, extract::State, response::IntoResponse, routing::post};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header::RETRY_AFTER};
use serde_json::Value;
use tokio::net::TcpListener;

use crate::background::Background;

const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);

/// One event as it was posted.
#[derive(Debug, Clone)]
pub struct Posted {
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, to the byte.
    pub body: Bytes,
    /// What it was answered with.
    pub answer: StatusCode,
}

impl Posted {
    /// The body.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// A header's text.
    pub fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

#[derive(Debug, Default)]
struct Shared {
    posted: Vec<Posted>,
    answers: VecDeque<StatusCode>,
    default_answer: Option<StatusCode>,
}

/// A server on loopback, without TLS. Stops when dropped.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    _server: Background,
}

impl Receiver {
    /// Starts; everything is taken.
    pub fn start() -> anyhow::Result<Self> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shared = Arc::<Mutex<Shared>>::default();
        let router = Router::new()
            .route("/hook", post(receive))
            .with_state(Arc::clone(&shared));
        let server = Background::start("receiver", move |stop| async move {
            let listener = TcpListener::from_std(listener).unwrap();
            stop.run_until_cancelled(async { axum::serve(listener, router).await })
                .await;
        });
        Ok(Self {
            address,
            shared,
            _server: server,
        })
    }

    /// Where events go.
    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// Answers the next posts with these, and then as before.
    pub fn answer(&self, answers: impl IntoIterator<Item = StatusCode>) {
        self.lock().answers.extend(answers);
    }

    /// Answers every post with this from now on, but for those that [`Receiver::answer`] decides.
    pub fn answer_always(&self, answer: StatusCode) {
        self.lock().default_answer = Some(answer);
    }

    /// Everything that was posted, taken or not.
    pub fn posted(&self) -> Vec<Posted> {
        self.lock().posted.clone()
    }

    /// What was taken, as JSON.
    pub fn taken(&self) -> Vec<Value> {
        let posted = self.posted();
        let taken = posted.iter().filter(|posted| posted.answer.is_success());
        taken.map(Posted::json).collect()
    }

    /// Waits until so many events were taken, and answers them.
    ///
    /// # Errors
    /// They do not come.
    pub async fn wait_for(&self, count: usize) -> anyhow::Result<Vec<Value>> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let taken = self.taken();
            if taken.len() >= count {
                return Ok(taken);
            }
            if tokio::time::Instant::now() > deadline {
                bail!("{} events came instead of {count}: {taken:#?}", taken.len());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn receive(
    State(shared): State<Arc<Mutex<Shared>>>,
    headers: HeaderMap,
    body: Bytes,
) -> impl IntoResponse {
    let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
    let next = shared.answers.pop_front().or(shared.default_answer);
    let answer = next.unwrap_or(StatusCode::NO_CONTENT);
    shared.posted.push(Posted {
        headers,
        body,
        answer,
    });
    // Those that want patience want none here.
    (answer, [(RETRY_AFTER, "0")])
}
