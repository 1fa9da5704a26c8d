//! Blobs as they are shown: each with what needs it, or why nothing does.

use std::time::Duration;

use rootstock_model::{Digest, Status};
use rootstock_proto::{catalog::v1 as wire, convert};
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::{digest, interval_ms, select::Select, wire_image_type};
use crate::failure::Failure;

/// Needs shown of one blob.
const SHOWN_NEEDS: i64 = 20;

/// Sums over all blobs.
pub(crate) async fn totals(
    connection: &mut PgConnection,
    grace: Duration,
) -> Result<wire::BlobTotals, Failure> {
    let row = sqlx::query!(
        r#"WITH judged AS (
               SELECT b.size_bytes,
                   NOT EXISTS (SELECT FROM blob_needs(b.sha256, b.stored_at, $1 * interval '1 ms')) AS unneeded
               FROM blobs b
           )
           SELECT count(*) AS "blobs!", coalesce(sum(size_bytes), 0)::bigint AS "size_bytes!",
               count(*) FILTER (WHERE unneeded) AS "unneeded_blobs!",
               coalesce(sum(size_bytes) FILTER (WHERE unneeded), 0)::bigint AS "unneeded_size_bytes!",
               (SELECT count(*) FROM blob_removals) AS "removing_blobs!",
               (SELECT coalesce(sum(size_bytes), 0)::bigint FROM blob_removals) AS "removing_size_bytes!"
           FROM judged"#,
        interval_ms(grace),
    )
    .fetch_one(connection)
    .await?;
    Ok(wire::BlobTotals {
        blobs: row.blobs,
        size_bytes: row.size_bytes,
        unneeded_blobs: row.unneeded_blobs,
        unneeded_size_bytes: row.unneeded_size_bytes,
        removing_blobs: row.removing_blobs,
        removing_size_bytes: row.removing_size_bytes,
    })
}

/// A page of the blobs after this key, in the order of their digests: all, or only those that are
/// needed, or that are not.
pub(crate) async fn page(
    connection: &mut PgConnection,
    needed: Option<bool>,
    after: Option<Digest>,
    grace: Duration,
    rows: usize,
) -> Result<Vec<wire::Blob>, Failure> {
    let mut select = Select::new("SELECT b.sha256, b.size_bytes, b.stored_at FROM blobs b WHERE b.sha256 > ")
        .bind(after.map_or(vec![], |digest| digest.as_bytes().to_vec()), "");
    if let Some(needed) = needed {
        let condition = match needed {
            true => " AND EXISTS (SELECT FROM blob_needs(b.sha256, b.stored_at, ",
            false => " AND NOT EXISTS (SELECT FROM blob_needs(b.sha256, b.stored_at, ",
        };
        select = select
            .text(condition)
            .bind_shown(interval_ms(grace), " * interval '1 ms'))");
    }
    let select = select.text(" ORDER BY b.sha256");
    let rows: Vec<BlobRow> = select.fetch(connection, rows).await?;
    let mut keys: Vec<Digest> = Vec::with_capacity(rows.len());
    let mut blobs = Vec::with_capacity(rows.len());
    for row in rows {
        let sha256 = digest(&row.sha256)?;
        keys.push(sha256);
        blobs.push(wire::Blob {
            sha256: sha256.to_hex(),
            size_bytes: row.size_bytes,
            stored_at: Some(convert::timestamp(row.stored_at)),
            ..wire::Blob::default()
        });
    }
    add_needs(connection, &keys, &mut blobs, grace).await?;
    let unneeded: Vec<Digest> = keys
        .iter()
        .zip(&blobs)
        .filter(|(_, blob)| blob.needs.is_empty())
        .map(|(key, _)| *key)
        .collect();
    if !unneeded.is_empty() {
        add_reasons(connection, &unneeded, &mut blobs).await?;
    }
    Ok(blobs)
}

#[derive(sqlx::FromRow)]
struct BlobRow {
    sha256: Vec<u8>,
    size_bytes: i64,
    stored_at: OffsetDateTime,
}

