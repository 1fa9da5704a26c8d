//! Images.

mod list;
mod row;

use std::collections::BTreeMap;

use rootstock_model::{ImageType, Status, default_image, hold};
use rootstock_proto::catalog::v1 as wire;
use sqlx::{PgConnection, types::Json};
use time::OffsetDateTime;

pub(crate) use self::list::{Filter, list};
use self::row::into_wire;
pub(super) use self::row::{ImageRow, image_columns};
use super::status;
use crate::failure::Failure;

/// These images, deleted ones included, in the order of their ids.
pub(crate) async fn by_ids(
    connection: &mut PgConnection,
    ids: &[String],
) -> Result<Vec<wire::Image>, Failure> {
    const SELECT: &str = concat!(
        "SELECT ",
        image_columns!(),
        " FROM image_details WHERE id = ANY($1) ORDER BY id"
    );
    into_wire(sqlx::query_as(SELECT).bind(ids).fetch_all(connection).await?)
}

/// A page of all images, deleted ones included, in the order of their ids, after `after`.
pub(crate) async fn page_by_id(
    connection: &mut PgConnection,
    after: &str,
    limit: i64,
) -> Result<Vec<wire::Image>, Failure> {
    const SELECT: &str = concat!(
        "SELECT ",
        image_columns!(),
        " FROM image_details WHERE id > $1 ORDER BY id LIMIT $2"
    );
    let page = sqlx::query_as(SELECT).bind(after).bind(limit);
    into_wire(page.fetch_all(connection).await?)
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

/// What came of it that images were looked at anew.
#[derive(Debug, Default)]
pub(crate) struct Refreshed {
    /// Versions that were hidden, or are shown again.
    pub turned: Vec<i64>,
    /// Images that show another version now, or none.
    pub moved: Vec<String>,
}

/// Recomputes what these images have of their versions: status, count, what is shown and what a hold
/// hides. An image without a version that is not deleted is deleted itself, and its properties go
/// with it.
pub(crate) async fn refresh_from_versions(
    connection: &mut PgConnection,
    ids: &[String],
) -> Result<Refreshed, Failure> {
    let rows = sqlx::query!(
        "SELECT id, image_id, number, serial, status, hidden FROM versions WHERE image_id = ANY($1) AND status <> 4",
        ids,
    )
    .fetch_all(&mut *connection)
    .await?;
    let holds = sqlx::query!(
        "SELECT i.id, v.number, v.serial FROM images i JOIN versions v ON v.image_id = i.id AND v.number = i.hold_version
         WHERE i.id = ANY($1)",
        ids,
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut by_image: BTreeMap<&str, Vec<_>> = ids.iter().map(|id| (id.as_str(), vec![])).collect();
    for row in &rows {
        by_image
            .entry(row.image_id.as_str())
            .or_default()
            .push((row, status(row.status)?));
    }
    let (mut statuses, mut counts, mut newest) = (vec![], vec![], vec![]);
    let (mut turned, mut turned_hidden) = (vec![], vec![]);
    for (id, versions) in &by_image {
        let best = match versions.is_empty() {
            true => Status::Deleted,
            false => Status::of_image(versions.iter().map(|(_, status)| *status)),
        };
        statuses.push(best.code());
        counts.push(i32::try_from(versions.len()).unwrap_or(i32::MAX));
        let active = versions.iter().filter(|(_, status)| *status == Status::Active);
        let held = holds.iter().find(|hold| hold.id == **id);
        let view = hold::view(
            active.map(|(row, _)| (row.number, row.serial.as_str())),
            held.map(|held| (held.number, held.serial.as_str())),
        );
        newest.push(view.current);
        for (row, _) in versions {
            let hidden = view.hidden.contains(&row.number);
            if hidden != row.hidden {
                turned.push(row.id);
                turned_hidden.push(hidden);
            }
        }
    }
    let ids: Vec<String> = by_image.keys().map(|id| (*id).to_owned()).collect();
    let updated = sqlx::query!(
        r#"UPDATE images i
         SET status = n.status, version_count = n.version_count, newest_version = n.newest_version,
             is_default = i.is_default AND n.status <> 4,
             properties = CASE WHEN n.status = 4 AND NOT i.ignored THEN '{}' ELSE i.properties END,
             default_when_active = i.default_when_active AND n.status <> 4
         FROM unnest($1::text[], $2::smallint[], $3::integer[], $4::integer[])
             AS n (id, status, version_count, newest_version)
             JOIN images old ON old.id = n.id
         WHERE i.id = n.id
           AND (i.status, i.version_count, i.newest_version)
               IS DISTINCT FROM (n.status, n.version_count, n.newest_version)
         RETURNING i.id AS "id!", old.newest_version IS DISTINCT FROM n.newest_version AS "moved!""#,
        &ids,
        &statuses,
        &counts,
        &newest as &[Option<i32>],
    )
    .fetch_all(&mut *connection)
    .await?;
    super::versions::set_hidden(connection, &turned, &turned_hidden).await?;
    let moved = updated
        .into_iter()
        .filter(|row| row.moved)
        .map(|row| row.id)
        .collect();
    Ok(Refreshed { turned, moved })
}

/// Holds an image at a version; what is noted of a hold at the same version stays as to its beginning.
pub(crate) async fn hold(
    connection: &mut PgConnection,
    id: &str,
    version: i32,
    reason: &str,
    until: Option<OffsetDateTime>,
) -> Result<(), Failure> {
    sqlx::query!(
        "UPDATE images SET hold_version = $2, hold_reason = $3, hold_until = $4,
             held_at = CASE WHEN hold_version = $2 THEN held_at ELSE now() END
         WHERE id = $1",
        id,
        version,
        reason,
        until,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Ends the holds of these images; answers those that were held.
pub(crate) async fn release(connection: &mut PgConnection, ids: &[String]) -> Result<Vec<String>, Failure> {
    let released = sqlx::query_scalar!(
        "UPDATE images SET hold_version = NULL, hold_reason = '', hold_until = NULL, held_at = NULL
         WHERE id = ANY($1) AND hold_version IS NOT NULL RETURNING id",
        ids,
    )
    .fetch_all(connection)
    .await?;
    Ok(released)
}

/// Ends the holds of these images whose version is gone: there is nothing left to be held at.
pub(crate) async fn release_without_version(
    connection: &mut PgConnection,
    ids: &[String],
) -> Result<(), Failure> {
    sqlx::query!(
        "UPDATE images i SET hold_version = NULL, hold_reason = '', hold_until = NULL, held_at = NULL
         WHERE i.id = ANY($1) AND i.hold_version IS NOT NULL
           AND NOT EXISTS (SELECT 1 FROM versions v
                           WHERE v.image_id = i.id AND v.number = i.hold_version AND v.status <> 4)",
        ids,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Lets the default of each type be what it should be, after these images changed; answers the images
/// that became it or ceased to be it. Part of every commit: it looks at the first active image of a
/// type, never at all of them. (Of `type = …` Postgres concludes that the order is that of the ids
/// alone, and reads all images in it when there is none of the type.)
pub(crate) async fn settle_defaults(
    connection: &mut PgConnection,
    ids: &[String],
) -> Result<Vec<String>, Failure> {
    let rows = sqlx::query!(
        r#"SELECT id AS "id!", type AS "image_type!", is_default AS "is_default!",
               default_when_active AS "wants_default!", status AS "status!"
           FROM images WHERE is_default OR id = ANY($1)
           UNION
           SELECT first.*
           FROM (VALUES ('container'), ('virtual-machine')) AS types (type)
           CROSS JOIN LATERAL (
               SELECT id, type, is_default, default_when_active, status FROM images
               WHERE type BETWEEN types.type AND types.type AND status = 3
                 AND NOT EXISTS (SELECT 1 FROM images d WHERE d.is_default AND d.type = types.type)
               ORDER BY type, id LIMIT 1
           ) AS first"#,
        ids,
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut changed = vec![];
    for image_type in ImageType::ALL {
        let of_type = rows.iter().filter(|row| row.image_type == image_type.as_str());
        let candidates: Vec<_> = of_type
            .map(|row| default_image::Candidate {
                id: &row.id,
                is_default: row.is_default,
                wants_default: row.wants_default,
                is_active: row.status == Status::Active.code(),
                exists: row.status != Status::Deleted.code(),
            })
            .collect();
        let present = candidates
            .iter()
            .find(|image| image.is_default)
            .map(|image| image.id);
        let chosen = default_image::choose(&candidates);
        if let Some(chosen) = chosen.filter(|chosen| present != Some(*chosen)) {
            changed.extend(set_default(connection, chosen).await?);
        }
    }
    Ok(changed)
}

/// Makes an image the default of its type, whatever others were to become it; answers those that it
/// concerns: the image, and the one that was the default.
pub(crate) async fn set_default(connection: &mut PgConnection, id: &str) -> Result<Vec<String>, Failure> {
    let mut changed = sqlx::query_scalar!(
        "UPDATE images SET is_default = false
         WHERE is_default AND id <> $1 AND type = (SELECT type FROM images WHERE id = $1) RETURNING id",
        id,
    )
    .fetch_all(&mut *connection)
    .await?;
    sqlx::query!(
        "UPDATE images SET is_default = id = $1, default_when_active = false
         WHERE id = $1 OR default_when_active AND status = 3 AND type = (SELECT type FROM images WHERE id = $1)",
        id,
    )
    .execute(&mut *connection)
    .await?;
    changed.push(id.to_owned());
    Ok(changed)
}

/// Lets no image of a type become the default by itself any more when it turns active.
pub(crate) async fn forget_wanted_defaults(
    connection: &mut PgConnection,
    image_type: &str,
) -> Result<(), Failure> {
    sqlx::query!(
        "UPDATE images SET default_when_active = false WHERE default_when_active AND type = $1",
        image_type,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Whether other images of an image's type exist.
pub(crate) async fn has_others_of_type(connection: &mut PgConnection, id: &str) -> Result<bool, Failure> {
    let others = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM images o JOIN images i ON i.id = $1
                          WHERE o.type = i.type AND o.id <> i.id AND o.status <> 4) AS "others!""#,
        id,
    )
    .fetch_one(connection)
    .await?;
    Ok(others)
}

/// Deletes an image, whose properties go with it; one that comes from a remote is marked, so that its product is left out from now
/// on. Its versions must be deleted too.
pub(crate) async fn delete(connection: &mut PgConnection, id: &str) -> Result<(), Failure> {
    sqlx::query!(
        "UPDATE images SET status = 4, is_default = false, ignored = remote_id IS NOT NULL,
             properties = CASE WHEN remote_id IS NULL THEN '{}' ELSE properties END
         WHERE id = $1",
        id
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// An image's properties.
pub(crate) async fn properties(
    connection: &mut PgConnection,
    id: &str,
) -> Result<BTreeMap<String, String>, Failure> {
    let properties = sqlx::query_scalar!(
        r#"SELECT properties AS "properties: Json<BTreeMap<String, String>>" FROM images WHERE id = $1"#,
        id,
    );
    Ok(properties.fetch_one(connection).await?.0)
}

/// What is to change of an image; what is `None` stays.
#[derive(Debug, Default)]
pub(crate) struct Update {
    pub public: Option<bool>,
    pub auto_update: Option<bool>,
    /// `Some(None)`: as the remote has it, or never.
    pub expires_at: Option<Option<OffsetDateTime>>,
    pub properties: Option<BTreeMap<String, String>>,
}

/// Changes an image; true when it was not so already.
pub(crate) async fn update(
    connection: &mut PgConnection,
    id: &str,
    update: &Update,
) -> Result<bool, Failure> {
    let changed = sqlx::query!(
        "UPDATE images i
         SET public = n.public, user_public = coalesce($2, i.user_public), auto_update = n.auto_update, user_expires_at = n.expires_at, properties = n.properties
         FROM (SELECT coalesce($2, public) AS public, coalesce($3, auto_update) AS auto_update,
                   CASE WHEN $4 THEN $5 ELSE user_expires_at END AS expires_at,
                   coalesce($6::jsonb, properties) AS properties
               FROM images WHERE id = $1) AS n
         WHERE i.id = $1
           AND (i.public, i.auto_update, i.user_expires_at, i.properties)
               IS DISTINCT FROM (n.public, n.auto_update, n.expires_at, n.properties)
            OR i.id = $1 AND i.user_public IS DISTINCT FROM coalesce($2, i.user_public)",
        id,
        update.public,
        update.auto_update,
        update.expires_at.is_some(),
        update.expires_at.flatten(),
        update.properties.as_ref().map(|properties| serde_json::json!(properties)),
    )
    .execute(connection)
    .await?;
    Ok(changed.rows_affected() > 0)
}

/// What an image's stored versions are kept by, as its remote has it.
pub(crate) struct Retention {
    /// 0: as the setting has it.
    pub keep: u32,
    /// Empty: every release counts.
    pub version_constraint: String,
}

/// The retention of those of these images that come from elsewhere.
pub(crate) async fn retention(
    connection: &mut PgConnection,
    ids: &[String],
) -> Result<Vec<(String, Retention)>, Failure> {
    let rows = sqlx::query!(
        r#"SELECT i.id AS "id!", coalesce(r.keep_versions, 0) AS "keep!",
                CASE WHEN i.remote_id IS NULL THEN '' ELSE r.version_constraint END AS "version_constraint!"
           FROM images i
           LEFT JOIN images o ON o.id = i.origin_id
           LEFT JOIN remotes r ON r.id = coalesce(i.remote_id, o.remote_id)
           WHERE i.id = ANY($1) AND (i.remote_id IS NOT NULL OR i.origin_id IS NOT NULL)"#,
        ids,
    )
    .fetch_all(connection)
    .await?;
    let retention = rows.into_iter().map(|row| {
        let retention = Retention {
            keep: row.keep.unsigned_abs(),
            version_constraint: row.version_constraint,
        };
        (row.id, retention)
    });
    Ok(retention.collect())
}

/// Notes that an image of an on-demand remote was brought here by use; whether it follows its remote
/// is decided then, once. What was cached is private (semantics §4), unless a user had it otherwise, or
/// has now.
pub(crate) async fn set_cached(
    connection: &mut PgConnection,
    id: &str,
    auto_update: bool,
    public: Option<bool>,
) -> Result<(), Failure> {
    sqlx::query!(
        "UPDATE images i
         SET cached = true, cached_at = now(), auto_update = CASE WHEN i.cached THEN i.auto_update ELSE $2 END,
             user_public = coalesce($3, i.user_public), public = coalesce($3, i.user_public, false)
         FROM remotes r WHERE i.id = $1 AND r.id = i.remote_id AND r.mode = 'on-demand'",
        id,
        auto_update,
        public,
    )
    .execute(connection)
    .await?;
    Ok(())
}
