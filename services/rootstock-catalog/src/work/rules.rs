//! What distinguishes the kinds of work: what workers must know, and what an outcome does.

use std::time::Duration;

use rootstock_proto::{
    Error,
    sync::v1::{FinishResponse, finish_request::Outcome, work::Task},
};
use sqlx::PgConnection;

use super::{
    Kind, Lease, LeaseGuard,
    schedule::{self, Claimed},
};
use crate::{Catalog, change::Writer, failure::Failure};

/// Who does work of a kind, and by which rules.
pub(crate) enum Rules {
    /// A sync worker, because the work moves bytes or asks the network.
    Worker(&'static dyn WorkerKind),
    /// The catalog itself, because the work needs nothing but the database.
    Catalog(&'static dyn CatalogKind),
    /// The gateway that receives the bytes: nobody waits for it.
    Gateway,
}

/// A kind of work that sync workers claim.
#[tonic::async_trait]
pub(crate) trait WorkerKind: Send + Sync {
    /// What a worker must know to do the work it claimed. `None` when nobody wants it any more: then it is
    /// removed.
    async fn task(
        &self,
        catalog: &Catalog,
        connection: &mut PgConnection,
        claimed: &Claimed,
    ) -> Result<Option<Task>, Failure>;

    /// Records what the work came to, and ends it or has it come back.
    async fn finish(
        &self,
        catalog: &Catalog,
        writer: &mut Writer,
        guard: &LeaseGuard,
        outcome: Outcome,
    ) -> Result<FinishResponse, Failure>;

    /// Records that the work failed. It is tried again after the wait, unless the kind knows better.
    async fn fail(
        &self,
        _catalog: &Catalog,
        writer: &mut Writer,
        guard: &LeaseGuard,
        failure: &WorkFailure<'_>,
    ) -> Result<(), Failure> {
        schedule::fail(
            writer.connection(),
            guard,
            failure.error,
            Some(failure.retry_after),
        )
        .await
    }
}

/// A failure that a worker reported.
pub(crate) struct WorkFailure<'a> {
    /// For people.
    pub error: &'a str,
    /// How many there were in a row, this one included.
    pub failures: u32,
    /// The wait before the next attempt.
    pub retry_after: Duration,
}

/// A kind of work that the catalog does itself, in rounds.
#[tonic::async_trait]
pub(crate) trait CatalogKind: Send + Sync {
    /// Does all that is to be done now, in transactions that stay small and that the lease fences.
    async fn round(&self, catalog: &Catalog, lease: Lease) -> Result<(), Failure>;

    /// How long until the next round. Asked in the transaction that ends this one, so that whatever wakes the
    /// work meanwhile is not lost.
    async fn next_round(&self, catalog: &Catalog, connection: &mut PgConnection)
    -> Result<Duration, Failure>;
}

/// The refusal of an outcome that does not fit the work.
pub(crate) fn unfit_outcome(kind: Kind) -> Failure {
    Error::invalid("outcome", format!("is not that of work of kind {}", kind.label())).into()
}
