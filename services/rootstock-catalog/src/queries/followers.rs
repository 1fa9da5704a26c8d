//! Images that follow by checks.

use sqlx::PgConnection;

use crate::failure::Failure;

/// An image that follows.
pub(crate) struct Follower {
    pub id: String,
    /// Of an added image: the synced image that it follows. A cached image follows its own remote.
    pub origin_id: Option<String>,
}

/// A page of the images that follow, after `after`, in the order of their ids: cached images of
/// on-demand remotes, and added images without a release.
pub(crate) async fn page(
    connection: &mut PgConnection,
    after: &str,
    limit: i64,
) -> Result<Vec<Follower>, Failure> {
    let followers = sqlx::query_as!(
        Follower,
        "SELECT i.id, i.origin_id FROM images i
         LEFT JOIN images o ON o.id = i.origin_id
         JOIN remotes r ON r.id = coalesce(i.remote_id, o.remote_id)
         WHERE i.id > $1 AND i.auto_update AND NOT r.disabled
           AND (i.cached AND i.status = 3 AND r.mode = 'on-demand'
                OR i.origin_id IS NOT NULL AND i.release = '' AND i.status <> 4)
         ORDER BY i.id LIMIT $2",
        after,
        limit,
    )
    .fetch_all(connection)
    .await?;
    Ok(followers)
}

/// The serials that an image has, or of which a user deleted the versions.
pub(crate) async fn own_serials(
    connection: &mut PgConnection,
    image_id: &str,
) -> Result<Vec<String>, Failure> {
    let serials = sqlx::query_scalar!(
        "SELECT serial FROM versions WHERE image_id = $1 AND (status <> 4 OR ignored)",
        image_id,
    )
    .fetch_all(connection)
    .await?;
    Ok(serials)
}
