//! The body of an answer, read under watch.

use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::Response;
use url::Url;

use super::{
    cause::root_cause,
    error::{FetchError, Problem, Target},
    low_speed::LowSpeed,
};
use crate::RemoteLimits;

/// A body that ends, or fails.
#[derive(Debug)]
pub struct Body {
    target: Target,
    url: Url,
    response: Response,
    idle_timeout: Duration,
    low_speed: LowSpeed,
    received_bytes: u64,
}

impl Body {
    pub(super) fn new(target: Target, url: Url, response: Response, limits: &RemoteLimits) -> Self {
        Self {
            target,
            url,
            response,
            idle_timeout: limits.idle_timeout,
            low_speed: LowSpeed::new(limits.min_bytes_per_second, limits.low_speed_window),
            received_bytes: 0,
        }
    }

    /// The next piece, as it came from the socket; `None` at the end. Safe to drop and call again.
    ///
    /// # Errors
    /// When the answer breaks, stalls or trickles.
    pub async fn next(&mut self) -> Result<Option<Bytes>, FetchError> {
        let mut silent_for = Duration::ZERO;
        loop {
            let patience = self
                .idle_timeout
                .saturating_sub(silent_for)
                .min(self.low_speed.remaining());
            let began = Instant::now();
            let piece = tokio::time::timeout(patience, self.response.chunk()).await;
            let waited = began.elapsed();
            let bytes = match &piece {
                Ok(Ok(Some(piece))) => piece.len() as u64,
                Ok(Ok(None)) => return Ok(None),
                Ok(Err(error)) => {
                    let (received_bytes, cause) = (self.received_bytes, root_cause(error));
                    return Err(self.error(Problem::Cut {
                        received_bytes,
                        cause,
                    }));
                }
                Err(_elapsed) => 0,
            };
            if let Err(too_slow) = self.low_speed.observe(waited, bytes) {
                return Err(self.error(Problem::TooSlow {
                    bytes_per_second: too_slow.bytes_per_second,
                }));
            }
            self.received_bytes += bytes;
            if let Ok(Ok(piece)) = piece {
                return Ok(piece);
            }
            silent_for += waited;
            if silent_for >= self.idle_timeout {
                return Err(self.error(Problem::Silent(self.idle_timeout)));
            }
        }
    }

    /// An error of this answer.
    pub fn error(&self, problem: Problem) -> FetchError {
        FetchError::new(self.target, &self.url, problem)
    }
}
