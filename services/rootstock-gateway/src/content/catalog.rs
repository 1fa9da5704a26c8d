//! What the gateway says to the catalog about uploads and imports.

use std::time::Duration;

use rootstock_ingest::LeaseClient;
use rootstock_model::{Digest, Id};
use rootstock_proto::{
    Error, convert,
    sync::v1::{
        Combination, DiscardUploadRequest, FinishUploadRequest, Lease, OpenUploadRequest,
        RecordImportRequest, RecordImportResponse, import_service_client::ImportServiceClient,
        open_upload_response::Outcome,
    },
};
use rootstock_runtime::grpc::client::{ClientStack, within};
use tonic::Status;

use crate::upstream;

/// For what is said at the end of a stream, when nobody may be waiting any more.
const LAST_WORD_TIMEOUT: Duration = Duration::from_secs(5);

/// The catalog's side of uploads and imports.
#[derive(Debug, Clone)]
pub(super) struct CatalogClient {
    imports: ImportServiceClient<ClientStack>,
    leases: LeaseClient,
}

impl CatalogClient {
    pub(super) fn new(stack: ClientStack) -> Self {
        Self {
            imports: ImportServiceClient::new(stack.clone()),
            leases: LeaseClient::new(stack),
        }
    }

    /// The calls that keep uploads.
    pub(super) fn leases(&self) -> &LeaseClient {
        &self.leases
    }

    /// A name for whoever holds an upload: one stream, so that two of one gateway are two.
    pub(super) fn worker() -> String {
        format!("gateway-{}", Id::generate())
    }

    pub(super) async fn open_upload(&self, worker: &str, sha256: &Digest) -> Result<Outcome, Status> {
        let request = OpenUploadRequest {
            worker: worker.to_owned(),
            sha256: convert::digest_bytes(sha256),
        };
        let answer = self.imports.clone().open_upload(request).await.map_err(passed)?;
        answer.into_inner().outcome.ok_or_else(|| {
            tracing::error!("the catalog did not say how an upload stands");
            Error::Internal.into()
        })
    }

    pub(super) async fn finish_upload(
        &self,
        lease: Lease,
        size_bytes: u64,
        combinations: Vec<Combination>,
    ) -> Result<(), Status> {
        let request = FinishUploadRequest {
            lease: Some(lease),
            size_bytes: i64::try_from(size_bytes).unwrap_or(i64::MAX),
            combinations,
        };
        self.imports
            .clone()
            .finish_upload(request)
            .await
            .map_err(passed)?;
        Ok(())
    }

    pub(super) async fn discard_upload(&self, lease: Lease) -> Result<(), Status> {
        let request = within(DiscardUploadRequest { lease: Some(lease) }, LAST_WORD_TIMEOUT);
        self.imports
            .clone()
            .discard_upload(request)
            .await
            .map_err(passed)?;
        Ok(())
    }

    pub(super) async fn record_import(
        &self,
        request: RecordImportRequest,
    ) -> Result<RecordImportResponse, Status> {
        let answer = self
            .imports
            .clone()
            .record_import(request)
            .await
            .map_err(passed)?;
        Ok(answer.into_inner())
    }
}

/// Whether the catalog has said that a lease is no longer in force.
pub(super) fn is_lease_lost(status: &Status) -> bool {
    Error::from_status(status) == Some(Error::LeaseLost)
}

/// What the catalog says goes on as it is; what our own client says does not.
fn passed(status: Status) -> Status {
    match Error::from_status(&status) {
        Some(error) => error.into(),
        None => upstream::sanitize(&status),
    }
}
