//! Compaction: the log of changes stays bounded.

use std::time::Duration;

use sqlx::PgConnection;

use crate::{
    Catalog,
    failure::Failure,
    work::{Kind, Lease, lease::fence_kind, rules::CatalogKind},
};

/// Time between two rounds.
const INTERVAL: Duration = Duration::from_secs(10 * 60);
/// Rows removed in one transaction: the log's readers are not to wait for it.
const BATCH: i64 = 10_000;

/// The kind.
pub(crate) struct Compact;

#[tonic::async_trait]
impl CatalogKind for Compact {
    /// Removes all but the newest changes.
    async fn round(&self, catalog: &Catalog, lease: Lease) -> Result<(), Failure> {
        let mut removed = 0;
        loop {
            let mut transaction = catalog.pool.begin().await?;
            fence_kind(&mut transaction, lease, Kind::Compact).await?;
            let batch = sqlx::query!(
                "DELETE FROM changes WHERE revision IN (
                     SELECT revision FROM changes
                     WHERE revision <= (SELECT revision FROM catalog_revision) - $1
                     ORDER BY revision LIMIT $2)",
                catalog.change_history,
                BATCH,
            )
            .execute(&mut *transaction)
            .await?
            .rows_affected();
            transaction.commit().await?;
            removed += batch;
            if batch == 0 {
                break;
            }
        }
        if removed > 0 {
            tracing::info!(removed, "compacted the log of changes");
        }
        Ok(())
    }

    async fn next_round(
        &self,
        _catalog: &Catalog,
        _connection: &mut PgConnection,
    ) -> Result<Duration, Failure> {
        Ok(INTERVAL)
    }
}
