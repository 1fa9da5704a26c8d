//! Saving the journal through the catalog, beside the bytes that flow.

use bytes::Bytes;
use futures::future::BoxFuture;
use rootstock_blobs::UploadJournal;
use rootstock_proto::sync::v1::SaveJournalRequest;

use super::Transfer;
use crate::{
    catalog::{Catalog, CatalogError},
    lease::Loss,
    work::WorkError,
};

/// Saves the newest journal while bytes go on flowing: one at a time, and what was overtaken
/// meanwhile is not saved at all.
pub(super) struct JournalKeeper<'a> {
    transfer: &'a Transfer<'a>,
    upload_id: String,
    saving: Option<BoxFuture<'static, Result<(), CatalogError>>>,
    next: Option<SaveJournalRequest>,
}

impl<'a> JournalKeeper<'a> {
    pub(super) fn new(transfer: &'a Transfer<'a>, upload_id: &str) -> Self {
        Self {
            transfer,
            upload_id: upload_id.to_owned(),
            saving: None,
            next: None,
        }
    }

    /// Tells the catalog that the upload exists, before there is a journal, so that a sweep leaves it
    /// alone. A blob that is not uploaded in parts has nothing to leave alone.
    pub(super) fn announce(&mut self) {
        if !self.upload_id.is_empty() {
            self.keep(request(self.transfer, &self.upload_id, None));
        }
    }

    /// Has a journal saved.
    pub(super) fn offer(&mut self, journal: &UploadJournal) {
        self.keep(request(self.transfer, &self.upload_id, Some(journal)));
    }

    /// Whether there is a save to wait for.
    pub(super) fn is_saving(&self) -> bool {
        self.saving.is_some()
    }

    /// Goes on saving until one save is done. Safe to drop and call again.
    ///
    /// A catalog that does not answer stops no transfer: the lease's end does, and until then there
    /// will be newer journals.
    pub(super) async fn saved(&mut self) -> Result<(), WorkError> {
        let Some(saving) = &mut self.saving else {
            return Ok(());
        };
        let saved = saving.await;
        self.saving = None;
        if let Some(next) = self.next.take() {
            self.keep(next);
        }
        settle(saved)
    }

    /// Waits until the newest is saved.
    pub(super) async fn flush(&mut self) -> Result<(), WorkError> {
        while self.is_saving() {
            self.saved().await?;
        }
        Ok(())
    }

    fn keep(&mut self, request: SaveJournalRequest) {
        match self.saving {
            Some(_) => self.next = Some(request),
            None => self.saving = Some(save_request(self.transfer.worker.catalog.clone(), request)),
        }
    }
}

/// Saves one journal.
pub(super) async fn save(
    transfer: &Transfer<'_>,
    upload_id: &str,
    journal: &UploadJournal,
) -> Result<(), WorkError> {
    let request = request(transfer, upload_id, Some(journal));
    settle(transfer.worker.catalog.save_journal(request).await)
}

fn save_request(
    catalog: Catalog,
    request: SaveJournalRequest,
) -> BoxFuture<'static, Result<(), CatalogError>> {
    Box::pin(async move { catalog.save_journal(request).await })
}

fn request(transfer: &Transfer<'_>, upload_id: &str, journal: Option<&UploadJournal>) -> SaveJournalRequest {
    let done_bytes = journal.map_or(0, UploadJournal::offset);
    SaveJournalRequest {
        lease: Some(transfer.held.lease()),
        journal: journal
            .map(|journal| Bytes::from(journal.to_bytes()))
            .unwrap_or_default(),
        upload_id: upload_id.to_owned(),
        done_bytes: i64::try_from(done_bytes).unwrap_or(i64::MAX),
    }
}

fn settle(saved: Result<(), CatalogError>) -> Result<(), WorkError> {
    match saved {
        Ok(()) => Ok(()),
        Err(CatalogError::LeaseLost) => Err(WorkError::LeaseLost(Loss::Told)),
        Err(error) => {
            tracing::warn!(error = String::from(error), "the journal could not be saved");
            Ok(())
        }
    }
}
