//! The log of changes.

use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;

use crate::{failure::Failure, feed::CHANGES_CHANNEL};

/// Bytes of changes that one statement carries.
const STATEMENT_BYTES: usize = 8 * 1024 * 1024;

/// A change as it is in its row.
pub(crate) struct ChangeRow {
    pub revision: i64,
    /// The last revision of its transaction.
    pub transaction_revision: i64,
    pub changed_at: OffsetDateTime,
    pub payload: Vec<u8>,
}

/// Appends the changes of a transaction after this revision, and announces them.
pub(crate) async fn append(
    connection: &mut PgConnection,
    before: i64,
    payloads: &[Vec<u8>],
) -> Result<(), Failure> {
    let last = before + i64::try_from(payloads.len()).unwrap_or(i64::MAX);
    let mut next = before + 1;
    let mut rest = payloads;
    while !rest.is_empty() {
        let (now, later) = rest.split_at(fitting(rest, STATEMENT_BYTES));
        sqlx::query!(
            "INSERT INTO changes (revision, transaction_revision, changed_at, payload)
             SELECT $1 + position - 1, $2, now(), payload
             FROM unnest($3::bytea[]) WITH ORDINALITY AS change (payload, position)",
            next,
            last,
            now,
        )
        .execute(&mut *connection)
        .await?;
        next += i64::try_from(now.len()).unwrap_or(i64::MAX);
        rest = later;
    }
    sqlx::query!("UPDATE catalog_revision SET revision = $1", last)
        .execute(&mut *connection)
        .await?;
    sqlx::query!("SELECT pg_notify($1, '')", CHANGES_CHANNEL)
        .execute(connection)
        .await?;
    Ok(())
}

/// How many of these have at most so many bytes: at least the first.
fn fitting(payloads: &[Vec<u8>], max_bytes: usize) -> usize {
    let mut bytes = 0;
    let within = payloads.iter().take_while(|payload| {
        bytes += payload.len();
        bytes <= max_bytes
    });
    within.count().max(1)
}

/// The changes from this revision on, in order: at most `max_rows`, and no more than it takes to reach
/// `max_bytes`.
pub(crate) async fn page(
    pool: &PgPool,
    from_revision: i64,
    max_rows: i64,
    max_bytes: i64,
) -> Result<Vec<ChangeRow>, Failure> {
    let rows = sqlx::query_as!(
        ChangeRow,
        r#"SELECT revision AS "revision!", transaction_revision AS "transaction_revision!",
               changed_at AS "changed_at!", payload AS "payload!"
           FROM (SELECT change.*,
                     sum(octet_length(payload)) OVER (ORDER BY revision) - octet_length(payload) AS bytes_before
                 FROM (SELECT revision, transaction_revision, changed_at, payload FROM changes
                       WHERE revision >= $1 ORDER BY revision LIMIT $2) AS change) AS change
           WHERE bytes_before < $3::bigint ORDER BY revision"#,
        from_revision,
        max_rows,
        max_bytes,
    )
    .fetch_all(pool)
    .await?;
    Ok(rows)
}

/// The newest revision.
pub(crate) async fn newest_revision(pool: &PgPool) -> Result<i64, Failure> {
    Ok(sqlx::query_scalar!("SELECT revision FROM catalog_revision")
        .fetch_one(pool)
        .await?)
}

/// The oldest revision that a watcher can begin at.
pub(crate) async fn oldest_revision(pool: &PgPool) -> Result<i64, Failure> {
    let oldest = sqlx::query_scalar!(
        r#"SELECT coalesce((SELECT min(revision) FROM changes), (SELECT revision + 1 FROM catalog_revision)) AS "oldest!""#
    );
    Ok(oldest.fetch_one(pool).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_carries_one_change_at_least_and_not_many_bytes() {
        let payloads = [vec![0; 3], vec![0; 3], vec![0; 9], vec![0; 1]];
        assert_eq!(fitting(&payloads, 8), 2);
        assert_eq!(fitting(&payloads[2..], 8), 1);
        assert_eq!(fitting(&payloads, 100), 4);
    }
}
