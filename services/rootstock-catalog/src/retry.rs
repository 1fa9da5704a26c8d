//! When failed work is tried again. The wait is computed here and added to the database's clock.

use std::time::Duration;

/// Back-off of work that fails.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RetryPolicy {
    /// The wait after the first failure.
    pub initial: Duration,
    /// The longest wait.
    pub max: Duration,
    /// Attempts at a transfer before it gives up.
    pub transfer_attempts: u32,
}

impl RetryPolicy {
    /// The wait after the `failures`th failure in a row (from 1), at least `minimum`: doubled with
    /// each, spread over its upper half so that what failed together does not come back together.
    /// `spread` is from 0 to 1.
    pub(crate) fn delay(&self, failures: u32, minimum: Duration, spread: f64) -> Duration {
        let doublings = failures.saturating_sub(1).min(30);
        let full = self.initial.saturating_mul(1 << doublings).min(self.max);
        full.mul_f64(0.5 + spread.clamp(0.0, 1.0) / 2.0).max(minimum)
    }
}

/// The time until the next poll, a tenth around the interval: workers and remotes are not to be
/// asked by a whole fleet in the same second.
pub(crate) fn next_poll(interval: Duration, spread: f64) -> Duration {
    interval.mul_f64(0.9 + spread.clamp(0.0, 1.0) / 5.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_never_undercut_what_was_asked() {
        let policy = RetryPolicy {
            initial: Duration::from_secs(5),
            max: Duration::from_secs(60),
            transfer_attempts: 3,
        };
        let seconds = |failures, minimum, spread| {
            policy
                .delay(failures, Duration::from_secs(minimum), spread)
                .as_secs_f64()
        };
        assert_eq!(seconds(1, 0, 1.0), 5.0);
        assert_eq!(seconds(1, 0, 0.0), 2.5);
        assert_eq!(seconds(3, 0, 1.0), 20.0);
        assert_eq!(seconds(99, 0, 1.0), 60.0);
        assert_eq!(seconds(1, 120, 0.3), 120.0);
    }
}
