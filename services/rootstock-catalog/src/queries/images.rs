//! Images.

use std::collections::BTreeMap;

use rootstock_model::{Status, plan};
use rootstock_proto::{catalog::v1 as wire, convert};
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::{digest, status, wire_image_type, wire_status};
use crate::failure::Failure;

/// An image as the view shows it.
pub(super) struct ImageRow {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) image_type: String,
    pub(super) architecture: String,
    pub(super) status: i16,
    pub(super) is_default: bool,
    pub(super) immutable: bool,
    pub(super) public: bool,
    pub(super) cached: bool,
    pub(super) source_product: String,
    pub(super) properties: sqlx::types::Json<BTreeMap<String, String>>,
    pub(super) expires_at: Option<OffsetDateTime>,
    pub(super) created_at: OffsetDateTime,
    pub(super) version_count: i32,
    pub(super) newest_version: Option<i32>,
    pub(super) auto_update: bool,
    pub(super) origin_id: Option<String>,
    pub(super) release: String,
    pub(super) hold_version: Option<i32>,
    pub(super) hold_reason: String,
    pub(super) hold_until: Option<OffsetDateTime>,
    pub(super) held_at: Option<OffsetDateTime>,
    pub(super) generation: i64,
    pub(super) last_used_at: Option<OffsetDateTime>,
    pub(super) remote: Option<String>,
    pub(super) fingerprint: Option<Vec<u8>>,
    pub(super) aliases: Vec<String>,
    pub(super) used_by: Vec<String>,
}

/// Images as they are shown; the argument is what follows `FROM image_details`.
macro_rules! select_images {
    ($rest:literal $(, $argument:expr)* $(,)?) => {
        sqlx::query_as!(
            ImageRow,
            r#"SELECT id AS "id!", name AS "name!", type AS "image_type!", architecture AS "architecture!",
                status AS "status!", is_default AS "is_default!", immutable AS "immutable!", public AS "public!",
                cached AS "cached!", source_product AS "source_product!",
                properties AS "properties!: sqlx::types::Json<BTreeMap<String, String>>", expires_at,
                created_at AS "created_at!", version_count AS "version_count!", newest_version,
                auto_update AS "auto_update!", origin_id, release AS "release!", hold_version,
                hold_reason AS "hold_reason!", hold_until, held_at, generation AS "generation!", last_used_at, remote,
                fingerprint, aliases AS "aliases!", used_by AS "used_by!"
               FROM image_details "# + $rest
            $(, $argument)*
        )
    };
}

impl ImageRow {
    pub(super) fn into_wire(self) -> Result<wire::Image, Failure> {
        let fingerprint = self.fingerprint.as_deref().map(digest).transpose()?;
        let (product, image_id, release) = (
            self.source_product,
            self.origin_id.unwrap_or_default(),
            self.release,
        );
        let source = self.remote.map(|remote| wire::ImageSource {
            remote,
            product,
            image_id,
            release,
        });
        let hold = self.hold_version.map(|version| wire::Hold {
            version,
            reason: self.hold_reason,
            until: self.hold_until.map(convert::timestamp),
            since: self.held_at.map(convert::timestamp),
        });
        Ok(wire::Image {
            id: self.id,
            name: self.name,
            r#type: wire_image_type(&self.image_type)?,
            architecture: self.architecture,
            variant: self.properties.get("variant").cloned().unwrap_or_default(),
            status: wire_status(self.status)?,
            default: self.is_default,
            immutable: self.immutable,
            public: self.public,
            cached: self.cached,
            source,
            properties: self.properties.0.into_iter().collect(),
            aliases: self.aliases,
            expires_at: self.expires_at.map(convert::timestamp),
            created_at: Some(convert::timestamp(self.created_at)),
            version_count: self.version_count,
            fingerprint: fingerprint
                .map(|fingerprint| fingerprint.to_hex())
                .unwrap_or_default(),
            versions: vec![],
            last_used_at: self.last_used_at.map(convert::timestamp),
            used_by: self.used_by,
            auto_update: self.auto_update,
            hold,
            etag: self.generation.to_string(),
            current_version: self.newest_version,
        })
    }
}

fn into_wire(rows: Vec<ImageRow>) -> Result<Vec<wire::Image>, Failure> {
    rows.into_iter().map(ImageRow::into_wire).collect()
}

/// These images, deleted ones included, in the order of their ids.
pub(crate) async fn by_ids(
    connection: &mut PgConnection,
    ids: &[String],
) -> Result<Vec<wire::Image>, Failure> {
    into_wire(
        select_images!("WHERE id = ANY($1) ORDER BY id", ids)
            .fetch_all(connection)
            .await?,
    )
}

/// A page of all images, deleted ones included, in the order of their ids, after `after`.
pub(crate) async fn page_by_id(
    connection: &mut PgConnection,
    after: &str,
    limit: i64,
) -> Result<Vec<wire::Image>, Failure> {
    into_wire(
        select_images!("WHERE id > $1 ORDER BY id LIMIT $2", after, limit)
            .fetch_all(connection)
            .await?,
    )
}

