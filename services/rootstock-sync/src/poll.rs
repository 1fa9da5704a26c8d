//! Polling: whether a remote offers something new, and what.
//!
//! A poll that finds nothing new must cost next to nothing, because nearly all do: one conditional
//! request for each products file, and none for the index, which often stays the same while products
//! change. Whatever has changed, a snapshot is of the whole remote: the catalog compares it with what
//! it knows, and a part would look like the removal of the rest.

mod messages;

use std::collections::HashMap;

use bytes::Bytes;
use rootstock_model::snapshot::Snapshot;
use rootstock_proto::sync::v1::{Document as Known, PollTask, SnapshotHeader};
use rootstock_simplestreams::{DocumentError, INDEX_PATH, Index, parse_index, parse_products};

use crate::{
    catalog::CatalogError,
    lease::Held,
    remote::{Document, FetchError, Fetched, Problem, RemoteServer, What},
    work::WorkError,
    worker::Worker,
};

/// No known server has more than a dozen.
const MAX_PRODUCTS_FILES: usize = 100;

/// Polls a remote, and tells the catalog what it offers.
pub(crate) async fn poll(worker: &Worker, held: &Held, task: PollTask) -> Result<&'static str, WorkError> {
    let remote = task.remote.unwrap_or_default();
    let mut poll = Poll {
        server: worker.remotes.server(&remote)?,
        at_hand: HashMap::new(),
    };
    let planning = !task.plan_run_id.is_empty();
    if !planning && let Found::Unchanged(documents) = poll.look(&task.documents, task.check_index).await? {
        held.reporting();
        worker.catalog.finish_poll(held.lease(), documents).await?;
        tracing::debug!("nothing new");
        return Ok("unchanged");
    }
    let (documents, snapshot) = poll.fetch_whole().await?;
    submit(worker, held, documents, snapshot).await?;
    Ok(if planning { "planned" } else { "submitted" })
}

async fn submit(
    worker: &Worker,
    held: &Held,
    documents: Vec<Known>,
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

struct Poll {
    server: RemoteServer,
    /// Documents that were fetched on the way, by path.
    at_hand: HashMap<String, Document>,
}

/// What a look at the remote showed.
#[derive(Debug, PartialEq)]
enum Found {
    /// Nothing new. The documents again when their validators are new, else none.
    Unchanged(Vec<Known>),
    /// Something is new, or nothing was known.
    Changed,
}

impl Poll {
    /// Asks for what is known, and stops at the first that is not what it was.
    async fn look(&mut self, known: &[Known], check_index: bool) -> Result<Found, FetchError> {
        let is_index = |document: &Known| document.path == INDEX_PATH;
        if known.iter().all(is_index) || !known.iter().any(is_index) {
            return Ok(Found::Changed);
        }
        let mut documents = Vec::with_capacity(known.len());
        for document in known {
            let wanted = check_index || !is_index(document);
            match if wanted {
                self.look_at(document).await?
            } else {
                Some(document.clone())
            } {
                Some(document) => documents.push(document),
                None => return Ok(Found::Changed),
            }
        }
        let unchanged = documents == known;
        Ok(Found::Unchanged(if unchanged { Vec::new() } else { documents }))
    }

    /// The document with the validators that it has now; `None` when it is not what it was.
    async fn look_at(&mut self, known: &Known) -> Result<Option<Known>, FetchError> {
        let what = if known.path == INDEX_PATH {
            What::Index
        } else {
            What::Products
        };
        match self.server.document(what, &known.path, Some(known)).await {
            Ok(Fetched::Unchanged) => Ok(Some(known.clone())),
            Ok(Fetched::Whole(document)) => {
                let now = document.is_same_as(known).then(|| document.about.clone());
                self.at_hand.insert(known.path.clone(), document);
                Ok(now)
            }
            // The index may name another one by now.
            Err(error) if what == What::Products && error.is_gone() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Everything that the remote offers, and the documents that say so: the index first.
    async fn fetch_whole(&mut self) -> Result<(Vec<Known>, Snapshot), FetchError> {
        let index = self.fetch(What::Index, INDEX_PATH).await?;
        let mut documents = vec![index.about];
        let index = self
            .parse(What::Index, INDEX_PATH, index.body, parse_index)
            .await?;
        if index.entries.len() > MAX_PRODUCTS_FILES {
            let problem = format!(
                "the index names {} products files; at most {MAX_PRODUCTS_FILES} are read",
                index.entries.len()
            );
            return Err(self.error(What::Index, INDEX_PATH, problem));
        }
        let products = self.fetch_products(&index, &mut documents).await?;
        Ok((documents, index.assemble(products)))
    }

    async fn fetch_products(
        &mut self,
        index: &Index,
        documents: &mut Vec<Known>,
    ) -> Result<Vec<Snapshot>, FetchError> {
        let mut products = Vec::with_capacity(index.entries.len());
        for entry in &index.entries {
            let document = self.fetch(What::Products, &entry.path).await?;
            documents.push(document.about);
            products.push(
                self.parse(What::Products, &entry.path, document.body, parse_products)
                    .await?,
            );
        }
        Ok(products)
    }

    /// A document, whole: the one at hand, or asked for without any condition.
    async fn fetch(&mut self, what: What, path: &str) -> Result<Document, FetchError> {
        if let Some(document) = self.at_hand.remove(path) {
            return Ok(document);
        }
        match self.server.document(what, path, None).await? {
            Fetched::Whole(document) => Ok(document),
            Fetched::Unchanged => Err(self.error(what, path, "the server sent nothing".to_owned())),
        }
    }

    /// Parses off the threads that serve others: a large document takes a second.
    async fn parse<T: Send + 'static>(
        &self,
        what: What,
        path: &str,
        body: Bytes,
        parser: fn(&[u8]) -> Result<T, DocumentError>,
    ) -> Result<T, FetchError> {
        let problem = match tokio::task::spawn_blocking(move || parser(&body)).await {
            Ok(Ok(parsed)) => return Ok(parsed),
            Ok(Err(error)) => error.to_string(),
            Err(broken) => format!("the document cannot be read: {broken}"),
        };
        Err(self.error(what, path, problem))
    }

    fn error(&self, what: What, path: &str, problem: String) -> FetchError {
        match self.server.url(what, path) {
            Ok(url) => FetchError::new(what, &url, Problem::BadDocument(problem)),
            Err(error) => error,
        }
    }
}
