//! `ImportService`: the gateways' side.

mod record;

use rootstock_model::Digest;
use rootstock_proto::{
    Error, convert,
    sync::v1::{
        BusyBlob, DiscardUploadRequest, DiscardUploadResponse, FinishUploadRequest, FinishUploadResponse,
        OpenUploadRequest, OpenUploadResponse, OpenedUpload, RecordImportRequest, RecordImportResponse,
        StoredBlob, import_service_server::ImportService, open_upload_response::Outcome,
    },
};
use tonic::{Request, Response};

use crate::{
    Catalog,
    change::{self, Writer},
    failure::Failure,
    queries::uploads,
    work::{
        Kind, Lease,
        facts::{combinations, record_blob},
        lease::fence_kind,
        schedule,
    },
};

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
        let lease = Lease::from(request.into_inner().lease);
        let mut transaction = self.0.pool.begin().await.map_err(Failure::from)?;
        fence_kind(&mut transaction, lease, Kind::Upload).await?;
        schedule::remove(&mut transaction, lease.work_id).await?;
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
    let opened = schedule::claim_upload(&mut transaction, sha256, worker, catalog.lease_duration).await?;
    // The claim may have waited until another upload of the blob was finished: then the next look finds it.
    if let Some(opened) = opened
        && !uploads::is_being_removed(&mut transaction, sha256).await?
        && uploads::keep_stored(&mut transaction, sha256).await?.is_none()
    {
        transaction.commit().await?;
        return Ok(Outcome::Opened(OpenedUpload {
            lease: Some(opened.lease.into()),
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
    let lease = Lease::from(request.lease);
    let facts = combinations("combinations", &request.combinations)?;
    convert::size_bytes("size_bytes", request.size_bytes)?;
    let mut writer = Writer::begin(&catalog.pool).await?;
    let guard = fence_kind(writer.connection(), lease, Kind::Upload).await?;
    let sha256 = guard.subject.blob()?;
    let activated = record_blob(&mut writer, lease, &sha256, request.size_bytes, &facts).await?;
    change::commit(writer).await?;
    tracing::info!(blob.sha256 = %sha256, size_bytes = request.size_bytes, activated, "blob uploaded");
    Ok(activated)
}