/// Which images a listing wants.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    /// A LIKE pattern.
    pub name: Option<String>,
    pub image_type: Option<&'static str>,
    pub remote: Option<String>,
    pub status: Option<i16>,
    pub alias: Option<String>,
    /// By the kernel's name.
    pub architecture: Option<&'static str>,
    /// An object of the properties that an image must have.
    pub properties: Option<serde_json::Value>,
    pub cached: Option<bool>,
    pub is_default: Option<bool>,
}

/// A page of a listing in the order of (name, type), after `after`.
pub(crate) async fn list(
    connection: &mut PgConnection,
    filter: &Filter,
    after: (&str, &str),
    limit: i64,
) -> Result<Vec<wire::Image>, Failure> {
    let rows = select_images!(
        "WHERE status <> 4 AND (name, type) > ($1, $2) AND ($3::text IS NULL OR name LIKE $3)
           AND ($4::text IS NULL OR type = $4) AND ($5::text IS NULL OR remote = $5)
           AND ($6::smallint IS NULL OR status = $6)
           AND ($7::text IS NULL OR id IN (SELECT a.image_id FROM aliases a WHERE a.name = $7))
           AND ($8::text IS NULL OR architecture = $8) AND ($9::jsonb IS NULL OR properties @> $9)
           AND ($10::boolean IS NULL OR cached = $10) AND ($11::boolean IS NULL OR is_default = $11)
         ORDER BY name, type LIMIT $12",
        after.0,
        after.1,
        filter.name.as_deref(),
        filter.image_type,
        filter.remote.as_deref(),
        filter.status,
        filter.alias.as_deref(),
        filter.architecture,
        filter.properties,
        filter.cached,
        filter.is_default,
        limit,
    )
    .fetch_all(connection)
    .await?;
    into_wire(rows)
}

/// Counts a change of these images: their etags are others from now on.
pub(crate) async fn count_change(connection: &mut PgConnection, ids: &[String]) -> Result<(), Failure> {
    sqlx::query!(
        "UPDATE images SET generation = generation + 1 WHERE id = ANY($1)",
        ids
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Recomputes what these images have of their versions: status, count, the newest active one. An
/// image without a version that is not deleted is deleted itself.
pub(crate) async fn refresh_from_versions(
    connection: &mut PgConnection,
    ids: &[String],
) -> Result<(), Failure> {
    let rows = sqlx::query!(
        "SELECT image_id, number, serial, status FROM versions WHERE image_id = ANY($1) AND status <> 4",
        ids,
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut by_image: BTreeMap<&str, Vec<(i32, &str, Status)>> =
        ids.iter().map(|id| (id.as_str(), vec![])).collect();
    for row in &rows {
        let version = (row.number, row.serial.as_str(), status(row.status)?);
        by_image.entry(row.image_id.as_str()).or_default().push(version);
    }
    let (mut statuses, mut counts, mut newest) = (vec![], vec![], vec![]);
    for versions in by_image.values() {
        let best = Status::of_image(versions.iter().map(|(.., status)| *status));
        statuses.push(
            if versions.is_empty() {
                Status::Deleted
            } else {
                best
            }
            .code(),
        );
        counts.push(i32::try_from(versions.len()).unwrap_or(i32::MAX));
        let active = versions.iter().filter(|(.., status)| *status == Status::Active);
        let newest_active = active.max_by(|a, b| plan::order((a.0, a.1), (b.0, b.1)));
        newest.push(newest_active.map(|(number, ..)| *number));
    }
    let ids: Vec<String> = by_image.keys().map(|id| (*id).to_owned()).collect();
    sqlx::query!(
        "UPDATE images i
         SET status = n.status, version_count = n.version_count, newest_version = n.newest_version,
             is_default = i.is_default AND n.status <> 4
         FROM unnest($1::text[], $2::smallint[], $3::integer[], $4::integer[])
             AS n (id, status, version_count, newest_version)
         WHERE i.id = n.id
           AND (i.status, i.version_count, i.newest_version)
               IS DISTINCT FROM (n.status, n.version_count, n.newest_version)",
        &ids,
        &statuses,
        &counts,
        &newest as &[Option<i32>],
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Makes the first of these images the default of its type where none is. True when it was.
pub(crate) async fn default_if_none(connection: &mut PgConnection, id: &str) -> Result<bool, Failure> {
    let done = sqlx::query!(
        "UPDATE images SET is_default = true WHERE id = $1
           AND NOT EXISTS (SELECT 1 FROM images d WHERE d.is_default AND d.type = images.type)",
        id,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Notes that an image was brought here by use.
pub(crate) async fn set_cached(connection: &mut PgConnection, id: &str) -> Result<(), Failure> {
    sqlx::query!("UPDATE images SET cached = true WHERE id = $1", id)
        .execute(connection)
        .await?;
    Ok(())
}
