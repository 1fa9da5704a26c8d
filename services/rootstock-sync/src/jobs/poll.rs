//! Polling: whether a remote offers something new, told to the catalog in messages.

mod messages;

use rootstock_ingest::{CatalogError, LeaseGuard};
use rootstock_model::snapshot::{Document, Snapshot};
use rootstock_proto::{
    convert,
    sync::v1::{
        self as wire, PollOutcome, PollTask, SnapshotHeader, WorkKind, finish_request::Outcome, work::Task,
    },
};
use rootstock_remote::{KnownState, Polled};
use tracing::Span;

use crate::{
    config::SyncConfig,
    job::{Done, Job, JobContext, JobError},
    remote,
    worker::Worker,
};

/// The kind.
pub(crate) struct Poll;

impl Job for Poll {
    const KIND: WorkKind = WorkKind::Poll;
    const LABEL: &'static str = "poll";

    type Task = PollTask;

    fn task(task: Task) -> Option<PollTask> {
        match task {
            Task::Poll(task) => Some(task),
            _ => None,
        }
    }

    fn slots(config: &SyncConfig) -> usize {
        config.concurrent_polls
    }

    fn span(work_id: i64, task: &PollTask) -> Span {
        let remote = task.remote.as_ref().map_or("", |remote| remote.name.as_str());
        tracing::info_span!("poll", work.id = work_id, remote.name = remote)
    }

    async fn run(JobContext { worker, held }: JobContext<'_>, task: PollTask) -> Result<Done, JobError> {
        let spec = remote::spec(task.remote.as_ref())?;
        let source = worker.remotes.source(&spec.endpoint)?;
        let planning = !task.plan_run_id.is_empty();
        let known = if planning {
            Vec::new()
        } else {
            known(task.documents)?
        };
        let known = KnownState {
            documents: &known,
            check_index: task.check_index,
        };
        match source.poll(known).await? {
            Polled::Unchanged(documents) => {
                tracing::debug!("nothing new");
                let documents = messages::of_documents(documents);
                Ok(Done::with("unchanged", Outcome::Poll(PollOutcome { documents })))
            }
            Polled::Offer { documents, snapshot } => {
                submit(worker, held, messages::of_documents(documents), snapshot).await?;
                Ok(Done::reported(if planning { "planned" } else { "submitted" }))
            }
        }
    }
}

fn known(documents: Vec<wire::Document>) -> Result<Vec<Document>, JobError> {
    let documents = documents.into_iter().enumerate();
    documents
        .map(|(index, document)| convert::document(&format!("documents[{index}]"), document))
        .collect::<Result<_, _>>()
        .map_err(|error| JobError::failed(error.to_string()))
}

async fn submit(
    worker: &Worker,
    held: &LeaseGuard,
    documents: Vec<wire::Document>,
    snapshot: Snapshot,
) -> Result<(), JobError> {
    let (images, left_out) = (snapshot.images.len(), snapshot.left_out.len());
    let header = SnapshotHeader {
        lease: Some(held.lease()),
        documents,
    };
    let messages = messages::of_snapshot(header, snapshot);
    held.reporting();
    match worker.catalog.submit_snapshot(messages).await {
        Ok(answer) => {
            let (changed_versions, queued_transfers) = (answer.changed_versions, answer.queued_transfers);
            tracing::info!(
                images,
                left_out,
                changed_versions,
                queued_transfers,
                "index recorded"
            );
            Ok(())
        }
        // It may be this very snapshot that the catalog cannot cope with: said on the remote, and not
        // tried again at once.
        Err(CatalogError::Unanswered(cause)) => Err(JobError::failed(format!(
            "the catalog did not record the index: {cause}"
        ))),
        Err(error) => Err(error.into()),
    }
}
