//! Blobs that leave the store: handed out to be deleted, confirmed, and free to be stored again.
//!
//! All of it runs under the writer's lock but [`candidates`] and [`strangers`], which only look.

use std::time::Duration;

use rootstock_model::Digest;
use sqlx::PgConnection;

use super::{digest, interval_ms};
use crate::{failure::Failure, work::schedule};

/// How long after a claim was lost its worker may yet delete what it was handed: longer than the
/// store's client tries, so that no delete of an old claim can hit a blob that was stored anew.
const STRAGGLER_GRACE: Duration = Duration::from_secs(10 * 60);

fn keys(digests: &[Digest]) -> Vec<Vec<u8>> {
    digests.iter().map(|digest| digest.as_bytes().to_vec()).collect()
}

fn digests(rows: &[Vec<u8>]) -> Result<Vec<Digest>, Failure> {
    rows.iter().map(|row| digest(row)).collect()
}

/// A page of the blobs that were looked at, and those of them that nothing needs.
pub(crate) struct Candidates {
    pub unneeded: Vec<Digest>,
    /// The last one that was looked at; `None` when there are no more.
    pub next: Option<Digest>,
}

/// Looks through the next `limit` blobs after this key for those that nothing needs.
pub(crate) async fn candidates(
    connection: &mut PgConnection,
    after: &[u8],
    grace: Duration,
    limit: i64,
) -> Result<Candidates, Failure> {
    let rows = sqlx::query!(
        r#"SELECT b.sha256,
               NOT EXISTS (SELECT FROM blob_needs(b.sha256, b.stored_at, $2 * interval '1 ms')) AS "unneeded!"
           FROM (SELECT sha256, stored_at FROM blobs WHERE sha256 > $1 ORDER BY sha256 LIMIT $3) AS b
           ORDER BY b.sha256"#,
        after,
        interval_ms(grace),
        limit,
    )
    .fetch_all(connection)
    .await?;
    let full = i64::try_from(rows.len()).is_ok_and(|found| found == limit);
    let next = rows.last().filter(|_| full).map(|row| digest(&row.sha256));
    let unneeded = rows.iter().filter(|row| row.unneeded);
    Ok(Candidates {
        unneeded: unneeded
            .map(|row| digest(&row.sha256))
            .collect::<Result<_, _>>()?,
        next: next.transpose()?,
    })
}

/// Takes those of these blobs out of the store's books that nothing needs, and hands them to the
/// claim with this epoch. Answers those.
pub(crate) async fn take(
    connection: &mut PgConnection,
    candidates: &[Digest],
    grace: Duration,
    epoch: i64,
) -> Result<Vec<Digest>, Failure> {
    let taken = sqlx::query_scalar!(
        "WITH gone AS (
             DELETE FROM blobs b WHERE b.sha256 = ANY($1)
               AND NOT EXISTS (SELECT FROM blob_needs(b.sha256, b.stored_at, $2 * interval '1 ms'))
             RETURNING b.sha256, b.size_bytes
         )
         INSERT INTO blob_removals (sha256, size_bytes, epoch) SELECT sha256, size_bytes, $3 FROM gone
         RETURNING sha256",
        &keys(candidates),
        interval_ms(grace),
        epoch,
    )
    .fetch_all(connection)
    .await?;
    digests(&taken)
}

/// Hands to the claim with this epoch what is not confirmed to be gone. What an earlier claim had, its
/// worker may yet be at; what this one had, is handed out once more because its answer was lost.
pub(crate) async fn hand_again(
    connection: &mut PgConnection,
    epoch: i64,
    limit: i64,
) -> Result<Vec<Digest>, Failure> {
    let handed = sqlx::query_scalar!(
        "UPDATE blob_removals r
         SET safe_at = CASE WHEN r.epoch <> $1 THEN now() + $3 * interval '1 ms' ELSE r.safe_at END, epoch = $1
         FROM (SELECT sha256 FROM blob_removals WHERE NOT removed ORDER BY sha256 LIMIT $2) AS left_over
         WHERE r.sha256 = left_over.sha256
         RETURNING r.sha256",
        epoch,
        limit,
        interval_ms(STRAGGLER_GRACE),
    )
    .fetch_all(connection)
    .await?;
    digests(&handed)
}

/// Records that these blobs, handed to the claim with this epoch, are gone from the store.
pub(crate) async fn confirm(
    connection: &mut PgConnection,
    removed: &[Digest],
    epoch: i64,
) -> Result<(), Failure> {
    sqlx::query!(
        "UPDATE blob_removals SET removed = true WHERE sha256 = ANY($1) AND epoch = $2",
        &keys(removed),
        epoch,
    )
    .execute(&mut *connection)
    .await?;
    settle(connection).await
}

/// Forgets the removals that are over, and lets go what waits to store those blobs again.
pub(crate) async fn settle(connection: &mut PgConnection) -> Result<(), Failure> {
    let over = sqlx::query_scalar!(
        "DELETE FROM blob_removals WHERE removed AND (safe_at IS NULL OR safe_at <= now()) RETURNING sha256",
    )
    .fetch_all(&mut *connection)
    .await?;
    schedule::unblock_transfers(connection, &digests(&over)?).await
}

/// How long until there is something to do for a collection without anything else happening: a removal
/// that is over by the clock alone, or, at once, one that came when the round was past handing out.
/// `None` when there is none.
pub(crate) async fn next_due(connection: &mut PgConnection) -> Result<Option<Duration>, Failure> {
    let seconds = sqlx::query_scalar!(
        "SELECT extract(epoch FROM min(CASE WHEN removed THEN safe_at ELSE now() END) - now())::float8
         FROM blob_removals WHERE removed OR epoch IS NULL"
    )
    .fetch_one(connection)
    .await?;
    Ok(seconds.map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO)))
}

/// Those of these objects that the catalog knows nothing of, and that nothing is to bring.
pub(crate) async fn strangers(
    connection: &mut PgConnection,
    objects: &[(Digest, i64)],
) -> Result<Vec<(Digest, i64)>, Failure> {
    let (found, sizes): (Vec<Digest>, Vec<i64>) = objects.iter().copied().unzip();
    let rows = sqlx::query!(
        r#"SELECT o.sha256 AS "sha256!", o.size_bytes AS "size_bytes!"
           FROM unnest($1::bytea[], $2::bigint[]) AS o (sha256, size_bytes)
           WHERE NOT EXISTS (SELECT FROM blobs b WHERE b.sha256 = o.sha256)
             AND NOT EXISTS (SELECT FROM blob_removals r WHERE r.sha256 = o.sha256)
             AND NOT EXISTS (SELECT FROM work w WHERE w.kind IN (2, 9) AND w.subject = encode(o.sha256, 'hex'))"#,
        &keys(&found),
        &sizes,
    )
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| Ok((digest(&row.sha256)?, row.size_bytes)))
        .collect()
}

/// Has these objects removed by the next collection.
pub(crate) async fn add(connection: &mut PgConnection, objects: &[(Digest, i64)]) -> Result<(), Failure> {
    let (found, sizes): (Vec<Digest>, Vec<i64>) = objects.iter().copied().unzip();
    sqlx::query!(
        "INSERT INTO blob_removals (sha256, size_bytes) SELECT * FROM unnest($1::bytea[], $2::bigint[])
         ON CONFLICT DO NOTHING",
        &keys(&found),
        &sizes,
    )
    .execute(connection)
    .await?;
    Ok(())
}
