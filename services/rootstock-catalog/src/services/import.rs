//! `ImportService`: the gateways' side.

mod record;

use std::time::Duration;

use rootstock_model::Digest;
use rootstock_proto::{
    Error, convert,
    sync::v1::{
        BusyBlob, DiscardUploadRequest, DiscardUploadResponse, FinishUploadRequest, FinishUploadResponse,
        OpenUploadRequest, OpenUploadResponse, OpenedUpload, RecordImportRequest, RecordImportResponse,
        StoredBlob, WorkKind, import_service_server::ImportService, open_upload_response::Outcome,
    },
};
use tonic::{Request, Response};

use super::work::{combinations, expect_kind, lease, record_blob, subject_blob, wire_lease};
use crate::{
    Catalog,
    change::{self, Writer},
    failure::Failure,
    queries::{uploads, work},
};

/// Uploads that nobody goes on with for so long are forgotten.
pub(super) const ABANDONED_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// The service.
pub(crate) struct Imports(pub Catalog);

#[tonic::async_trait]
impl ImportService for Imports {
    async fn open_upload(
        &self,
        request: Request<OpenUploadRequest>,
    ) -> Result<Response<OpenUploadResponse>, tonic::Status> {
        let request = request.into_inner();
        if request.worker.is_empty() {
            return Err(Failure::from(Error::invalid("worker", "is required")).into());
        }
        let sha256 = convert::digest("sha256", &request.sha256).map_err(Failure::from)?;
        let outcome = open_upload(&self.0, &request.worker, &sha256).await?;
        Ok(Response::new(OpenUploadResponse {
            outcome: Some(outcome),
        }))
    }

    async fn finish_upload(
        &self,
        request: Request<FinishUploadRequest>,
    ) -> Result<Response<FinishUploadResponse>, tonic::Status> {
        let activated_versions = finish_upload(&self.0, request.into_inner()).await?;
        Ok(Response::new(FinishUploadResponse { activated_versions }))
    }

    async fn discard_upload(
        &self,
        request: Request<DiscardUploadRequest>,
    ) -> Result<Response<DiscardUploadResponse>, tonic::Status> {
        let lease = lease(request.into_inner().lease);
        let mut transaction = self.0.pool.begin().await.map_err(Failure::from)?;
        let held = work::fence(&mut transaction, lease).await?;
        expect_kind(&held, WorkKind::Upload)?;
        work::remove(&mut transaction, lease.work_id).await?;
        transaction.commit().await.map_err(Failure::from)?;
        Ok(Response::new(DiscardUploadResponse {}))
    }

    async fn record_import(
        &self,
        request: Request<RecordImportRequest>,
    ) -> Result<Response<RecordImportResponse>, tonic::Status> {
        Ok(Response::new(
            record::record(&self.0, request.into_inner()).await?,
        ))
    }
}

/// How a blob stands, and the lease of its upload when there is one to be had.
///
/// First the blob is kept from being collected; then the upload is there, which keeps the blob from it;
/// and only then it is looked whether the blob is being removed. So either the removal is seen here, or
/// whoever would remove it sees the upload.
async fn open_upload(catalog: &Catalog, worker: &str, sha256: &Digest) -> Result<Outcome, Failure> {
    let mut transaction = catalog.pool.begin().await?;
    if let Some(size_bytes) = uploads::keep_stored(&mut transaction, sha256).await? {
        transaction.commit().await?;
        return Ok(Outcome::Stored(StoredBlob { size_bytes }));
    }
    let opened = uploads::open(&mut transaction, sha256, worker, catalog.lease_duration).await?;
    if let Some(opened) = opened
        && !uploads::is_being_removed(&mut transaction, sha256).await?
    {
        transaction.commit().await?;
        return Ok(Outcome::Opened(OpenedUpload {
            lease: Some(wire_lease(opened.lease)),
            lease_duration: prost_types::Duration::try_from(catalog.lease_duration).ok(),
            journal: opened.journal.into(),
        }));
    }
    transaction.rollback().await?;
    let mut connection = catalog.pool.acquire().await?;
    Ok(Outcome::Busy(BusyBlob {
        done_bytes: uploads::done_bytes(&mut connection, sha256).await?,
    }))
}

async fn finish_upload(catalog: &Catalog, request: FinishUploadRequest) -> Result<i64, Failure> {
    let lease = lease(request.lease);
    let facts = combinations("combinations", &request.combinations)?;
    convert::size_bytes("size_bytes", request.size_bytes)?;
    let mut writer = Writer::begin(&catalog.pool).await?;
    let held = work::fence(writer.connection(), lease).await?;
    expect_kind(&held, WorkKind::Upload)?;
    let sha256 = subject_blob(&held.subject)?;
    let activated = record_blob(&mut writer, lease, &sha256, request.size_bytes, &facts).await?;
    change::commit(writer).await?;
    tracing::info!(blob.sha256 = %sha256, size_bytes = request.size_bytes, activated, "blob uploaded");
    Ok(activated)
}
