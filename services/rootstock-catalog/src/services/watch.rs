//! `WatchService`.

mod filter;

use std::{pin::Pin, time::Duration};

use rootstock_proto::{
    Error,
    catalog::v1::{
        Change, ChangeKind, ChangeOperation, WatchRequest, WatchResponse, change::Resource,
        watch_service_server::WatchService,
    },
};
use rootstock_runtime::Shutdown;
use time::OffsetDateTime;
use tokio::sync::mpsc;
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tokio_util::task::TaskTracker;
use tonic::{Request, Response};

use crate::{
    Catalog,
    change::{clear_for_log, clear_state_for_log},
    failure::Failure,
    feed::{self, Page},
    metrics::OpenWatch,
    queries::{aliases, applications, images, remotes, settings, versions},
};

use self::filter::Filter;

/// A watcher is told this often that the stream lives.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Rows of the initial state read at once.
const PAGE_ROWS: i64 = 500;

/// The service.
pub(crate) struct Watches {
    pub catalog: Catalog,
    /// Owns the streams' tasks.
    pub tasks: TaskTracker,
    pub shutdown: Shutdown,
}

type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchResponse, tonic::Status>> + Send>>;

#[tonic::async_trait]
impl WatchService for Watches {
    type WatchStream = WatchStream;

