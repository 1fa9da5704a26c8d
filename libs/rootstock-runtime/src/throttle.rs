//! Reporting what happens often at most once in an interval.
//!
//! A [`Throttle`] keeps in memory which keys are to be reported: the first event of a key at once,
//! later ones together when the interval since its last report is over. Whoever notes an event
//! never waits; one task takes what is due and reports it.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout},
};

/// Events are gathered for this long before they are reported.
const GATHER: Duration = Duration::from_millis(200);

/// The events of this process that are to be reported.
#[derive(Debug)]
pub struct Throttle {
    events: Mutex<Events>,
    /// Rung when there may be something to report.
    bell: Notify,
}

/// A key, and when its last event was.
pub type Event = (String, Instant);

/// There is no room for the event of a further key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("as many keys as fit had an event within the interval")]
pub struct Full;

impl Throttle {
    /// Reports each key once in `interval`, and remembers at most `max_keys`, each about 100 bytes
    /// and its own length.
    pub fn new(interval: Duration, max_keys: usize) -> Self {
        Self {
            events: Mutex::new(Events {
                interval,
                max_keys,
                entries: HashMap::new(),
            }),
            bell: Notify::new(),
        }
    }

    /// Notes an event that happens now.
    ///
    /// # Errors
    /// The key is new and there is no room for it: the event is lost.
    pub fn note(&self, key: &str) -> Result<(), Full> {
        match self.events().note(key, Instant::now())? {
            Noted::Due => self.bell.notify_one(),
            Noted::Later => {}
        }
        Ok(())
    }

    /// Waits until something is to be reported, and takes it. Nothing is lost when the future is
    /// dropped before it is ready.
    pub async fn due(&self) -> Vec<Event> {
        loop {
            let next = self.events().next_due(Instant::now());
            match next {
                Some(delay) => {
                    let _ = timeout(delay, self.bell.notified()).await;
                }
                None => self.bell.notified().await,
            }
            sleep(GATHER).await;
            let due = self.events().take_due(Instant::now());
            if !due.is_empty() {
                return due;
            }
        }
    }

    /// Takes all that is not reported: for the end, when nothing happens any more.
    pub fn take_all(&self) -> Vec<Event> {
        self.events().take_all()
    }

    /// Takes back what could not be reported, to be reported when the interval is over again.
    pub fn put_back(&self, failed: &[Event]) {
        self.events().put_back(failed);
    }

    fn events(&self) -> MutexGuard<'_, Events> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When an event is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Noted {
    /// Now.
    Due,
    /// Together with others.
    Later,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    reported_at: Option<Instant>,
    /// An event that is not reported yet.
    event_at: Option<Instant>,
}

/// What is remembered of each key. Pure: the time is an argument.
#[derive(Debug)]
struct Events {
    interval: Duration,
    max_keys: usize,
    entries: HashMap<Box<str>, Entry>,
}

impl Events {
    fn note(&mut self, key: &str, now: Instant) -> Result<Noted, Full> {
        if let Some(entry) = self.entries.get_mut(key) {
            let known = entry.event_at.replace(now).is_some();
            return Ok(match entry.due_at(self.interval) {
                Some(due_at) if due_at <= now && !known => Noted::Due,
                _ => Noted::Later,
            });
        }
        if self.entries.len() >= self.max_keys {
            return Err(Full);
        }
        let entry = Entry {
            reported_at: None,
            event_at: Some(now),
        };
        self.entries.insert(key.into(), entry);
        Ok(Noted::Due)
    }

    /// How long until something is to be reported; `None` when nothing is.
    fn next_due(&self, now: Instant) -> Option<Duration> {
        let due = self
            .entries
            .values()
            .filter_map(|entry| entry.due_at(self.interval));
        due.min().map(|due_at| due_at.saturating_duration_since(now))
    }

    /// Takes what is to be reported now, and forgets what was reported long enough ago.
    fn take_due(&mut self, now: Instant) -> Vec<Event> {
        let mut due = vec![];
        let interval = self.interval;
        self.entries.retain(|key, entry| {
            if entry.due_at(interval).is_some_and(|due_at| due_at <= now)
                && let Some(event_at) = entry.event_at.take()
            {
                due.push((key.to_string(), event_at));
                entry.reported_at = Some(now);
            }
            entry.event_at.is_some()
                || entry
                    .reported_at
                    .is_some_and(|reported_at| reported_at + interval > now)
        });
        due
    }

