//! Automatic updates: images that follow by checks take their newest versions. The catalog decides; the
//! worker has it done, batch after batch.

use rootstock_ingest::LeaseGuard;
use rootstock_proto::sync::v1::AutoUpdateTask;

use crate::{work::WorkError, worker::Worker};

/// Has every image looked at that follows by checks.
pub(crate) async fn auto_update(
    worker: &Worker,
    held: &LeaseGuard,
    AutoUpdateTask {}: AutoUpdateTask,
) -> Result<&'static str, WorkError> {
    let mut after = String::new();
    let mut taken_versions = 0;
    loop {
        let batch = worker.catalog.auto_update(held.lease(), after).await?;
        taken_versions += batch.taken_versions;
        if batch.next.is_empty() {
            break;
        }
        after = batch.next;
    }
    tracing::info!(taken_versions, "looked for newer versions");
    held.reporting();
    worker.catalog.finish_auto_update(held.lease()).await?;
    Ok("updated")
}
