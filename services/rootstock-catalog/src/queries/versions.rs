//! Versions and their artifacts.

use std::collections::BTreeMap;

use rootstock_model::{Digest, Status, limits};
use rootstock_proto::{catalog::v1 as wire, convert};
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::{digest, wire_status};
use crate::failure::Failure;

/// A version with its row and its image.
pub(crate) struct VersionRow {
    pub id: i64,
    pub image_id: String,
    pub image_name: String,
    pub version: wire::Version,
}

impl VersionRow {
    /// Its row and its image.
    pub(crate) fn key(&self) -> VersionKey {
        VersionKey {
            id: self.id,
            image_id: self.image_id.clone(),
        }
    }
}

impl From<VersionRow> for wire::VersionChange {
    fn from(row: VersionRow) -> Self {
        Self {
            image_id: row.image_id,
            version: Some(row.version),
            image: row.image_name,
        }
    }
}

struct Row {
    id: i64,
    image_id: String,
    image_name: String,
    number: i32,
    serial: String,
    label: String,
    status: i16,
    error_message: String,
    fingerprint: Option<Vec<u8>>,
    size_bytes: i64,
    created_at: OffsetDateTime,
    deleted_at: Option<OffsetDateTime>,
    delisted_at: Option<OffsetDateTime>,
    hidden: bool,
}

macro_rules! select_versions {
    ($rest:literal $(, $argument:expr)* $(,)?) => {
        sqlx::query_as!(
            Row,
            r#"SELECT id, image_id, (SELECT name FROM images WHERE images.id = image_id) AS "image_name!", number, serial, label, status, error_message, fingerprint, size_bytes, created_at,
                deleted_at, delisted_at, hidden FROM versions "# + $rest
            $(, $argument)*
        )
    };
}

/// These versions, deleted ones included, in the order of (image, number).
pub(crate) async fn by_ids(connection: &mut PgConnection, ids: &[i64]) -> Result<Vec<VersionRow>, Failure> {
    let rows = select_versions!("WHERE id = ANY($1) ORDER BY image_id, number", ids)
        .fetch_all(&mut *connection)
        .await?;
    with_artifacts(connection, rows).await
}

/// An image's versions that are not deleted.
pub(crate) async fn of_image(
    connection: &mut PgConnection,
    image_id: &str,
) -> Result<Vec<VersionRow>, Failure> {
    let rows = select_versions!("WHERE image_id = $1 AND status <> 4 ORDER BY number", image_id)
        .fetch_all(&mut *connection)
        .await?;
    with_artifacts(connection, rows).await
}

/// All versions of an image that are remembered, deleted ones included.
pub(crate) async fn all_of_image(
    connection: &mut PgConnection,
    image_id: &str,
) -> Result<Vec<VersionRow>, Failure> {
    let rows = select_versions!("WHERE image_id = $1 ORDER BY number", image_id)
        .fetch_all(&mut *connection)
        .await?;
    with_artifacts(connection, rows).await
}

/// Numbers of an image's versions that users deleted.
pub(crate) async fn ignored_of_image(
    connection: &mut PgConnection,
    image_id: &str,
) -> Result<Vec<i32>, Failure> {
    let numbers = sqlx::query_scalar!(
        "SELECT number FROM versions WHERE image_id = $1 AND ignored",
        image_id,
    )
    .fetch_all(connection)
    .await?;
    Ok(numbers)
}

/// A page of all versions in the order of their ids, after `after`; of the deleted ones those that
/// are so since `deleted_since`, and those that applications hold.
pub(crate) async fn page_by_id(
    connection: &mut PgConnection,
    after: i64,
    deleted_since: OffsetDateTime,
    limit: i64,
) -> Result<Vec<VersionRow>, Failure> {
    let rows = select_versions!(
        "WHERE id > $1
           AND (deleted_at IS NULL OR deleted_at > $2
                OR EXISTS (SELECT 1 FROM applications a WHERE a.version_id = versions.id))
         ORDER BY id LIMIT $3",
        after,
        deleted_since,
        limit,
    )
    .fetch_all(&mut *connection)
    .await?;
    with_artifacts(connection, rows).await
}

async fn with_artifacts(connection: &mut PgConnection, rows: Vec<Row>) -> Result<Vec<VersionRow>, Failure> {
    let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
    let mut artifacts: BTreeMap<i64, Vec<wire::Artifact>> = BTreeMap::new();
    let artifact_rows = sqlx::query!(
        "SELECT version_id, ftype, sha256, size_bytes FROM artifacts WHERE version_id = ANY($1)
         ORDER BY version_id, position",
        &ids,
    )
    .fetch_all(connection)
    .await?;
    for row in artifact_rows {
        artifacts.entry(row.version_id).or_default().push(wire::Artifact {
            ftype: row.ftype,
            sha256: digest(&row.sha256)?.to_hex(),
            size_bytes: row.size_bytes,
        });
    }
    let with_artifacts = |row: Row| {
        let fingerprint = row.fingerprint.as_deref().map(digest).transpose()?;
        let version = wire::Version {
            number: row.number,
            serial: row.serial,
            fingerprint: fingerprint
                .map(|fingerprint| fingerprint.to_hex())
                .unwrap_or_default(),
            size_bytes: row.size_bytes,
            created_at: Some(convert::timestamp(row.created_at)),
            status: wire_status(row.status)?,
            error_message: row.error_message,
            artifacts: artifacts.remove(&row.id).unwrap_or_default(),
            deleted_at: row.deleted_at.map(convert::timestamp),
            label: row.label,
            delisted_at: row.delisted_at.map(convert::timestamp),
            hidden: row.hidden,
        };
        Ok(VersionRow {
            id: row.id,
            image_id: row.image_id,
            image_name: row.image_name,
            version,
        })
    };
    rows.into_iter().map(with_artifacts).collect()
}

