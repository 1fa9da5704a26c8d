//! SELECTs of lists, composed of the conditions that a request gives.
//!
//! A condition that is not given does not stand in the statement: `$n IS NULL OR …` costs planning for
//! every call, or a generic plan that expects one row. Text comes from the code alone and values are
//! bound, so the statements are few, and each is prepared once per connection.

use sqlx::{Encode, FromRow, PgConnection, Postgres, QueryBuilder, Type, postgres::PgRow};

use crate::failure::Failure;

/// How many rows are read at most, as they stand in the statement. A bound number would hide from
/// Postgres how little of its order is read: it would plan every call anew.
const LIMITS: [usize; 3] = [2, 11, 101];
/// The most rows of a batch: the one more that a batch reads says whether there is another.
pub(crate) const MAX_BATCH: usize = LIMITS[LIMITS.len() - 1] - 1;

/// A SELECT that is being composed.
pub(super) struct Select {
    query: QueryBuilder<Postgres>,
    keep_plan: bool,
}

impl Select {
    /// Begins with the text up to its first condition.
    pub(super) fn new(text: &'static str) -> Self {
        Self {
            query: QueryBuilder::new(text),
            keep_plan: true,
        }
    }

    /// Adds a value and the text that follows it.
    pub(super) fn bind<'a, T>(mut self, value: T, text: &'static str) -> Self
    where
        T: Encode<'a, Postgres> + Type<Postgres>,
    {
        self.query.push_bind(value);
        self.query.push(text);
        self
    }

    /// Adds text.
    pub(super) fn text(mut self, text: &'static str) -> Self {
        self.query.push(text);
        self
    }

    /// Adds a condition if there is a value for it, between `before` and `after`.
    pub(super) fn and<'a, T>(self, before: &'static str, value: Option<T>, after: &'static str) -> Self
    where
        T: Encode<'a, Postgres> + Type<Postgres>,
    {
        match value {
            Some(value) => self.text(before).bind(value, after),
            None => self,
        }
    }

    /// Has the statement planned for its values, every time: how it is best run depends on them.
    pub(super) fn plan_for_values(mut self) -> Self {
        self.keep_plan = false;
        self
    }

    /// Reads at least `rows` rows if there are as many, and at most the next of [`LIMITS`].
    pub(super) async fn fetch<T>(
        mut self,
        connection: &mut PgConnection,
        rows: usize,
    ) -> Result<Vec<T>, Failure>
    where
        T: for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        let limit = LIMITS.into_iter().find(|limit| *limit >= rows);
        self.query.push(" LIMIT ");
        self.query.push(limit.unwrap_or(MAX_BATCH + 1));
        let query = self.query.build_query_as().persistent(self.keep_plan);
        let mut found = query.fetch_all(connection).await?;
        found.truncate(rows);
        Ok(found)
    }
}
