//! The feed: how watchers hear of changes and waiting workers of work, without a query each.
//!
//! One task listens for notifications, on a connection outside the pool, and reads new changes into
//! a ring. A watcher that keeps up is served from the ring; one that is behind reads pages from the
//! log until it is not.

use std::{
    collections::VecDeque,
    sync::{PoisonError, RwLock},
    time::Duration,
};

use prost::Message as _;
use rootstock_proto::{catalog::v1::Change, convert};
use rootstock_runtime::{Shutdown, health::Component};
use sqlx::{PgPool, postgres::PgListener};
use tokio::sync::watch;

use crate::{failure::Failure, metrics, work::claim::Announcements};

/// Postgres channel that says: the log grew.
pub(crate) const CHANGES_CHANNEL: &str = "rootstock_changes";
/// Postgres channel that says: work of the kinds in the payload may be due.
pub(crate) const WORK_CHANNEL: &str = "rootstock_work";

const RING_CHANGES: usize = 16_384;
/// Changes read or sent at once.
const PAGE_CHANGES: i64 = 500;
/// Notifications are hints: the log is looked at this often without one.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
const RECONNECT_DELAY: Duration = Duration::from_millis(500);

/// A change, and where its transaction ends.
#[derive(Debug)]
struct LoggedChange {
    change: Change,
    transaction_revision: i64,
}

/// Changes that follow each other in the log, as far as they are wanted.
#[derive(Debug)]
pub(crate) struct Page {
    /// The wanted ones.
    pub changes: Vec<Change>,
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
        wants: impl Fn(&Change) -> bool,
    ) -> Option<Self> {
        let mut page: Option<Self> = None;
        for one in logged.take(PAGE_CHANGES as usize) {
            let page = page.get_or_insert_with(|| Self {
                changes: vec![],
                first: one.change.revision,
                last: 0,
                ends_transaction: false,
            });
            page.last = one.change.revision;
            page.ends_transaction = page.last == one.transaction_revision;
            // Only what is wanted is copied: most watchers want little.
            if wants(&one.change) {
                page.changes.push(one.change.clone());
            }
        }
        page
    }
}

/// What watchers and waiting workers wait on.
pub(crate) struct Feed {
    pool: PgPool,
    ring: RwLock<VecDeque<LoggedChange>>,
    head: watch::Sender<i64>,
    work: watch::Sender<Announcements>,
}

impl Feed {
    /// A feed that begins at what is the newest revision now.
    pub(crate) async fn new(pool: PgPool) -> Result<Self, Failure> {
        let head = current_revision(&pool).await?;
        Ok(Self {
            pool,
            ring: RwLock::new(VecDeque::new()),
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

    /// Looks at some changes from this revision on, at least at one when there is any, and answers those
    /// that are wanted. A watcher that keeps up costs no query, whatever it wants.
    pub(crate) async fn read(
        &self,
        from_revision: i64,
        wants: impl Fn(&Change) -> bool,
    ) -> Result<Option<Page>, Failure> {
        let from_ring = {
            let ring = self.ring.read().unwrap_or_else(PoisonError::into_inner);
            let first = ring.front().map_or(i64::MAX, |logged| logged.change.revision);
            let skip = usize::try_from(from_revision.saturating_sub(first)).ok();
            skip.and_then(|skip| Page::of(ring.range(skip.min(ring.len())..), &wants))
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

    /// Reads what is new in the log into the ring, and says so.
    async fn advance(&self) -> Result<(), Failure> {
        loop {
            let head = *self.head.borrow();
            let changes = read_log(&self.pool, head + 1).await?;
            let Some(last) = changes.last().map(|logged| logged.change.revision) else {
                return Ok(());
            };
            {
                let mut ring = self.ring.write().unwrap_or_else(PoisonError::into_inner);
                ring.extend(changes);
                let surplus = ring.len().saturating_sub(RING_CHANGES);
                ring.drain(..surplus);
            }
            self.head.send_replace(last);
            metrics::revision(last);
        }
    }
}

fn connection_lost() -> sqlx::Error {
    sqlx::Error::Io(std::io::ErrorKind::ConnectionAborted.into())
}

/// The newest revision.
pub(crate) async fn current_revision(pool: &PgPool) -> Result<i64, Failure> {
    Ok(sqlx::query_scalar!("SELECT revision FROM catalog_revision")
        .fetch_one(pool)
        .await?)
}

/// The oldest revision that a watcher can begin at.
pub(crate) async fn oldest_revision(pool: &PgPool) -> Result<i64, Failure> {
    let oldest = sqlx::query_scalar!(
        r#"SELECT coalesce((SELECT min(revision) FROM changes), (SELECT revision + 1 FROM catalog_revision)) AS "oldest!""#
    );
    Ok(oldest.fetch_one(pool).await?)
}

async fn read_log(pool: &PgPool, from_revision: i64) -> Result<Vec<LoggedChange>, Failure> {
    let rows = sqlx::query!(
        "SELECT revision, transaction_revision, changed_at, payload FROM changes
         WHERE revision >= $1 ORDER BY revision LIMIT $2",
        from_revision,
        PAGE_CHANGES,
    )
    .fetch_all(pool)
    .await?;
    rows.into_iter()
        .map(|row| {
            let change = Change::decode(&row.payload[..])
                .map_err(|error| Failure::Corrupt(format!("change {}: {error}", row.revision)))?;
            let changed_at = Some(convert::timestamp(row.changed_at));
            let change = Change {
                revision: row.revision,
                changed_at,
                ..change
            };
            Ok(LoggedChange {
                change,
                transaction_revision: row.transaction_revision,
            })
        })
        .collect()
}
