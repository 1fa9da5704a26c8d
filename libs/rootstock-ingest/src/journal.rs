//! Saving an upload's journal through the catalog while its bytes flow.

use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use rootstock_blobs::UploadJournal;
use rootstock_proto::sync::v1::{Lease, SaveJournalRequest};

use crate::{
    catalog::{CatalogError, LeaseClient},
    lease::{LeaseGuard, LeaseLoss},
};

/// Saves the newest journal, one call at a time. A journal that waits is dropped when a newer one comes.
pub(crate) struct JournalSaver {
    catalog: LeaseClient,
    lease: Lease,
    /// The lease's duration: once it is lost, the catalog refuses the journal.
    timeout: Duration,
    upload_id: String,
    saving: Option<BoxFuture<'static, Reply>>,
    next: Option<SaveJournalRequest>,
}

struct Reply {
    saved_bytes: u64,
    result: Result<(), CatalogError>,
}

impl JournalSaver {
    pub(crate) fn new(catalog: LeaseClient, guard: &LeaseGuard, upload_id: &str) -> Self {
        Self {
            catalog,
            lease: guard.lease(),
            timeout: guard.duration(),
            upload_id: upload_id.to_owned(),
            saving: None,
            next: None,
        }
    }

    /// Reports that the upload exists, before there is a journal, so that a sweep leaves it alone. A blob
    /// that is not uploaded in parts has no id, and leaves nothing that a sweep could find.
    pub(crate) fn announce(&mut self) {
        if !self.upload_id.is_empty() {
            self.next = Some(self.request(None));
        }
    }

    /// Queues a journal in place of one that waits.
    pub(crate) fn enqueue(&mut self, journal: &UploadJournal) {
        self.next = Some(self.request(Some(journal)));
    }

    /// Saves until one call is answered. Returns how many bytes the saved journal covers; `None` when it
    /// covers none or could not be saved. Never returns while nothing is queued. Safe to drop and call
    /// again.
    ///
    /// A catalog that does not answer stops no upload. The end of the lease does, and until then there
    /// will be newer journals.
    pub(crate) async fn poll(&mut self) -> Result<Option<u64>, LeaseLoss> {
        let reply = match self.start() {
            Some(saving) => saving.await,
            None => std::future::pending().await,
        };
        self.saving = None;
        on_reply(reply)
    }

    /// Waits until the newest journal is saved or could not be.
    pub(crate) async fn flush(&mut self) -> Result<(), LeaseLoss> {
        while self.saving.is_some() || self.next.is_some() {
            self.poll().await?;
        }
        Ok(())
    }

    /// The call in progress; begins the next one when there is none.
    fn start(&mut self) -> Option<&mut BoxFuture<'static, Reply>> {
        if self.saving.is_none()
            && let Some(request) = self.next.take()
        {
            let (catalog, timeout) = (self.catalog.clone(), self.timeout);
            self.saving = Some(Box::pin(async move {
                Reply {
                    saved_bytes: u64::try_from(request.done_bytes).unwrap_or_default(),
                    result: catalog.save_journal(request, timeout).await,
                }
            }));
        }
        self.saving.as_mut()
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

fn on_reply(reply: Reply) -> Result<Option<u64>, LeaseLoss> {
    match reply.result {
        Ok(()) => Ok(Some(reply.saved_bytes).filter(|bytes| *bytes > 0)),
        Err(CatalogError::LeaseLost) => Err(LeaseLoss::Revoked),
        Err(error) => {
            tracing::warn!(%error, "the journal could not be saved");
            Ok(None)
        }
    }
}