/// A version that waits for its blobs, with what decides whether it may turn active.
pub(crate) struct Waiting {
    pub id: i64,
    pub image_id: String,
    pub fingerprint: Option<Digest>,
    /// Claimed length and, when it is stored, true length of each file, metadata first.
    pub files: Vec<(Digest, i64, Option<i64>)>,
}

/// The queued versions that have one of these blobs.
pub(crate) async fn waiting_for(
    connection: &mut PgConnection,
    blobs: &[Digest],
) -> Result<Vec<Waiting>, Failure> {
    let keys: Vec<Vec<u8>> = blobs.iter().map(|digest| digest.as_bytes().to_vec()).collect();
    let rows = sqlx::query!(
        r#"SELECT v.id, v.image_id, v.fingerprint, a.sha256, a.size_bytes, b.size_bytes AS "stored_bytes?"
           FROM versions v
           JOIN artifacts a ON a.version_id = v.id
           LEFT JOIN blobs b ON b.sha256 = a.sha256
           WHERE v.status = $2 AND v.id IN (SELECT version_id FROM artifacts WHERE sha256 = ANY($1))
           ORDER BY v.id, a.position"#,
        &keys,
        Status::Queued.code(),
    )
    .fetch_all(connection)
    .await?;
    let mut waiting: Vec<Waiting> = vec![];
    for row in rows {
        let file = (digest(&row.sha256)?, row.size_bytes, row.stored_bytes);
        match waiting.last_mut().filter(|last| last.id == row.id) {
            Some(last) => last.files.push(file),
            None => waiting.push(Waiting {
                id: row.id,
                image_id: row.image_id,
                fingerprint: row.fingerprint.as_deref().map(digest).transpose()?,
                files: vec![file],
            }),
        }
    }
    Ok(waiting)
}

