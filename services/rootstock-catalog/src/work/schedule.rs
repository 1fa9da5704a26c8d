//! When work is due. The only code that writes `work.due_at`.
//!
//! Waiting claims sleep until the earliest due time that they know. So every function here that can make
//! work due earlier than that announces it, in the same transaction, and nobody waits longer than the
//! work does. Functions that only put work off announce nothing: a claim that wakes too early looks again.

use std::{collections::BTreeSet, time::Duration};

use rootstock_model::{Digest, limits};
use sqlx::PgConnection;

use super::{Kind, Lease, LeaseGuard, Subject, subject::blob_columns};
use crate::{failure::Failure, feed::WORK_CHANNEL, queries::interval_ms};

/// Work that was claimed.
pub(crate) struct Claimed {
    pub lease: Lease,
    pub kind: Kind,
    pub subject: Subject,
    pub journal: Vec<u8>,
    pub traceparent: String,
}

/// Wakes the claims that wait for work of these kinds, when the transaction commits.
async fn announce(connection: &mut PgConnection, kinds: &[Kind]) -> Result<(), Failure> {
    let codes: Vec<String> = kinds.iter().map(|kind| kind.code().to_string()).collect();
    sqlx::query!("SELECT pg_notify($1, $2)", WORK_CHANNEL, codes.join(","))
        .execute(connection)
        .await?;
    Ok(())
}

fn codes(kinds: &[Kind]) -> Vec<i16> {
    kinds.iter().map(|kind| kind.code()).collect()
}

/// Makes recurring work due that was never there before: that of a kind which this version brought.
pub(crate) async fn ensure_recurring(connection: &mut PgConnection) -> Result<(), Failure> {
    let kinds: Vec<Kind> = Kind::recurring().collect();
    let added = sqlx::query!(
        "INSERT INTO work (kind, subject, due_at) SELECT kind, $2, now() FROM unnest($1::smallint[]) AS new (kind)
         ON CONFLICT (kind, subject) DO NOTHING",
        &codes(&kinds),
        Subject::Store.to_column(),
    )
    .execute(&mut *connection)
    .await?;
    if added.rows_affected() > 0 {
        announce(connection, &kinds).await
    } else {
        Ok(())
    }
}

/// Claims work that is due, oldest first: puts it off to the end of the lease. What a crashed worker had is
/// due when its lease ends.
pub(crate) async fn claim_due(
    connection: &mut PgConnection,
    worker: &str,
    kinds: &[Kind],
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
        &codes(kinds),
        max,
        worker,
        interval_ms(lease),
    )
    .fetch_all(connection)
    .await?;
    let claimed = rows.into_iter().map(|row| {
        let kind = Kind::from_code(row.kind)
            .ok_or_else(|| Failure::Corrupt(format!("work of kind {}", row.kind)))?;
        Ok(Claimed {
            lease: Lease {
                work_id: row.id,
                epoch: row.epoch,
            },
            kind,
            subject: Subject::from_column(kind, &row.subject)?,
            journal: row.journal.unwrap_or_default(),
            traceparent: row.traceparent,
        })
    });
    claimed.collect()
}

/// How long until work of these kinds is due; `None` when none ever is by itself.
pub(crate) async fn next_due(
    connection: &mut PgConnection,
    kinds: &[Kind],
) -> Result<Option<Duration>, Failure> {
    let seconds = sqlx::query_scalar!(
        "SELECT extract(epoch FROM min(due_at) - now())::float8 FROM work WHERE kind = ANY($1)",
        &codes(kinds),
    )
    .fetch_one(connection)
    .await?;
    Ok(seconds.map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO)))
}

/// When the next work of a kind is due that nobody is at; `None` when none is.
pub(crate) async fn next_due_at(
    connection: &mut PgConnection,
    kind: Kind,
) -> Result<Option<time::OffsetDateTime>, Failure> {
    let due_at = sqlx::query_scalar!(
        "SELECT min(due_at) FROM work WHERE kind = $1 AND worker IS NULL",
        kind.code(),
    );
    Ok(due_at.fetch_one(connection).await?)
}

/// Prolongs leases and keeps their progress; returns those that were still in force.
pub(crate) async fn extend_leases(
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
    announce(connection, Kind::ALL).await
}

