//! Polling a tree: whether it offers something new, and what.
//!
//! A poll that finds nothing new must cost next to nothing, because nearly all do: one conditional
//! request for each products file, and none for the index, which often stays the same while products
//! change. Whatever has changed, an offer is of the whole remote: the catalog compares it with what it
//! knows, and a part would look like the removal of the rest.

use rootstock_model::snapshot::{Document, Snapshot};
use rootstock_simplestreams::{parse_index, parse_products};

use super::{Simplestreams, document::Documents};
use crate::{
    KnownState, Polled,
    http::{FetchError, FetchErrorKind, Problem},
};

/// No known server has more than a dozen.
const MAX_PRODUCTS_FILES: usize = 100;

/// Asks whether there is something new, and what.
pub(super) async fn poll(source: &Simplestreams, known: KnownState<'_>) -> Result<Polled, FetchError> {
    let mut documents = Documents::new(source);
    match unchanged(source, &mut documents, known).await? {
        Some(now) if now == known.documents => Ok(Polled::Unchanged(Vec::new())),
        Some(now) => Ok(Polled::Unchanged(now)),
        None => fetch_whole(source, &mut documents).await,
    }
}

/// Asks for what is known, and stops at the first that is not what it was. Returns the documents with
/// the validators that they have now; `None` when something is new, or too little is known.
async fn unchanged(
    source: &Simplestreams,
    documents: &mut Documents<'_>,
    known: KnownState<'_>,
) -> Result<Option<Vec<Document>>, FetchError> {
    let is_index = |document: &Document| source.is_index(&document.path);
    if known.documents.iter().all(is_index) || !known.documents.iter().any(is_index) {
        return Ok(None);
    }
    let mut now = Vec::with_capacity(known.documents.len());
    for document in known.documents {
        if is_index(document) && !known.check_index {
            now.push(document.clone());
            continue;
        }
        match documents.revalidate(document).await {
            Ok(Some(document)) => now.push(document),
            Ok(None) => return Ok(None),
            // The index may name another one by now.
            Err(error) if !is_index(document) && error.kind() == FetchErrorKind::Gone => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(Some(now))
}

/// Everything that the remote offers, and the documents that say so: the index first.
async fn fetch_whole(source: &Simplestreams, documents: &mut Documents<'_>) -> Result<Polled, FetchError> {
    let index_path = source.verifier.index_path();
    let (about, index) = documents.parsed(index_path, parse_index).await?;
    let mut seen = vec![about];
    if index.entries.len() > MAX_PRODUCTS_FILES {
        let problem = format!(
            "the index names {} products files; at most {MAX_PRODUCTS_FILES} are read",
            index.entries.len()
        );
        return Err(documents.error(index_path, Problem::BadDocument(problem)));
    }
    let mut products: Vec<Snapshot> = Vec::with_capacity(index.entries.len());
    for entry in &index.entries {
        let (about, snapshot) = documents.parsed(&entry.path, parse_products).await?;
        seen.push(about);
        products.push(snapshot);
    }
    Ok(Polled::Offer {
        documents: seen,
        snapshot: index.assemble(products),
    })
}
