//! The watchdog for bodies that trickle: never silent for long, and never done.

use std::time::Duration;

/// Counts bytes against the time spent waiting for them.
///
/// Only that time counts: a server is not slow because our disk is. Nothing here looks at a clock.
#[derive(Debug)]
pub(super) struct LowSpeed {
    min_bytes_per_second: u64,
    window: Duration,
    waited: Duration,
    bytes: u64,
}

/// In the last window there came less than the minimum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooSlow {
    /// What came on average.
    pub(super) bytes_per_second: u64,
}

impl LowSpeed {
    /// Wants `min_bytes_per_second` over every `window`; 0 wants nothing.
    pub(super) fn new(min_bytes_per_second: u64, window: Duration) -> Self {
        Self {
            min_bytes_per_second,
            window,
            waited: Duration::ZERO,
            bytes: 0,
        }
    }

    /// How much longer to wait at most before [`LowSpeed::observe`] has to be asked again.
    pub(super) fn remaining(&self) -> Duration {
        self.window.saturating_sub(self.waited)
    }

    /// Notes that `bytes` came after waiting for `waited`.
    pub(super) fn observe(&mut self, waited: Duration, bytes: u64) -> Result<(), TooSlow> {
        self.waited += waited;
        self.bytes += bytes;
        if self.waited < self.window {
            return Ok(());
        }
        // In numbers of 128 bits nothing overflows, and nothing is divided by a window of zero.
        let wanted = u128::from(self.min_bytes_per_second) * self.waited.as_millis();
        let came = u128::from(self.bytes) * 1000;
        let average = came / self.waited.as_millis().max(1);
        self.waited = Duration::ZERO;
        self.bytes = 0;
        match came >= wanted {
            true => Ok(()),
            false => Err(TooSlow {
                bytes_per_second: u64::try_from(average).unwrap_or(u64::MAX),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_trickle_is_noticed_at_the_end_of_the_window() {
        let mut watchdog = LowSpeed::new(1000, 10 * SECOND);
        for _ in 0..9 {
            assert_eq!(watchdog.observe(SECOND, 999), Ok(()));
        }
        assert_eq!(watchdog.remaining(), SECOND);
        assert_eq!(
            watchdog.observe(SECOND, 999),
            Err(TooSlow {
                bytes_per_second: 999
            })
        );
    }

    #[test]
    fn a_pause_is_forgiven_when_the_window_has_enough() {
        let mut watchdog = LowSpeed::new(1000, 10 * SECOND);
        assert_eq!(watchdog.observe(Duration::ZERO, 10_000), Ok(()));
        assert_eq!(watchdog.observe(10 * SECOND, 0), Ok(()));
        // The next window begins with nothing.
        assert_eq!(
            watchdog.observe(10 * SECOND, 1),
            Err(TooSlow { bytes_per_second: 0 })
        );
    }

    #[test]
    fn time_that_is_not_spent_waiting_does_not_count() {
        let mut watchdog = LowSpeed::new(1000, SECOND);
        for _ in 0..1_000_000 {
            assert_eq!(watchdog.observe(Duration::ZERO, 0), Ok(()));
        }
    }

    proptest! {
        #[test]
        fn a_body_above_the_rate_passes(
            minimum in 0u64..10_000, steps in prop::collection::vec(1u64..5_000, 1..200),
        ) {
            let mut watchdog = LowSpeed::new(minimum, 7 * SECOND);
            for step_ms in steps {
                let bytes = (minimum * step_ms).div_ceil(1000);
                prop_assert_eq!(watchdog.observe(Duration::from_millis(step_ms), bytes), Ok(()));
            }
        }

        #[test]
        fn a_body_below_the_rate_is_caught_within_two_windows(minimum in 2u64..10_000, step_ms in 1u64..5_000) {
            let mut watchdog = LowSpeed::new(minimum, 7 * SECOND);
            let bytes = (minimum - 1) * step_ms / 1000;
            let caught = (0..=14_000 / step_ms)
                .any(|_| watchdog.observe(Duration::from_millis(step_ms), bytes).is_err());
            prop_assert!(caught);
        }
    }
}