fn columns(leases: &[Lease]) -> (Vec<i64>, Vec<i64>) {
    leases.iter().map(|lease| (lease.work_id, lease.epoch)).unzip()
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
    guard: &LeaseGuard,
    delay: Duration,
) -> Result<(), Failure> {
    sqlx::query!(
        "UPDATE work SET worker = NULL, due_at = now() + $2 * interval '1 ms', failed_attempts = 0, last_error = ''
         WHERE id = $1",
        guard.lease.work_id,
        interval_ms(delay),
    )
    .execute(&mut *connection)
    .await?;
    announce(connection, &[guard.kind]).await
}

/// Records a failure; `delay` is the wait before the next attempt, `None` that there is none.
pub(crate) async fn fail(
    connection: &mut PgConnection,
    guard: &LeaseGuard,
    error: &str,
    delay: Option<Duration>,
) -> Result<(), Failure> {
    sqlx::query!(
        "UPDATE work SET worker = NULL, due_at = now() + $3 * interval '1 ms',
             failed_attempts = failed_attempts + 1, last_error = $2
         WHERE id = $1",
        guard.lease.work_id,
        limits::cut_error(error),
        delay.map(interval_ms),
    )
    .execute(&mut *connection)
    .await?;
    announce(connection, &[guard.kind]).await
}

/// Makes recurring work due at once, unless somebody is at it.
pub(crate) async fn wake(
    connection: &mut PgConnection,
    kind: Kind,
    subject: &Subject,
    traceparent: &str,
) -> Result<(), Failure> {
    sqlx::query!(
        "INSERT INTO work (kind, subject, due_at, traceparent) VALUES ($1, $2, now(), $3)
         ON CONFLICT (kind, subject)
         DO UPDATE SET due_at = CASE WHEN work.worker IS NULL THEN now() ELSE work.due_at END,
             traceparent = excluded.traceparent",
        kind.code(),
        subject.to_column(),
        traceparent,
    )
    .execute(&mut *connection)
    .await?;
    announce(connection, &[kind]).await
}

/// Makes all timed work due at once that nobody is at.
pub(crate) async fn wake_timed(connection: &mut PgConnection) -> Result<(), Failure> {
    let kinds = [Kind::AutoUpdate, Kind::Expire, Kind::Collect];
    sqlx::query!(
        "UPDATE work SET due_at = now() WHERE kind = ANY($1) AND worker IS NULL AND due_at IS NOT NULL",
        &codes(&kinds),
    )
    .execute(&mut *connection)
    .await?;
    announce(connection, &kinds).await
}

/// Makes the polls of these remotes due at once, by the remotes' present rules: a poll that is under way
/// goes by the former ones, so its worker loses it.
pub(crate) async fn restart_polls(
    connection: &mut PgConnection,
    remote_ids: &[i64],
    traceparent: &str,
) -> Result<(), Failure> {
    sqlx::query!(
        "INSERT INTO work (kind, subject, due_at, traceparent)
         SELECT $1, id::text, now(), $3 FROM unnest($2::bigint[]) AS remote (id)
         ON CONFLICT (kind, subject)
         DO UPDATE SET due_at = now(), worker = NULL, failed_attempts = 0, traceparent = excluded.traceparent",
        Kind::Poll.code(),
        remote_ids,
        traceparent,
    )
    .execute(&mut *connection)
    .await?;
    announce(connection, &[Kind::Poll]).await
}

