//! The worker's metrics; their names are documented in the crate's root.

use std::time::Instant;

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

use time::OffsetDateTime;

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
    describe_counter!(
        "rootstock_sync_events_total",
        "Events posted to webhooks, by webhook and outcome."
    );
    describe_histogram!(
        "rootstock_sync_event_lag_seconds",
        Unit::Seconds,
        "Time from a change to its being taken by a webhook, by webhook."
    );
}

/// Counts an event that was posted, and how long after it happened that was.
pub(crate) fn event(webhook: &str, taken: bool, happened_at: OffsetDateTime) {
    let outcome = if taken { "taken" } else { "refused" };
    let webhook = webhook.to_owned();
    metrics::counter!("rootstock_sync_events_total", "webhook" => webhook.clone(), "outcome" => outcome)
        .increment(1);
    if taken {
        let lag = (OffsetDateTime::now_utc() - happened_at).as_seconds_f64();
        metrics::histogram!("rootstock_sync_event_lag_seconds", "webhook" => webhook).record(lag.max(0.0));
    }
}

/// Counts a piece of work as active while it lives, and its outcome when that is known.
#[derive(Debug)]
pub(crate) struct ActiveWork {
    kind: &'static str,
    began: Instant,
}

impl ActiveWork {
    pub(crate) fn begin(kind: &'static str) -> Self {
        metrics::gauge!("rootstock_sync_work_active", "kind" => kind).increment(1);
        Self {
            kind,
            began: Instant::now(),
        }
    }

    pub(crate) fn end(self, outcome: &'static str) {
        metrics::counter!("rootstock_sync_work_total", "kind" => self.kind, "outcome" => outcome)
            .increment(1);
    }
}

impl Drop for ActiveWork {
    fn drop(&mut self) {
        metrics::gauge!("rootstock_sync_work_active", "kind" => self.kind).decrement(1);
        metrics::histogram!("rootstock_sync_work_duration_seconds", "kind" => self.kind)
            .record(self.began.elapsed());
    }
}
