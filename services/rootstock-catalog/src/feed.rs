//! The feed: how watchers hear of changes and waiting workers of work, without a query each.
//!
//! One task listens for notifications, on a connection outside the pool, and reads new changes into
//! a ring, each encoded once for all watchers. A watcher that keeps up is served from the ring; one
//! that is behind reads pages from the log until it is not. The ring and every page are bounded in
//! bytes as well as in changes.

use std::{
    collections::VecDeque,
    sync::{PoisonError, RwLock},
    time::Duration,
};

use bytes::Bytes;
use prost::Message as _;
use rootstock_model::limits::MAX_MESSAGE_BYTES;
use rootstock_proto::{
    catalog::v1::{Change, ChangeKind},
    convert,
};
use rootstock_runtime::{Shutdown, health::Component};
use sqlx::{PgPool, postgres::PgListener};
use tokio::sync::watch;

use crate::{
    failure::Failure,
    metrics,
    queries::changes::{self, ChangeRow},
    work::claim::Announcements,
};

/// Postgres channel that says: the log grew.
pub(crate) const CHANGES_CHANNEL: &str = "rootstock_changes";
/// Postgres channel that says: work of the kinds in the payload may be due.
pub(crate) const WORK_CHANNEL: &str = "rootstock_work";

const RING_CHANGES: usize = 16_384;
const RING_BYTES: usize = 16 * 1024 * 1024;
/// Changes read or looked at at once.
const PAGE_CHANGES: i64 = 500;
/// Notifications are hints: the log is looked at this often without one.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
const RECONNECT_DELAY: Duration = Duration::from_millis(500);

/// A change as watchers get it.
#[derive(Debug)]
struct LoggedChange {
    revision: i64,
    /// Where its transaction ends.
    transaction_revision: i64,
    /// Kind and name of its resource; `None` of one that this version does not know.
    resource: Option<(ChangeKind, Box<str>)>,
    /// The encoded `Change`.
    encoded: Bytes,
}

impl LoggedChange {
    fn decode(row: ChangeRow) -> Result<Self, Failure> {
        let change = Change::decode(&row.payload[..])
            .map_err(|error| Failure::Corrupt(format!("change {}: {error}", row.revision)))?;
        let resource = change.resource.as_ref();
        let resource = resource.map(|resource| (resource.kind(), resource.name().into()));
        let change = Change {
            revision: row.revision,
            changed_at: Some(convert::timestamp(row.changed_at)),
            ..change
        };
        Ok(Self {
            revision: row.revision,
            transaction_revision: row.transaction_revision,
            resource,
            encoded: change.encode_to_vec().into(),
        })
    }
}

/// Changes that follow each other in the log, as far as they are wanted.
#[derive(Debug)]
pub(crate) struct Page {
    /// The wanted ones, encoded.
    pub changes: Vec<Bytes>,
    /// The first revision that was looked at.
    pub first: i64,
    /// The last one.
    pub last: i64,
    /// Whether that is the last of its transaction.
    pub ends_transaction: bool,
}

impl Page {
    /// `None` when there is nothing to look at.
    fn of<'a>(
        logged: impl Iterator<Item = &'a LoggedChange>,
        wants: impl Fn(ChangeKind, &str) -> bool,
    ) -> Option<Self> {
        let mut page: Option<Self> = None;
        let mut bytes = 0;
        for one in logged.take(PAGE_CHANGES as usize) {
            let page = page.get_or_insert_with(|| Self {
                changes: vec![],
                first: one.revision,
                last: 0,
                ends_transaction: false,
            });
            let wanted = one
                .resource
                .as_ref()
                .is_some_and(|(kind, name)| wants(*kind, name));
            if wanted {
                bytes += one.encoded.len();
                if bytes > MAX_MESSAGE_BYTES && !page.changes.is_empty() {
                    break;
                }
                page.changes.push(one.encoded.clone());
            }
            page.last = one.revision;
            page.ends_transaction = page.last == one.transaction_revision;
        }
        page
    }
}

