//! What the catalog does for itself, now and then. Harmless when several catalogs do it at once.

use std::time::Duration;

use rootstock_runtime::Shutdown;
use sqlx::PgPool;

use crate::failure::Failure;

const INTERVAL: Duration = Duration::from_secs(10 * 60);
/// Rows removed by one statement: the log's readers are not to wait for it.
const BATCH: i64 = 10_000;

/// Keeps the log of changes bounded.
pub(crate) async fn run(pool: PgPool, change_history: i64, shutdown: Shutdown) {
    while shutdown.race(tokio::time::sleep(INTERVAL)).await.is_some() {
        match compact(&pool, change_history).await {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "compacted the log of changes"),
            Err(error) => tracing::warn!(?error, "the log of changes could not be compacted"),
        }
    }
}

/// Removes all but the newest `keep` changes; answers how many.
pub(crate) async fn compact(pool: &PgPool, keep: i64) -> Result<u64, Failure> {
    let mut removed = 0;
    loop {
        let batch = sqlx::query!(
            "DELETE FROM changes WHERE revision IN (
                 SELECT revision FROM changes
                 WHERE revision <= (SELECT revision FROM catalog_revision) - $1
                 ORDER BY revision LIMIT $2)",
            keep,
            BATCH,
        )
        .execute(pool)
        .await?
        .rows_affected();
        removed += batch;
        if batch == 0 {
            return Ok(removed);
        }
    }
}
