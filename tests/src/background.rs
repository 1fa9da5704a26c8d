//! A server of the harness, on a thread and a runtime of its own.
//!
//! A test may block its own runtime (it waits for a child process, say) while the thing under test
//! talks to the harness: so no part of the harness runs on the test's runtime.

use std::{future::Future, thread};

use tokio_util::sync::CancellationToken;

/// A future running on its own thread. Stops, and is waited for, when dropped.
#[derive(Debug)]
pub struct Background {
    stop: CancellationToken,
    thread: Option<thread::JoinHandle<()>>,
}

impl Background {
    /// Runs the future that `serve` makes. It is to return soon after the token is cancelled; what
    /// it has spawned by then is dropped with the runtime.
    pub fn start<F>(name: &str, serve: impl FnOnce(CancellationToken) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()>,
    {
        let stop = CancellationToken::new();
        let token = stop.clone();
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .expect("a runtime starts")
                    .block_on(serve(token));
            })
            .expect("a thread starts");
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
