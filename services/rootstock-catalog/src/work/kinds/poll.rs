//! Polls: what a remote offers, and plans of it.

use std::time::Duration;

use rootstock_model::{LeftOut, snapshot::Snapshot};
use rootstock_proto::{
    Error,
    catalog::v1::Plan,
    convert,
    sync::v1::{
        FinishResponse, PollTask, SubmitSnapshotRequest, finish_request::Outcome,
        submit_snapshot_request::Part, work::Task,
    },
};
use sqlx::PgConnection;
use tonic::Streaming;

use crate::{
    Catalog,
    change::Writer,
    failure::Failure,
    queries::{
        remotes, settings,
        sync_runs::{self, PlanTarget},
    },
    snapshot::{self, Submission},
    work::{
        LeaseGuard, Subject,
        rules::{WorkFailure, WorkerKind, unfit_outcome},
        schedule::{self, Claimed},
    },
};

/// `index.json` is asked for again this often though the products files it named are unchanged: it
/// may name others.
const INDEX_CHECK_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// The kind.
pub(crate) struct Poll;

#[tonic::async_trait]
impl WorkerKind for Poll {
    async fn task(
        &self,
        _catalog: &Catalog,
        connection: &mut PgConnection,
        claimed: &Claimed,
    ) -> Result<Option<Task>, Failure> {
        let (remote_id, plan_run_id) = match &claimed.subject {
            Subject::PlanRun(id) => match sync_runs::plan_run(connection, id).await?.map(|run| run.target) {
                Some(PlanTarget::Described(remote)) => {
                    return Ok(Some(Task::Poll(PollTask {
                        remote: Some(*remote),
                        check_index: true,
                        plan_run_id: id.clone(),
                        ..PollTask::default()
                    })));
                }
                Some(PlanTarget::Remote(remote_id)) => (remote_id, Some(id)),
                None => return Ok(None),
            },
            subject => (subject.remote()?, None),
        };
        let Some(row) = remotes::by_ids(connection, &[remote_id])
            .await?
            .into_iter()
            .next()
        else {
            return Ok(None);
        };
        let mut task = PollTask {
            remote: Some(row.remote),
            check_index: true,
            ..PollTask::default()
        };
        if let Some(id) = plan_run_id {
            task.plan_run_id.clone_from(id);
            return Ok(Some(Task::Poll(task)));
        }
        sync_runs::attach(connection, remote_id, claimed.lease.epoch).await?;
        // A forced sync is for an index that was refused: it must be submitted again.
        if !sync_runs::wanted(connection, remote_id, claimed.lease.epoch)
            .await?
            .force
        {
            task.documents = remotes::documents(connection, remote_id).await?;
            task.check_index = remotes::index_check_due(connection, remote_id, INDEX_CHECK_INTERVAL).await?;
        }
        Ok(Some(Task::Poll(task)))
    }

    /// Nothing is new. What is comes by [`receive_snapshot`].
    async fn finish(
        &self,
        _catalog: &Catalog,
        writer: &mut Writer,
        guard: &LeaseGuard,
        outcome: Outcome,
    ) -> Result<FinishResponse, Failure> {
        let Outcome::Poll(outcome) = outcome else {
            return Err(unfit_outcome(guard.kind));
        };
        let documents = snapshot::document_columns(&outcome.documents)?;
        let remote_id = guard.subject.remote()?;
        let remote = snapshot::remote_by_id(writer, remote_id).await?;
        let settings = settings::load(writer.connection()).await?;
        if !documents.is_empty() {
            remotes::set_documents(writer.connection(), remote_id, &documents).await?;
        }
        if remotes::index_check_due(writer.connection(), remote_id, INDEX_CHECK_INTERVAL).await? {
            remotes::index_checked(writer.connection(), remote_id).await?;
        }
        snapshot::poll_succeeded(writer, guard, &remote, &settings, Plan::default()).await?;
        Ok(FinishResponse::default())
    }

    async fn fail(
        &self,
        _catalog: &Catalog,
        writer: &mut Writer,
        guard: &LeaseGuard,
        failure: &WorkFailure<'_>,
    ) -> Result<(), Failure> {
        if let Subject::PlanRun(id) = &guard.subject {
            sync_runs::finish_plan(writer.connection(), id, Err(failure.error.to_owned())).await?;
            return schedule::remove(writer.connection(), guard.lease.work_id).await;
        }
        let remote_id = guard.subject.remote()?;
        snapshot::poll_failed(writer, guard, remote_id, failure.error, failure.retry_after).await
    }
}

/// Puts a snapshot together from the messages of its stream.
pub(crate) async fn receive_snapshot(
    mut stream: Streaming<SubmitSnapshotRequest>,
) -> Result<Submission, tonic::Status> {
    let header = match stream.message().await?.and_then(|message| message.part) {
        Some(Part::Header(header)) => header,
        _ => return Err(Failure::from(Error::invalid("header", "must come first")).into()),
    };
    let mut snapshot = Snapshot::default();
    while let Some(message) = stream.message().await? {
        let Some(Part::Chunk(chunk)) = message.part else {
            return Err(Failure::from(Error::invalid("header", "must come once")).into());
        };
        for image in chunk.images {
            let field = format!("images[{}]", snapshot.images.len());
            snapshot
                .images
                .push(convert::offered_image_from_wire(&field, image).map_err(Failure::from)?);
        }
        for left_out in chunk.left_out {
            let field = format!("left_out[{}]", snapshot.left_out.len());
            let left_out: LeftOut = convert::left_out(&field, left_out).map_err(Failure::from)?;
            snapshot.left_out.push(left_out);
        }
    }
    snapshot
        .images
        .sort_by(|a, b| (&a.product, a.image_type).cmp(&(&b.product, b.image_type)));
    let twice = snapshot
        .images
        .windows(2)
        .find(|pair| (&pair[0].product, pair[0].image_type) == (&pair[1].product, pair[1].image_type));
    if let Some([image, _]) = twice {
        let problem = format!("{} {} comes twice", image.image_type, image.product);
        return Err(Failure::from(Error::invalid("images", problem)).into());
    }
    Ok(Submission {
        lease: header.lease.into(),
        documents: header.documents,
        snapshot,
    })
}
