//! Verifications: the fingerprint of two stored blobs.

use rootstock_model::Digest;
use rootstock_proto::{
    convert::digest_bytes,
    sync::v1::{FinishResponse, VerifyTask, finish_request::Outcome, work::Task},
};
use sqlx::PgConnection;

use super::transfer::fail_or_give_up;
use crate::{
    Catalog,
    change::{Writer, activation},
    failure::Failure,
    queries::blobs,
    work::{
        LeaseGuard,
        facts::combinations,
        rules::{WorkFailure, WorkerKind, unfit_outcome},
        schedule::{self, Claimed},
    },
};

/// The kind.
pub(crate) struct Verify;

#[tonic::async_trait]
impl WorkerKind for Verify {
    async fn task(
        &self,
        _catalog: &Catalog,
        _connection: &mut PgConnection,
        claimed: &Claimed,
    ) -> Result<Option<Task>, Failure> {
        let (metadata, root) = claimed.subject.blob_pair()?;
        Ok(Some(Task::Verify(VerifyTask {
            metadata_sha256: digest_bytes(&metadata),
            root_sha256: digest_bytes(&root),
        })))
    }

    async fn finish(
        &self,
        _catalog: &Catalog,
        writer: &mut Writer,
        guard: &LeaseGuard,
        outcome: Outcome,
    ) -> Result<FinishResponse, Failure> {
        let Outcome::Verify(outcome) = outcome else {
            return Err(unfit_outcome(guard.kind));
        };
        let facts = combinations("verify.combination", outcome.combination.as_slice())?;
        blobs::record_combinations(writer.connection(), &facts).await?;
        schedule::remove(writer.connection(), guard.lease.work_id).await?;
        let roots: Vec<Digest> = facts.iter().map(|fact| fact.root).collect();
        let activated_versions = activation::reconcile(writer, &roots).await?;
        Ok(FinishResponse { activated_versions })
    }

    async fn fail(
        &self,
        catalog: &Catalog,
        writer: &mut Writer,
        guard: &LeaseGuard,
        failure: &WorkFailure<'_>,
    ) -> Result<(), Failure> {
        fail_or_give_up(catalog, writer, guard, failure).await
    }
}
