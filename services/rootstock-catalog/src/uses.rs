//! Uses of images, on their way to the database: a busy image costs at most one write a minute, and
//! whoever uses it does not wait. A failed write is tried again a minute later; the rest is written
//! when the process ends.

use std::time::Duration;

use rootstock_runtime::{
    Shutdown,
    throttle::{Event, Throttle},
};
use sqlx::PgPool;
use tokio::time::Instant;

use crate::{metrics, queries::uses};

/// Time between two writes for one image.
const INTERVAL: Duration = Duration::from_secs(60);
/// Images that are remembered at once. Uses of more than so many in a minute are not noted.
const MAX_IMAGES: usize = 131_072;
/// Images written by one statement.
const BATCH: usize = 10_000;

/// The uses that this process has seen.
#[derive(Debug)]
pub(crate) struct Uses(Throttle);

impl Default for Uses {
    fn default() -> Self {
        Self(Throttle::new(INTERVAL, MAX_IMAGES))
    }
}

impl Uses {
    /// Notes that an image was used now.
    pub(crate) fn record(&self, image_id: &str) {
        if self.0.note(image_id).is_err() {
            metrics::use_dropped();
        }
    }

    /// Writes what is due, until shutdown.
    pub(crate) async fn run(&self, pool: &PgPool, shutdown: &Shutdown) {
        while let Some(due) = shutdown.race(self.0.due()).await {
            self.write(pool, due).await;
        }
    }

    /// Writes what is left: for the end, when nobody records a use any more.
    pub(crate) async fn flush(&self, pool: &PgPool) {
        self.write(pool, self.0.take_all()).await;
    }

    async fn write(&self, pool: &PgPool, due: Vec<Event>) {
        for batch in due.chunks(BATCH) {
            let now = Instant::now();
            let used: Vec<_> = batch
                .iter()
                .map(|(id, at)| (id.clone(), now.saturating_duration_since(*at)))
                .collect();
            if let Err(error) = uses::record(pool, &used).await {
                // A use more or less costs an image a minute of its time in the store.
                tracing::warn!(?error, images = used.len(), "uses of images could not be written");
                self.0.put_back(batch);
            }
        }
    }
}
