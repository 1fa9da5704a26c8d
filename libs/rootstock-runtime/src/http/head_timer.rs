//! Two limits where hyper has one. It measures the time for a request's head from the end of the
//! request before, so that a client that thinks for a while is cut as one that dribbles its head.
//! Here a connection may be idle for long, and a head that has begun is to come soon.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use hyper::rt::{Sleep, Timer};
use hyper_util::rt::TokioTimer;

/// The timer of one HTTP/1 connection. hyper has it measure nothing but the wait for heads, with the
/// time that the connection may be idle as its limit.
#[derive(Debug)]
pub(super) struct HeadTimer {
    /// From a head's first byte to its last.
    head_timeout: Duration,
    /// What the connection has brought so far.
    read_bytes: Arc<AtomicU64>,
    is_first: AtomicBool,
}

impl HeadTimer {
    pub(super) fn new(head_timeout: Duration, read_bytes: Arc<AtomicU64>) -> Self {
        Self {
            head_timeout,
            read_bytes,
            is_first: AtomicBool::new(true),
        }
    }
}

impl Timer for HeadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, idle_end: Instant) -> Pin<Box<dyn Sleep>> {
        // The first head has begun: its first bytes told that this is no HTTP/2.
        let before = match self.is_first.swap(false, Ordering::Relaxed) {
            true => 0,
            false => self.read_bytes.load(Ordering::Relaxed),
        };
        Box::pin(HeadSleep {
            end: Box::pin(tokio::time::sleep_until(idle_end.into())),
            head_timeout: self.head_timeout,
            read_bytes: Arc::clone(&self.read_bytes),
            before,
            has_begun: false,
        })
    }

    fn now(&self) -> Instant {
        TokioTimer::new().now()
    }
}

/// Ends when the connection was idle for too long, or a head that has begun did not end in time.
/// hyper polls it after each read that did not complete a head.
struct HeadSleep {
    end: Pin<Box<tokio::time::Sleep>>,
    head_timeout: Duration,
    read_bytes: Arc<AtomicU64>,
    before: u64,
    has_begun: bool,
}

impl Future for HeadSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if !self.has_begun && self.read_bytes.load(Ordering::Relaxed) > self.before {
            self.has_begun = true;
            let end = (tokio::time::Instant::now() + self.head_timeout).min(self.end.deadline());
            self.end.as_mut().reset(end);
        }
        self.end.as_mut().poll(context)
    }
}

impl Sleep for HeadSleep {}
