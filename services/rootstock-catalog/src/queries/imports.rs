//! Imports: images that are made of uploaded blobs, and what stands in their way.

use std::collections::BTreeMap;

use rootstock_model::{Digest, ImageType, Status};
use sqlx::{PgConnection, types::Json};
use time::OffsetDateTime;

use crate::failure::Failure;

/// A version, as people are told of it.
pub(crate) struct Holder {
    pub image_id: String,
    pub image_name: String,
    pub number: i32,
}

/// The version that this request made, and whether it was deleted since.
pub(crate) async fn of_request(
    connection: &mut PgConnection,
    request_id: &str,
) -> Result<Option<(Holder, bool)>, Failure> {
    if request_id.is_empty() {
        return Ok(None);
    }
    let row = sqlx::query!(
        "SELECT v.image_id, i.name, v.number, v.status FROM versions v JOIN images i ON i.id = v.image_id
         WHERE v.request_id = $1",
        request_id,
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| {
        let holder = Holder {
            image_id: row.image_id,
            image_name: row.name,
            number: row.number,
        };
        (holder, row.status == Status::Deleted.code())
    }))
}

/// A version that has this content, stored or about to be: by its fingerprint, or by the very files.
pub(crate) async fn of_content(
    connection: &mut PgConnection,
    fingerprint: Option<&Digest>,
    files: &[Digest],
) -> Result<Option<Holder>, Failure> {
    let first = files.first().map(|file| file.as_bytes().to_vec());
    let last = files.last().map(|file| file.as_bytes().to_vec());
    let row = sqlx::query!(
        "SELECT v.image_id, i.name, v.number FROM versions v JOIN images i ON i.id = v.image_id
         WHERE v.status IN (1, 2, 3, 6)
           AND (v.fingerprint = $1
                OR v.id IN (SELECT a.version_id FROM artifacts a JOIN artifacts m ON m.version_id = a.version_id
                            WHERE a.sha256 = $3 AND a.position = $4 AND m.sha256 = $2 AND m.position = 0))
         ORDER BY v.id LIMIT 1",
        fingerprint.map(|fingerprint| fingerprint.as_bytes().to_vec()),
        first,
        last,
        i16::from(files.len() > 1),
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| Holder {
        image_id: row.image_id,
        image_name: row.name,
        number: row.number,
    }))
}

/// Whether there is an image of this name and type.
pub(crate) async fn name_is_taken(
    connection: &mut PgConnection,
    name: &str,
    image_type: ImageType,
) -> Result<bool, Failure> {
    let taken = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM images WHERE name = $1 AND type = $2 AND status <> 4) AS "taken!""#,
        name,
        image_type.as_str(),
    )
    .fetch_one(connection)
    .await?;
    Ok(taken)
}

/// The lengths of those of these blobs that are stored.
pub(crate) async fn stored_sizes(
    connection: &mut PgConnection,
    files: &[Digest],
) -> Result<BTreeMap<Digest, i64>, Failure> {
    let keys: Vec<Vec<u8>> = files.iter().map(|file| file.as_bytes().to_vec()).collect();
    let rows = sqlx::query!(
        "SELECT sha256, size_bytes FROM blobs WHERE sha256 = ANY($1)",
        &keys
    )
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| Ok((super::digest(&row.sha256)?, row.size_bytes)))
        .collect()
}

/// An image of a user's own.
pub(crate) struct NewImage<'a> {
    pub id: &'a str,
    pub name: &'a str,
    pub image_type: ImageType,
    pub architecture: &'a str,
    pub public: bool,
    pub properties: &'a BTreeMap<String, String>,
    pub expires_at: Option<OffsetDateTime>,
    /// Whether it becomes the default of its type.
    pub default: bool,
}

/// Records an image. It has no version yet, and so the status of none.
pub(crate) async fn insert_image(connection: &mut PgConnection, image: NewImage<'_>) -> Result<(), Failure> {
    sqlx::query!(
        "INSERT INTO images (id, name, type, architecture, status, immutable, public, product, properties,
             wanted_aliases, expires_at, default_when_active)
         VALUES ($1, $2, $3, $4, 0, false, $5, '', $6, '{}', $7, $8)",
        image.id,
        image.name,
        image.image_type.as_str(),
        image.architecture,
        image.public,
        Json(image.properties) as _,
        image.expires_at,
        image.default,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Lets an image follow the metadata of a new version: its properties over those that it has.
pub(crate) async fn describe_image(
    connection: &mut PgConnection,
    id: &str,
    properties: &BTreeMap<String, String>,
    expires_at: Option<OffsetDateTime>,
    default: bool,
) -> Result<(), Failure> {
    sqlx::query!(
        "UPDATE images SET properties = properties || $2, expires_at = coalesce($3, expires_at),
             default_when_active = default_when_active OR $4
         WHERE id = $1",
        id,
        Json(properties) as _,
        expires_at,
        default,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What the serial of a new version depends on: the database's time, and the image's serials.
pub(crate) async fn serials(
    connection: &mut PgConnection,
    image_id: &str,
) -> Result<(OffsetDateTime, Vec<String>), Failure> {
    let row = sqlx::query!(
        r#"SELECT now() AS "now!",
               ARRAY(SELECT serial FROM versions WHERE image_id = $1 AND status <> 4) AS "serials!""#,
        image_id,
    )
    .fetch_one(connection)
    .await?;
    Ok((row.now, row.serials))
}

/// A file of a version.
pub(crate) struct NewFile<'a> {
    pub ftype: &'a str,
    pub sha256: Digest,
    pub size_bytes: i64,
}

/// A version of uploaded files.
pub(crate) struct NewVersion<'a> {
    pub image_id: &'a str,
    pub serial: &'a str,
    pub fingerprint: Option<Digest>,
    pub created_at: OffsetDateTime,
    pub request_id: &'a str,
    pub files: &'a [NewFile<'a>],
}

/// Records a version as queued, under the image's next number; answers its row and that number.
pub(crate) async fn insert_version(
    connection: &mut PgConnection,
    version: NewVersion<'_>,
) -> Result<(i64, i32), Failure> {
    let row = sqlx::query!(
        "WITH numbered AS (
             UPDATE images SET next_version = next_version + 1 WHERE id = $1 RETURNING next_version - 1 AS number
         )
         INSERT INTO versions (image_id, number, serial, label, status, fingerprint, size_bytes, created_at, request_id)
         SELECT $1, number, $2, '', $3, $4, $5, $6, $7 FROM numbered
         RETURNING id, number",
        version.image_id,
        version.serial,
        Status::Queued.code(),
        version.fingerprint.map(|fingerprint| fingerprint.as_bytes().to_vec()),
        version.files.iter().map(|file| file.size_bytes).sum::<i64>(),
        version.created_at,
        version.request_id,
    )
    .fetch_one(&mut *connection)
    .await?;
    for (position, file) in (0i16..).zip(version.files) {
        sqlx::query!(
            "INSERT INTO artifacts (version_id, position, ftype, sha256, size_bytes, path)
             VALUES ($1, $2, $3, $4, $5, '')",
            row.id,
            position,
            file.ftype,
            file.sha256.as_bytes(),
            file.size_bytes,
        )
        .execute(&mut *connection)
        .await?;
    }
    Ok((row.id, row.number))
}
