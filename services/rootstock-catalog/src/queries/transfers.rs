//! Work on blobs: transfers, and the computing of fingerprints, with what is wanted of whom.

use rootstock_model::Digest;
use rootstock_proto::catalog::v1::TransferState;
use sqlx::PgConnection;

use super::{digest, select::Select};
use crate::{
    failure::Failure,
    work::{Kind, Subject, subject::blob_columns},
};

/// Removes transfers of these blobs that no queued version wants any more. A worker that is at one
/// learns it from its next heartbeat.
pub(crate) async fn remove_unwanted_transfers(
    connection: &mut PgConnection,
    blobs: &[Digest],
) -> Result<(), Failure> {
    sqlx::query!(
        "DELETE FROM work WHERE kind = $1 AND subject = ANY($2)
           AND NOT EXISTS (SELECT 1 FROM artifacts a JOIN versions v ON v.id = a.version_id
                           WHERE a.sha256 = decode(work.subject, 'hex') AND v.status = 6)",
        Kind::Transfer.code(),
        &blob_columns(blobs),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Uploads that a transfer, or a client, will go on with.
pub(crate) async fn live_uploads(connection: &mut PgConnection) -> Result<Vec<String>, Failure> {
    Ok(
        sqlx::query_scalar!("SELECT upload_id FROM work WHERE upload_id <> ''")
            .fetch_all(connection)
            .await?,
    )
}

/// A transfer as it is shown.
pub(crate) struct TransferRow {
    pub sha256: Digest,
    pub size_bytes: i64,
    pub done_bytes: i64,
    pub state: TransferState,
    pub failed_attempts: i32,
    pub last_error: String,
    pub next_attempt_at: Option<time::OffsetDateTime>,
    pub image: String,
    pub serial: String,
    pub ftype: String,
}

/// At most `rows` transfers in the order of their blobs, after `after`, that this remote or image wants.
pub(crate) async fn list(
    connection: &mut PgConnection,
    remote: Option<&str>,
    image_id: Option<&str>,
    after: &str,
    rows: usize,
) -> Result<Vec<TransferRow>, Failure> {
    let select = Select::new(
        "SELECT w.subject, w.done_bytes, w.worker, w.due_at, w.held, w.failed_attempts, w.last_error,
             wanted.size_bytes, wanted.name AS image, wanted.serial, wanted.ftype
         FROM work w
         CROSS JOIN LATERAL (
             SELECT a.size_bytes, i.name, v.serial, a.ftype
             FROM artifacts a
             JOIN versions v ON v.id = a.version_id
             JOIN images i ON i.id = v.image_id
             LEFT JOIN images o ON o.id = i.origin_id
             LEFT JOIN remotes r ON r.id = coalesce(i.remote_id, o.remote_id)
             WHERE a.sha256 = decode(w.subject, 'hex') AND v.status IN (-1, 6)",
    )
    .and(" AND r.name = ", remote, "")
    .and(" AND i.id = ", image_id, "")
    .text(" ORDER BY v.id LIMIT 1) AS wanted WHERE w.kind = ")
    .bind(Kind::Transfer.code(), " AND w.subject > ")
    .bind(after, " ORDER BY w.subject");
    let rows: Vec<Row> = select.fetch(connection, rows).await?;
    rows.into_iter()
        .map(|row| {
            let state = match (&row.worker, row.due_at, row.held) {
                (Some(_), ..) => TransferState::Running,
                (None, None, false) => TransferState::Failed,
                (None, ..) => TransferState::Queued,
            };
            Ok(TransferRow {
                sha256: Subject::from_column(Kind::Transfer, &row.subject)?.blob()?,
                size_bytes: row.size_bytes,
                done_bytes: row.done_bytes,
                state,
                failed_attempts: row.failed_attempts,
                last_error: row.last_error,
                next_attempt_at: row.due_at.filter(|_| state == TransferState::Queued),
                image: row.image,
                serial: row.serial,
                ftype: row.ftype,
            })
        })
        .collect()
}

#[derive(sqlx::FromRow)]
struct Row {
    subject: String,
    done_bytes: i64,
    worker: Option<String>,
    due_at: Option<time::OffsetDateTime>,
    held: bool,
    failed_attempts: i32,
    last_error: String,
    size_bytes: i64,
    image: String,
    serial: String,
    ftype: String,
}

/// A place where a blob can be had.
pub(crate) struct Source {
    pub remote_id: i64,
    pub path: String,
    pub size_bytes: i64,
}

/// Where it is said that a blob can be had that queued versions want; the oldest remote first. Added
/// images have what they know from their origin's remote, whose own versions know it better.
pub(crate) async fn sources(connection: &mut PgConnection, sha256: &Digest) -> Result<Vec<Source>, Failure> {
    let rows = sqlx::query!(
        r#"SELECT DISTINCT coalesce(i.remote_id, o.remote_id) AS "remote_id!", a.path, a.size_bytes
           FROM artifacts a JOIN versions v ON v.id = a.version_id JOIN images i ON i.id = v.image_id
           LEFT JOIN images o ON o.id = i.origin_id
           WHERE a.sha256 = $1 AND coalesce(i.remote_id, o.remote_id) IS NOT NULL
             AND (v.status = 6 OR v.status IN (3, 5) AND i.remote_id IS NOT NULL)
             AND EXISTS (SELECT 1 FROM artifacts w JOIN versions wanted ON wanted.id = w.version_id
                         WHERE w.sha256 = $1 AND wanted.status = 6)
           ORDER BY 1, 2 LIMIT 16"#,
        sha256.as_bytes(),
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Source {
            remote_id: row.remote_id,
            path: row.path,
            size_bytes: row.size_bytes,
        })
        .collect())
}

/// Stored metadata blobs that precede this root in queued versions.
pub(crate) async fn metadata_of_root(
    connection: &mut PgConnection,
    root: &Digest,
) -> Result<Vec<Digest>, Failure> {
    let rows = sqlx::query_scalar!(
        "SELECT DISTINCT m.sha256
         FROM artifacts a
         JOIN versions v ON v.id = a.version_id
         JOIN artifacts m ON m.version_id = a.version_id AND m.position = 0
         JOIN blobs b ON b.sha256 = m.sha256
         WHERE a.sha256 = $1 AND a.position = 1 AND v.status = 6 LIMIT 16",
        root.as_bytes(),
    )
    .fetch_all(connection)
    .await?;
    rows.iter().map(|row| digest(row)).collect()
}
