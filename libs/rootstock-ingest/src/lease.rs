//! The leases that this process holds, and the heartbeat that keeps them.
//!
//! A lease is good until its duration has passed since the last heartbeat that was answered, counted
//! from when that was sent. From then on another worker may have the work, so ours stops, whether or not
//! the catalog could report the loss.

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

use crate::catalog::{CatalogError, LeaseClient};

/// A lease is extended this many times within its duration, so that it survives a lost heartbeat.
const BEATS_PER_LEASE: u32 = 3;
/// For a catalog that does not say how long a lease holds.
const DEFAULT_LEASE: Duration = Duration::from_secs(30);

/// Every lease that this process holds.
#[derive(Debug, Default)]
pub struct Leases {
    held: Mutex<HashMap<Lease, Arc<LeaseEntry>>>,
    changed: Notify,
}

#[derive(Debug)]
struct LeaseEntry {
    duration: Duration,
    state: watch::Sender<LeaseState>,
    done_bytes: AtomicU64,
    reporting: AtomicBool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LeaseState {
    HeldUntil(Instant),
    Lost,
}

/// A lease that is kept alive until this is dropped, as long as [`Leases::keep`] runs.
#[derive(Debug)]
pub struct LeaseGuard {
    lease: Lease,
    entry: Arc<LeaseEntry>,
    leases: Arc<Leases>,
}

/// How a lease was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseLoss {
    /// The catalog said so.
    Revoked,
    /// No heartbeat was answered for the lease's duration.
    Expired,
}

impl Leases {
    /// Keeps a lease that was claimed just now, for as long as the catalog said that it holds.
    pub fn hold(self: &Arc<Self>, lease: Lease, duration: Option<prost_types::Duration>) -> LeaseGuard {
        let duration = duration
            .and_then(|duration| Duration::try_from(duration).ok())
            .filter(|duration| !duration.is_zero())
            .unwrap_or(DEFAULT_LEASE);
        let entry = Arc::new(LeaseEntry {
            duration,
            state: watch::Sender::new(LeaseState::HeldUntil(Instant::now() + duration)),
            done_bytes: AtomicU64::new(0),
            reporting: AtomicBool::new(false),
        });
        self.lock().insert(lease, Arc::clone(&entry));
        self.changed.notify_one();
        LeaseGuard {
            lease,
            entry,
            leases: Arc::clone(self),
        }
    }

    /// Sends heartbeats for every lease held, until `end`.
    pub async fn keep(&self, catalog: &LeaseClient, end: &CancellationToken) {
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
                        tracing::warn!(%error, "heartbeat failed; trying until the leases end");
                    }
                    not_before = Instant::now() + Backoff::RPC.delay(failures, &mut rand::rng());
                    failures = failures.saturating_add(1);
                }
            }
        }
    }

    async fn beat(&self, catalog: &LeaseClient) -> Result<(), CatalogError> {
        let held: Vec<(Lease, Arc<LeaseEntry>)> = self
            .lock()
            .iter()
            .map(|(lease, entry)| (*lease, Arc::clone(entry)))
            .collect();
        let Some(shortest) = held.iter().map(|(_, entry)| entry.duration).min() else {
            return Ok(());
        };
        let progress = held.iter().map(|(lease, entry)| WorkProgress {
            lease: Some(*lease),
            done_bytes: i64::try_from(entry.done_bytes.load(Ordering::Relaxed)).unwrap_or(i64::MAX),
        });
        let sent_at = Instant::now();
        let lost = catalog
            .heartbeat(progress.collect(), shortest / BEATS_PER_LEASE)
            .await?;
        for (lease, entry) in held {
            if !lost.contains(&lease) {
                entry
                    .state
                    .send_replace(LeaseState::HeldUntil(sent_at + entry.duration));
            } else if !entry.reporting.load(Ordering::Relaxed) {
                entry.state.send_replace(LeaseState::Lost);
            }
        }
        Ok(())
    }

    /// When the next heartbeat is due; `None` while nothing is held.
    fn next_beat(&self) -> Option<Instant> {
        let held = self.lock();
        let due = held.values().map(|entry| match *entry.state.borrow() {
            LeaseState::HeldUntil(end) => end - entry.duration + entry.duration / BEATS_PER_LEASE,
            // Its work is about to let go of it.
            LeaseState::Lost => Instant::now() + entry.duration,
        });
        due.min()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Lease, Arc<LeaseEntry>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LeaseGuard {
    /// The lease, which every report about the work carries.
    pub fn lease(&self) -> Lease {
        self.lease
    }

    /// How long it holds without a heartbeat.
    pub(crate) fn duration(&self) -> Duration {
        self.entry.duration
    }

    /// Notes how many bytes are done, for the next heartbeat.
    pub fn progress(&self, done_bytes: u64) {
        self.entry.done_bytes.store(done_bytes, Ordering::Relaxed);
    }

    /// Notes that the work's outcome is about to be reported. From then on a heartbeat that was
    /// under way may learn that the lease is gone because the report has arrived; the answer to the
    /// report says which it was.
    pub fn reporting(&self) {
        self.entry.reporting.store(true, Ordering::Relaxed);
    }

    /// Waits until the lease is lost.
    pub async fn lost(&self) -> LeaseLoss {
        let mut state = self.entry.state.subscribe();
        loop {
            let end = match *state.borrow_and_update() {
                LeaseState::HeldUntil(end) => end,
                LeaseState::Lost => return LeaseLoss::Revoked,
            };
            tokio::select! {
                biased;
                // The sender lives as long as `self`.
                Ok(()) = state.changed() => {}
                () = sleep_until(end) => return LeaseLoss::Expired,
            }
        }
    }
}

impl Drop for LeaseGuard {
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

    fn wire(duration: Duration) -> Option<prost_types::Duration> {
        prost_types::Duration::try_from(duration).ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_no_heartbeat_extends_expires_after_its_duration() {
        let held = Arc::new(Leases::default()).hold(LEASE, wire(DURATION));
        let claimed_at = Instant::now();
        assert_eq!(held.lost().await, LeaseLoss::Expired);
        assert_eq!(claimed_at.elapsed(), DURATION);
    }

    #[tokio::test(start_paused = true)]
    async fn a_good_heartbeat_extends_it_and_a_bad_one_ends_it() {
        let held = Arc::new(Leases::default()).hold(LEASE, wire(DURATION));
        let claimed_at = Instant::now();
        let heartbeats = async {
            for _ in 0..3 {
                tokio::time::sleep(DURATION / 2).await;
                held.entry
                    .state
                    .send_replace(LeaseState::HeldUntil(Instant::now() + DURATION));
            }
            tokio::time::sleep(DURATION / 2).await;
            held.entry.state.send_replace(LeaseState::Lost);
        };
        let (loss, ()) = tokio::join!(held.lost(), heartbeats);
        assert_eq!(loss, LeaseLoss::Revoked);
        assert_eq!(claimed_at.elapsed(), DURATION * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn heartbeats_are_due_three_times_per_lease_and_only_while_one_is_held() {
        let leases = Arc::new(Leases::default());
        assert_eq!(leases.next_beat(), None);
        let held = leases.hold(LEASE, wire(DURATION));
        assert_eq!(leases.next_beat(), Some(Instant::now() + DURATION / 3));
        let short = leases.hold(Lease { work_id: 8, epoch: 1 }, wire(DURATION / 10));
        assert_eq!(leases.next_beat(), Some(Instant::now() + DURATION / 30));
        drop(short);
        drop(held);
        assert_eq!(leases.next_beat(), None);
    }
}
