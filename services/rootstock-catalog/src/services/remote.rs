//! `RemoteService`.

mod list;
mod update;

use rootstock_model::{Id, Status};
use rootstock_proto::{
    Error, ResourceKind,
    catalog::v1::{
        self as wire, ChangeOperation, CreateRemoteRequest, CreateRemoteResponse, DeleteRemoteRequest,
        DeleteRemoteResponse, GetRemoteRequest, GetRemoteResponse, GetSyncRunRequest, GetSyncRunResponse,
        ListLeftOutRequest, ListLeftOutResponse, ListRemotesRequest, ListRemotesResponse,
        ListSyncRunPlanRequest, ListSyncRunPlanResponse, ListTransfersRequest, ListTransfersResponse,
        SyncRemoteRequest, SyncRemoteResponse, TestRemoteRequest, TestRemoteResponse, UpdateRemoteRequest,
        UpdateRemoteResponse, remote_service_server::RemoteService,
    },
    convert::{self, RemoteSpec},
};
use rootstock_runtime::propagate::current_traceparent;
use sqlx::PgConnection;
use tonic::{Request, Response};

use crate::{
    Catalog,
    change::{self, Writer, activation, retention},
    failure::Failure,
    queries::{
        remotes::{self, RemoteRow},
        snapshots, sync_runs, transfers, versions,
    },
    work::{Kind, Subject, schedule},
};

/// The service.
pub(crate) struct Remotes(pub Catalog);

#[tonic::async_trait]
impl RemoteService for Remotes {
    async fn create_remote(
        &self,
        request: Request<CreateRemoteRequest>,
    ) -> Result<Response<CreateRemoteResponse>, tonic::Status> {
        let remote = request.into_inner().remote.unwrap_or_default();
        let spec = convert::remote_spec(&remote).map_err(Failure::from)?;
        let remote = create(&self.0, &spec).await?;
        Ok(Response::new(CreateRemoteResponse { remote: Some(remote) }))
    }

    async fn update_remote(
        &self,
        request: Request<UpdateRemoteRequest>,
    ) -> Result<Response<UpdateRemoteResponse>, tonic::Status> {
        let remote = Some(update::update(&self.0, request.into_inner()).await?);
        Ok(Response::new(UpdateRemoteResponse { remote }))
    }

    async fn test_remote(
        &self,
        request: Request<TestRemoteRequest>,
    ) -> Result<Response<TestRemoteResponse>, tonic::Status> {
        let remote = request.into_inner().remote.unwrap_or_default();
        let run = Some(try_out(&self.0, remote).await?);
        Ok(Response::new(TestRemoteResponse { run }))
    }

    async fn get_remote(
        &self,
        request: Request<GetRemoteRequest>,
    ) -> Result<Response<GetRemoteResponse>, tonic::Status> {
        let name = request.into_inner().name;
        let mut connection = self.0.pool.acquire().await.map_err(Failure::from)?;
        let row = by_name(&mut connection, &name).await?;
        let remote = with_status(&mut connection, row).await?;
        Ok(Response::new(GetRemoteResponse { remote: Some(remote) }))
    }

    async fn list_remotes(
        &self,
        request: Request<ListRemotesRequest>,
    ) -> Result<Response<ListRemotesResponse>, tonic::Status> {
        let request = request.into_inner();
        Ok(Response::new(list::remotes(&self.0, request).await?))
    }

    async fn delete_remote(
        &self,
        request: Request<DeleteRemoteRequest>,
    ) -> Result<Response<DeleteRemoteResponse>, tonic::Status> {
        delete(&self.0, &request.into_inner().name).await?;
        Ok(Response::new(DeleteRemoteResponse {}))
    }

    async fn sync_remote(
        &self,
        request: Request<SyncRemoteRequest>,
    ) -> Result<Response<SyncRemoteResponse>, tonic::Status> {
        let run = sync(&self.0, request.into_inner()).await?;
        Ok(Response::new(SyncRemoteResponse { run: Some(run) }))
    }

    async fn get_sync_run(
        &self,
        request: Request<GetSyncRunRequest>,
    ) -> Result<Response<GetSyncRunResponse>, tonic::Status> {
        let id = request.into_inner().id;
        let mut connection = self.0.pool.acquire().await.map_err(Failure::from)?;
        let run = sync_runs::get(&mut connection, &id).await?;
        let run = run.ok_or_else(|| Failure::from(Error::not_found(ResourceKind::SyncRun, id)))?;
        Ok(Response::new(GetSyncRunResponse { run: Some(run) }))
    }

    async fn list_sync_run_plan(
        &self,
        request: Request<ListSyncRunPlanRequest>,
    ) -> Result<Response<ListSyncRunPlanResponse>, tonic::Status> {
        Ok(Response::new(list::plan(&self.0, request.into_inner()).await?))
    }

    async fn list_left_out(
        &self,
        request: Request<ListLeftOutRequest>,
    ) -> Result<Response<ListLeftOutResponse>, tonic::Status> {
        let request = request.into_inner();
        Ok(Response::new(list::left_out(&self.0, request).await?))
    }

    async fn list_transfers(
        &self,
        request: Request<ListTransfersRequest>,
    ) -> Result<Response<ListTransfersResponse>, tonic::Status> {
        let request = request.into_inner();
        Ok(Response::new(list::transfers(&self.0, request).await?))
    }
}

pub(super) fn transfer(row: transfers::TransferRow) -> wire::Transfer {
    wire::Transfer {
        sha256: row.sha256.to_hex(),
        size_bytes: row.size_bytes,
        done_bytes: row.done_bytes,
        state: row.state.into(),
        failed_attempts: row.failed_attempts,
        last_error: row.last_error,
        next_attempt_at: row.next_attempt_at.map(convert::timestamp),
        image: row.image,
        serial: row.serial,
        ftype: row.ftype,
    }
}

