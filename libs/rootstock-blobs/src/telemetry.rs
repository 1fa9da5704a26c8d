//! The crate's metrics; their names are documented in the crate's root.

use std::time::Instant;

use crate::error::{BlobError, Operation};

/// The kind of a store, as metrics and journals spell it. Each backend has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StoreKind(&'static str);

impl StoreKind {
    pub(crate) const fn new(label: &'static str) -> Self {
        Self(label)
    }

    pub(crate) const fn label(self) -> &'static str {
        self.0
    }

    /// Counts and times `work`.
    pub(crate) async fn observe<T>(
        self,
        operation: Operation,
        work: impl Future<Output = Result<T, BlobError>>,
    ) -> Result<T, BlobError> {
        let started = Instant::now();
        let result = work.await;
        let outcome = result.as_ref().err().map_or("ok", BlobError::label);
        metrics::counter!("rootstock_blob_operations_total",
            "store" => self.label(), "operation" => operation.label(), "outcome" => outcome)
        .increment(1);
        metrics::histogram!("rootstock_blob_operation_duration_seconds",
            "store" => self.label(), "operation" => operation.label())
        .record(started.elapsed());
        result
    }

    pub(crate) fn count_written(self, bytes: usize) {
        metrics::counter!("rootstock_blob_written_bytes_total", "store" => self.label())
            .increment(bytes as u64);
    }

    pub(crate) fn count_read(self, bytes: usize) {
        metrics::counter!("rootstock_blob_read_bytes_total", "store" => self.label()).increment(bytes as u64);
    }
}

/// Counts an upload as active while it lives.
#[derive(Debug)]
pub(crate) struct ActiveUpload(StoreKind);

impl ActiveUpload {
    pub(crate) fn new(store: StoreKind) -> Self {
        metrics::gauge!("rootstock_blob_uploads_active", "store" => store.label()).increment(1);
        Self(store)
    }
}

impl Drop for ActiveUpload {
    fn drop(&mut self) {
        metrics::gauge!("rootstock_blob_uploads_active", "store" => self.0.label()).decrement(1);
    }
}
