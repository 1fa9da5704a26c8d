//! The leases that this worker holds, and the heartbeat that keeps them.
//!
//! A lease is good until its duration has passed since the last heartbeat that was answered,
//! counted from when that was sent. From then on another worker may have the work, so ours stops,
//! whether or not anybody told us.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use rootstock_proto::sync::v1::{Lease, WorkProgress};
use rootstock_runtime::retry::Backoff;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::catalog::Catalog;

/// A lease is prolonged this many times within its duration, so that it survives a lost heartbeat.
const BEATS_PER_LEASE: u32 = 3;

/// Every lease that is held.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    held: Mutex<HashMap<Lease, Arc<Terms>>>,
    changed: Notify,
}

/// What is known of one lease.
#[derive(Debug)]
struct Terms {
    duration: Duration,
    standing: watch::Sender<Standing>,
    done_bytes: AtomicU64,
    reporting: AtomicBool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    HoldsUntil(Instant),
    Lost,
}

/// A lease that is kept alive until this is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    lease: Lease,
    terms: Arc<Terms>,
    leases: Arc<Leases>,
}

/// How a lease was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// The catalog said so.
    Told,
    /// No heartbeat was answered for the lease's duration.
    Presumed,
}

impl Leases {
    /// Keeps a lease that was claimed just now.
    pub(crate) fn hold(self: &Arc<Self>, lease: Lease, duration: Duration) -> Held {
        let standing = watch::Sender::new(Standing::HoldsUntil(Instant::now() + duration));
        let terms = Arc::new(Terms {
            duration,
            standing,
            done_bytes: AtomicU64::new(0),
            reporting: AtomicBool::new(false),
        });
        self.lock().insert(lease, Arc::clone(&terms));
        self.changed.notify_one();
        Held {
            lease,
            terms,
            leases: Arc::clone(self),
        }
    }

    /// Sends heartbeats for whatever is held, until `end`.
    pub(crate) async fn keep(&self, catalog: &Catalog, end: &CancellationToken) {
        let mut failures = 0;
        let mut not_before = Instant::now();
        loop {
            let due = self.next_beat().map(|due| due.max(not_before));
            tokio::select! {
                () = end.cancelled() => return,
                () = self.changed.notified() => continue,
                () = at(due) => {}
            }
            match self.beat(catalog).await {
                Ok(()) => failures = 0,
                Err(error) => {
                    if failures == 0 {
                        tracing::warn!(error, "heartbeat failed; trying until the leases end");
                    }
                    not_before = Instant::now() + Backoff::RPC.delay(failures, &mut rand::rng());
                    failures = failures.saturating_add(1);
                }
            }
        }
    }

    async fn beat(&self, catalog: &Catalog) -> Result<(), String> {
        let held: Vec<(Lease, Arc<Terms>)> = self
            .lock()
            .iter()
            .map(|(lease, terms)| (*lease, Arc::clone(terms)))
            .collect();
        let Some(shortest) = held.iter().map(|(_, terms)| terms.duration).min() else {
            return Ok(());
        };
        let progress = held.iter().map(|(lease, terms)| WorkProgress {
            lease: Some(*lease),
            done_bytes: i64::try_from(terms.done_bytes.load(Ordering::Relaxed)).unwrap_or(i64::MAX),
        });
        let sent_at = Instant::now();
        let lost = catalog
            .heartbeat(progress.collect(), shortest / BEATS_PER_LEASE)
            .await?;
        for (lease, terms) in held {
            if !lost.contains(&lease) {
                terms
                    .standing
                    .send_replace(Standing::HoldsUntil(sent_at + terms.duration));
            } else if !terms.reporting.load(Ordering::Relaxed) {
                terms.standing.send_replace(Standing::Lost);
            }
        }
        Ok(())
    }

    /// When the next heartbeat is due; `None` while nothing is held.
    fn next_beat(&self) -> Option<Instant> {
        let held = self.lock();
        let due = held.values().map(|terms| match *terms.standing.borrow() {
            Standing::HoldsUntil(end) => end - terms.duration + terms.duration / BEATS_PER_LEASE,
            // Its work is about to let go of it.
            Standing::Lost => Instant::now() + terms.duration,
        });
        due.min()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Lease, Arc<Terms>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// Goes with everything said of the work.
    pub(crate) fn lease(&self) -> Lease {
        self.lease
    }

    /// Notes how many bytes are done, for the next heartbeat.
    pub(crate) fn progress(&self, done_bytes: u64) {
        self.terms.done_bytes.store(done_bytes, Ordering::Relaxed);
    }

    /// Notes that the work's outcome is about to be reported. From then on a heartbeat that was
    /// under way may learn that the lease is gone because the report has arrived; the answer to the
    /// report says which it was.
    pub(crate) fn reporting(&self) {
        self.terms.reporting.store(true, Ordering::Relaxed);
    }

    /// Waits until the lease is lost.
    pub(crate) async fn lost(&self) -> Loss {
        let mut standing = self.terms.standing.subscribe();
        loop {
            let end = match *standing.borrow_and_update() {
                Standing::HoldsUntil(end) => end,
                Standing::Lost => return Loss::Told,
            };
            tokio::select! {
                biased;
                // The sender lives as long as `self`.
                Ok(()) = standing.changed() => {}
                () = sleep_until(end) => return Loss::Presumed,
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.leases.lock().remove(&self.lease);
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Lease = Lease { work_id: 7, epoch: 1 };
    const DURATION: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_nobody_prolongs_is_presumed_lost_after_its_duration() {
        let held = Arc::new(Leases::default()).hold(LEASE, DURATION);
        let claimed_at = Instant::now();
        assert_eq!(held.lost().await, Loss::Presumed);
        assert_eq!(claimed_at.elapsed(), DURATION);
    }

    #[tokio::test(start_paused = true)]
    async fn a_good_heartbeat_prolongs_it_and_a_bad_one_ends_it() {
        let held = Arc::new(Leases::default()).hold(LEASE, DURATION);
        let claimed_at = Instant::now();
        let heartbeats = async {
            for _ in 0..3 {
                tokio::time::sleep(DURATION / 2).await;
                held.terms
                    .standing
                    .send_replace(Standing::HoldsUntil(Instant::now() + DURATION));
            }
            tokio::time::sleep(DURATION / 2).await;
            held.terms.standing.send_replace(Standing::Lost);
        };
        let (loss, ()) = tokio::join!(held.lost(), heartbeats);
        assert_eq!(loss, Loss::Told);
        assert_eq!(claimed_at.elapsed(), DURATION * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn heartbeats_are_due_three_times_per_lease_and_only_while_one_is_held() {
        let leases = Arc::new(Leases::default());
        assert_eq!(leases.next_beat(), None);
        let held = leases.hold(LEASE, DURATION);
        assert_eq!(leases.next_beat(), Some(Instant::now() + DURATION / 3));
        let short = leases.hold(Lease { work_id: 8, epoch: 1 }, DURATION / 10);
        assert_eq!(leases.next_beat(), Some(Instant::now() + DURATION / 30));
        drop(short);
        drop(held);
        assert_eq!(leases.next_beat(), None);
    }
}
