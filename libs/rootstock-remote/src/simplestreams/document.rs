//! Documents, on their way from the server through the verifier to the parser.

use std::collections::HashMap;

use rootstock_model::snapshot::Document;
use rootstock_simplestreams::DocumentError;

use super::Simplestreams;
use crate::http::{FetchError, Fetched, FetchedDocument, Problem};

/// The documents of one poll: each is asked for once.
#[derive(Debug)]
pub(super) struct Documents<'a> {
    source: &'a Simplestreams,
    /// Those that were fetched by a look at whether they changed.
    at_hand: HashMap<String, FetchedDocument>,
}

impl<'a> Documents<'a> {
    pub(super) fn new(source: &'a Simplestreams) -> Self {
        Self {
            source,
            at_hand: HashMap::new(),
        }
    }

    /// Asks whether a document is what it was. Returns it with the validators that it has now; `None`
    /// when it changed.
    pub(super) async fn revalidate(&mut self, known: &Document) -> Result<Option<Document>, FetchError> {
        let target = self.source.target(&known.path);
        match self
            .source
            .server
            .document(target, &known.path, Some(known))
            .await?
        {
            Fetched::Unchanged => Ok(Some(known.clone())),
            Fetched::Whole(document) => {
                let now = document.is_same_as(known).then(|| document.about.clone());
                self.at_hand.insert(known.path.clone(), document);
                Ok(now)
            }
        }
    }

    /// A document, whole, verified and parsed: the one at hand, or asked for without any condition.
    ///
    /// Off the threads that serve others: a large document takes a second.
    pub(super) async fn parsed<T: Send + 'static>(
        &mut self,
        path: &str,
        parser: fn(&[u8]) -> Result<T, DocumentError>,
    ) -> Result<(Document, T), FetchError> {
        let FetchedDocument { body, about } = self.whole(path).await?;
        let verifier = self.source.verifier;
        let parsed = tokio::task::spawn_blocking(move || {
            let verified = verifier.verify(body)?;
            verified
                .parse(parser)
                .map_err(|error| Problem::BadDocument(error.to_string()))
        });
        match parsed.await {
            Ok(Ok(parsed)) => Ok((about, parsed)),
            Ok(Err(problem)) => Err(self.error(path, problem)),
            Err(broken) => {
                let problem = format!("the document cannot be read: {broken}");
                Err(self.error(path, Problem::BadDocument(problem)))
            }
        }
    }

    async fn whole(&mut self, path: &str) -> Result<FetchedDocument, FetchError> {
        if let Some(document) = self.at_hand.remove(path) {
            return Ok(document);
        }
        let target = self.source.target(path);
        match self.source.server.document(target, path, None).await? {
            Fetched::Whole(document) => Ok(document),
            Fetched::Unchanged => {
                Err(self.error(path, Problem::BadDocument("the server sent nothing".to_owned())))
            }
        }
    }

    /// An error of a document.
    pub(super) fn error(&self, path: &str, problem: Problem) -> FetchError {
        let target = self.source.target(path);
        match self.source.server.url(target, path) {
            Ok(url) => FetchError::new(target, &url, problem),
            Err(error) => error,
        }
    }
}
