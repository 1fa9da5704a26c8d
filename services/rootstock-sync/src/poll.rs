//! Polling: whether a remote offers something new, told to the catalog in messages.

mod messages;

use rootstock_ingest::{CatalogError, LeaseGuard};
use rootstock_model::snapshot::{Document, Snapshot};
use rootstock_proto::{
    convert,
    sync::v1::{self as wire, PollTask, SnapshotHeader},
};
use rootstock_remote::{KnownState, Polled};

use crate::{remote, work::WorkError, worker::Worker};

/// Polls a remote, and tells the catalog what it offers.
pub(crate) async fn poll(
    worker: &Worker,
    held: &LeaseGuard,
    task: PollTask,
) -> Result<&'static str, WorkError> {
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
            held.reporting();
            let documents = messages::of_documents(documents);
            worker.catalog.finish_poll(held.lease(), documents).await?;
            tracing::debug!("nothing new");
            Ok("unchanged")
        }
        Polled::Offer { documents, snapshot } => {
            submit(worker, held, messages::of_documents(documents), snapshot).await?;
            Ok(if planning { "planned" } else { "submitted" })
        }
    }
}

fn known(documents: Vec<wire::Document>) -> Result<Vec<Document>, WorkError> {
    let documents = documents.into_iter().enumerate();
    documents
        .map(|(index, document)| convert::document(&format!("documents[{index}]"), document))
        .collect::<Result<_, _>>()
        .map_err(|error| WorkError::failed(error.to_string()))
}

async fn submit(
    worker: &Worker,
    held: &LeaseGuard,
    documents: Vec<wire::Document>,
    snapshot: Snapshot,
) -> Result<(), WorkError> {
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
        Err(CatalogError::Unanswered(cause)) => Err(WorkError::failed(format!(
            "the catalog did not record the index: {cause}"
        ))),
        Err(error) => Err(error.into()),
    }
}
