//! Uses of images, on their way to the database: a busy image costs at most one write a minute, and
//! who uses it waits for none.
//!
//! [`Uses`] keeps in memory what is to be written, and one task writes it: the first use of an image
//! at once, later ones together when the minute since its last write is over, and the rest when the
//! process ends. What could not be written is tried again a minute later.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use rootstock_runtime::Shutdown;
use sqlx::PgPool;
use tokio::sync::Notify;

use crate::{metrics, queries::uses};

/// Time between two writes for one image.
const INTERVAL: Duration = Duration::from_secs(60);
/// Uses are gathered for so long before they are written.
const GATHER: Duration = Duration::from_millis(200);
/// Images that are remembered at once, about 100 bytes each. Uses of more than so many in a minute
/// are not noted.
const MAX_IMAGES: usize = 131_072;
/// Images written by one statement.
const BATCH: usize = 10_000;

/// The uses that this process has seen.
#[derive(Debug, Default)]
pub(crate) struct Uses {
    seen: Mutex<Seen>,
    /// Rung when there may be something to write.
    bell: Notify,
}

impl Uses {
    /// Notes that an image was used now.
    pub(crate) fn record(&self, image_id: &str) {
        match self.seen().note(image_id, Instant::now()) {
            Noted::Due => self.bell.notify_one(),
            Noted::Later => {}
            Noted::Full => metrics::use_dropped(),
        }
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what is due, until shutdown.
    pub(crate) async fn run(&self, pool: &PgPool, shutdown: &Shutdown) {
        loop {
            let wake = async {
                let next = self.seen().next_due(Instant::now());
                match next {
                    Some(delay) => {
                        let _ = tokio::time::timeout(delay, self.bell.notified()).await;
                    }
                    None => self.bell.notified().await,
                }
                tokio::time::sleep(GATHER).await;
            };
            if shutdown.race(wake).await.is_none() {
                return;
            }
            let due = self.seen().take_due(Instant::now());
            self.write(pool, due).await;
        }
    }

    /// Writes what is left: for the end, when nobody records a use any more.
    pub(crate) async fn flush(&self, pool: &PgPool) {
        let rest = self.seen().take_all();
        self.write(pool, rest).await;
    }

    async fn write(&self, pool: &PgPool, due: Vec<(String, Instant)>) {
        for batch in due.chunks(BATCH) {
            let now = Instant::now();
            let used: Vec<_> = batch
                .iter()
                .map(|(id, at)| (id.clone(), now.saturating_duration_since(*at)))
                .collect();
            if let Err(error) = uses::record(pool, &used).await {
                // A use more or less costs an image a minute of its time in the store.
                tracing::warn!(?error, images = used.len(), "uses of images could not be written");
                self.seen().put_back(batch);
            }
        }
    }
}

/// What became of a use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Noted {
    /// It is to be written now.
    Due,
    /// It is written with others.
    Later,
    /// There is no room for it.
    Full,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    written_at: Option<Instant>,
    /// A use that is not written yet.
    used_at: Option<Instant>,
}

/// What is remembered of each image. Pure: the time is told.
#[derive(Debug, Default)]
struct Seen(HashMap<Box<str>, Entry>);

impl Seen {
    fn note(&mut self, image_id: &str, now: Instant) -> Noted {
        if let Some(entry) = self.0.get_mut(image_id) {
            let known = entry.used_at.replace(now).is_some();
            return match entry.due_at() {
                Some(due_at) if due_at <= now && !known => Noted::Due,
                _ => Noted::Later,
            };
        }
        if self.0.len() >= MAX_IMAGES {
            return Noted::Full;
        }
        let entry = Entry {
            written_at: None,
            used_at: Some(now),
        };
        self.0.insert(image_id.into(), entry);
        Noted::Due
    }

    /// How long until something is to be written; `None` when nothing is.
    fn next_due(&self, now: Instant) -> Option<Duration> {
        let due = self.0.values().filter_map(Entry::due_at).min();
        due.map(|due_at| due_at.saturating_duration_since(now))
    }

