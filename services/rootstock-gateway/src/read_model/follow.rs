//! Following the catalog: one watch after the other, as long as the process lives.

use std::{convert::Infallible, time::Duration};

use rootstock_proto::catalog::v1::{
    Change, WatchRequest, WatchResponse, watch_service_client::WatchServiceClient,
};
use rootstock_runtime::{
    Shutdown,
    grpc::{client::ClientStack, code_name},
    retry::Backoff,
};
use time::OffsetDateTime;
use tokio::time::{sleep, timeout};
use tonic::{Code, Status};

use super::{ReadModel, SharedReadModel};
use crate::metrics;

/// The catalog gives a sign of life every 15 seconds: three missed ones, and the stream is dead.
const SILENCE_LIMIT: Duration = Duration::from_secs(45);

/// A first state of many images, in one piece, must fit; the catalog sends smaller ones.
const MAX_RESPONSE_BYTES: usize = 64 * 1024 * 1024;

/// Where a watch begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    /// With the whole state: nothing that is known can be relied on.
    InitialState,
    /// After the last revision that was applied.
    After(i64),
}

/// Keeps the model up to date until the shutdown. While the catalog cannot be reached the model
/// stays as it is.
///
/// What a state file held is never continued, only replaced: nobody knows what happened to the
/// catalog since.
pub(crate) async fn follow(
    catalog: ClientStack,
    model: &SharedReadModel,
    shutdown: &Shutdown,
) -> Result<(), Infallible> {
    let mut client = WatchServiceClient::new(catalog).max_decoding_message_size(MAX_RESPONSE_BYTES);
    let mut start = Start::InitialState;
    let mut failures = 0;
    loop {
        let mut watch = Watch {
            model,
            start,
            pending: Vec::new(),
            building: None,
            heard: false,
        };
        let ended = shutdown.race(watch.run(&mut client)).await;
        metrics::catalog_connected(false);
        let Some(status) = ended else { return Ok(()) };
        // A watch that heard anything shows that the catalog is there: waiting begins anew.
        failures = if watch.heard { 1 } else { failures + 1 };
        start = if status.code() == Code::OutOfRange {
            Start::InitialState
        } else {
            watch.start
        };
        let delay = Backoff::RPC.delay(failures, &mut rand::rng());
        report(failures, &status, start, delay);
        if shutdown.race(sleep(delay)).await.is_none() {
            return Ok(());
        }
    }
}

/// Says that a watch ended: aloud the first time, not each time that the catalog is still away.
fn report(failures: u32, status: &Status, start: Start, delay: Duration) {
    let (code, reason) = (code_name(status.code()), status.message());
    if failures == 1 {
        tracing::warn!(
            code,
            reason,
            ?start,
            ?delay,
            "lost the catalog: serving what is known, trying again"
        );
    } else {
        tracing::debug!(
            code,
            reason,
            ?start,
            ?delay,
            failures,
            "the catalog is still away"
        );
    }
}

/// One watch.
struct Watch<'a> {
    model: &'a SharedReadModel,
    /// Where the next watch would begin.
    start: Start,
    /// Changes of a transaction that is not complete yet.
    pending: Vec<Change>,
    /// The first state, as far as it has come: it takes much less room in the model than in messages.
    building: Option<ReadModel>,
    /// Whether the catalog said anything.
    heard: bool,
}

impl Watch<'_> {
    /// Runs until it fails, which every watch does some day.
    async fn run(&mut self, client: &mut WatchServiceClient<ClientStack>) -> Status {
        let request = match self.start {
            Start::InitialState => WatchRequest {
                initial_state: true,
                ..WatchRequest::default()
            },
            Start::After(revision) => WatchRequest {
                from_revision: revision + 1,
                ..WatchRequest::default()
            },
        };
        let mut responses = match client.watch(request).await {
            Ok(response) => response.into_inner(),
            Err(status) => return status,
        };
        metrics::catalog_connected(true);
        loop {
            match timeout(SILENCE_LIMIT, responses.message()).await {
                Ok(Ok(Some(response))) => self.take(response),
                Ok(Ok(None)) => return Status::unavailable("the catalog ended the watch"),
                Ok(Err(status)) => return status,
                Err(_elapsed) => {
                    return Status::unavailable(format!(
                        "the catalog gave no sign of life for {SILENCE_LIMIT:?}"
                    ));
                }
            }
        }
    }

    fn take(&mut self, response: WatchResponse) {
        let now = OffsetDateTime::now_utc();
        if !self.heard {
            self.heard = true;
            tracing::info!(start = ?self.start, "following the catalog");
        }
        match self.start {
            Start::InitialState => {
                let building = self.building.get_or_insert_with(ReadModel::new);
                building.apply(response.changes, response.revision, now);
            }
            Start::After(_) => self.pending.extend(response.changes),
        }
        if response.revision != 0 {
            match self.building.take() {
                Some(new) => self.begin(new, now),
                None => {
                    let changes = std::mem::take(&mut self.pending);
                    self.advance(changes, response.revision, now);
                }
            }
            self.start = Start::After(response.revision);
        }
        if let Start::After(revision) = self.start
            && self.pending.is_empty()
        {
            metrics::model_confirmed(revision, now);
        }
    }

    fn begin(&self, new: ReadModel, now: OffsetDateTime) {
        tracing::info!(
            revision = new.revision(),
            blobs = new.blob_count(),
            "received the catalog's state"
        );
        let mut old = None;
        self.model.send_modify(|model| match model {
            Some(model) => old = Some(model.replace(new, now)),
            None => *model = Some(new),
        });
        // Dropped here, where no reader of the model waits for it.
        drop(old);
    }

    fn advance(&self, changes: Vec<Change>, revision: i64, now: OffsetDateTime) {
        let changed = !changes.is_empty();
        self.model.send_if_modified(|model| {
            if let Some(model) = model {
                model.apply(changes, revision, now);
                // A sign of life comes often enough to be the clock for this.
                model.prune(now);
            }
            changed
        });
    }
}
