//! Work: what workers are to do, claimed by lease.

use std::{collections::BTreeSet, time::Duration};

use rootstock_model::Digest;
use rootstock_proto::{Error, catalog::v1::TransferState, sync::v1::WorkKind};
use sqlx::PgConnection;

use super::digest;
use crate::{failure::Failure, feed::WORK_CHANNEL};

/// A claim on a piece of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lease {
    pub work_id: i64,
    pub epoch: i64,
}

/// A piece of work that was claimed.
pub(crate) struct Claimed {
    pub lease: Lease,
    pub kind: i16,
    pub subject: String,
    pub journal: Vec<u8>,
    pub traceparent: String,
}

/// The subject of work on the whole store.
pub(crate) const STORE: &str = "store";

/// The subject of a pair of blobs.
pub(crate) fn pair_subject(metadata: &Digest, root: &Digest) -> String {
    format!("{metadata}+{root}")
}

/// The pair of a subject.
pub(crate) fn subject_pair(subject: &str) -> Option<(Digest, Digest)> {
    let (metadata, root) = subject.split_once('+')?;
    Some((metadata.parse().ok()?, root.parse().ok()?))
}

/// The column for a duration: whole milliseconds.
pub(crate) fn interval_ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Claims work that is due, oldest first. What a crashed worker had is due when its lease ends.
pub(crate) async fn claim(
    connection: &mut PgConnection,
    worker: &str,
    kinds: &[i16],
    max: i64,
    lease: Duration,
) -> Result<Vec<Claimed>, Failure> {
    let rows = sqlx::query!(
        "WITH due AS (
             SELECT id FROM work WHERE kind = ANY($1) AND due_at <= now()
             ORDER BY due_at, id LIMIT $2 FOR UPDATE SKIP LOCKED
         )
         UPDATE work SET worker = $3, epoch = epoch + 1, due_at = now() + $4 * interval '1 ms'
         FROM due WHERE work.id = due.id
         RETURNING work.id, epoch, kind, subject, journal, traceparent",
        kinds,
        max,
        worker,
        interval_ms(lease),
    )
    .fetch_all(connection)
    .await?;
    let claimed = rows.into_iter().map(|row| Claimed {
        lease: Lease {
            work_id: row.id,
            epoch: row.epoch,
        },
        kind: row.kind,
        subject: row.subject,
        journal: row.journal.unwrap_or_default(),
        traceparent: row.traceparent,
    });
    Ok(claimed.collect())
}

/// How long until work of these kinds is due; `None` when none ever is by itself.
pub(crate) async fn next_due(
    connection: &mut PgConnection,
    kinds: &[i16],
) -> Result<Option<Duration>, Failure> {
    let seconds = sqlx::query_scalar!(
        "SELECT extract(epoch FROM min(due_at) - now())::float8 FROM work WHERE kind = ANY($1)",
        kinds,
    )
    .fetch_one(connection)
    .await?;
    Ok(seconds.map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO)))
}

/// Prolongs leases and keeps their progress; answers those that were still in force.
pub(crate) async fn heartbeat(
    connection: &mut PgConnection,
    leases: &[Lease],
    done_bytes: &[i64],
    lease: Duration,
) -> Result<Vec<Lease>, Failure> {
    let (ids, epochs) = columns(leases);
    let rows = sqlx::query!(
        "UPDATE work w
         SET due_at = now() + $4 * interval '1 ms', done_bytes = greatest(w.done_bytes, held.done_bytes)
         FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS held (id, epoch, done_bytes)
         WHERE w.id = held.id AND w.epoch = held.epoch AND w.worker IS NOT NULL
         RETURNING w.id, w.epoch",
        &ids,
        &epochs,
        done_bytes,
        interval_ms(lease),
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Lease {
            work_id: row.id,
            epoch: row.epoch,
        })
        .collect())
}