/// The newest changes.
#[derive(Debug, Default)]
struct Ring {
    changes: VecDeque<LoggedChange>,
    bytes: usize,
}

impl Ring {
    /// The changes from this revision on; `None` when they begin before the ring, or after it.
    fn starting_at(&self, revision: i64) -> Option<impl Iterator<Item = &LoggedChange>> {
        let first = self.changes.front().map_or(i64::MAX, |change| change.revision);
        let skip = usize::try_from(revision.checked_sub(first)?).ok()?;
        Some(self.changes.range(skip.min(self.changes.len())..))
    }

    /// Appends the changes after the newest, and drops the oldest beyond the bounds.
    fn extend(&mut self, changes: Vec<LoggedChange>) {
        self.bytes += changes.iter().map(|change| change.encoded.len()).sum::<usize>();
        self.changes.extend(changes);
        while self.bytes > RING_BYTES || self.changes.len() > RING_CHANGES {
            let Some(oldest) = self.changes.pop_front() else {
                break;
            };
            self.bytes -= oldest.encoded.len();
        }
    }
}

/// What watchers and waiting workers wait on.
pub(crate) struct Feed {
    pool: PgPool,
    ring: RwLock<Ring>,
    head: watch::Sender<i64>,
    work: watch::Sender<Announcements>,
}

impl Feed {
    /// A feed that begins at what is the newest revision now.
    pub(crate) async fn new(pool: PgPool) -> Result<Self, Failure> {
        let head = changes::newest_revision(&pool).await?;
        Ok(Self {
            pool,
            ring: RwLock::default(),
            head: watch::Sender::new(head),
            work: watch::Sender::default(),
        })
    }

    /// The newest revision, as it grows.
    pub(crate) fn head(&self) -> watch::Receiver<i64> {
        self.head.subscribe()
    }

    /// Changes whenever work may have become due.
    pub(crate) fn work(&self) -> watch::Receiver<Announcements> {
        self.work.subscribe()
    }

    /// Looks at some changes from this revision on, at least at one when there is any, and returns those
    /// that are wanted, as many as one message carries. A watcher that keeps up costs no query, whatever
    /// it wants.
    pub(crate) async fn read(
        &self,
        from_revision: i64,
        wants: impl Fn(ChangeKind, &str) -> bool,
    ) -> Result<Option<Page>, Failure> {
        let from_ring = {
            let ring = self.ring.read().unwrap_or_else(PoisonError::into_inner);
            ring.starting_at(from_revision)
                .and_then(|changes| Page::of(changes, &wants))
        };
        match from_ring {
            Some(page) => Ok(Some(page)),
            None => Ok(Page::of(read_log(&self.pool, from_revision).await?.iter(), wants)),
        }
    }

    /// Listens until shutdown; reconnects for as long as it takes.
    pub(crate) async fn run(&self, component: Component, shutdown: Shutdown) {
        while !shutdown.is_triggered() {
            if let Some(Err(error)) = shutdown.race(self.listen(&component)).await {
                component.not_ready("the database is not reachable");
                tracing::warn!(?error, "lost the database's notifications");
            }
            shutdown.race(tokio::time::sleep(RECONNECT_DELAY)).await;
        }
    }

    async fn listen(&self, component: &Component) -> Result<(), Failure> {
        let options = (*self.pool.connect_options()).clone();
        // Its own pool of one: a listener would take a connection of the pool for good.
        let pool = sqlx::postgres::PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(LOOK_INTERVAL)
            .connect_with(options)
            .await?;
        let mut listener = PgListener::connect_with(&pool).await?;
        // It would listen again without a word, and leave what was announced meanwhile unheard.
        listener.eager_reconnect(false);
        listener.listen_all([CHANGES_CHANNEL, WORK_CHANNEL]).await?;
        component.ready();
        // What was announced while nobody listened.
        self.work.send_modify(Announcements::count_any);
        metrics::revision(*self.head.borrow());
        loop {
            self.advance().await?;
            metrics::connections(&self.pool);
            // Without a word for so long, the log is looked at all the same.
            if let Ok(notification) = tokio::time::timeout(LOOK_INTERVAL, listener.try_recv()).await {
                let notification = notification?.ok_or_else(connection_lost)?;
                if notification.channel() == WORK_CHANNEL {
                    self.work
                        .send_modify(|announcements| announcements.count(notification.payload()));
                }
            }
        }
    }

