//! Waiting for work to fall due.

use std::{collections::BTreeMap, time::Duration};

use tokio::{sync::watch, time::Instant};

use super::{Kind, schedule};
use crate::{Catalog, failure::Failure};

/// How often work was announced, by kind, so that a claim wakes for its own kinds alone.
#[derive(Debug, Default)]
pub(crate) struct Announcements {
    by_code: BTreeMap<i16, u64>,
    /// Announcements that name no kind, and those that may have been missed.
    of_any: u64,
}

impl Announcements {
    /// Counts a notification of `schedule`'s: the codes of kinds, separated by commas.
    pub(crate) fn count(&mut self, payload: &str) {
        for code in payload.split(',') {
            match code.parse::<i16>() {
                Ok(code) => *self.by_code.entry(code).or_default() += 1,
                Err(_) => self.of_any += 1,
            }
        }
    }

    /// Counts that anything may have been announced while nobody listened.
    pub(crate) fn count_any(&mut self) {
        self.of_any += 1;
    }

    fn of(&self, kinds: &[Kind]) -> u64 {
        let named = kinds.iter().filter_map(|kind| self.by_code.get(&kind.code()));
        named.sum::<u64>() + self.of_any
    }
}

/// Waits for work of some kinds to fall due.
pub(crate) struct DueWork<'a> {
    catalog: &'a Catalog,
    kinds: &'a [Kind],
    announcements: watch::Receiver<Announcements>,
    seen: u64,
}

impl<'a> DueWork<'a> {
    /// Begins to listen. What is announced from now on ends the next [`wait`](Self::wait).
    pub(crate) fn of(catalog: &'a Catalog, kinds: &'a [Kind]) -> Self {
        let announcements = catalog.feed.work();
        let seen = announcements.borrow().of(kinds);
        Self {
            catalog,
            kinds,
            announcements,
            seen,
        }
    }

    /// Waits until work may be due that was not when this was called last, or until `deadline`.
    pub(crate) async fn wait(&mut self, deadline: Instant) -> Result<(), Failure> {
        let mut connection = self.catalog.pool.acquire().await?;
        let next_due = schedule::next_due(&mut connection, self.kinds).await?;
        drop(connection);
        // No sooner than in a moment: the database's clock may be a little behind its promise.
        let next_due = next_due.map(|due| due.max(Duration::from_millis(10)));
        let until = next_due.map_or(deadline, |due| deadline.min(Instant::now() + due));
        let (kinds, seen) = (self.kinds, self.seen);
        tokio::select! {
            // The feed lives as long as the catalog.
            Ok(now) = self.announcements.wait_for(|now| now.of(kinds) != seen) => self.seen = now.of(kinds),
            () = tokio::time::sleep_until(until) => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announcements_count_for_the_kinds_they_name_and_for_all_when_they_name_none() {
        let mut announcements = Announcements::default();
        let counts = |announcements: &Announcements| {
            (
                announcements.of(&[Kind::Poll]),
                announcements.of(&[Kind::Transfer, Kind::Verify]),
            )
        };
        announcements.count("1");
        assert_eq!(counts(&announcements), (1, 0));
        announcements.count("2,3");
        assert_eq!(counts(&announcements), (1, 2));
        // A catalog of an earlier version names none.
        announcements.count("");
        announcements.count_any();
        assert_eq!(counts(&announcements), (3, 4));
    }
}