/// Gives work back, due at once.
pub(crate) async fn release(connection: &mut PgConnection, leases: &[Lease]) -> Result<(), Failure> {
    let (ids, epochs) = columns(leases);
    sqlx::query!(
        "UPDATE work w SET worker = NULL, due_at = now()
         FROM unnest($1::bigint[], $2::bigint[]) AS held (id, epoch)
         WHERE w.id = held.id AND w.epoch = held.epoch AND w.worker IS NOT NULL",
        &ids,
        &epochs,
    )
    .execute(&mut *connection)
    .await?;
    announce(connection).await
}

fn columns(leases: &[Lease]) -> (Vec<i64>, Vec<i64>) {
    leases.iter().map(|lease| (lease.work_id, lease.epoch)).unzip()
}

/// A piece of work whose lease was checked and is locked until the transaction ends.
pub(crate) struct Held {
    pub kind: i16,
    pub subject: String,
    pub failed_attempts: i32,
}

/// The fence: refuses a lease that is no longer in force, and keeps it in force until the
/// transaction ends.
pub(crate) async fn fence(connection: &mut PgConnection, lease: Lease) -> Result<Held, Failure> {
    let row = sqlx::query!(
        "SELECT kind, subject, failed_attempts FROM work
         WHERE id = $1 AND epoch = $2 AND worker IS NOT NULL FOR UPDATE",
        lease.work_id,
        lease.epoch,
    )
    .fetch_optional(connection)
    .await?
    .ok_or(Error::LeaseLost)?;
    Ok(Held {
        kind: row.kind,
        subject: row.subject,
        failed_attempts: row.failed_attempts,
    })
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

/// Ends work for good: it is done, or nobody wants it any more.
pub(crate) async fn remove(connection: &mut PgConnection, work_id: i64) -> Result<(), Failure> {
    sqlx::query!("DELETE FROM work WHERE id = $1", work_id)
        .execute(connection)
        .await?;
    Ok(())
}

/// Ends a round of work that comes back after `delay`; its failures are forgotten.
pub(crate) async fn again_after(
    connection: &mut PgConnection,
    work_id: i64,
    delay: Duration,
) -> Result<(), Failure> {
    sqlx::query!(
        "UPDATE work SET worker = NULL, due_at = now() + $2 * interval '1 ms', failed_attempts = 0, last_error = ''
         WHERE id = $1",
        work_id,
        interval_ms(delay),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Forgets the failures of work that goes on under its lease: it did something right meanwhile.
pub(crate) async fn forget_failures(connection: &mut PgConnection, work_id: i64) -> Result<(), Failure> {
    sqlx::query!(
        "UPDATE work SET failed_attempts = 0, last_error = '' WHERE id = $1",
        work_id,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Records a failure; `delay` is the wait before the next attempt, `None` that there is none.
pub(crate) async fn fail(
    connection: &mut PgConnection,
    work_id: i64,
    error: &str,
    delay: Option<Duration>,
) -> Result<(), Failure> {
    sqlx::query!(
        "UPDATE work SET worker = NULL, due_at = now() + $3 * interval '1 ms',
             failed_attempts = failed_attempts + 1, last_error = $2
         WHERE id = $1",
        work_id,
        error,
        delay.map(interval_ms),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Has work done that comes back by itself: due at once unless somebody is at it.
pub(crate) async fn nudge(
    connection: &mut PgConnection,
    kind: WorkKind,
    subject: &str,
    traceparent: &str,
) -> Result<(), Failure> {
    sqlx::query!(
        "INSERT INTO work (kind, subject, due_at, traceparent) VALUES ($1, $2, now(), $3)
         ON CONFLICT (kind, subject)
         DO UPDATE SET due_at = CASE WHEN work.worker IS NULL THEN now() ELSE work.due_at END,
             traceparent = excluded.traceparent",
        kind as i16,
        subject,
        traceparent,
    )
    .execute(&mut *connection)
    .await?;
    announce(connection).await
}

/// Has these remotes polled at once, by what is said of them now: a poll that is under way goes by what
/// was said before, so it is taken away from its worker and begins anew.
pub(crate) async fn poll_anew(
    connection: &mut PgConnection,
    remote_ids: &[i64],
    traceparent: &str,
) -> Result<(), Failure> {
    sqlx::query!(
        "INSERT INTO work (kind, subject, due_at, traceparent)
         SELECT $1, id::text, now(), $3 FROM unnest($2::bigint[]) AS remote (id)
         ON CONFLICT (kind, subject)
         DO UPDATE SET due_at = now(), worker = NULL, failed_attempts = 0, traceparent = excluded.traceparent",
        WorkKind::Poll as i16,
        remote_ids,
        traceparent,
    )
    .execute(&mut *connection)
    .await?;
    announce(connection).await
}

/// Leaves a remote unpolled until it is asked for; a poll that is under way is taken away.
pub(crate) async fn park_poll(connection: &mut PgConnection, remote_id: i64) -> Result<(), Failure> {
    sqlx::query!(
        "UPDATE work SET worker = NULL, due_at = NULL WHERE kind = $1 AND subject = $2::bigint::text",
        WorkKind::Poll as i16,
        remote_id,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Has all timed work looked at at once that nobody is at.
pub(crate) async fn nudge_timed(connection: &mut PgConnection) -> Result<(), Failure> {
    let kinds = [WorkKind::AutoUpdate, WorkKind::Expire, WorkKind::Collect].map(|kind| kind as i16);
    sqlx::query!(
        "UPDATE work SET due_at = now() WHERE kind = ANY($1) AND worker IS NULL AND due_at IS NOT NULL",
        &kinds,
    )
    .execute(&mut *connection)
    .await?;
    announce(connection).await
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

/// Removes the polls and plans of a remote.
pub(crate) async fn remove_of_remote(connection: &mut PgConnection, remote_id: i64) -> Result<(), Failure> {
    sqlx::query!(
        "DELETE FROM work WHERE kind = $1
           AND (subject = $2::bigint::text OR subject IN (SELECT id FROM sync_runs WHERE remote_id = $2))",
        WorkKind::Poll as i16,
        remote_id,
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

/// A page of transfers in the order of their blobs, after `after`, that this remote or image wants.
pub(crate) async fn list_transfers(
    connection: &mut PgConnection,
    remote: Option<&str>,
    image_id: Option<&str>,
    after: &str,
    limit: i64,
) -> Result<Vec<TransferRow>, Failure> {
    let rows = sqlx::query!(
        r#"SELECT w.subject, w.done_bytes, w.worker, w.due_at, w.held, w.failed_attempts, w.last_error,
                wanted.size_bytes AS "size_bytes!", wanted.name AS "image!", wanted.serial AS "serial!",
                wanted.ftype AS "ftype!"
           FROM work w
           CROSS JOIN LATERAL (
               SELECT a.size_bytes, i.name, v.serial, a.ftype
               FROM artifacts a
               JOIN versions v ON v.id = a.version_id
               JOIN images i ON i.id = v.image_id
               LEFT JOIN images o ON o.id = i.origin_id
               LEFT JOIN remotes r ON r.id = coalesce(i.remote_id, o.remote_id)
               WHERE a.sha256 = decode(w.subject, 'hex') AND v.status IN (-1, 6)
                 AND ($2::text IS NULL OR r.name = $2) AND ($3::text IS NULL OR i.id = $3)
               ORDER BY v.id LIMIT 1
           ) AS wanted
           WHERE w.kind = $1 AND w.subject > $4 ORDER BY w.subject LIMIT $5"#,
        WorkKind::Transfer as i16,
        remote,
        image_id,
        after,
        limit,
    )
    .fetch_all(connection)
    .await?;
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

/// When the next work of a kind is due that nobody is at; `None` when none is.
pub(crate) async fn next_due_at(
    connection: &mut PgConnection,
    kind: WorkKind,
) -> Result<Option<time::OffsetDateTime>, Failure> {
    let due_at = sqlx::query_scalar!(
        "SELECT min(due_at) FROM work WHERE kind = $1 AND worker IS NULL",
        kind as i16,
    );
    Ok(due_at.fetch_one(connection).await?)
}

/// Tells waiting workers, when the transaction commits, that something may be due.
pub(crate) async fn announce(connection: &mut PgConnection) -> Result<(), Failure> {
    sqlx::query!("SELECT pg_notify($1, '')", WORK_CHANNEL)
        .execute(connection)
        .await?;
    Ok(())
}
