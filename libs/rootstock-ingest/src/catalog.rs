//! The calls to the catalog that leases and journals need.

use std::time::Duration;

use rootstock_proto::{
    Error,
    sync::v1::{
        HeartbeatRequest, Lease, ReleaseRequest, SaveJournalRequest, WorkProgress,
        work_service_client::WorkServiceClient,
    },
};
use rootstock_runtime::grpc::client::{ClientStack, within};
use tonic::Status;

/// Short, because the process may be ending, and a lease that is not given back ends by itself.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);

/// The catalog's side of leases and journals. `SaveJournal` and `Release` may be repeated by the client
/// stack; a heartbeat comes again by itself.
#[derive(Debug, Clone)]
pub struct LeaseClient {
    client: WorkServiceClient<ClientStack>,
}

/// Why a call to the catalog failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogError {
    /// The lease is not in force any more: another worker has the work, or it is done.
    #[error("{}", Error::LeaseLost)]
    LeaseLost,
    /// The catalog refused, with this message for people.
    #[error("{0}")]
    Refused(String),
    /// The catalog did not answer; whether the call had an effect is not known.
    #[error("{0}")]
    Unanswered(String),
}

impl LeaseClient {
    /// Calls through `stack`.
    pub fn new(stack: ClientStack) -> Self {
        Self {
            client: WorkServiceClient::new(stack),
        }
    }

    /// Extends leases; returns those that are lost.
    ///
    /// # Errors
    /// [`CatalogError`]. A lost lease is no error here.
    pub async fn heartbeat(
        &self,
        work: Vec<WorkProgress>,
        timeout: Duration,
    ) -> Result<Vec<Lease>, CatalogError> {
        let request = within(HeartbeatRequest { work }, timeout);
        Ok(self.client.clone().heartbeat(request).await?.into_inner().lost)
    }

    /// Saves the journal of an upload.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn save_journal(
        &self,
        request: SaveJournalRequest,
        timeout: Duration,
    ) -> Result<(), CatalogError> {
        self.client.clone().save_journal(within(request, timeout)).await?;
        Ok(())
    }

    /// Gives a lease back, for the next worker to continue at once.
    ///
    /// # Errors
    /// [`CatalogError`]; the lease then ends by itself.
    pub async fn release(&self, lease: Lease) -> Result<(), CatalogError> {
        let request = within(ReleaseRequest { leases: vec![lease] }, RELEASE_TIMEOUT);
        self.client.clone().release(request).await?;
        Ok(())
    }
}

impl From<Status> for CatalogError {
    fn from(status: Status) -> Self {
        match Error::from_status(&status) {
            Some(Error::LeaseLost) => Self::LeaseLost,
            Some(Error::Unavailable(message)) => Self::Unanswered(message),
            Some(error) => Self::Refused(error.to_string()),
            // A transport's, a proxy's or a time limit's.
            None => Self::Unanswered(status.message().to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_whether_the_lease_is_lost_or_the_answer_is() {
        let is_unanswered = |status: Status| matches!(status.into(), CatalogError::Unanswered(_));
        assert_eq!(
            CatalogError::from(Status::from(Error::LeaseLost)),
            CatalogError::LeaseLost
        );
        assert!(is_unanswered(Error::Unavailable("later".into()).into()));
        assert!(is_unanswered(Status::unavailable("connection refused")));
        assert!(is_unanswered(Status::deadline_exceeded("no answer")));
        assert_eq!(
            CatalogError::from(Status::from(Error::invalid("lease", "is missing"))),
            CatalogError::Refused("lease: is missing".to_owned())
        );
    }
}
