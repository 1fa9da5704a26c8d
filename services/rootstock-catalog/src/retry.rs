//! When failed work is tried again. The wait is computed here and added to the database's clock.

use std::time::Duration;

use rootstock_runtime::retry::{Backoff, Jitter};

/// Back-off of work that fails.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RetryPolicy {
    backoff: Backoff,
    /// Attempts at a transfer before it gives up.
    pub transfer_attempts: u32,
}

impl RetryPolicy {
    /// Waits that double from `initial` to `max`.
    pub(crate) fn new(initial: Duration, max: Duration, transfer_attempts: u32) -> Self {
        Self {
            backoff: Backoff {
                initial,
                max,
                factor: 2.0,
                jitter: Jitter::Half,
            },
            transfer_attempts,
        }
    }

    /// The wait after the `failures`th failure in a row (from 1), at least `minimum`: what the
    /// remote asked for. `share`, from 0 to 1, is the random place in the jitter's range.
    pub(crate) fn delay(&self, failures: u32, minimum: Duration, share: f64) -> Duration {
        let delay = self.backoff.delay_within(failures.saturating_sub(1), share);
        delay.max(minimum)
    }
}

/// The time until the next poll, a tenth around the interval: workers and remotes are not to be
/// asked by a whole fleet in the same second.
pub(crate) fn next_poll(interval: Duration, share: f64) -> Duration {
    interval.mul_f64(0.9 + share.clamp(0.0, 1.0) / 5.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_never_undercut_what_was_asked() {
        let policy = RetryPolicy::new(Duration::from_secs(5), Duration::from_secs(60), 3);
        let seconds = |failures, minimum, share| {
            policy
                .delay(failures, Duration::from_secs(minimum), share)
                .as_secs_f64()
        };
        assert_eq!(seconds(1, 0, 1.0), 5.0);
        assert_eq!(seconds(1, 0, 0.0), 2.5);
        assert_eq!(seconds(3, 0, 1.0), 20.0);
        assert_eq!(seconds(99, 0, 1.0), 60.0);
        assert_eq!(seconds(1, 120, 0.3), 120.0);
    }

    #[test]
    fn polls_are_spread_over_a_fifth_of_their_interval() {
        let interval = Duration::from_secs(100);
        assert_eq!(next_poll(interval, 0.0), Duration::from_secs(90));
        assert_eq!(next_poll(interval, 0.5), Duration::from_secs(100));
        assert_eq!(next_poll(interval, 1.0), Duration::from_secs(110));
    }
}
