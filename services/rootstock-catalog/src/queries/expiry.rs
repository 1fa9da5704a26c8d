//! What has run out: cached images, and rows that are kept for a while only.

use std::time::Duration;

use rootstock_model::Digest;
use sqlx::PgConnection;

use super::{digest, interval_ms};
use crate::failure::Failure;

/// Finished runs are shown for this many days.
const RUN_DAYS: f64 = 7.0;

/// Cached images that leave the store: nobody used them for so many days (0: that is no reason), or
/// their time ran out since they were fetched. Never one that an application holds.
pub(crate) async fn cached_images(
    connection: &mut PgConnection,
    unused_days: i32,
    limit: i64,
) -> Result<Vec<String>, Failure> {
    let ids = sqlx::query_scalar!(
        "SELECT i.id FROM images i LEFT JOIN image_uses u ON u.image_id = i.id
         WHERE i.cached AND i.status <> 4
           AND (coalesce(i.user_expires_at, i.expires_at) <= now()
                AND coalesce(i.user_expires_at, i.expires_at) > i.cached_at
                OR $1 > 0 AND greatest(i.cached_at, u.last_used_at) <= now() - $1 * interval '1 day')
           AND NOT EXISTS (SELECT FROM versions v JOIN applications p ON p.version_id = v.id WHERE v.image_id = i.id)
         ORDER BY i.id LIMIT $2",
        unused_days,
        limit,
    )
    .fetch_all(connection)
    .await?;
    Ok(ids)
}

/// Images whose hold is over.
pub(crate) async fn holds(connection: &mut PgConnection, limit: i64) -> Result<Vec<String>, Failure> {
    let ids = sqlx::query_scalar!(
        "SELECT id FROM images WHERE hold_until <= now() ORDER BY hold_until LIMIT $1",
        limit,
    )
    .fetch_all(connection)
    .await?;
    Ok(ids)
}

/// A version that went back to being known only.
pub(crate) struct Delisted {
    pub id: i64,
    pub image_id: String,
}

/// Takes these images off the list: what is stored or on its way is known from now on, no more.
pub(crate) async fn delist(connection: &mut PgConnection, ids: &[String]) -> Result<Vec<Delisted>, Failure> {
    sqlx::query!(
        "UPDATE images SET cached = false, cached_at = NULL, is_default = false WHERE id = ANY($1)",
        ids
    )
    .execute(&mut *connection)
    .await?;
    let rows = sqlx::query_as!(
        Delisted,
        "UPDATE versions SET status = 5, hidden = false, error_message = '',
             delisted_at = CASE WHEN status = 3 THEN now() ELSE delisted_at END
         WHERE image_id = ANY($1) AND status IN (3, 6)
         RETURNING id, image_id",
        ids,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows)
}

/// The files of these versions.
pub(crate) async fn files(connection: &mut PgConnection, versions: &[i64]) -> Result<Vec<Digest>, Failure> {
    let rows = sqlx::query_scalar!(
        "SELECT DISTINCT sha256 FROM artifacts WHERE version_id = ANY($1)",
        versions
    )
    .fetch_all(connection)
    .await?;
    rows.iter().map(|row| digest(row)).collect()
}

/// Deleted versions that nobody may ask for any more: out of the grace, held by no application, and no
/// mark that keeps a serial from coming back.
pub(crate) async fn deleted_versions(
    connection: &mut PgConnection,
    grace: Duration,
    limit: i64,
) -> Result<Vec<i64>, Failure> {
    let ids = sqlx::query_scalar!(
        "SELECT v.id FROM versions v
         WHERE v.status = 4 AND NOT v.ignored AND v.deleted_at <= now() - $1 * interval '1 ms'
           AND NOT EXISTS (SELECT FROM applications p WHERE p.version_id = v.id)
         ORDER BY v.deleted_at LIMIT $2",
        interval_ms(grace),
        limit,
    )
    .fetch_all(connection)
    .await?;
    Ok(ids)
}

/// Deleted images of which nothing is left, and that neither keep a product from coming back nor are
/// what another image came from, though that be deleted: it is told with every image.
pub(crate) async fn deleted_images(
    connection: &mut PgConnection,
    limit: i64,
) -> Result<Vec<String>, Failure> {
    let ids = sqlx::query_scalar!(
        "SELECT i.id FROM images i
         WHERE i.status = 4 AND NOT i.ignored
           AND NOT EXISTS (SELECT FROM versions v WHERE v.image_id = i.id)
           AND NOT EXISTS (SELECT FROM images o WHERE o.origin_id = i.id)
         ORDER BY i.id LIMIT $1",
        limit,
    )
    .fetch_all(connection)
    .await?;
    Ok(ids)
}

/// Removes images, which have no versions.
pub(crate) async fn remove_images(connection: &mut PgConnection, ids: &[String]) -> Result<(), Failure> {
    sqlx::query!("DELETE FROM images WHERE id = ANY($1)", ids)
        .execute(connection)
        .await?;
    Ok(())
}

/// Removes runs that ended long ago; answers how many.
pub(crate) async fn remove_runs(connection: &mut PgConnection, limit: i64) -> Result<u64, Failure> {
    let removed = sqlx::query!(
        "DELETE FROM sync_runs WHERE id IN (
             SELECT id FROM sync_runs
             WHERE state IN (2, 3) AND requested_at <= now() - $1 * interval '1 day' LIMIT $2)",
        RUN_DAYS,
        limit,
    )
    .execute(connection)
    .await?;
    Ok(removed.rows_affected())
}

/// Removes facts about blobs of which one is gone: should it come back, the fact does too. Answers how
/// many.
pub(crate) async fn remove_combinations(connection: &mut PgConnection, limit: i64) -> Result<u64, Failure> {
    let removed = sqlx::query!(
        "DELETE FROM combinations WHERE (metadata_sha256, root_sha256) IN (
             SELECT c.metadata_sha256, c.root_sha256 FROM combinations c
             WHERE NOT EXISTS (SELECT FROM blobs b WHERE b.sha256 = c.metadata_sha256)
                OR NOT EXISTS (SELECT FROM blobs b WHERE b.sha256 = c.root_sha256)
             LIMIT $1)",
        limit,
    )
    .execute(connection)
    .await?;
    Ok(removed.rows_affected())
}

/// How long until the next thing runs out of those that are known now; `None` when nothing does.
pub(crate) async fn next(
    connection: &mut PgConnection,
    unused_days: i32,
    grace: Duration,
) -> Result<Option<Duration>, Failure> {
    let seconds = sqlx::query_scalar!(
        "SELECT extract(epoch FROM least(
             (SELECT min(greatest(i.cached_at, u.last_used_at)) + $1 * interval '1 day'
              FROM images i LEFT JOIN image_uses u ON u.image_id = i.id WHERE i.cached AND $1 > 0),
             (SELECT min(coalesce(user_expires_at, expires_at)) FROM images
              WHERE cached AND coalesce(user_expires_at, expires_at) > cached_at),
             (SELECT min(hold_until) FROM images WHERE hold_until IS NOT NULL),
             (SELECT min(deleted_at) + $2 * interval '1 ms' FROM versions WHERE status = 4 AND NOT ignored)
         ) - now())::float8",
        f64::from(unused_days),
        interval_ms(grace),
    )
    .fetch_one(connection)
    .await?;
    Ok(seconds.map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO)))
}
