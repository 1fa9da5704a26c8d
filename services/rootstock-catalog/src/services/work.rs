//! `WorkService`: the workers' side.

use std::time::Duration;

use rootstock_proto::{
    Error,
    sync::v1::{
        self as wire, ClaimRequest, ClaimResponse, ConfirmRemovalsRequest, ConfirmRemovalsResponse,
        FailRequest, FailResponse, FinishRequest, FinishResponse, HeartbeatRequest, HeartbeatResponse,
        ReleaseRequest, ReleaseResponse, ReportObjectsRequest, ReportObjectsResponse, SaveDeliveryRequest,
        SaveDeliveryResponse, SaveJournalRequest, SaveJournalResponse, SubmitSnapshotRequest,
        SubmitSnapshotResponse, TakeRemovalsRequest, TakeRemovalsResponse, work_service_server::WorkService,
    },
};
use rootstock_runtime::Shutdown;
use tokio::time::Instant;
use tonic::{Request, Response, Streaming};

use crate::{
    Catalog,
    change::{self, Writer},
    failure::Failure,
    metrics, snapshot,
    work::{
        Kind, Lease,
        claim::DueWork,
        kinds::{self, collect, deliver, poll, sweep},
        lease::{self, fence},
        rules::WorkFailure,
        schedule,
    },
};

/// The longest that a claim waits, whatever it asks for: well within what a server lets a call take.
const MAX_WAIT: Duration = Duration::from_secs(20);
/// Work that a claim may take at once.
const MAX_CLAIM: i32 = 100;

/// The service.
pub(crate) struct Works {
    pub catalog: Catalog,
    pub shutdown: Shutdown,
}

#[tonic::async_trait]
impl WorkService for Works {
    async fn claim(&self, request: Request<ClaimRequest>) -> Result<Response<ClaimResponse>, tonic::Status> {
        let request = request.into_inner();
        if request.worker.is_empty() {
            return Err(Failure::from(Error::invalid("worker", "is required")).into());
        }
        if !(1..=MAX_CLAIM).contains(&request.max) {
            let problem = format!("is {}; it may be 1 to {MAX_CLAIM}", request.max);
            return Err(Failure::from(Error::invalid("max", problem)).into());
        }
        let claimed = self.shutdown.race(self.claim_within(&request)).await;
        let work = claimed.unwrap_or_else(|| Ok(vec![]))?;
        Ok(Response::new(ClaimResponse { work }))
    }

    async fn heartbeat(
        &self,
        request: Request<HeartbeatRequest>,
    ) -> Result<Response<HeartbeatResponse>, tonic::Status> {
        let progress = request.into_inner().work;
        let leases: Vec<Lease> = progress.iter().map(|one| one.lease.into()).collect();
        let done_bytes: Vec<i64> = progress.iter().map(|one| one.done_bytes).collect();
        let mut connection = self.catalog.pool.acquire().await.map_err(Failure::from)?;
        let lease_duration = self.catalog.lease_duration;
        let kept = schedule::extend_leases(&mut connection, &leases, &done_bytes, lease_duration).await?;
        let lost = leases
            .into_iter()
            .filter(|lease| !kept.contains(lease))
            .map(wire::Lease::from);
        Ok(Response::new(HeartbeatResponse { lost: lost.collect() }))
    }

    async fn release(
        &self,
        request: Request<ReleaseRequest>,
    ) -> Result<Response<ReleaseResponse>, tonic::Status> {
        let leases = request.into_inner().leases.into_iter();
        let leases: Vec<Lease> = leases.map(|lease| Some(lease).into()).collect();
        let mut connection = self.catalog.pool.acquire().await.map_err(Failure::from)?;
        schedule::release(&mut connection, &leases).await?;
        Ok(Response::new(ReleaseResponse {}))
    }

    async fn fail(&self, request: Request<FailRequest>) -> Result<Response<FailResponse>, tonic::Status> {
        fail(&self.catalog, request.into_inner()).await?;
        Ok(Response::new(FailResponse {}))
    }

    async fn finish(
        &self,
        request: Request<FinishRequest>,
    ) -> Result<Response<FinishResponse>, tonic::Status> {
        Ok(Response::new(finish(&self.catalog, request.into_inner()).await?))
    }

    async fn submit_snapshot(
        &self,
        request: Request<Streaming<SubmitSnapshotRequest>>,
    ) -> Result<Response<SubmitSnapshotResponse>, tonic::Status> {
        let submission = poll::receive_snapshot(request.into_inner()).await?;
        let recorded = snapshot::submit(&self.catalog, submission).await?;
        Ok(Response::new(SubmitSnapshotResponse {
            changed_versions: recorded.changed_versions,
            queued_transfers: recorded.queued_transfers,
        }))
    }

    async fn save_journal(
        &self,
        request: Request<SaveJournalRequest>,
    ) -> Result<Response<SaveJournalResponse>, tonic::Status> {
        let request = request.into_inner();
        let mut connection = self.catalog.pool.acquire().await.map_err(Failure::from)?;
        lease::save_journal(
            &mut connection,
            request.lease.into(),
            &request.journal,
            &request.upload_id,
            request.done_bytes,
        )
        .await?;
        Ok(Response::new(SaveJournalResponse {}))
    }

