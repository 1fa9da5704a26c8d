//! Work on blobs: transfers, and the computing of fingerprints, with what is wanted of whom.

use std::collections::BTreeSet;

use rootstock_model::Digest;
use rootstock_proto::{Error, catalog::v1::TransferState, sync::v1::WorkKind};
use sqlx::PgConnection;

use super::{
    digest,
    select::Select,
    work::{Lease, announce},
};
use crate::failure::Failure;

/// The subject of a pair of blobs.
pub(crate) fn pair_subject(metadata: &Digest, root: &Digest) -> String {
    format!("{metadata}+{root}")
}

/// The pair of a subject.
pub(crate) fn subject_pair(subject: &str) -> Option<(Digest, Digest)> {
    let (metadata, root) = subject.split_once('+')?;
    Some((metadata.parse().ok()?, root.parse().ok()?))
}

/// Keeps a transfer's journal.
pub(crate) async fn save_journal(
    connection: &mut PgConnection,
    lease: Lease,
    journal: &[u8],
    upload_id: &str,
    done_bytes: i64,
) -> Result<(), Failure> {
    let saved = sqlx::query!(
        "UPDATE work SET journal = $3, upload_id = $4, done_bytes = $5
         WHERE id = $1 AND epoch = $2 AND worker IS NOT NULL",
        lease.work_id,
        lease.epoch,
        journal,
        upload_id,
        done_bytes,
    )
    .execute(connection)
    .await?;
    if saved.rows_affected() == 0 {
        Err(Error::LeaseLost.into())
    } else {
        Ok(())
    }
}

/// A transfer to queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NewTransfer {
    pub sha256: Digest,
    /// Waits for another blob: [`release_held`] lets it go.
    pub held: bool,
}

/// Queues transfers, and again those that gave up; those that are queued already stay as they are. One
/// of a blob that is being removed waits until that is over. Answers how many were queued.
pub(crate) async fn queue_transfers(
    connection: &mut PgConnection,
    transfers: &BTreeSet<NewTransfer>,
    traceparent: &str,
) -> Result<i64, Failure> {
    if transfers.is_empty() {
        return Ok(0);
    }
    let subjects: Vec<String> = transfers
        .iter()
        .map(|transfer| transfer.sha256.to_hex())
        .collect();
    let held: Vec<bool> = transfers.iter().map(|transfer| transfer.held).collect();
    let queued = sqlx::query!(
        "INSERT INTO work (kind, subject, due_at, held, traceparent)
         SELECT $1, subject, CASE WHEN NOT wait THEN now() END, wait, $4
         FROM unnest($2::text[], $3::boolean[]) AS new (subject, held)
         CROSS JOIN LATERAL (
             SELECT held OR EXISTS (SELECT FROM blob_removals r WHERE r.sha256 = decode(subject, 'hex')) AS wait
         ) AS waiting
         ON CONFLICT (kind, subject)
         DO UPDATE SET due_at = excluded.due_at, held = excluded.held, failed_attempts = 0,
             traceparent = excluded.traceparent
         WHERE work.due_at IS NULL AND NOT work.held",
        WorkKind::Transfer as i16,
        &subjects,
        &held,
        traceparent,
    )
    .execute(&mut *connection)
    .await?;
    announce(connection).await?;
    Ok(i64::try_from(queued.rows_affected()).unwrap_or(i64::MAX))
}

/// Queues the computing of fingerprints of (metadata, root), and again what gave up.
pub(crate) async fn queue_verifications(
    connection: &mut PgConnection,
    pairs: &BTreeSet<(Digest, Digest)>,
) -> Result<(), Failure> {
    if pairs.is_empty() {
        return Ok(());
    }
    let subjects: Vec<String> = pairs
        .iter()
        .map(|(metadata, root)| pair_subject(metadata, root))
        .collect();
    sqlx::query!(
        "INSERT INTO work (kind, subject, due_at) SELECT $1, subject, now() FROM unnest($2::text[]) AS new (subject)
         ON CONFLICT (kind, subject) DO UPDATE SET due_at = excluded.due_at, failed_attempts = 0
         WHERE work.due_at IS NULL AND NOT work.held",
        WorkKind::Verify as i16,
        &subjects,
    )
    .execute(&mut *connection)
    .await?;
    announce(connection).await
}

/// Lets held transfers of these blobs go, but for those of blobs that are being removed.
pub(crate) async fn release_held(connection: &mut PgConnection, blobs: &[Digest]) -> Result<(), Failure> {
    let subjects: Vec<String> = blobs.iter().map(|digest| digest.to_hex()).collect();
    let released = sqlx::query!(
        "UPDATE work SET held = false, due_at = now() WHERE kind = $1 AND held AND subject = ANY($2)
           AND NOT EXISTS (SELECT FROM blob_removals r WHERE r.sha256 = decode(subject, 'hex'))",
        WorkKind::Transfer as i16,
        &subjects,
    )
    .execute(&mut *connection)
    .await?;
    if released.rows_affected() > 0 {
        announce(connection).await
    } else {
        Ok(())
    }
}

/// Removes transfers of these blobs that no queued version wants any more. A worker that is at one
/// learns it from its next heartbeat.
pub(crate) async fn remove_unwanted_transfers(
    connection: &mut PgConnection,
    blobs: &[Digest],
) -> Result<(), Failure> {
    let subjects: Vec<String> = blobs.iter().map(|digest| digest.to_hex()).collect();
    sqlx::query!(
        "DELETE FROM work WHERE kind = $1 AND subject = ANY($2)
           AND NOT EXISTS (SELECT 1 FROM artifacts a JOIN versions v ON v.id = a.version_id
                           WHERE a.sha256 = decode(work.subject, 'hex') AND v.status = 6)",
        WorkKind::Transfer as i16,
        &subjects,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Tries work on these blobs again at once: what gave up, and what waits for its next attempt.
pub(crate) async fn revive(
    connection: &mut PgConnection,
    blobs: &[Digest],
    traceparent: &str,
) -> Result<(), Failure> {
    let subjects: Vec<String> = blobs.iter().map(|digest| digest.to_hex()).collect();
    sqlx::query!(
        "UPDATE work SET due_at = now(), failed_attempts = 0, traceparent = $3
         WHERE worker IS NULL AND NOT held
           AND (kind = $1 AND subject = ANY($4) OR kind = $2 AND split_part(subject, '+', 2) = ANY($4))",
        WorkKind::Transfer as i16,
        WorkKind::Verify as i16,
        traceparent,
        &subjects,
    )
    .execute(&mut *connection)
    .await?;
    announce(connection).await
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
    .bind(WorkKind::Transfer as i16, " AND w.subject > ")
    .bind(after, " ORDER BY w.subject");
    let rows: Vec<Row> = select.fetch(connection, rows).await?;
    let blob = |subject: &str| -> Result<Digest, Failure> {
        subject
            .parse()
            .map_err(|_| Failure::Corrupt(format!("transfer of {subject:?}")))
    };
    rows.into_iter()
        .map(|row| {
            let state = match (&row.worker, row.due_at, row.held) {
                (Some(_), ..) => TransferState::Running,
                (None, None, false) => TransferState::Failed,
                (None, ..) => TransferState::Queued,
            };
            Ok(TransferRow {
                sha256: blob(&row.subject)?,
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