fn find<'a>(blobs: &'a mut [wire::Blob], sha256: &[u8]) -> Result<Option<&'a mut wire::Blob>, Failure> {
    let hex = digest(sha256)?.to_hex();
    let at = blobs.binary_search_by(|blob| blob.sha256.as_str().cmp(&hex));
    Ok(at.ok().and_then(|at| blobs.get_mut(at)))
}

async fn add_needs(
    connection: &mut PgConnection,
    keys: &[Digest],
    blobs: &mut [wire::Blob],
    grace: Duration,
) -> Result<(), Failure> {
    let keys: Vec<Vec<u8>> = keys.iter().map(|key| key.as_bytes().to_vec()).collect();
    let rows = sqlx::query!(
        r#"SELECT b.sha256, n.reason AS "reason!", n.application, n.until, n.total AS "total!",
               i.id AS "image_id?", i.name AS "image?", i.type AS "image_type?", v.number AS "number?"
           FROM blobs b
           CROSS JOIN LATERAL (
               SELECT *, count(*) OVER () AS total
               FROM blob_needs(b.sha256, b.stored_at, $2 * interval '1 ms')
               ORDER BY reason, version_id LIMIT $3
           ) AS n
           LEFT JOIN versions v ON v.id = n.version_id
           LEFT JOIN images i ON i.id = v.image_id
           WHERE b.sha256 = ANY($1)
           ORDER BY b.sha256, n.reason, n.version_id"#,
        &keys,
        interval_ms(grace),
        SHOWN_NEEDS,
    )
    .fetch_all(connection)
    .await?;
    for row in rows {
        let Some(blob) = find(blobs, &row.sha256)? else {
            continue;
        };
        blob.need_count = row.total;
        blob.needs.push(wire::BlobNeed {
            reason: row.reason.into(),
            image_id: row.image_id.unwrap_or_default(),
            image: row.image.unwrap_or_default(),
            r#type: row.image_type.map_or(Ok(0), |name| wire_image_type(&name))?,
            version: row.number.unwrap_or_default(),
            application: row.application.unwrap_or_default(),
            until: row.until.map(convert::timestamp),
        });
    }
    Ok(())
}

/// Says of blobs that nothing needs what became of the last version that had them.
async fn add_reasons(
    connection: &mut PgConnection,
    keys: &[Digest],
    blobs: &mut [wire::Blob],
) -> Result<(), Failure> {
    let keys: Vec<Vec<u8>> = keys.iter().map(|key| key.as_bytes().to_vec()).collect();
    let rows = sqlx::query!(
        r#"SELECT b.sha256, last.name AS "name?", last.number AS "number?", last.status AS "status?", last.ended_at
           FROM blobs b
           LEFT JOIN LATERAL (
               SELECT i.name, v.number, v.status, greatest(v.deleted_at, v.delisted_at) AS ended_at
               FROM artifacts a JOIN versions v ON v.id = a.version_id JOIN images i ON i.id = v.image_id
               WHERE a.sha256 = b.sha256
               ORDER BY ended_at DESC NULLS LAST, v.id DESC LIMIT 1
           ) AS last ON true
           WHERE b.sha256 = ANY($1)"#,
        &keys,
    )
    .fetch_all(connection)
    .await?;
    for row in rows {
        let Some(blob) = find(blobs, &row.sha256)? else {
            continue;
        };
        blob.reason = match (row.name, row.number, row.ended_at) {
            (Some(name), Some(number), Some(ended_at)) => {
                let what = match row.status == Some(Status::Deleted.code()) {
                    true => "was deleted",
                    false => "left the store",
                };
                format!(
                    "the last version that had it, {name} version {number}, {what} on {}, and the grace is over",
                    ended_at.date()
                )
            }
            (Some(name), Some(number), None) => {
                format!("only {name} version {number} has it, which is not stored")
            }
            _ => "no version has it any more".to_owned(),
        };
    }
    Ok(())
}