/// Leaves a remote unpolled until a poll is asked for; a poll that is under way loses its lease.
pub(crate) async fn unschedule_poll(connection: &mut PgConnection, remote_id: i64) -> Result<(), Failure> {
    sqlx::query!(
        "UPDATE work SET worker = NULL, due_at = NULL WHERE kind = $1 AND subject = $2::bigint::text",
        Kind::Poll.code(),
        remote_id,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Removes the polls and plans of a remote.
pub(crate) async fn remove_polls(connection: &mut PgConnection, remote_id: i64) -> Result<(), Failure> {
    sqlx::query!(
        "DELETE FROM work WHERE kind = $1
           AND (subject = $2::bigint::text OR subject IN (SELECT id FROM sync_runs WHERE remote_id = $2))",
        Kind::Poll.code(),
        remote_id,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A transfer to queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NewTransfer {
    pub sha256: Digest,
    /// Waits for another blob, until [`unblock_transfers`].
    pub blocked: bool,
}

/// Queues transfers, and again those that gave up; those that are queued already stay as they are. One
/// of a blob that is being removed waits until that is over. Returns how many were queued.
pub(crate) async fn queue_transfers(
    connection: &mut PgConnection,
    transfers: &BTreeSet<NewTransfer>,
    traceparent: &str,
) -> Result<i64, Failure> {
    if transfers.is_empty() {
        return Ok(0);
    }
    let blobs: Vec<Digest> = transfers.iter().map(|transfer| transfer.sha256).collect();
    let blocked: Vec<bool> = transfers.iter().map(|transfer| transfer.blocked).collect();
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
        Kind::Transfer.code(),
        &blob_columns(&blobs),
        &blocked,
        traceparent,
    )
    .execute(&mut *connection)
    .await?;
    announce(connection, &[Kind::Transfer]).await?;
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
        .map(|(metadata, root)| {
            let (metadata, root) = (*metadata, *root);
            Subject::BlobPair { metadata, root }.to_column()
        })
        .collect();
    sqlx::query!(
        "INSERT INTO work (kind, subject, due_at) SELECT $1, subject, now() FROM unnest($2::text[]) AS new (subject)
         ON CONFLICT (kind, subject) DO UPDATE SET due_at = excluded.due_at, failed_attempts = 0
         WHERE work.due_at IS NULL AND NOT work.held",
        Kind::Verify.code(),
        &subjects,
    )
    .execute(&mut *connection)
    .await?;
    announce(connection, &[Kind::Verify]).await
}

/// Makes blocked transfers of these blobs due, but for those of blobs that are being removed.
pub(crate) async fn unblock_transfers(
    connection: &mut PgConnection,
    blobs: &[Digest],
) -> Result<(), Failure> {
    let unblocked = sqlx::query!(
        "UPDATE work SET held = false, due_at = now() WHERE kind = $1 AND held AND subject = ANY($2)
           AND NOT EXISTS (SELECT FROM blob_removals r WHERE r.sha256 = decode(subject, 'hex'))",
        Kind::Transfer.code(),
        &blob_columns(blobs),
    )
    .execute(&mut *connection)
    .await?;
    if unblocked.rows_affected() > 0 {
        announce(connection, &[Kind::Transfer]).await
    } else {
        Ok(())
    }
}

/// Tries work on these blobs again at once: what gave up, and what waits for its next attempt.
pub(crate) async fn retry_now(
    connection: &mut PgConnection,
    blobs: &[Digest],
    traceparent: &str,
) -> Result<(), Failure> {
    sqlx::query!(
        "UPDATE work SET due_at = now(), failed_attempts = 0, traceparent = $3
         WHERE worker IS NULL AND NOT held
           AND (kind = $1 AND subject = ANY($4) OR kind = $2 AND split_part(subject, '+', 2) = ANY($4))",
        Kind::Transfer.code(),
        Kind::Verify.code(),
        traceparent,
        &blob_columns(blobs),
    )
    .execute(&mut *connection)
    .await?;
    announce(connection, &[Kind::Transfer, Kind::Verify]).await
}

/// An upload that was claimed.
pub(crate) struct ClaimedUpload {
    pub lease: Lease,
    pub journal: Vec<u8>,
}

/// Claims the upload of a blob, unless another worker holds it. Nobody waits for uploads to fall due: they
/// are claimed by the gateway that receives them.
pub(crate) async fn claim_upload(
    connection: &mut PgConnection,
    sha256: &Digest,
    worker: &str,
    lease: Duration,
) -> Result<Option<ClaimedUpload>, Failure> {
    let row = sqlx::query!(
        "INSERT INTO work AS w (kind, subject, worker, epoch, due_at)
         VALUES ($1, $2, $3, 1, now() + $4 * interval '1 ms')
         ON CONFLICT (kind, subject)
         DO UPDATE SET worker = excluded.worker, epoch = w.epoch + 1, due_at = excluded.due_at
         WHERE w.worker IS NULL OR w.worker = excluded.worker OR w.due_at <= now()
         RETURNING id, epoch, journal",
        Kind::Upload.code(),
        Subject::Blob(*sha256).to_column(),
        worker,
        interval_ms(lease),
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| ClaimedUpload {
        lease: Lease {
            work_id: row.id,
            epoch: row.epoch,
        },
        journal: row.journal.unwrap_or_default(),
    }))
}