    async fn watch(
        &self,
        request: Request<WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, tonic::Status> {
        let request = request.into_inner();
        let filter = Filter::of(&request).map_err(Failure::from)?;
        let start = start(&self.catalog, &request).await?;
        // A slow client holds back its own task only, one message ahead of it.
        let (sender, receiver) = mpsc::channel(1);
        let watcher = Watcher {
            catalog: self.catalog.clone(),
            filter,
            sender,
        };
        let shutdown = self.shutdown.clone();
        self.tasks.spawn(async move {
            let _open = OpenWatch::begin();
            let ended = shutdown.race(watcher.run(start)).await;
            if let Some((Err(Stop::Failed(failure)), sender)) = ended {
                // The client may be gone as well.
                let _ = sender.send(Err(failure.into())).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

#[derive(Debug, Clone, Copy)]
enum Start {
    InitialState,
    From(i64),
}

async fn start(catalog: &Catalog, request: &WatchRequest) -> Result<Start, Failure> {
    let newest = feed::current_revision(&catalog.pool).await?;
    match (request.initial_state, request.from_revision) {
        (true, 0) => Ok(Start::InitialState),
        (true, _) => Err(Error::invalid("from_revision", "must be 0 with initial_state").into()),
        (false, 0) => Ok(Start::From(newest + 1)),
        (false, from) => {
            let oldest = feed::oldest_revision(&catalog.pool).await?;
            if (oldest..=newest + 1).contains(&from) {
                Ok(Start::From(from))
            } else {
                Err(Error::RevisionOutOfRange { oldest, newest }.into())
            }
        }
    }
}

/// Why a watcher ends.
enum Stop {
    /// The client went away.
    Gone,
    Failed(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

type Sender = mpsc::Sender<Result<WatchResponse, tonic::Status>>;

struct Watcher {
    catalog: Catalog,
    filter: Filter,
    sender: Sender,
}

impl Watcher {
    async fn run(self, start: Start) -> (Result<(), Stop>, Sender) {
        let outcome = async {
            let from = match start {
                Start::InitialState => self.initial_state().await?,
                Start::From(revision) => revision,
            };
            self.follow(from).await
        };
        let outcome = outcome.await;
        (outcome, self.sender)
    }

    async fn send(&self, changes: Vec<Change>, revision: i64) -> Result<(), Stop> {
        self.sender
            .send(Ok(WatchResponse { changes, revision }))
            .await
            .map_err(|_| Stop::Gone)
    }

    /// Sends all changes from this revision on, for ever.
    async fn follow(&self, from: i64) -> Result<(), Stop> {
        let mut head = self.catalog.feed.head();
        let mut next = from;
        // Whether the client was told that what it has is whole.
        let mut whole = true;
        loop {
            let newest = *head.borrow_and_update();
            if newest < next {
                match tokio::time::timeout(HEARTBEAT, head.changed()).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_closed)) => return Err(Stop::Gone),
                    Err(_elapsed) => self.send(vec![], if whole { next - 1 } else { 0 }).await?,
                }
                continue;
            }
            let page = self.read(next).await?;
            // Nothing, or not what comes next: the log was compacted beyond a watcher that is far behind.
            let Some(page) = page.filter(|page| page.first == next) else {
                let oldest = feed::oldest_revision(&self.catalog.pool).await?;
                return Err(Failure::from(Error::RevisionOutOfRange { oldest, newest }).into());
            };
            whole = page.ends_transaction;
            next = page.last + 1;
            // What is left out is told by its revision alone, and in the middle of a transaction not at all.
            if whole || !page.changes.is_empty() {
                self.send(page.changes, if whole { next - 1 } else { 0 }).await?;
            }
        }
    }

    /// What this watcher wants of the changes from this revision on.
    async fn read(&self, from: i64) -> Result<Option<Page>, Failure> {
        let wants = |change: &Change| self.filter.wants(change);
        self.catalog.feed.read(from, wants).await
    }

    /// Sends the whole state, and answers where to go on.
    ///
    /// It is read page by page, in no transaction, so that a slow client holds nothing up. What
    /// changes meanwhile is in the log, as whole resources: sent after the pages, it makes the whole
    /// of what the client has the state at the revision where that ends. Only then is it told so.
    async fn initial_state(&self) -> Result<i64, Stop> {
        let pool = &self.catalog.pool;
        let begun_at = feed::current_revision(pool).await?;
        let mut connection = pool.acquire().await.map_err(Failure::from)?;
        let settings = settings::load(&mut connection).await?;
        drop(connection);
        self.state(
            begun_at,
            settings::as_wire(&settings).into_iter().map(Resource::Setting),
        )
        .await?;
        let mut after = String::new();
        while self.filter.wants_kind(ChangeKind::Remote) {
            let mut connection = pool.acquire().await.map_err(Failure::from)?;
            let rows = remotes::page(&mut connection, &after, PAGE_ROWS).await?;
            drop(connection);
            let Some(last) = rows.last() else { break };
            after.clone_from(&last.remote.name);
            let remotes = rows.into_iter().map(|row| {
                Resource::Remote(rootstock_proto::catalog::v1::Remote {
                    ca_pem: String::new(),
                    auth: String::new(),
                    ..row.remote
                })
            });
            self.state(begun_at, remotes).await?;
        }
        let mut after = String::new();
        while self.filter.wants_kind(ChangeKind::Image) {
            let mut connection = pool.acquire().await.map_err(Failure::from)?;
            let mut rows = images::page_by_id(&mut connection, &after, PAGE_ROWS).await?;
            drop(connection);
            let Some(last) = rows.last() else { break };
            after.clone_from(&last.id);
            rows.iter_mut().for_each(clear_for_log);
            self.state(begun_at, rows.into_iter().map(Resource::Image))
                .await?;
        }
        let deleted_since = OffsetDateTime::now_utc() - settings.deletion_grace;
        let mut after = 0;
        while self.filter.wants_kind(ChangeKind::Version) {
            let mut connection = pool.acquire().await.map_err(Failure::from)?;
            let rows = versions::page_by_id(&mut connection, after, deleted_since, PAGE_ROWS).await?;
            drop(connection);
            let Some(last) = rows.last() else { break };
            after = last.id;
            let versions = rows.into_iter().map(|row| Resource::Version(row.into()));
            self.state(begun_at, versions).await?;
        }
        let mut after = (String::new(), String::new(), String::new());
        while self.filter.wants_kind(ChangeKind::Alias) {
            let mut connection = pool.acquire().await.map_err(Failure::from)?;
            let rows = aliases::page(&mut connection, (&after.0, &after.1, &after.2), PAGE_ROWS).await?;
            drop(connection);
            let Some((last, last_type)) = rows.last() else {
                break;
            };
            after = (last.name.clone(), last_type.clone(), last.architecture.clone());
            self.state(
                begun_at,
                rows.into_iter().map(|(alias, _)| Resource::Alias(alias)),
            )
            .await?;
        }
        let mut after = String::new();
        while self.filter.wants_kind(ChangeKind::Application) {
            let mut connection = pool.acquire().await.map_err(Failure::from)?;
            let mut rows = applications::page(&mut connection, &after, PAGE_ROWS).await?;
            drop(connection);
            let Some(last) = rows.last() else { break };
            after.clone_from(&last.name);
            rows.iter_mut().for_each(clear_state_for_log);
            self.state(begun_at, rows.into_iter().map(Resource::Application))
                .await?;
        }
        self.catch_up(begun_at).await
    }

    async fn state(&self, revision: i64, resources: impl Iterator<Item = Resource>) -> Result<(), Stop> {
        let operation = ChangeOperation::State.into();
        let wanted = resources.filter(|resource| self.filter.wants_resource(resource));
        let changes: Vec<Change> = wanted
            .map(|resource| Change {
                revision,
                operation,
                changed_at: None,
                resource: Some(resource),
            })
            .collect();
        match changes.is_empty() {
            true => Ok(()),
            false => self.send(changes, 0).await,
        }
    }

    /// Sends what changed while the state was read, and says that it is whole.
    async fn catch_up(&self, begun_at: i64) -> Result<i64, Stop> {
        let read_until = feed::current_revision(&self.catalog.pool).await?;
        let mut next = begun_at + 1;
        while next <= read_until {
            let Some(page) = self.read(next).await? else { break };
            next = page.last + 1;
            let whole = next > read_until && page.ends_transaction;
            self.send(page.changes, if whole { next - 1 } else { 0 }).await?;
            if whole {
                return Ok(next);
            }
        }
        self.send(vec![], next - 1).await?;
        Ok(next)
    }
}
