//! Deliveries: changes that a webhook is sent.

use rootstock_proto::sync::v1::{
    DeliverTask, FinishResponse, SaveDeliveryRequest, finish_request::Outcome, work::Task,
};
use sqlx::PgConnection;

use crate::{
    Catalog,
    change::Writer,
    failure::Failure,
    queries::webhooks,
    work::{
        Kind, LeaseGuard,
        lease::{self, fence_kind},
        rules::{WorkerKind, unfit_outcome},
        schedule::Claimed,
    },
};

/// The kind.
pub(crate) struct Deliver;

#[tonic::async_trait]
impl WorkerKind for Deliver {
    async fn task(
        &self,
        _catalog: &Catalog,
        connection: &mut PgConnection,
        claimed: &Claimed,
    ) -> Result<Option<Task>, Failure> {
        let Some(row) = webhooks::by_id(connection, claimed.subject.webhook()?).await? else {
            return Ok(None);
        };
        let status = row.webhook.status.clone().unwrap_or_default();
        Ok(Some(Task::Deliver(DeliverTask {
            webhook: Some(row.webhook),
            delivered_revision: status.delivered_revision,
            ping: status.ping_pending,
        })))
    }

    /// It goes on until the lease is lost.
    async fn finish(
        &self,
        _catalog: &Catalog,
        _writer: &mut Writer,
        guard: &LeaseGuard,
        _outcome: Outcome,
    ) -> Result<FinishResponse, Failure> {
        Err(unfit_outcome(guard.kind))
    }
}

/// Records how far delivery is.
pub(crate) async fn save(catalog: &Catalog, request: SaveDeliveryRequest) -> Result<(), Failure> {
    let mut transaction = catalog.pool.begin().await?;
    let guard = fence_kind(&mut transaction, request.lease.into(), Kind::Deliver).await?;
    let webhook_id = guard.subject.webhook()?;
    let SaveDeliveryRequest {
        delivered_revision,
        delivered,
        pinged,
        ..
    } = request;
    webhooks::delivered(
        &mut transaction,
        webhook_id,
        delivered_revision,
        delivered,
        pinged,
    )
    .await?;
    if delivered && guard.failed_attempts > 0 {
        lease::forget_failures(&mut transaction, guard.lease.work_id).await?;
    }
    transaction.commit().await?;
    Ok(())
}
