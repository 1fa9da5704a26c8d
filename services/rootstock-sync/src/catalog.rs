//! Speaking with the catalog.
//!
//! One level of retry for each call: the client stack for what reports an outcome; the loop around
//! them for claims and heartbeats, which come again by themselves; [`CatalogClient::submit_snapshot`] for
//! itself, because the stack cannot repeat a stream.

use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use rootstock_ingest::{CatalogError, LeaseClient};
use rootstock_model::Id;
use rootstock_proto::{
    catalog::v1::{WatchRequest, WatchResponse, watch_service_client::WatchServiceClient},
    sync::v1::{self as wire, Lease, finish_request::Outcome, work_service_client::WorkServiceClient},
};
use rootstock_runtime::{
    grpc::client::{ClientOptions, ClientStack, Idempotent, RetryOptions, within},
    retry::Backoff,
};
use tokio::time::Instant;
use tonic::{Code, Status, Streaming};

/// Beyond the wait that was asked for: for the claim itself, and the way there and back.
const CLAIM_MARGIN: Duration = Duration::from_secs(10);
/// For recording a large snapshot in one transaction.
const SUBMIT_TIMEOUT: Duration = Duration::from_secs(120);
/// How long an outcome is reported again while the catalog does not answer: longer than it takes to
/// restart it or its database.
const REPORT_BUDGET: Duration = Duration::from_secs(30);

/// A page of changes is some hundred resources.
const MAX_CHANGES_BYTES: usize = 64 * 1024 * 1024;

/// The calls that the client stack may repeat.
const REPORTS: &[&str] = &[
    "/rootstock.sync.v1.WorkService/Release",
    "/rootstock.sync.v1.WorkService/Fail",
    "/rootstock.sync.v1.WorkService/SaveJournal",
    "/rootstock.sync.v1.WorkService/Finish",
    "/rootstock.sync.v1.WorkService/ReportObjects",
    "/rootstock.sync.v1.WorkService/TakeRemovals",
    "/rootstock.sync.v1.WorkService/ConfirmRemovals",
    "/rootstock.sync.v1.WorkService/SaveDelivery",
];

/// The options of the client stack that [`run`](crate::run) wants: `base` with the retries that suit
/// a worker.
pub fn client_options(base: ClientOptions) -> ClientOptions {
    ClientOptions {
        retry: RetryOptions {
            idempotent: Idempotent::Only(REPORTS),
            max_attempts: u32::MAX,
            budget: REPORT_BUDGET,
            backoff: Backoff::RPC,
        },
        ..base
    }
}

/// The catalog's side of the work.
#[derive(Debug, Clone)]
pub(crate) struct CatalogClient {
    leases: LeaseClient,
    client: WorkServiceClient<ClientStack>,
    changes: WatchServiceClient<ClientStack>,
    /// Names this worker; unique per process start.
    worker: String,
}

impl CatalogClient {
    pub(crate) fn new(stack: ClientStack) -> Self {
        Self {
            leases: LeaseClient::new(stack.clone()),
            changes: WatchServiceClient::new(stack.clone()).max_decoding_message_size(MAX_CHANGES_BYTES),
            client: WorkServiceClient::new(stack),
            worker: format!("sync-{}", Id::generate()),
        }
    }

    /// The calls that keep leases.
    pub(crate) fn leases(&self) -> &LeaseClient {
        &self.leases
    }

    pub(crate) fn worker(&self) -> &str {
        &self.worker
    }

    /// Waits at most `wait` for work of one kind, and claims at most `max`.
    pub(crate) async fn claim(
        &self,
        kind: wire::WorkKind,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<wire::Work>, CatalogError> {
        let request = wire::ClaimRequest {
            worker: self.worker.clone(),
            kinds: vec![kind.into()],
            max: i32::try_from(max).unwrap_or(i32::MAX),
            wait: prost_types::Duration::try_from(wait).ok(),
        };
        let answer = self
            .client
            .clone()
            .claim(within(request, wait + CLAIM_MARGIN))
            .await?;
        Ok(answer.into_inner().work)
    }

    pub(crate) async fn fail(
        &self,
        lease: Lease,
        error: String,
        retry_after: Option<Duration>,
    ) -> Result<(), CatalogError> {
        let retry_after = retry_after.and_then(|wait| prost_types::Duration::try_from(wait).ok());
        let request = wire::FailRequest {
            lease: Some(lease),
            error,
            retry_after,
        };
        self.client.clone().fail(request).await?;
        Ok(())
    }

    /// Reports that work is done, and what it came to.
    pub(crate) async fn finish(
        &self,
        lease: Lease,
        outcome: Outcome,
    ) -> Result<wire::FinishResponse, CatalogError> {
        let request = wire::FinishRequest {
            lease: Some(lease),
            outcome: Some(outcome),
        };
        Ok(self.client.clone().finish(request).await?.into_inner())
    }

    /// Submits a snapshot, again while the catalog does not answer.
    pub(crate) async fn submit_snapshot(
        &self,
        messages: Vec<wire::SubmitSnapshotRequest>,
    ) -> Result<wire::SubmitSnapshotResponse, CatalogError> {
        let deadline = Instant::now() + REPORT_BUDGET;
        for attempt in 0.. {
            let request = within(stream::iter(messages.clone()), SUBMIT_TIMEOUT);
            let status = match self.client.clone().submit_snapshot(request).await {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) => status,
            };
            let delay = Backoff::RPC.delay(attempt, &mut rand::rng());
            if status.code() != Code::Unavailable || Instant::now() + delay >= deadline {
                return Err(status.into());
            }
            tokio::time::sleep(delay).await;
        }
        Err(CatalogError::Unanswered("it was asked too often".to_owned()))
    }

    pub(crate) async fn save_delivery(&self, request: wire::SaveDeliveryRequest) -> Result<(), CatalogError> {
        self.client.clone().save_delivery(request).await?;
        Ok(())
    }

    /// The changes of the catalog.
    pub(crate) async fn watch(&self, request: WatchRequest) -> Result<Streaming<WatchResponse>, Status> {
        Ok(self.changes.clone().watch(request).await?.into_inner())
    }

    /// Tells of objects in the store; answers how many of them will be removed.
    pub(crate) async fn report_objects(
        &self,
        lease: Lease,
        objects: Vec<wire::StoredObject>,
    ) -> Result<i64, CatalogError> {
        let request = wire::ReportObjectsRequest {
            lease: Some(lease),
            objects,
        };
        Ok(self
            .client
            .clone()
            .report_objects(request)
            .await?
            .into_inner()
            .orphans)
    }

    pub(crate) async fn take_removals(
        &self,
        lease: Lease,
        after: Bytes,
    ) -> Result<wire::TakeRemovalsResponse, CatalogError> {
        let request = wire::TakeRemovalsRequest {
            lease: Some(lease),
            after,
        };
        Ok(self.client.clone().take_removals(request).await?.into_inner())
    }

    pub(crate) async fn confirm_removals(
        &self,
        lease: Lease,
        sha256: Vec<Bytes>,
    ) -> Result<(), CatalogError> {
        let request = wire::ConfirmRemovalsRequest {
            lease: Some(lease),
            sha256,
        };
        self.client.clone().confirm_removals(request).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rootstock_runtime::grpc::Methods;

    use super::*;

    #[test]
    fn what_the_stack_repeats_is_there_and_is_unary() {
        let methods = Methods::of([rootstock_proto::ALL_DESCRIPTORS]).unwrap();
        for path in REPORTS {
            assert!(methods.is_unary(path), "{path}");
        }
    }
}