    /// Reads what is new in the log into the ring, and announces it.
    async fn advance(&self) -> Result<(), Failure> {
        loop {
            let head = *self.head.borrow();
            let changes = read_log(&self.pool, head + 1).await?;
            let Some(last) = changes.last().map(|logged| logged.revision) else {
                return Ok(());
            };
            let mut ring = self.ring.write().unwrap_or_else(PoisonError::into_inner);
            ring.extend(changes);
            drop(ring);
            self.head.send_replace(last);
            metrics::revision(last);
        }
    }
}

fn connection_lost() -> sqlx::Error {
    sqlx::Error::Io(std::io::ErrorKind::ConnectionAborted.into())
}

/// A page of the log, about as large as a message.
async fn read_log(pool: &PgPool, from_revision: i64) -> Result<Vec<LoggedChange>, Failure> {
    let rows = changes::page(pool, from_revision, PAGE_CHANGES, MAX_MESSAGE_BYTES as i64).await?;
    rows.into_iter().map(LoggedChange::decode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logged(revision: i64, transaction_revision: i64, bytes: usize) -> LoggedChange {
        LoggedChange {
            revision,
            transaction_revision,
            resource: Some((ChangeKind::Image, "debian".into())),
            encoded: vec![0; bytes].into(),
        }
    }

    fn page(changes: &[LoggedChange]) -> Page {
        Page::of(changes.iter(), |_, _| true).unwrap()
    }

    #[test]
    fn a_page_is_cut_at_a_mebibyte_but_has_one_change_at_least() {
        let changes = [
            logged(5, 6, 600_000),
            logged(6, 6, 600_000),
            logged(7, 7, 2_000_000),
        ];
        let first = page(&changes);
        assert_eq!(
            (first.changes.len(), first.last, first.ends_transaction),
            (1, 5, false)
        );
        let second = page(&changes[1..]);
        assert_eq!(
            (second.changes.len(), second.last, second.ends_transaction),
            (1, 6, true)
        );
        let third = page(&changes[2..]);
        assert_eq!(
            (third.changes.len(), third.last, third.ends_transaction),
            (1, 7, true)
        );
    }

    #[test]
    fn what_is_not_wanted_takes_no_room() {
        let changes = [logged(5, 5, 600_000), logged(6, 6, 600_000)];
        let page = Page::of(changes.iter(), |_, _| false).unwrap();
        assert_eq!(
            (page.changes.len(), page.last, page.ends_transaction),
            (0, 6, true)
        );
    }

    #[test]
    fn the_ring_drops_the_oldest_beyond_its_bytes_and_its_changes() {
        let mut ring = Ring::default();
        ring.extend(
            (1..=40)
                .map(|revision| logged(revision, revision, 1024 * 1024))
                .collect(),
        );
        assert_eq!(ring.changes.len(), 16);
        assert_eq!(ring.bytes, RING_BYTES);
        assert!(ring.starting_at(24).is_none(), "that is in the log only");
        assert_eq!(ring.starting_at(39).unwrap().count(), 2);
        assert_eq!(ring.starting_at(41).unwrap().count(), 0);
        ring.extend(
            (41..=41 + RING_CHANGES as i64)
                .map(|revision| logged(revision, revision, 1))
                .collect(),
        );
        assert_eq!((ring.changes.len(), ring.bytes), (RING_CHANGES, RING_CHANGES));
    }
}
