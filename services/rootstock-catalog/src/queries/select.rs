//! SELECTs of lists, composed of the conditions that a request gives.
//!
//! A condition that is not given does not stand in the statement: `$n IS NULL OR …` costs planning for
//! every call, or a generic plan that expects one row. Text comes from the code alone and values are
//! bound, so the statements are few, and each is prepared once per connection.
//!
//! Each is planned once, too. Postgres keeps a plan only while that seems no worse than one made for the
//! values, and planning takes longer than the rest. So it must not see the values, which stand in
//! subqueries, and must see how few rows are read of an order, which stands in the text.

use rootstock_model::NamePattern;
use sqlx::{Encode, FromRow, PgConnection, Postgres, QueryBuilder, Type, postgres::PgRow};

use crate::failure::Failure;

/// How many rows are read at most, as they stand in the statement.
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
    pub(super) fn bind<'a, T>(self, value: T, text: &'static str) -> Self
    where
        T: Encode<'a, Postgres> + Type<Postgres>,
    {
        match self.keep_plan {
            true => self.text("(SELECT ").bind_shown(value, ")").text(text),
            false => self.bind_shown(value, text),
        }
    }

    /// Adds a value that the planner may see: an argument of an SQL function, whose text is taken in its
    /// place only without a subquery.
    pub(super) fn bind_shown<'a, T>(mut self, value: T, text: &'static str) -> Self
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

    /// Adds the condition that this column matches a pattern, if there is one. By the collation "C", case is
    /// that of ASCII, as in the model, whatever the database's is.
    pub(super) fn and_matches(self, column: &'static str, pattern: Option<&NamePattern>) -> Self {
        match pattern {
            Some(pattern) => self
                .text(" AND lower(")
                .text(column)
                .text(" COLLATE \"C\") ~ ")
                .bind(pattern.to_postgres_regex(), ""),
            None => self,
        }
    }

    /// Has the statement planned for its values, every time: how it is best run depends on them. Before any
    /// value is bound.
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