    async fn save_delivery(
        &self,
        request: Request<SaveDeliveryRequest>,
    ) -> Result<Response<SaveDeliveryResponse>, tonic::Status> {
        deliver::save(&self.catalog, request.into_inner()).await?;
        Ok(Response::new(SaveDeliveryResponse {}))
    }

    async fn report_objects(
        &self,
        request: Request<ReportObjectsRequest>,
    ) -> Result<Response<ReportObjectsResponse>, tonic::Status> {
        let orphans = sweep::report_objects(&self.catalog, request.into_inner()).await?;
        Ok(Response::new(ReportObjectsResponse { orphans }))
    }

    async fn take_removals(
        &self,
        request: Request<TakeRemovalsRequest>,
    ) -> Result<Response<TakeRemovalsResponse>, tonic::Status> {
        let taken = collect::take(&self.catalog, request.into_inner()).await?;
        Ok(Response::new(taken))
    }

    async fn confirm_removals(
        &self,
        request: Request<ConfirmRemovalsRequest>,
    ) -> Result<Response<ConfirmRemovalsResponse>, tonic::Status> {
        collect::confirm(&self.catalog, request.into_inner()).await?;
        Ok(Response::new(ConfirmRemovalsResponse {}))
    }
}

impl Works {
    /// Claims work, waiting for some to fall due as long as the request allows.
    async fn claim_within(&self, request: &ClaimRequest) -> Result<Vec<wire::Work>, Failure> {
        let wait = request
            .wait
            .and_then(|wait| Duration::try_from(wait).ok())
            .unwrap_or_default();
        let deadline = Instant::now() + wait.min(MAX_WAIT);
        let kinds: Vec<Kind> = request
            .kinds()
            .filter_map(|kind| Kind::from_code(kind as i16))
            .filter(|kind| kinds::of_worker(*kind).is_ok())
            .collect();
        let mut due_work = DueWork::of(&self.catalog, &kinds);
        loop {
            let found = claim(&self.catalog, &request.worker, &kinds, request.max.into()).await?;
            if !found.is_empty() || Instant::now() >= deadline {
                return Ok(found);
            }
            due_work.wait(deadline).await?;
        }
    }
}

/// Claims work that is due, with all that a worker must know to do it. Work that nobody wants any
/// more is dropped here.
async fn claim(
    catalog: &Catalog,
    worker: &str,
    kinds: &[Kind],
    max: i64,
) -> Result<Vec<wire::Work>, Failure> {
    let mut transaction = catalog.pool.begin().await?;
    let claimed = schedule::claim_due(&mut transaction, worker, kinds, max, catalog.lease_duration).await?;
    let mut found = Vec::with_capacity(claimed.len());
    for piece in claimed {
        metrics::claimed(piece.kind);
        let rules = kinds::of_worker(piece.kind)?;
        match rules.task(catalog, &mut transaction, &piece).await? {
            Some(task) => found.push(wire::Work {
                lease: Some(piece.lease.into()),
                lease_duration: prost_types::Duration::try_from(catalog.lease_duration).ok(),
                traceparent: piece.traceparent,
                task: Some(task),
            }),
            None => schedule::remove(&mut transaction, piece.lease.work_id).await?,
        }
    }
    transaction.commit().await?;
    Ok(found)
}

async fn finish(catalog: &Catalog, request: FinishRequest) -> Result<FinishResponse, Failure> {
    let outcome = request
        .outcome
        .ok_or_else(|| Error::invalid("outcome", "is required"))?;
    let mut writer = Writer::begin(&catalog.pool).await?;
    let guard = fence(writer.connection(), request.lease.into()).await?;
    let rules = kinds::of_worker(guard.kind)?;
    let response = rules.finish(catalog, &mut writer, &guard, outcome).await?;
    change::commit(writer).await?;
    Ok(response)
}

async fn fail(catalog: &Catalog, request: FailRequest) -> Result<(), Failure> {
    let retry_after = request
        .retry_after
        .and_then(|after| Duration::try_from(after).ok())
        .unwrap_or_default();
    let mut writer = Writer::begin(&catalog.pool).await?;
    let guard = fence(writer.connection(), request.lease.into()).await?;
    let rules = kinds::of_worker(guard.kind)?;
    let failures = guard.failed_attempts.saturating_add(1);
    let failure = WorkFailure {
        error: &request.error,
        failures,
        retry_after: catalog.retry.delay(failures, retry_after, rand::random()),
    };
    metrics::failed(guard.kind);
    rules.fail(catalog, &mut writer, &guard, &failure).await?;
    change::commit(writer).await?;
    tracing::warn!(
        work.kind = guard.kind.label(),
        work.subject = guard.subject.to_column(),
        failures,
        error = failure.error,
        "work failed"
    );
    Ok(())
}
