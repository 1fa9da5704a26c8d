//! Expiring: what has run out ends. The catalog knows what; the worker has it done, batch after batch.

use rootstock_ingest::LeaseGuard;
use rootstock_proto::sync::v1::ExpireTask;

use crate::{work::WorkError, worker::Worker};

/// Has everything ended that has run out.
pub(crate) async fn expire(
    worker: &Worker,
    held: &LeaseGuard,
    ExpireTask {}: ExpireTask,
) -> Result<&'static str, WorkError> {
    loop {
        let batch = worker.catalog.expire(held.lease()).await?;
        if batch.expired_images + batch.ended_holds + batch.purged_rows > 0 {
            tracing::info!(
                expired_images = batch.expired_images,
                ended_holds = batch.ended_holds,
                purged_rows = batch.purged_rows,
                "ended what has run out"
            );
        }
        if !batch.more {
            break;
        }
    }
    held.reporting();
    worker.catalog.finish_expire(held.lease()).await?;
    Ok("expired")
}
