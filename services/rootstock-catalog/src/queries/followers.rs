//! Images that follow by checks.

use sqlx::PgConnection;

use crate::failure::Failure;

/// A page of the cached images of on-demand remotes that follow, after `after`, in the order of their
/// ids.
pub(crate) async fn page(
    connection: &mut PgConnection,
    after: &str,
    limit: i64,
) -> Result<Vec<String>, Failure> {
    let ids = sqlx::query_scalar!(
        "SELECT i.id FROM images i JOIN remotes r ON r.id = i.remote_id
         WHERE i.id > $1 AND i.cached AND i.auto_update AND i.status = 3
           AND r.mode = 'on-demand' AND NOT r.disabled
         ORDER BY i.id LIMIT $2",
        after,
        limit,
    )
    .fetch_all(connection)
    .await?;
    Ok(ids)
}
