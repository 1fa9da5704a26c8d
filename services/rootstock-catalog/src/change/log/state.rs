//! The whole state, a page at a time.

use std::collections::VecDeque;

use rootstock_model::limits::MAX_MESSAGE_BYTES;
use rootstock_proto::catalog::v1::{ChangeKind, ChangeOperation, change::Resource};
use sqlx::{PgConnection, PgPool};

use super::{Logged, publish, readers};
use crate::failure::Failure;

/// Rows of the first page, when nothing is known of their size.
const FIRST_ROWS: usize = 64;
/// Rows of a page at most. With them, a run of small resources that ends in large ones stays bounded.
const MAX_ROWS: usize = 500;

/// Reads the resources of one kind, from page to page.
#[tonic::async_trait]
pub(super) trait Reader: Send {
    fn kind(&self) -> ChangeKind;

    /// The next page; empty after the last.
    async fn next(&mut self, connection: &mut PgConnection, limit: i64) -> Result<Vec<Resource>, Failure>;
}

/// Reads this kind.
pub(super) struct ReaderOf<R: Logged> {
    after: Option<R::Key>,
}

impl<R: Logged> Default for ReaderOf<R> {
    fn default() -> Self {
        Self { after: None }
    }
}

#[tonic::async_trait]
impl<R: Logged> Reader for ReaderOf<R> {
    fn kind(&self) -> ChangeKind {
        R::KIND
    }

    async fn next(&mut self, connection: &mut PgConnection, limit: i64) -> Result<Vec<Resource>, Failure> {
        let page = R::page(connection, self.after.as_ref(), limit).await?;
        if let Some((last, _)) = page.last() {
            self.after = Some(last.clone());
        }
        let resources = page.into_iter();
        Ok(resources
            .map(|(_, resource)| publish(resource, ChangeOperation::State))
            .collect())
    }
}

/// The whole state, page by page. What others belong to comes first.
pub(crate) struct Pages {
    readers: VecDeque<Box<dyn Reader>>,
    rows: usize,
}

/// Every resource of the kinds that are wanted.
pub(crate) fn pages(wants: impl Fn(ChangeKind) -> bool) -> Pages {
    let mut readers: VecDeque<_> = readers().into();
    readers.retain(|reader| wants(reader.kind()));
    Pages {
        readers,
        rows: FIRST_ROWS,
    }
}

impl Pages {
    /// The next page; `None` after the last. Holds a connection only meanwhile.
    pub(crate) async fn next(&mut self, pool: &PgPool) -> Result<Option<Vec<Resource>>, Failure> {
        while let Some(reader) = self.readers.front_mut() {
            let limit = i64::try_from(self.rows).unwrap_or(i64::MAX);
            let page = reader.next(&mut *pool.acquire().await?, limit).await?;
            if page.is_empty() {
                self.readers.pop_front();
                continue;
            }
            let bytes = page.iter().map(Resource::encoded_len).sum();
            self.rows = next_rows(self.rows, page.len(), bytes);
            return Ok(Some(page));
        }
        Ok(None)
    }
}

/// Rows of the next page, after one that was asked for so many and had these rows and bytes: as many as
/// make a page, growing step by step.
fn next_rows(asked: usize, rows: usize, bytes: usize) -> usize {
    let fitting = rows.saturating_mul(MAX_MESSAGE_BYTES) / bytes.max(1);
    fitting.min(asked.saturating_mul(2)).clamp(1, MAX_ROWS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_large_resources_have_few_rows() {
        assert_eq!(next_rows(64, 64, 64 * 300), 128, "small ones: twice as many");
        assert_eq!(next_rows(64, 3, 900), 128, "the last of a kind says nothing");
        assert_eq!(next_rows(400, 400, 400 * 300), MAX_ROWS);
        assert_eq!(next_rows(64, 64, 64 * 64 * 1024), 16);
        assert_eq!(next_rows(16, 16, 16 * 64 * 1024), 16);
        assert_eq!(next_rows(2, 2, 8 * 1024 * 1024), 1, "one at least");
        assert_eq!(next_rows(1, 1, 300), 2, "and back again");
    }
}
