//! Images that users added, and the synced images they take their versions from.

use std::collections::BTreeMap;

use sqlx::{PgConnection, types::Json};

use crate::failure::Failure;

/// A synced image that an added one may be made of.
pub(crate) struct Origin {
    pub id: String,
    pub name: String,
    pub image_type: String,
    pub architecture: String,
    pub remote_id: i64,
    /// A user deleted it.
    pub ignored: bool,
}

/// The synced images that this product or alias means, the ignored ones included; an empty remote is
/// any, and no type is either.
pub(crate) async fn origins(
    connection: &mut PgConnection,
    source: &str,
    remote: &str,
    image_type: Option<&str>,
) -> Result<Vec<Origin>, Failure> {
    let rows = sqlx::query!(
        r#"SELECT i.id, i.product, i.type AS image_type, i.architecture, i.remote_id AS "remote_id!", i.ignored
           FROM images i JOIN remotes r ON r.id = i.remote_id
           WHERE (i.status <> 4 OR i.ignored) AND (i.product = $1 OR $1 = ANY(i.wanted_aliases))
             AND ($2 = '' OR r.name = $2) AND ($3::text IS NULL OR i.type = $3)
           ORDER BY i.product, i.id"#,
        source,
        remote,
        image_type,
    )
    .fetch_all(connection)
    .await?;
    let by_product = rows.iter().any(|row| row.product == source);
    Ok(rows
        .into_iter()
        .filter(|row| !by_product || row.product == source)
        .map(|row| Origin {
            id: row.id,
            name: row.product,
            image_type: row.image_type,
            architecture: row.architecture,
            remote_id: row.remote_id,
            ignored: row.ignored,
        })
        .collect())
}

/// What has a name already.
pub(crate) struct Namesake {
    pub id: String,
    pub origin_id: Option<String>,
    pub release: String,
}

/// The image of this name and type that is not deleted.
pub(crate) async fn by_name(
    connection: &mut PgConnection,
    name: &str,
    image_type: &str,
) -> Result<Option<Namesake>, Failure> {
    let row = sqlx::query_as!(
        Namesake,
        "SELECT id, origin_id, release FROM images WHERE name = $1 AND type = $2 AND status <> 4",
        name,
        image_type,
    )
    .fetch_optional(connection)
    .await?;
    Ok(row)
}

/// An added image to record.
pub(crate) struct NewImage<'a> {
    pub id: &'a str,
    pub name: &'a str,
    pub public: bool,
    pub auto_update: bool,
    pub release: &'a str,
    /// Over those of the origin.
    pub properties: &'a BTreeMap<String, String>,
    pub wants_default: bool,
}

/// Records an added image. It has no versions yet, and so the status of none.
pub(crate) async fn insert(
    connection: &mut PgConnection,
    origin_id: &str,
    new: &NewImage<'_>,
) -> Result<(), Failure> {
    sqlx::query!(
        "INSERT INTO images (id, name, type, architecture, status, immutable, public, product, properties,
             wanted_aliases, origin_id, release, auto_update, default_when_active)
         SELECT $2, $3, type, architecture, 0, false, $4, '', properties || $5, '{}', id, $6, $7, $8
         FROM images WHERE id = $1",
        origin_id,
        new.id,
        new.name,
        new.public,
        Json(new.properties) as _,
        new.release,
        new.auto_update,
        new.wants_default,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Records copies of these versions, in their order, as an image's own: queued, under its numbers.
pub(crate) async fn copy_versions(
    connection: &mut PgConnection,
    image_id: &str,
    version_ids: &[i64],
) -> Result<Vec<i64>, Failure> {
    let mut copies = vec![];
    for version_id in version_ids {
        let number = sqlx::query_scalar!(
            "UPDATE images SET next_version = next_version + 1 WHERE id = $1 RETURNING next_version - 1",
            image_id,
        )
        .fetch_one(&mut *connection)
        .await?;
        let copy = sqlx::query_scalar!(
            "INSERT INTO versions (image_id, number, serial, label, status, fingerprint, size_bytes, created_at)
             SELECT $1, $2, serial, label, 6, fingerprint, size_bytes, created_at FROM versions WHERE id = $3
             RETURNING id",
            image_id,
            number,
            version_id,
        )
        .fetch_one(&mut *connection)
        .await?;
        sqlx::query!(
            "INSERT INTO artifacts (version_id, position, ftype, sha256, size_bytes, path)
             SELECT $1, position, ftype, sha256, size_bytes, path FROM artifacts WHERE version_id = $2",
            copy,
            version_id,
        )
        .execute(&mut *connection)
        .await?;
        copies.push(copy);
    }
    Ok(copies)
}

/// Takes a product up again that was ignored: the versions that were deleted with its image are
/// available again, whose rows are answered. They went off the list then, and keep their grace.
pub(crate) async fn revive(connection: &mut PgConnection, image_id: &str) -> Result<Vec<i64>, Failure> {
    let versions = sqlx::query_scalar!(
        "UPDATE versions v
         SET status = 5, deleted_at = NULL, delisted_at = coalesce(delisted_at, deleted_at), error_message = ''
         WHERE v.image_id = $1 AND v.status = 4 AND NOT v.ignored
           AND v.deleted_at = (SELECT max(deleted_at) FROM versions WHERE image_id = $1 AND NOT ignored)
         RETURNING v.id",
        image_id,
    )
    .fetch_all(&mut *connection)
    .await?;
    sqlx::query!(
        "UPDATE images SET ignored = false, cached = false, status = CASE WHEN $2 THEN 5 ELSE status END WHERE id = $1",
        image_id,
        !versions.is_empty(),
    )
    .execute(connection)
    .await?;
    Ok(versions)
}

/// An added image that follows, and what its origin shows.
pub(crate) struct Follower {
    pub image_id: String,
    /// What the origin shows.
    pub version_id: i64,
    pub serial: String,
    /// Of the versions that the added image has, or of which a user deleted them.
    pub own_serials: Vec<String>,
}

/// The added images that follow these images by themselves.
pub(crate) async fn behind(
    connection: &mut PgConnection,
    origin_ids: &[String],
) -> Result<Vec<Follower>, Failure> {
    let followers = sqlx::query_as!(
        Follower,
        r#"SELECT f.id AS image_id, v.id AS version_id, v.serial,
               ARRAY(SELECT own.serial FROM versions own
                     WHERE own.image_id = f.id AND (own.status <> 4 OR own.ignored)) AS "own_serials!"
           FROM images f
           JOIN images o ON o.id = f.origin_id
           JOIN versions v ON v.image_id = o.id AND v.number = o.newest_version
           WHERE o.id = ANY($1) AND f.status <> 4 AND f.auto_update AND f.release = ''
           ORDER BY f.id"#,
        origin_ids,
    )
    .fetch_all(connection)
    .await?;
    Ok(followers)
}
