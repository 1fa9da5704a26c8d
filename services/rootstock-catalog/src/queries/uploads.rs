//! Uploads: blobs that gateways receive from clients. Each is a row of `work`, claimed by its gateway
//! and by nobody else.

use std::time::Duration;

use rootstock_model::Digest;
use sqlx::PgConnection;

use super::interval_ms;
use crate::{
    failure::Failure,
    work::{Kind, Subject},
};

/// How many bytes of a blob were uploaded so far.
pub(crate) async fn done_bytes(connection: &mut PgConnection, sha256: &Digest) -> Result<i64, Failure> {
    let done = sqlx::query_scalar!(
        "SELECT done_bytes FROM work WHERE kind = $1 AND subject = $2",
        Kind::Upload.code(),
        Subject::Blob(*sha256).to_column(),
    )
    .fetch_optional(connection)
    .await?;
    Ok(done.unwrap_or_default())
}

/// Forgets uploads that nobody went on with for so long: the next sweep removes what they stored.
pub(crate) async fn remove_abandoned(connection: &mut PgConnection, after: Duration) -> Result<(), Failure> {
    sqlx::query!(
        "DELETE FROM work WHERE kind = $1 AND due_at < now() - $2 * interval '1 ms'",
        Kind::Upload.code(),
        interval_ms(after),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Keeps a stored blob from being collected as long as one that was stored just now; answers its size.
/// `None` when it is not stored.
pub(crate) async fn keep_stored(
    connection: &mut PgConnection,
    sha256: &Digest,
) -> Result<Option<i64>, Failure> {
    let size_bytes = sqlx::query_scalar!(
        "UPDATE blobs SET stored_at = now() WHERE sha256 = $1 RETURNING size_bytes",
        sha256.as_bytes(),
    )
    .fetch_optional(connection)
    .await?;
    Ok(size_bytes)
}

/// Whether a worker is removing this blob from the store.
pub(crate) async fn is_being_removed(
    connection: &mut PgConnection,
    sha256: &Digest,
) -> Result<bool, Failure> {
    let removed = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM blob_removals WHERE sha256 = $1) AS "removed!""#,
        sha256.as_bytes(),
    )
    .fetch_one(connection)
    .await?;
    Ok(removed)
}
