//! Work: what workers are to do, claimed by lease.

use std::time::Duration;

use rootstock_proto::{Error, sync::v1::WorkKind};
use sqlx::PgConnection;

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
