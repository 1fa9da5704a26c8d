//! `WorkService`: the workers' side.

use std::time::Duration;

use rootstock_model::{Digest, LeftOut, Status, snapshot::Snapshot};
use rootstock_proto::{
    Error,
    catalog::v1::{self as catalog_wire, ChangeOperation},
    convert,
    sync::v1::{
        self as wire, AutoUpdateRequest, AutoUpdateResponse, ClaimRequest, ClaimResponse,
        ConfirmRemovalsRequest, ConfirmRemovalsResponse, ExpireRequest, ExpireResponse, FailRequest,
        FailResponse, FinishAutoUpdateRequest, FinishAutoUpdateResponse, FinishCollectRequest,
        FinishCollectResponse, FinishExpireRequest, FinishExpireResponse, FinishPollRequest,
        FinishPollResponse, FinishSweepRequest, FinishSweepResponse, FinishTransferRequest,
        FinishTransferResponse, FinishVerifyRequest, FinishVerifyResponse, HeartbeatRequest,
        HeartbeatResponse, ReleaseRequest, ReleaseResponse, ReportObjectsRequest, ReportObjectsResponse,
        SaveDeliveryRequest, SaveDeliveryResponse, SaveJournalRequest, SaveJournalResponse,
        SubmitSnapshotRequest, SubmitSnapshotResponse, TakeRemovalsRequest, TakeRemovalsResponse,
        submit_snapshot_request::Part, work_service_server::WorkService,
    },
};
use rootstock_runtime::Shutdown;
use tonic::{Request, Response, Streaming};

use crate::{
    Catalog,
    change::{self, Writer, activation},
    failure::Failure,
    metrics,
    queries::{blobs, remotes, settings, sync_runs, transfers, versions, webhooks},
    snapshot::{self, Submission},
    work::{
        Kind, Lease, Subject,
        claim::DueWork,
        facts::{combinations, record_blob},
        lease::{self, fence, fence_kind},
        schedule,
    },
};