    /// Takes what is to be written now, and forgets what was written long enough ago.
    fn take_due(&mut self, now: Instant) -> Vec<(String, Instant)> {
        let mut due = vec![];
        self.0.retain(|id, entry| {
            if entry.due_at().is_some_and(|due_at| due_at <= now)
                && let Some(used_at) = entry.used_at.take()
            {
                due.push((id.to_string(), used_at));
                entry.written_at = Some(now);
            }
            entry.used_at.is_some()
                || entry
                    .written_at
                    .is_some_and(|written_at| written_at + INTERVAL > now)
        });
        due
    }

    /// Takes all that is not written.
    fn take_all(&mut self) -> Vec<(String, Instant)> {
        let rest = self.0.drain();
        rest.filter_map(|(id, entry)| Some((id.into(), entry.used_at?)))
            .collect()
    }

    /// Takes back what could not be written; a use that came meanwhile is the later one.
    fn put_back(&mut self, failed: &[(String, Instant)]) {
        for (id, at) in failed {
            if let Some(entry) = self.0.get_mut(id.as_str()) {
                entry.used_at.get_or_insert(*at);
            }
        }
    }
}

impl Entry {
    /// When its use is to be written.
    fn due_at(&self) -> Option<Instant> {
        let used_at = self.used_at?;
        Some(
            self.written_at
                .map_or(used_at, |written_at| written_at + INTERVAL),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(due: Vec<(String, Instant)>) -> Vec<String> {
        let mut ids: Vec<_> = due.into_iter().map(|(id, _)| id).collect();
        ids.sort();
        ids
    }

    #[test]
    fn a_busy_image_is_written_once_a_minute_with_its_last_use() {
        let start = Instant::now();
        let second = |seconds| start + Duration::from_secs(seconds);
        let mut seen = Seen::default();
        let mut writes = vec![];
        for now in 0..=180 {
            for _ in 0..100 {
                seen.note("busy", second(now));
            }
            for (_, used_at) in seen.take_due(second(now)) {
                assert_eq!(used_at, second(now));
                writes.push(now);
            }
        }
        assert_eq!(writes, [0, 60, 120, 180]);
    }

    #[test]
    fn the_bell_is_rung_for_what_is_due_only() {
        let start = Instant::now();
        let mut seen = Seen::default();
        assert_eq!(seen.note("a", start), Noted::Due);
        assert_eq!(seen.note("a", start), Noted::Later, "it was rung already");
        assert_eq!(ids(seen.take_due(start)), ["a"]);
        assert_eq!(seen.next_due(start), None);
        assert_eq!(seen.note("a", start), Noted::Later);
        assert_eq!(seen.next_due(start), Some(INTERVAL));
        assert_eq!(ids(seen.take_due(start)), [""; 0]);
        assert_eq!(seen.note("b", start), Noted::Due);
        assert_eq!(ids(seen.take_due(start + INTERVAL)), ["a", "b"]);
        assert_eq!(seen.note("a", start + 3 * INTERVAL), Noted::Due, "long after");
    }

    #[test]
    fn what_was_not_used_for_a_minute_is_forgotten_and_memory_is_bounded() {
        let start = Instant::now();
        let mut seen = Seen::default();
        for number in 0..MAX_IMAGES {
            seen.note(&number.to_string(), start);
        }
        assert_eq!(seen.note("one more", start), Noted::Full);
        assert_eq!(seen.take_due(start).len(), MAX_IMAGES);
        assert_eq!(seen.note("one more", start), Noted::Full);
        assert_eq!(seen.take_due(start + INTERVAL).len(), 0);
        assert!(seen.0.is_empty());
        assert_eq!(seen.note("one more", start + INTERVAL), Noted::Due);
    }

    #[test]
    fn a_failed_write_is_tried_again_and_the_end_takes_what_is_left() {
        let start = Instant::now();
        let mut seen = Seen::default();
        seen.note("a", start);
        let failed = seen.take_due(start);
        seen.put_back(&failed);
        assert_eq!(seen.next_due(start), Some(INTERVAL));
        seen.note("b", start);
        assert_eq!(ids(seen.take_all()), ["a", "b"]);
    }
}
