//! Transfers: blobs that remotes have and the store lacks.

use rootstock_model::{ArtifactRef, Digest, Status};
use rootstock_proto::{
    catalog::v1::ChangeOperation,
    convert::{self, digest_bytes},
    sync::v1::{FinishResponse, TransferSource, TransferTask, finish_request::Outcome, work::Task},
};
use sqlx::PgConnection;

use crate::{
    Catalog,
    change::Writer,
    failure::Failure,
    queries::{remotes, transfers, versions},
    work::{
        LeaseGuard, Subject,
        facts::{combinations, record_blob},
        rules::{WorkFailure, WorkerKind, unfit_outcome},
        schedule::{self, Claimed},
    },
};

/// The kind.
pub(crate) struct Transfer;

#[tonic::async_trait]
impl WorkerKind for Transfer {
    async fn task(
        &self,
        _catalog: &Catalog,
        connection: &mut PgConnection,
        claimed: &Claimed,
    ) -> Result<Option<Task>, Failure> {
        let sha256 = claimed.subject.blob()?;
        let sources = transfers::sources(connection, &sha256).await?;
        let mut ids: Vec<i64> = sources.iter().map(|source| source.remote_id).collect();
        ids.dedup();
        let remotes = remotes::by_ids(connection, &ids).await?;
        let sources: Vec<TransferSource> = sources
            .into_iter()
            .filter_map(|source| {
                let row = remotes.iter().find(|row| row.id == source.remote_id)?;
                Some(TransferSource {
                    remote: Some(row.remote.clone()),
                    path: source.path,
                    size_bytes: source.size_bytes,
                    artifact: Some(ArtifactRef::Digest(sha256).into()),
                })
            })
            .collect();
        if sources.is_empty() {
            return Ok(None);
        }
        let metadata = transfers::metadata_of_root(connection, &sha256).await?;
        Ok(Some(Task::Transfer(TransferTask {
            sha256: digest_bytes(&sha256),
            sources,
            journal: claimed.journal.clone().into(),
            metadata_sha256: metadata.iter().map(digest_bytes).collect(),
        })))
    }

    async fn finish(
        &self,
        _catalog: &Catalog,
        writer: &mut Writer,
        guard: &LeaseGuard,
        outcome: Outcome,
    ) -> Result<FinishResponse, Failure> {
        let Outcome::Transfer(outcome) = outcome else {
            return Err(unfit_outcome(guard.kind));
        };
        let facts = combinations("transfer.combinations", &outcome.combinations)?;
        convert::size_bytes("transfer.size_bytes", outcome.size_bytes)?;
        let sha256 = guard.subject.blob()?;
        let activated_versions =
            record_blob(writer, guard.lease, &sha256, outcome.size_bytes, &facts).await?;
        tracing::info!(blob.sha256 = %sha256, size_bytes = outcome.size_bytes, activated_versions, "blob stored");
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

/// Has the work tried again, or gives it up after as many failures as are allowed.
pub(super) async fn fail_or_give_up(
    catalog: &Catalog,
    writer: &mut Writer,
    guard: &LeaseGuard,
    failure: &WorkFailure<'_>,
) -> Result<(), Failure> {
    if failure.failures < catalog.retry.transfer_attempts {
        let retry_after = Some(failure.retry_after);
        return schedule::fail(writer.connection(), guard, failure.error, retry_after).await;
    }
    schedule::fail(writer.connection(), guard, failure.error, None).await?;
    give_up(writer, &guard.subject, failure.error).await
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
