//! How long to wait before trying again.

use std::time::Duration;

use rand::Rng;

/// Exponential back-off with jitter. Pure: it does not sleep, and does not count attempts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    /// Upper bound of the wait before the first retry.
    pub initial: Duration,
    /// Upper bound of any wait.
    pub max: Duration,
    /// What each retry multiplies the bound by; at least 1.
    pub factor: f64,
    /// How the wait is drawn from the bound.
    pub jitter: Jitter,
}

/// How a wait is drawn from its upper bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Jitter {
    /// Anything from nothing to the bound, so that callers that failed together do not come back
    /// together.
    Full,
    /// Anything from half the bound to the bound: for work that must not be tried again at once.
    Half,
    /// The bound itself: for a single caller, and for tests.
    None,
}

impl Backoff {
    /// 100 ms, 200 ms, 400 ms … up to 5 s, with full jitter: for calls between our own processes.
    pub const RPC: Self = Self {
        initial: Duration::from_millis(100),
        max: Duration::from_secs(5),
        factor: 2.0,
        jitter: Jitter::Full,
    };

    /// The most that [`Backoff::delay`] gives for this attempt.
    ///
    /// `attempt` counts the failures so far, from 0: `bound(0)` is the wait before the first retry.
    pub fn bound(&self, attempt: u32) -> Duration {
        let exponent = i32::try_from(attempt).unwrap_or(i32::MAX);
        let seconds = self.initial.as_secs_f64() * self.factor.max(1.0).powi(exponent);
        // Infinity and NaN (0 × infinity) are compared as floats, before they could become a Duration.
        if seconds < self.max.as_secs_f64() {
            Duration::from_secs_f64(seconds).min(self.max)
        } else {
            self.max
        }
    }

    /// How long to wait before the retry after `attempt` failures (counted from 0).
    pub fn delay(&self, attempt: u32, rng: &mut impl Rng) -> Duration {
        self.delay_within(attempt, rng.random_range(0.0..=1.0))
    }

    /// [`Backoff::delay`] with the random number given: `share`, from 0 to 1, is the place in the
    /// range that the jitter leaves.
    pub fn delay_within(&self, attempt: u32, share: f64) -> Duration {
        let bound = self.bound(attempt);
        let share = share.clamp(0.0, 1.0);
        let factor = match self.jitter {
            Jitter::Full => share,
            Jitter::Half => 0.5 + share / 2.0,
            Jitter::None => 1.0,
        };
        bound.mul_f64(factor).min(bound)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    fn backoffs() -> impl Strategy<Value = Backoff> {
        let jitter = prop_oneof![Just(Jitter::Full), Just(Jitter::Half), Just(Jitter::None)];
        (0u64..10_000_000, 0u64..100_000_000, 0.0f64..50.0, jitter).prop_map(
            |(initial_us, max_us, factor, jitter)| Backoff {
                initial: Duration::from_micros(initial_us),
                max: Duration::from_micros(max_us),
                factor,
                jitter,
            },
        )
    }

    proptest! {
        #[test]
        fn no_delay_exceeds_its_bound_and_no_bound_the_maximum(
            backoff in backoffs(), attempt in any::<u32>(), seed in any::<u64>(),
        ) {
            let delay = backoff.delay(attempt, &mut StdRng::seed_from_u64(seed));
            prop_assert!(delay <= backoff.bound(attempt));
            prop_assert!(backoff.bound(attempt) <= backoff.max);
        }

        #[test]
        fn bounds_never_shrink(backoff in backoffs(), attempt in 0u32..100_000) {
            prop_assert!(backoff.bound(attempt) <= backoff.bound(attempt + 1));
        }
    }

    #[test]
    fn bounds_double_until_the_maximum() {
        let bounds: Vec<u128> = (0..8)
            .map(|attempt| Backoff::RPC.bound(attempt).as_millis())
            .collect();
        assert_eq!(bounds, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(Backoff::RPC.bound(u32::MAX), Duration::from_secs(5));
    }

    #[test]
    fn each_jitter_leaves_its_own_range() {
        let range = |jitter| {
            let backoff = Backoff {
                jitter,
                ..Backoff::RPC
            };
            [-1.0, 0.0, 0.5, 1.0, 2.0].map(|share| backoff.delay_within(3, share).as_millis())
        };
        assert_eq!(range(Jitter::Full), [0, 0, 400, 800, 800]);
        assert_eq!(range(Jitter::Half), [400, 400, 600, 800, 800]);
        assert_eq!(range(Jitter::None), [800; 5]);
    }

    #[test]
    fn full_jitter_uses_the_whole_range() {
        let mut rng = StdRng::seed_from_u64(1);
        let delays: Vec<Duration> = (0..1000).map(|_| Backoff::RPC.delay(3, &mut rng)).collect();
        let bound = Backoff::RPC.bound(3);
        assert!(delays.iter().any(|delay| *delay < bound / 10));
        assert!(delays.iter().any(|delay| *delay > bound * 9 / 10));
    }
}