    fn take_all(&mut self) -> Vec<Event> {
        let rest = self.entries.drain();
        rest.filter_map(|(key, entry)| Some((key.into(), entry.event_at?)))
            .collect()
    }

    /// An event that came meanwhile is the later one, and stays.
    fn put_back(&mut self, failed: &[Event]) {
        for (key, at) in failed {
            if let Some(entry) = self.entries.get_mut(key.as_str()) {
                entry.event_at.get_or_insert(*at);
            }
        }
    }
}

impl Entry {
    /// When its event is to be reported.
    fn due_at(&self, interval: Duration) -> Option<Instant> {
        let event_at = self.event_at?;
        Some(
            self.reported_at
                .map_or(event_at, |reported_at| reported_at + interval),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(60);

    fn events(max_keys: usize) -> Events {
        Events {
            interval: INTERVAL,
            max_keys,
            entries: HashMap::new(),
        }
    }

    fn keys(due: Vec<Event>) -> Vec<String> {
        let mut keys: Vec<_> = due.into_iter().map(|(key, _)| key).collect();
        keys.sort();
        keys
    }

    #[test]
    fn a_busy_key_is_reported_once_in_the_interval_with_its_last_event() {
        let start = Instant::now();
        let second = |seconds| start + Duration::from_secs(seconds);
        let mut events = events(10);
        let mut reports = vec![];
        for now in 0..=180 {
            for _ in 0..100 {
                events.note("busy", second(now)).unwrap();
            }
            for (_, event_at) in events.take_due(second(now)) {
                assert_eq!(event_at, second(now));
                reports.push(now);
            }
        }
        assert_eq!(reports, [0, 60, 120, 180]);
    }

    #[test]
    fn the_bell_is_rung_for_what_is_due_only() {
        let start = Instant::now();
        let mut events = events(10);
        assert_eq!(events.note("a", start), Ok(Noted::Due));
        assert_eq!(events.note("a", start), Ok(Noted::Later), "it was rung already");
        assert_eq!(keys(events.take_due(start)), ["a"]);
        assert_eq!(events.next_due(start), None);
        assert_eq!(events.note("a", start), Ok(Noted::Later));
        assert_eq!(events.next_due(start), Some(INTERVAL));
        assert_eq!(keys(events.take_due(start)), [""; 0]);
        assert_eq!(events.note("b", start), Ok(Noted::Due));
        assert_eq!(keys(events.take_due(start + INTERVAL)), ["a", "b"]);
        assert_eq!(
            events.note("a", start + 3 * INTERVAL),
            Ok(Noted::Due),
            "long after"
        );
    }

    #[test]
    fn a_key_without_events_for_an_interval_is_forgotten_and_memory_is_bounded() {
        let start = Instant::now();
        let mut events = events(1000);
        for number in 0..1000 {
            events.note(&number.to_string(), start).unwrap();
        }
        assert_eq!(events.note("one more", start), Err(Full));
        assert_eq!(events.take_due(start).len(), 1000);
        assert_eq!(events.note("one more", start), Err(Full));
        assert_eq!(events.take_due(start + INTERVAL).len(), 0);
        assert!(events.entries.is_empty());
        assert_eq!(events.note("one more", start + INTERVAL), Ok(Noted::Due));
    }

    #[test]
    fn a_failed_report_is_tried_again_and_the_end_takes_what_is_left() {
        let start = Instant::now();
        let mut events = events(10);
        events.note("a", start).unwrap();
        let failed = events.take_due(start);
        events.put_back(&failed);
        assert_eq!(events.next_due(start), Some(INTERVAL));
        events.note("b", start).unwrap();
        assert_eq!(keys(events.take_all()), ["a", "b"]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_due_is_waited_for() {
        let throttle = Throttle::new(INTERVAL, 10);
        let start = Instant::now();
        throttle.note("a").unwrap();
        assert_eq!(keys(throttle.due().await), ["a"]);
        assert_eq!(start.elapsed(), GATHER);
        throttle.note("a").unwrap();
        assert_eq!(keys(throttle.due().await), ["a"], "a minute later");
        assert!(start.elapsed() >= INTERVAL);
        let nothing = timeout(10 * INTERVAL, throttle.due()).await;
        assert!(nothing.is_err(), "{nothing:?}");
        throttle.note("b").unwrap();
        assert_eq!(keys(throttle.due().await), ["b"]);
    }
}
