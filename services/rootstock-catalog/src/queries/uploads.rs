//! Uploads: blobs that gateways receive from clients. Each is a row of `work`, claimed by its gateway
//! and by nobody else.

use std::time::Duration;

use rootstock_model::Digest;
use rootstock_proto::sync::v1::WorkKind;
use sqlx::PgConnection;

use super::work::{Lease, interval_ms};
use crate::failure::Failure;

/// An upload that was claimed.
pub(crate) struct Opened {
    pub lease: Lease,
    pub journal: Vec<u8>,
}

/// Claims the upload of a blob, unless another worker holds it.
pub(crate) async fn open(
    connection: &mut PgConnection,
    sha256: &Digest,
    worker: &str,
    lease: Duration,
) -> Result<Option<Opened>, Failure> {
    let row = sqlx::query!(
        "INSERT INTO work AS w (kind, subject, worker, epoch, due_at)
         VALUES ($1, $2, $3, 1, now() + $4 * interval '1 ms')
         ON CONFLICT (kind, subject)
         DO UPDATE SET worker = excluded.worker, epoch = w.epoch + 1, due_at = excluded.due_at
         WHERE w.worker IS NULL OR w.worker = excluded.worker OR w.due_at <= now()
         RETURNING id, epoch, journal",
        WorkKind::Upload as i16,
        sha256.to_hex(),
        worker,
        interval_ms(lease),
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| Opened {
        lease: Lease {
            work_id: row.id,
            epoch: row.epoch,
        },
        journal: row.journal.unwrap_or_default(),
    }))
}

/// How many bytes of a blob were uploaded so far.
pub(crate) async fn done_bytes(connection: &mut PgConnection, sha256: &Digest) -> Result<i64, Failure> {
    let done = sqlx::query_scalar!(
        "SELECT done_bytes FROM work WHERE kind = $1 AND subject = $2",
        WorkKind::Upload as i16,
        sha256.to_hex(),
    )
    .fetch_optional(connection)
    .await?;
    Ok(done.unwrap_or_default())
}

/// Forgets uploads that nobody went on with for so long: the next sweep removes what they stored.
pub(crate) async fn remove_abandoned(connection: &mut PgConnection, after: Duration) -> Result<(), Failure> {
    sqlx::query!(
        "DELETE FROM work WHERE kind = $1 AND due_at < now() - $2 * interval '1 ms'",
        WorkKind::Upload as i16,
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
