//! `WatchService`.

mod filter;
mod response;

use std::{pin::Pin, time::Duration};

use bytes::Bytes;
use prost::Message as _;
use rootstock_model::limits::MAX_MESSAGE_BYTES;
use rootstock_proto::{
    Error,
    catalog::v1::{Change, ChangeOperation, WatchRequest, change::Resource},
};
use rootstock_runtime::Shutdown;
use tokio::sync::mpsc;
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tokio_util::task::TaskTracker;

use crate::{Catalog, change::log, failure::Failure, feed::Page, metrics::OpenWatch, queries::changes};

use self::{filter::Filter, response::EncodedResponse};

pub(crate) use response::WatchServer;

/// A watcher is told this often that the stream lives.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// The service.
pub(crate) struct Watches {
    pub catalog: Catalog,
    /// Owns the streams' tasks.
    pub tasks: TaskTracker,
    pub shutdown: Shutdown,
}

type WatchStream = Pin<Box<dyn Stream<Item = Result<EncodedResponse, tonic::Status>> + Send>>;

impl Watches {
    /// The stream that a request asks for.
    async fn watch(&self, request: WatchRequest) -> Result<WatchStream, tonic::Status> {
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
        Ok(Box::pin(ReceiverStream::new(receiver)))
    }
}

#[derive(Debug, Clone, Copy)]
enum Start {
    InitialState,
    From(i64),
}

async fn start(catalog: &Catalog, request: &WatchRequest) -> Result<Start, Failure> {
    let newest = changes::newest_revision(&catalog.pool).await?;
    match (request.initial_state, request.from_revision) {
        (true, 0) => Ok(Start::InitialState),
        (true, _) => Err(Error::invalid("from_revision", "must be 0 with initial_state").into()),
        (false, 0) => Ok(Start::From(newest + 1)),
        (false, from) => {
            let oldest = changes::oldest_revision(&catalog.pool).await?;
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

type Sender = mpsc::Sender<Result<EncodedResponse, tonic::Status>>;

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

    async fn send(&self, changes: Vec<Bytes>, revision: i64) -> Result<(), Stop> {
        self.sender
            .send(Ok(EncodedResponse { changes, revision }))
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
            whole = page.ends_transaction;
            next = page.last + 1;
            // What is left out is told by its revision alone, and in the middle of a transaction not at all.
            if whole || !page.changes.is_empty() {
                self.send(page.changes, if whole { next - 1 } else { 0 }).await?;
            }
        }
    }

    /// What this watcher wants of the changes from this revision on, which there is.
    async fn read(&self, next: i64) -> Result<Page, Failure> {
        let wants = |kind, name: &str| self.filter.wants(kind, name);
        let page = self.catalog.feed.read(next, wants).await?;
        if let Some(page) = page.filter(|page| page.first == next) {
            return Ok(page);
        }
        // Nothing, or not what comes next: the log was compacted beyond a watcher that is far behind.
        let oldest = changes::oldest_revision(&self.catalog.pool).await?;
        let newest = changes::newest_revision(&self.catalog.pool).await?;
        Err(Error::RevisionOutOfRange { oldest, newest }.into())
    }

    /// Sends the whole state, and returns where to go on.
    ///
    /// It is read page by page, in no transaction, so that a slow client holds nothing up. What
    /// changes meanwhile is in the log, as whole resources: sent after the pages, it makes the whole
    /// of what the client has the state at the revision where that ends. Only then is it told so.
    async fn initial_state(&self) -> Result<i64, Stop> {
        let pool = &self.catalog.pool;
        let begun_at = changes::newest_revision(pool).await?;
        let mut pages = log::pages(|kind| self.filter.wants_kind(kind));
        while let Some(page) = pages.next(pool).await? {
            self.state(begun_at, page).await?;
        }
        self.catch_up(begun_at).await
    }

    /// Sends what is wanted of a page of the state, in messages of bounded size.
    async fn state(&self, revision: i64, page: Vec<Resource>) -> Result<(), Stop> {
        let operation = ChangeOperation::State.into();
        let (mut message, mut bytes) = (vec![], 0);
        for resource in page {
            if !self.filter.wants(resource.kind(), resource.name()) {
                continue;
            }
            let change = Change {
                revision,
                operation,
                changed_at: None,
                resource: Some(resource),
            };
            let encoded = Bytes::from(change.encode_to_vec());
            if bytes + encoded.len() > MAX_MESSAGE_BYTES && !message.is_empty() {
                self.send(std::mem::take(&mut message), 0).await?;
                bytes = 0;
            }
            bytes += encoded.len();
            message.push(encoded);
        }
        match message.is_empty() {
            true => Ok(()),
            false => self.send(message, 0).await,
        }
    }

    /// Sends what changed while the state was read, to the end of a transaction, and says that it is
    /// whole.
    async fn catch_up(&self, begun_at: i64) -> Result<i64, Stop> {
        let read_until = changes::newest_revision(&self.catalog.pool).await?;
        let mut next = begun_at + 1;
        let mut whole = true;
        while next <= read_until || !whole {
            let page = self.read(next).await?;
            whole = page.ends_transaction;
            next = page.last + 1;
            if !page.changes.is_empty() {
                self.send(page.changes, 0).await?;
            }
        }
        self.send(vec![], next - 1).await?;
        Ok(next)
    }
}
