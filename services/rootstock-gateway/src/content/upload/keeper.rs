//! Keeping an upload's lease and journal, beside the bytes that flow.

use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use rootstock_blobs::{Upload, UploadJournal};
use rootstock_proto::{
    Error,
    sync::v1::{Lease, SaveJournalRequest},
};
use tokio::time::{Instant, sleep_until};
use tonic::Status;

use crate::content::catalog::{Catalog, is_lease_lost};

/// For a catalog that does not say how long a lease holds.
const DEFAULT_LEASE: Duration = Duration::from_secs(30);
/// A lease is prolonged this many times within its duration, so that it survives a lost heartbeat.
const BEATS_PER_LEASE: u32 = 3;

/// One call at a time: a journal when there is a new one (what was overtaken meanwhile is not saved at
/// all), else a heartbeat when it is due.
pub(super) struct Keeper {
    catalog: Catalog,
    lease: Lease,
    duration: Duration,
    upload_id: String,
    /// Nothing prolongs the lease beyond this unless a heartbeat is answered.
    ends_at: Instant,
    beat_at: Instant,
    done_bytes: u64,
    calling: Option<BoxFuture<'static, Called>>,
    next: Option<SaveJournalRequest>,
}

struct Called {
    /// What is kept when a journal was saved; `None` for a heartbeat.
    kept_bytes: Option<u64>,
    sent_at: Instant,
    said: Result<(), Status>,
}

impl Keeper {
    pub(super) fn new(catalog: Catalog, lease: Lease, duration: Option<Duration>, upload: &Upload) -> Self {
        let duration = duration
            .filter(|duration| !duration.is_zero())
            .unwrap_or(DEFAULT_LEASE);
        let now = Instant::now();
        Self {
            catalog,
            lease,
            duration,
            upload_id: upload.id().to_owned(),
            ends_at: now + duration,
            beat_at: now + duration / BEATS_PER_LEASE,
            done_bytes: upload.offset(),
            calling: None,
            next: None,
        }
    }

    pub(super) fn lease(&self) -> Lease {
        self.lease
    }

    /// Notes how many bytes were taken, for the next heartbeat.
    pub(super) fn progress(&mut self, done_bytes: u64) {
        self.done_bytes = done_bytes;
    }

    /// Tells the catalog that the upload exists, before there is a journal, so that a sweep leaves it
    /// alone. A blob that is not uploaded in parts has nothing to leave alone.
    pub(super) fn announce(&mut self) {
        if !self.upload_id.is_empty() {
            self.next = Some(self.request(None));
        }
    }

    /// Has a journal saved.
    pub(super) fn offer(&mut self, journal: UploadJournal) {
        self.next = Some(self.request(Some(&journal)));
    }

    /// Goes on until one call was answered; answers how many bytes are kept, if that has changed. Safe to
    /// drop and call again.
    ///
    /// # Errors
    /// `ABORTED`: the lease is lost, or must be taken for lost.
    pub(super) async fn turn(&mut self) -> Result<Option<u64>, Status> {
        loop {
            let Some(calling) = &mut self.calling else {
                match self.next.take() {
                    Some(request) => self.calling = Some(self.save(request)),
                    None => {
                        sleep_until(self.beat_at).await;
                        self.calling = Some(self.beat());
                    }
                }
                continue;
            };
            let called = calling.await;
            self.calling = None;
            return self.learn(called);
        }
    }

    /// Waits until the newest journal is saved, or cannot be.
    pub(super) async fn flush(&mut self) {
        while self.calling.is_some() || self.next.is_some() {
            if self.turn().await.is_err() {
                return;
            }
        }
    }

    fn learn(&mut self, called: Called) -> Result<Option<u64>, Status> {
        let now = Instant::now();
        match (called.said, called.kept_bytes) {
            (Ok(()), Some(kept_bytes)) => return Ok(Some(kept_bytes).filter(|kept| *kept > 0)),
            (Ok(()), None) => {
                self.ends_at = called.sent_at + self.duration;
                self.beat_at = now + self.duration / BEATS_PER_LEASE;
            }
            (Err(status), _) if is_lease_lost(&status) => return Err(status),
            (Err(status), kept_bytes) => {
                tracing::warn!(
                    error = status.message(),
                    "the catalog could not be told of an upload"
                );
                if kept_bytes.is_none() {
                    self.beat_at = now + self.duration / (BEATS_PER_LEASE * 4);
                }
            }
        }
        match now < self.ends_at {
            true => Ok(None),
            false => Err(Error::LeaseLost.into()),
        }
    }

    fn timeout(&self) -> Duration {
        self.duration / BEATS_PER_LEASE
    }

    fn save(&self, request: SaveJournalRequest) -> BoxFuture<'static, Called> {
        let (catalog, timeout) = (self.catalog.clone(), self.timeout());
        let kept_bytes = Some(u64::try_from(request.done_bytes).unwrap_or_default());
        Box::pin(async move {
            Called {
                kept_bytes,
                sent_at: Instant::now(),
                said: catalog.save_journal(request, timeout).await,
            }
        })
    }

    fn beat(&self) -> BoxFuture<'static, Called> {
        let (catalog, timeout) = (self.catalog.clone(), self.timeout());
        let (lease, done_bytes) = (self.lease, self.done_bytes);
        Box::pin(async move {
            Called {
                kept_bytes: None,
                sent_at: Instant::now(),
                said: catalog.heartbeat(lease, done_bytes, timeout).await,
            }
        })
    }

    fn request(&self, journal: Option<&UploadJournal>) -> SaveJournalRequest {
        let done_bytes = journal.map_or(0, UploadJournal::offset);
        SaveJournalRequest {
            lease: Some(self.lease),
            journal: journal
                .map(|journal| Bytes::from(journal.to_bytes()))
                .unwrap_or_default(),
            upload_id: self.upload_id.clone(),
            done_bytes: i64::try_from(done_bytes).unwrap_or(i64::MAX),
        }
    }
}