/// Gives a version its status; `deleted_at`, the error message and whether it is off the list follow.
pub(crate) async fn set_status(
    connection: &mut PgConnection,
    ids: &[i64],
    status: Status,
    error_message: &str,
) -> Result<(), Failure> {
    sqlx::query!(
        "UPDATE versions SET status = $2, error_message = $3,
             deleted_at = CASE WHEN $2 = $4::smallint THEN coalesce(deleted_at, now()) END,
             hidden = hidden AND $2 = $5::smallint,
             delisted_at = CASE WHEN $2 <> $5::smallint THEN delisted_at END
         WHERE id = ANY($1)",
        ids,
        status.code(),
        limits::cut_error(error_message),
        Status::Deleted.code(),
        Status::Active.code(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Hides versions that just turned active, if their image is held: whether they stay hidden is
/// decided when the transaction ends, and what was never shown did not go off the list.
pub(crate) async fn hide_arrivals(connection: &mut PgConnection, ids: &[i64]) -> Result<(), Failure> {
    sqlx::query!(
        "UPDATE versions v SET hidden = true FROM images i
         WHERE v.id = ANY($1) AND i.id = v.image_id AND i.hold_version IS NOT NULL",
        ids,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Hides each of these versions, or shows it again.
pub(crate) async fn set_hidden(
    connection: &mut PgConnection,
    ids: &[i64],
    hidden: &[bool],
) -> Result<(), Failure> {
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "UPDATE versions v SET hidden = n.hidden, delisted_at = CASE WHEN n.hidden THEN now() END
         FROM unnest($1::bigint[], $2::boolean[]) AS n (id, hidden) WHERE v.id = n.id",
        ids,
        hidden,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Marks deleted versions of images that come from elsewhere: their serials are left out from now on.
pub(crate) async fn set_ignored(connection: &mut PgConnection, ids: &[i64]) -> Result<(), Failure> {
    sqlx::query!(
        "UPDATE versions v SET ignored = true FROM images i
         WHERE v.id = ANY($1) AND v.status = 4 AND i.id = v.image_id
           AND (i.remote_id IS NOT NULL OR i.origin_id IS NOT NULL)",
        ids,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Numbers of an image's versions that retention leaves alone: what it is held at.
pub(crate) async fn pinned_of_image(
    connection: &mut PgConnection,
    image_id: &str,
) -> Result<Vec<i32>, Failure> {
    let numbers = sqlx::query_scalar!(
        r#"SELECT hold_version AS "number!" FROM images WHERE id = $1 AND hold_version IS NOT NULL"#,
        image_id,
    )
    .fetch_all(connection)
    .await?;
    Ok(numbers)
}

/// Gives a version the fingerprint that its bytes turned out to have.
pub(crate) async fn set_fingerprint(
    connection: &mut PgConnection,
    id: i64,
    fingerprint: &Digest,
) -> Result<(), Failure> {
    sqlx::query!(
        "UPDATE versions SET fingerprint = $2 WHERE id = $1",
        id,
        fingerprint.as_bytes()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The active versions of an image: (row, number, serial).
pub(crate) async fn active_of_image(
    connection: &mut PgConnection,
    image_id: &str,
) -> Result<Vec<(i64, i32, String)>, Failure> {
    let rows = sqlx::query!(
        "SELECT id, number, serial FROM versions WHERE image_id = $1 AND status = $2",
        image_id,
        Status::Active.code(),
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.id, row.number, row.serial))
        .collect())
}

/// A version's row, and its image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VersionKey {
    pub id: i64,
    pub image_id: String,
}

/// The versions of these (image, number); those that are not there are left out.
pub(crate) async fn by_numbers(
    connection: &mut PgConnection,
    numbers: &[(&str, i32)],
) -> Result<Vec<VersionKey>, Failure> {
    if numbers.is_empty() {
        return Ok(vec![]);
    }
    let (image_ids, numbers): (Vec<String>, Vec<i32>) = numbers
        .iter()
        .map(|(image_id, number)| ((*image_id).to_owned(), *number))
        .unzip();
    let keys = sqlx::query_as!(
        VersionKey,
        "SELECT v.id, v.image_id
         FROM unnest($1::text[], $2::int[]) AS wanted (image_id, number)
         JOIN versions v ON v.image_id = wanted.image_id AND v.number = wanted.number",
        &image_ids,
        &numbers,
    )
    .fetch_all(connection)
    .await?;
    Ok(keys)
}

/// A version in error whose work gave up, and its blobs.
pub(crate) struct Failed {
    pub id: i64,
    pub image_id: String,
    pub files: Vec<Digest>,
}

/// A remote's versions in error because work on their blobs gave up: trying again may help.
pub(crate) async fn with_failed_work(
    connection: &mut PgConnection,
    remote_id: i64,
) -> Result<Vec<Failed>, Failure> {
    let rows = sqlx::query!(
        r#"SELECT v.id, v.image_id, array_agg(a.sha256 ORDER BY a.position) AS "files!"
           FROM images i LEFT JOIN images o ON o.id = i.origin_id
           JOIN versions v ON v.image_id = i.id JOIN artifacts a ON a.version_id = v.id
           WHERE coalesce(i.remote_id, o.remote_id) = $1 AND v.status = -1
           GROUP BY v.id, v.image_id
           HAVING bool_or(EXISTS (
               SELECT 1 FROM work w
               WHERE w.due_at IS NULL AND NOT w.held AND w.worker IS NULL AND w.failed_attempts > 0
                 AND (w.kind = 2 AND w.subject = encode(a.sha256, 'hex')
                      OR w.kind = 3 AND split_part(w.subject, '+', 2) = encode(a.sha256, 'hex'))))"#,
        remote_id,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let files = row
                .files
                .iter()
                .map(|file| digest(file))
                .collect::<Result<_, _>>()?;
            Ok(Failed {
                id: row.id,
                image_id: row.image_id,
                files,
            })
        })
        .collect()
}

/// The blobs of a remote's queued versions.
pub(crate) async fn queued_blobs(
    connection: &mut PgConnection,
    remote_id: i64,
) -> Result<Vec<Digest>, Failure> {
    let rows = sqlx::query_scalar!(
        "SELECT DISTINCT a.sha256
         FROM images i LEFT JOIN images o ON o.id = i.origin_id
         JOIN versions v ON v.image_id = i.id JOIN artifacts a ON a.version_id = v.id
         WHERE coalesce(i.remote_id, o.remote_id) = $1 AND v.status = 6",
        remote_id,
    )
    .fetch_all(connection)
    .await?;
    rows.iter().map(|row| digest(row)).collect()
}

/// The roots that queued versions have after this metadata.
pub(crate) async fn roots_after(
    connection: &mut PgConnection,
    metadata: &Digest,
) -> Result<Vec<Digest>, Failure> {
    let rows = sqlx::query_scalar!(
        "SELECT DISTINCT root.sha256
         FROM artifacts m
         JOIN versions v ON v.id = m.version_id
         JOIN artifacts root ON root.version_id = m.version_id AND root.position = 1
         WHERE m.sha256 = $1 AND m.position = 0 AND v.status = 6",
        metadata.as_bytes(),
    )
    .fetch_all(connection)
    .await?;
    rows.iter().map(|row| digest(row)).collect()
}

/// Removes versions and their artifacts.
pub(crate) async fn remove(connection: &mut PgConnection, ids: &[i64]) -> Result<(), Failure> {
    sqlx::query!("DELETE FROM versions WHERE id = ANY($1)", ids)
        .execute(connection)
        .await?;
    Ok(())
}