async fn by_name(connection: &mut PgConnection, name: &str) -> Result<RemoteRow, Failure> {
    let row = remotes::by_name(connection, name).await?;
    row.ok_or_else(|| Error::not_found(ResourceKind::Remote, name).into())
}

async fn with_status(connection: &mut PgConnection, row: RemoteRow) -> Result<wire::Remote, Failure> {
    let status = remotes::status(connection, row.id).await?;
    Ok(wire::Remote {
        status: Some(status),
        ..row.remote
    })
}

async fn create(catalog: &Catalog, spec: &RemoteSpec) -> Result<wire::Remote, Failure> {
    let mut writer = Writer::begin(&catalog.pool).await?;
    let name = spec.name.as_str();
    if let Some(row) = remotes::by_name(writer.connection(), name).await? {
        // The same again is a retry; the answer is what is there.
        return match convert::remote_spec(&row.remote)? == *spec {
            true => with_status(writer.connection(), row).await,
            false => Err(Error::AlreadyExists {
                kind: ResourceKind::Remote,
                name: name.to_owned(),
            }
            .into()),
        };
    }
    let id = remotes::create(writer.connection(), spec).await?;
    let traceparent = current_traceparent().unwrap_or_default();
    if !spec.disabled {
        schedule::wake(
            writer.connection(),
            Kind::Poll,
            &Subject::Remote(id),
            &traceparent,
        )
        .await?;
    }
    let row = by_name(writer.connection(), name).await?;
    let remote = with_status(writer.connection(), row).await?;
    writer.note::<wire::Remote>(name, ChangeOperation::Created);
    change::commit(writer).await?;
    tracing::info!(remote.name = name, remote.url = spec.endpoint.url, "remote added");
    Ok(remote)
}

async fn delete(catalog: &Catalog, name: &str) -> Result<(), Failure> {
    let mut writer = Writer::begin(&catalog.pool).await?;
    let row = by_name(writer.connection(), name).await?;
    let orphans = snapshots::orphan(writer.connection(), row.id).await?;
    for id in &orphans.images {
        writer.image(id, ChangeOperation::Updated);
    }
    retention::remove_versions(&mut writer, &orphans.lost_versions).await?;
    transfers::remove_unwanted_transfers(writer.connection(), &orphans.lost_blobs).await?;
    schedule::remove_polls(writer.connection(), row.id).await?;
    remotes::delete(writer.connection(), row.id).await?;
    writer.note_removed(name, row.remote);
    change::commit(writer).await?;
    tracing::info!(remote.name = name, "remote removed");
    Ok(())
}

async fn sync(catalog: &Catalog, request: SyncRemoteRequest) -> Result<wire::SyncRun, Failure> {
    let mut writer = Writer::begin(&catalog.pool).await?;
    let row = by_name(writer.connection(), &request.name).await?;
    let id = Id::generate().to_string();
    let traceparent = current_traceparent().unwrap_or_default();
    sync_runs::create(writer.connection(), &id, row.id, request.plan_only, request.force).await?;
    // A plan changes nothing, and has its own piece of work so that it need not wait for a poll.
    let subject = if request.plan_only {
        Subject::PlanRun(id.clone())
    } else {
        Subject::Remote(row.id)
    };
    schedule::wake(writer.connection(), Kind::Poll, &subject, &traceparent).await?;
    if !request.plan_only {
        revive(&mut writer, row.id, &traceparent).await?;
    }
    let run = sync_runs::get(writer.connection(), &id).await?;
    change::commit(writer).await?;
    run.ok_or_else(|| Error::not_found(ResourceKind::SyncRun, id).into())
}

/// Asks for a plan of a remote as it is described, or, named alone, of the one that is there.
async fn try_out(catalog: &Catalog, remote: wire::Remote) -> Result<wire::SyncRun, Failure> {
    let named = wire::Remote {
        name: remote.name.clone(),
        ..wire::Remote::default()
    };
    if remote == named && !remote.name.is_empty() {
        let request = SyncRemoteRequest {
            name: remote.name,
            plan_only: true,
            force: false,
        };
        return sync(catalog, request).await;
    }
    convert::remote_spec(&remote)?;
    let mut transaction = catalog.pool.begin().await?;
    let id = Id::generate().to_string();
    sync_runs::create_try(&mut transaction, &id, &remote).await?;
    let traceparent = current_traceparent().unwrap_or_default();
    schedule::wake(
        &mut transaction,
        Kind::Poll,
        &Subject::PlanRun(id.clone()),
        &traceparent,
    )
    .await?;
    let run = sync_runs::get(&mut transaction, &id).await?;
    transaction.commit().await?;
    run.ok_or_else(|| Error::not_found(ResourceKind::SyncRun, id).into())
}

/// Tries again what gave up, and at once what waits for its next attempt.
async fn revive(writer: &mut Writer, remote_id: i64, traceparent: &str) -> Result<(), Failure> {
    let failed = versions::with_failed_work(writer.connection(), remote_id).await?;
    let ids: Vec<i64> = failed.iter().map(|version| version.id).collect();
    versions::set_status(writer.connection(), &ids, Status::Queued, "").await?;
    for version in &failed {
        writer.version(version.id, ChangeOperation::Updated);
        writer.image(&version.image_id, ChangeOperation::Updated);
    }
    let waiting = versions::queued_blobs(writer.connection(), remote_id).await?;
    schedule::retry_now(writer.connection(), &waiting, traceparent).await?;
    let files: Vec<_> = failed.into_iter().map(|version| version.files).collect();
    activation::request_blobs(writer, &files, traceparent).await?;
    Ok(())
}
