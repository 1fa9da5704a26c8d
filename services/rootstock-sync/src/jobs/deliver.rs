//! Delivering: every change is posted to a webhook, in order and at least once.
//!
//! A plain client of `Watch`: it begins after what was delivered, posts one change at a time, and
//! says through the catalog how far it is. What was posted since the last word is posted again by
//! whoever takes over. A receiver that does not take an event ends the work; the catalog decides
//! when it is tried again.

mod event;
mod receiver;

use std::time::Duration;

use rootstock_ingest::LeaseGuard;
use rootstock_proto::{
    Error,
    catalog::v1::{WatchRequest, WatchResponse, Webhook},
    sync::v1::{DeliverTask, SaveDeliveryRequest, WorkKind, work::Task},
};
use rootstock_runtime::retry::Backoff;
use tokio::time::{Instant, sleep_until, timeout};
use tonic::{Code, Status, Streaming};
use tracing::Span;

use self::{event::Event, receiver::Receiver};
use crate::{
    config::SyncConfig,
    job::{Done, Job, JobContext, JobError},
    worker::Worker,
};

/// The least time between two words on what the receiver took: what a crash may repeat.
const SAVE_DELIVERED: Duration = Duration::from_secs(1);
/// The same when there was nothing for the receiver: what a crash reads again.
const SAVE_PASSED: Duration = Duration::from_secs(60);
/// A watch that says nothing for so long, not even that it lives, is gone.
const IDLE_TIMEOUT: Duration = Duration::from_secs(45);
/// Webhooks delivered to at a time: each costs a stream of changes, and mostly waits.
const CONCURRENT_WEBHOOKS: usize = 100;

/// The kind.
pub(crate) struct Deliver;

impl Job for Deliver {
    const KIND: WorkKind = WorkKind::Deliver;
    const LABEL: &'static str = "deliver";
    const STOPS_ITSELF: bool = true;

    type Task = DeliverTask;

    fn task(task: Task) -> Option<DeliverTask> {
        match task {
            Task::Deliver(task) => Some(task),
            _ => None,
        }
    }

    fn slots(_config: &SyncConfig) -> usize {
        CONCURRENT_WEBHOOKS
    }

    fn span(work_id: i64, task: &DeliverTask) -> Span {
        let webhook = task.webhook.as_ref().map_or("", |webhook| webhook.name.as_str());
        tracing::info_span!("deliver", work.id = work_id, webhook.name = webhook)
    }

    /// Delivers until the shutdown, the loss of the lease, or a failure.
    async fn run(JobContext { worker, held }: JobContext<'_>, task: DeliverTask) -> Result<Done, JobError> {
        let webhook = task.webhook.unwrap_or_default();
        let receiver = Receiver::new(&webhook).map_err(JobError::failed)?;
        let mut delivery = Delivery {
            worker,
            held,
            receiver,
            webhook,
            position: task.delivered_revision,
            saved: task.delivered_revision,
            saved_at: Instant::now(),
            took_one: false,
        };
        let outcome = delivery.run(task.ping).await;
        // Whatever ended it: what the receiver has it need not be sent again.
        let saved = delivery.save(false).await;
        match (outcome, saved) {
            (Err(error), _) => Err(error),
            (Ok(never), _) => match never {},
        }
    }
}

struct Delivery<'a> {
    worker: &'a Worker,
    held: &'a LeaseGuard,
    receiver: Receiver,
    webhook: Webhook,
    /// Everything up to this revision was delivered, or is none of what is wanted.
    position: i64,
    /// What the catalog knows of that.
    saved: i64,
    saved_at: Instant,
    /// Whether the receiver took an event that the catalog does not know of.
    took_one: bool,
}

impl Delivery<'_> {
    async fn run(&mut self, ping: bool) -> Result<std::convert::Infallible, JobError> {
        if ping {
            self.post(&Event::ping(&self.webhook.name)).await?;
            self.save(true).await?;
        }
        let mut failures = 0;
        loop {
            let status = match self.watch().await {
                Ok(stream) => {
                    failures = 0;
                    self.follow(stream).await?
                }
                Err(status) => status,
            };
            if let Some(Error::RevisionOutOfRange { oldest, .. }) = Error::from_status(&status) {
                self.post(&Event::compacted(&self.webhook.name, self.position + 1, oldest))
                    .await?;
                self.position = oldest - 1;
                self.save(false).await?;
                continue;
            }
            if status.code() != Code::Unavailable {
                tracing::warn!(%status, "the watch of changes ended");
            }
            // Until the catalog is there again, or the lease must be presumed lost.
            let delay = Backoff::RPC.delay(failures, &mut rand::rng());
            failures = failures.saturating_add(1);
            if self
                .worker
                .shutdown
                .race(tokio::time::sleep(delay))
                .await
                .is_none()
            {
                return Err(JobError::Stopped);
            }
        }
    }

    async fn watch(&self) -> Result<Streaming<WatchResponse>, Status> {
        let request = WatchRequest {
            from_revision: self.position + 1,
            kinds: self.webhook.kinds.clone(),
            name: self.webhook.name_glob.clone(),
            ..WatchRequest::default()
        };
        self.worker.catalog.watch(request).await
    }

    /// Posts what a watch brings, until it ends.
    async fn follow(&mut self, mut changes: Streaming<WatchResponse>) -> Result<Status, JobError> {
        loop {
            let response = tokio::select! {
                biased;
                () = self.worker.shutdown.triggered() => return Err(JobError::Stopped),
                () = sleep_until(self.save_due()), if self.is_dirty() => {
                    self.save(false).await?;
                    continue;
                }
                response = timeout(IDLE_TIMEOUT, changes.message()) => response,
            };
            let response = match response {
                Ok(Ok(Some(response))) => response,
                Ok(Ok(None)) => return Ok(Status::unavailable("the watch ended")),
                Ok(Err(status)) => return Ok(status),
                Err(_elapsed) => return Ok(Status::unavailable("the watch is silent")),
            };
            for change in &response.changes {
                if self.worker.shutdown.is_triggered() {
                    return Err(JobError::Stopped);
                }
                if let Some(event) = Event::of(&self.webhook.name, change).map_err(JobError::failed)? {
                    self.post(&event).await?;
                }
                self.position = self.position.max(change.revision);
                if self.is_dirty() && Instant::now() >= self.save_due() {
                    self.save(false).await?;
                }
            }
            self.position = self.position.max(response.revision);
        }
    }

    async fn post(&mut self, event: &Event) -> Result<(), JobError> {
        self.receiver
            .post(event)
            .await
            .map_err(|refused| JobError::Failed {
                message: refused.message,
                retry_after: refused.retry_after,
            })?;
        self.took_one = true;
        Ok(())
    }

    fn is_dirty(&self) -> bool {
        self.took_one || self.position > self.saved
    }

    fn save_due(&self) -> Instant {
        self.saved_at
            + if self.took_one {
                SAVE_DELIVERED
            } else {
                SAVE_PASSED
            }
    }

    /// Tells the catalog how far delivery is.
    async fn save(&mut self, pinged: bool) -> Result<(), JobError> {
        if !self.is_dirty() && !pinged {
            return Ok(());
        }
        let request = SaveDeliveryRequest {
            lease: Some(self.held.lease()),
            delivered_revision: self.position,
            delivered: self.took_one,
            pinged,
        };
        self.worker.catalog.save_delivery(request).await?;
        self.saved = self.position;
        self.saved_at = Instant::now();
        self.took_one = false;
        Ok(())
    }
}