mod auto_update;
mod collect;
mod expire;
mod tasks;

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
        let leases: Vec<Lease> = progress.iter().map(|one| Lease::from(one.lease)).collect();
        let done_bytes: Vec<i64> = progress.iter().map(|one| one.done_bytes).collect();
        let mut connection = self.catalog.pool.acquire().await.map_err(Failure::from)?;
        let kept =
            schedule::extend_leases(&mut connection, &leases, &done_bytes, self.catalog.lease_duration)
                .await?;
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
        let leases: Vec<Lease> = request
            .into_inner()
            .leases
            .into_iter()
            .map(|one| Lease::from(Some(one)))
            .collect();
        let mut connection = self.catalog.pool.acquire().await.map_err(Failure::from)?;
        schedule::release(&mut connection, &leases).await?;
        Ok(Response::new(ReleaseResponse {}))
    }

    async fn fail(&self, request: Request<FailRequest>) -> Result<Response<FailResponse>, tonic::Status> {
        fail(&self.catalog, request.into_inner()).await?;
        Ok(Response::new(FailResponse {}))
    }

    async fn finish_poll(
        &self,
        request: Request<FinishPollRequest>,
    ) -> Result<Response<FinishPollResponse>, tonic::Status> {
        finish_poll(&self.catalog, request.into_inner()).await?;
        Ok(Response::new(FinishPollResponse {}))
    }

    async fn submit_snapshot(
        &self,
        request: Request<Streaming<SubmitSnapshotRequest>>,
    ) -> Result<Response<SubmitSnapshotResponse>, tonic::Status> {
        let submission = receive_snapshot(request.into_inner()).await?;
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

    async fn finish_transfer(
        &self,
        request: Request<FinishTransferRequest>,
    ) -> Result<Response<FinishTransferResponse>, tonic::Status> {
        let activated_versions = finish_transfer(&self.catalog, request.into_inner()).await?;
        Ok(Response::new(FinishTransferResponse { activated_versions }))
    }

    async fn finish_verify(
        &self,
        request: Request<FinishVerifyRequest>,
    ) -> Result<Response<FinishVerifyResponse>, tonic::Status> {
        let activated_versions = finish_verify(&self.catalog, request.into_inner()).await?;
        Ok(Response::new(FinishVerifyResponse { activated_versions }))
    }

    async fn save_delivery(
        &self,
        request: Request<SaveDeliveryRequest>,
    ) -> Result<Response<SaveDeliveryResponse>, tonic::Status> {
        let request = request.into_inner();
        let mut transaction = self.catalog.pool.begin().await.map_err(Failure::from)?;
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
        transaction.commit().await.map_err(Failure::from)?;
        Ok(Response::new(SaveDeliveryResponse {}))
    }

    async fn finish_sweep(
        &self,
        request: Request<FinishSweepRequest>,
    ) -> Result<Response<FinishSweepResponse>, tonic::Status> {
        let request = request.into_inner();
        let mut transaction = self.catalog.pool.begin().await.map_err(Failure::from)?;
        let guard = fence_kind(&mut transaction, request.lease.into(), Kind::Sweep).await?;
        schedule::again_after(&mut transaction, &guard, self.catalog.sweep_interval).await?;
        transaction.commit().await.map_err(Failure::from)?;
        Ok(Response::new(FinishSweepResponse {}))
    }

    async fn report_objects(
        &self,
        request: Request<ReportObjectsRequest>,
    ) -> Result<Response<ReportObjectsResponse>, tonic::Status> {
        let orphans = collect::report_objects(&self.catalog, request.into_inner()).await?;
        Ok(Response::new(ReportObjectsResponse { orphans }))
    }

    async fn auto_update(
        &self,
        request: Request<AutoUpdateRequest>,
    ) -> Result<Response<AutoUpdateResponse>, tonic::Status> {
        let answer = auto_update::auto_update(&self.catalog, request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn finish_auto_update(
        &self,
        request: Request<FinishAutoUpdateRequest>,
    ) -> Result<Response<FinishAutoUpdateResponse>, tonic::Status> {
        auto_update::finish(&self.catalog, request.into_inner()).await?;
        Ok(Response::new(FinishAutoUpdateResponse {}))
    }

    async fn expire(
        &self,
        request: Request<ExpireRequest>,
    ) -> Result<Response<ExpireResponse>, tonic::Status> {
        Ok(Response::new(
            expire::expire(&self.catalog, request.into_inner()).await?,
        ))
    }

    async fn finish_expire(
        &self,
        request: Request<FinishExpireRequest>,
    ) -> Result<Response<FinishExpireResponse>, tonic::Status> {
        expire::finish(&self.catalog, request.into_inner()).await?;
        Ok(Response::new(FinishExpireResponse {}))
    }

    async fn take_removals(
        &self,
        request: Request<TakeRemovalsRequest>,
    ) -> Result<Response<TakeRemovalsResponse>, tonic::Status> {
        Ok(Response::new(
            collect::take(&self.catalog, request.into_inner()).await?,
        ))
    }

    async fn confirm_removals(
        &self,
        request: Request<ConfirmRemovalsRequest>,
    ) -> Result<Response<ConfirmRemovalsResponse>, tonic::Status> {
        collect::confirm(&self.catalog, request.into_inner()).await?;
        Ok(Response::new(ConfirmRemovalsResponse {}))
    }

    async fn finish_collect(
        &self,
        request: Request<FinishCollectRequest>,
    ) -> Result<Response<FinishCollectResponse>, tonic::Status> {
        collect::finish(&self.catalog, request.into_inner()).await?;
        Ok(Response::new(FinishCollectResponse {}))
    }
}

impl Works {
    /// Claims work, waiting for some to fall due as long as the request allows.
    async fn claim_within(&self, request: &ClaimRequest) -> Result<Vec<wire::Work>, Failure> {
        let wait = request
            .wait
            .and_then(|wait| Duration::try_from(wait).ok())
            .unwrap_or_default();
        let deadline = tokio::time::Instant::now() + wait.min(MAX_WAIT);
        let kinds: Vec<Kind> = request
            .kinds()
            .filter_map(|kind| Kind::from_code(kind as i16))
            .collect();
        let mut due_work = DueWork::of(&self.catalog, &kinds);
        loop {
            let found = tasks::claim(&self.catalog, &request.worker, &kinds, request.max.into()).await?;
            if !found.is_empty() || tokio::time::Instant::now() >= deadline {
                return Ok(found);
            }
            due_work.wait(deadline).await?;
        }
    }
}

async fn receive_snapshot(mut stream: Streaming<SubmitSnapshotRequest>) -> Result<Submission, tonic::Status> {
    let header = match stream.message().await?.and_then(|message| message.part) {
        Some(Part::Header(header)) => header,
        _ => return Err(Failure::from(Error::invalid("header", "must come first")).into()),
    };
    let mut snapshot = Snapshot::default();
    while let Some(message) = stream.message().await? {
        let Some(Part::Chunk(chunk)) = message.part else {
            return Err(Failure::from(Error::invalid("header", "must come once")).into());
        };
        for image in chunk.images {
            let field = format!("images[{}]", snapshot.images.len());
            snapshot
                .images
                .push(convert::offered_image_from_wire(&field, image).map_err(Failure::from)?);
        }
        for left_out in chunk.left_out {
            let field = format!("left_out[{}]", snapshot.left_out.len());
            let left_out: LeftOut = convert::left_out(&field, left_out).map_err(Failure::from)?;
            snapshot.left_out.push(left_out);
        }
    }
    snapshot
        .images
        .sort_by(|a, b| (&a.product, a.image_type).cmp(&(&b.product, b.image_type)));
    let twice = snapshot
        .images
        .windows(2)
        .find(|pair| (&pair[0].product, pair[0].image_type) == (&pair[1].product, pair[1].image_type));
    if let Some([image, _]) = twice {
        let problem = format!("{} {} comes twice", image.image_type, image.product);
        return Err(Failure::from(Error::invalid("images", problem)).into());
    }
    Ok(Submission {
        lease: header.lease.into(),
        documents: header.documents,
        snapshot,
    })
}

async fn finish_poll(catalog: &Catalog, request: FinishPollRequest) -> Result<(), Failure> {
    let lease = Lease::from(request.lease);
    let documents = snapshot::document_columns(&request.documents)?;
    let mut writer = Writer::begin(&catalog.pool).await?;
    let guard = fence_kind(writer.connection(), lease, Kind::Poll).await?;
    let remote_id = guard.subject.remote()?;
    let remote = snapshot::remote_by_id(&mut writer, remote_id).await?;
    let settings = settings::load(writer.connection()).await?;
    if !documents.is_empty() {
        remotes::set_documents(writer.connection(), remote_id, &documents).await?;
    }
    if remotes::index_check_due(writer.connection(), remote_id, tasks::INDEX_CHECK_INTERVAL).await? {
        remotes::index_checked(writer.connection(), remote_id).await?;
    }
    let plan = catalog_wire::Plan::default();
    snapshot::poll_succeeded(&mut writer, &guard, &remote, &settings, plan).await?;
    change::commit(writer).await
}

async fn finish_transfer(catalog: &Catalog, request: FinishTransferRequest) -> Result<i64, Failure> {
    let lease = Lease::from(request.lease);
    let facts = combinations("combinations", &request.combinations)?;
    convert::size_bytes("size_bytes", request.size_bytes)?;
    let mut writer = Writer::begin(&catalog.pool).await?;
    let guard = fence_kind(writer.connection(), lease, Kind::Transfer).await?;
    let sha256 = guard.subject.blob()?;
    let activated = record_blob(&mut writer, lease, &sha256, request.size_bytes, &facts).await?;
    change::commit(writer).await?;
    tracing::info!(blob.sha256 = %sha256, size_bytes = request.size_bytes, activated, "blob stored");
    Ok(activated)
}

async fn finish_verify(catalog: &Catalog, request: FinishVerifyRequest) -> Result<i64, Failure> {
    let lease = Lease::from(request.lease);
    let facts = combinations("combination", request.combination.as_slice())?;
    let mut writer = Writer::begin(&catalog.pool).await?;
    fence_kind(writer.connection(), lease, Kind::Verify).await?;
    blobs::record_combinations(writer.connection(), &facts).await?;
    schedule::remove(writer.connection(), lease.work_id).await?;
    let roots: Vec<Digest> = facts.iter().map(|fact| fact.root).collect();
    let activated = activation::reconcile(&mut writer, &roots).await?;
    change::commit(writer).await?;
    Ok(activated)
}

async fn fail(catalog: &Catalog, request: FailRequest) -> Result<(), Failure> {
    let lease = Lease::from(request.lease);
    let error = request.error.as_str();
    let retry_after = request
        .retry_after
        .and_then(|after| Duration::try_from(after).ok())
        .unwrap_or_default();
    let mut writer = Writer::begin(&catalog.pool).await?;
    let guard = fence(writer.connection(), lease).await?;
    let failures = guard.failed_attempts.saturating_add(1);
    let delay = catalog.retry.delay(failures, retry_after, rand::random());
    metrics::failed(guard.kind);
    match (guard.kind, &guard.subject) {
        (Kind::Poll, Subject::PlanRun(id)) => {
            sync_runs::finish_plan(writer.connection(), id, Err(error.to_owned())).await?;
            schedule::remove(writer.connection(), lease.work_id).await?;
        }
        (Kind::Poll, subject) => {
            let remote_id = subject.remote()?;
            snapshot::poll_failed(&mut writer, &guard, remote_id, error, delay).await?;
        }
        (Kind::Transfer | Kind::Verify, subject) if failures >= catalog.retry.transfer_attempts => {
            schedule::fail(writer.connection(), &guard, error, None).await?;
            give_up(&mut writer, subject, error).await?;
        }
        _ => schedule::fail(writer.connection(), &guard, error, Some(delay)).await?,
    }
    change::commit(writer).await?;
    tracing::warn!(
        work.kind = guard.kind.label(),
        work.subject = guard.subject.to_column(),
        failures,
        error,
        "work failed"
    );
    Ok(())
}

/// The versions that wait for this work cannot be had, until somebody asks for it to be tried again.
async fn give_up(writer: &mut Writer, subject: &Subject, error: &str) -> Result<(), Failure> {
    let blobs = match subject {
        Subject::BlobPair { root, .. } => vec![*root],
        subject => vec![subject.blob()?],
    };
    let waiting = versions::waiting_for(writer.connection(), &blobs).await?;
    let ids: Vec<i64> = waiting.iter().map(|version| version.id).collect();
    versions::set_status(writer.connection(), &ids, Status::Error, error).await?;
    for version in &waiting {
        writer.version(version.id, ChangeOperation::Updated);
        writer.image(&version.image_id, ChangeOperation::Updated);
    }
    let others: Vec<Digest> = waiting
        .iter()
        .flat_map(|version| &version.files)
        .map(|(sha256, ..)| *sha256)
        .filter(|sha256| !blobs.contains(sha256))
        .collect();
    transfers::remove_unwanted_transfers(writer.connection(), &others).await
}
