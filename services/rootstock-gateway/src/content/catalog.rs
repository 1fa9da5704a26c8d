//! What the gateway says to the catalog about uploads and imports.

use std::time::Duration;

use rootstock_model::{Digest, Id};
use rootstock_proto::{
    Error, convert,
    sync::v1::{
        Combination, DiscardUploadRequest, FinishUploadRequest, HeartbeatRequest, Lease, OpenUploadRequest,
        RecordImportRequest, RecordImportResponse, ReleaseRequest, SaveJournalRequest, WorkProgress,
        import_service_client::ImportServiceClient, open_upload_response::Outcome,
        work_service_client::WorkServiceClient,
    },
};
use rootstock_runtime::grpc::client::ClientStack;
use tonic::{Request, Status};

use crate::upstream;

/// For what is said at the end of a stream, when nobody may be waiting any more.
const LAST_WORD_TIMEOUT: Duration = Duration::from_secs(5);

/// The catalog's side of uploads and imports.
#[derive(Debug, Clone)]
pub(super) struct Catalog {
    imports: ImportServiceClient<ClientStack>,
    work: WorkServiceClient<ClientStack>,
}

impl Catalog {
    pub(super) fn new(stack: ClientStack) -> Self {
        Self {
            imports: ImportServiceClient::new(stack.clone()),
            work: WorkServiceClient::new(stack),
        }
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

    pub(super) async fn save_journal(
        &self,
        request: SaveJournalRequest,
        timeout: Duration,
    ) -> Result<(), Status> {
        self.work
            .clone()
            .save_journal(within(request, timeout))
            .await
            .map_err(passed)?;
        Ok(())
    }

    /// Prolongs a lease.
    ///
    /// # Errors
    /// `ABORTED` (LEASE_LOST) when it is no longer in force; others when the catalog did not answer.
    pub(super) async fn heartbeat(
        &self,
        lease: Lease,
        done_bytes: u64,
        timeout: Duration,
    ) -> Result<(), Status> {
        let progress = WorkProgress {
            lease: Some(lease),
            done_bytes: i64::try_from(done_bytes).unwrap_or(i64::MAX),
        };
        let request = HeartbeatRequest { work: vec![progress] };
        let answer = self
            .work
            .clone()
            .heartbeat(within(request, timeout))
            .await
            .map_err(passed)?;
        match answer.into_inner().lost.is_empty() {
            true => Ok(()),
            false => Err(Error::LeaseLost.into()),
        }
    }

    pub(super) async fn release(&self, lease: Lease) -> Result<(), Status> {
        let request = within(ReleaseRequest { leases: vec![lease] }, LAST_WORD_TIMEOUT);
        self.work.clone().release(request).await.map_err(passed)?;
        Ok(())
    }
}

fn within<T>(message: T, timeout: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(timeout);
    request
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
