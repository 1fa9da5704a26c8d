//! The worker's metrics; their names are documented in the crate's root.

use std::time::Instant;

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

use crate::work::Kind;

/// Describes the metrics.
pub(crate) fn describe_metrics() {
    describe_counter!(
        "rootstock_sync_work_total",
        "Pieces of work that ended, by kind and outcome."
    );
    describe_gauge!(
        "rootstock_sync_work_active",
        "Pieces of work being done, by kind."
    );
    describe_histogram!(
        "rootstock_sync_work_duration_seconds",
        Unit::Seconds,
        "Time that a piece of work took, by kind."
    );
    describe_counter!(
        "rootstock_sync_received_bytes_total",
        Unit::Bytes,
        "Bytes of blobs received from remotes, those of transfers that failed included, by remote."
    );
}

/// Counts a piece of work as active while it lives, and its outcome when that is known.
#[derive(Debug)]
pub(crate) struct ActiveWork {
    kind: Kind,
    began: Instant,
}

impl ActiveWork {
    pub(crate) fn begin(kind: Kind) -> Self {
        metrics::gauge!("rootstock_sync_work_active", "kind" => kind.label()).increment(1);
        Self {
            kind,
            began: Instant::now(),
        }
    }

    pub(crate) fn end(self, outcome: &'static str) {
        metrics::counter!("rootstock_sync_work_total", "kind" => self.kind.label(), "outcome" => outcome)
            .increment(1);
    }
}

impl Drop for ActiveWork {
    fn drop(&mut self) {
        metrics::gauge!("rootstock_sync_work_active", "kind" => self.kind.label()).decrement(1);
        metrics::histogram!("rootstock_sync_work_duration_seconds", "kind" => self.kind.label())
            .record(self.began.elapsed());
    }
}
