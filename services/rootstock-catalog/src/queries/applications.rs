//! Applications, and how they follow their images.

use std::collections::BTreeMap;

use rootstock_proto::{catalog::v1::Application, convert};
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::{select::Select, versions, wire_image_type};
use crate::failure::Failure;

#[derive(sqlx::FromRow)]
struct Row {
    name: String,
    image_id: Option<String>,
    image: Option<String>,
    image_type: Option<String>,
    version_id: i64,
    auto_update: bool,
    created_at: OffsetDateTime,
    updated_at: OffsetDateTime,
    generation: i64,
}

macro_rules! select_applications {
    ($rest:literal $(, $argument:expr)* $(,)?) => {
        sqlx::query_as!(
            Row,
            r#"SELECT a.name, a.image_id, i.name AS "image?", i.type AS "image_type?", a.version_id, a.auto_update,
                a.created_at, a.updated_at, a.generation
               FROM applications a LEFT JOIN images i ON i.id = a.image_id "# + $rest
            $(, $argument)*
        )
    };
}

/// These applications, in the order of their names.
pub(crate) async fn by_names(
    connection: &mut PgConnection,
    names: &[String],
) -> Result<Vec<Application>, Failure> {
    let rows = select_applications!("WHERE a.name = ANY($1) ORDER BY a.name", names)
        .fetch_all(&mut *connection)
        .await?;
    with_versions(connection, rows).await
}

/// At most `rows` applications in the order of their names, after `after`; of one image if that is given.
pub(crate) async fn list(
    connection: &mut PgConnection,
    image_id: Option<&str>,
    after: &str,
    rows: usize,
) -> Result<Vec<Application>, Failure> {
    let select = Select::new(
        "SELECT a.name, a.image_id, i.name AS image, i.type AS image_type, a.version_id, a.auto_update,
             a.created_at, a.updated_at, a.generation
         FROM applications a LEFT JOIN images i ON i.id = a.image_id
         WHERE a.name > ",
    )
    .bind(after, "")
    .and(" AND a.image_id = ", image_id, "")
    .text(" ORDER BY a.name");
    let rows = select.fetch(connection, rows).await?;
    with_versions(connection, rows).await
}

/// A page of all applications in the order of their names, after `after`.
pub(crate) async fn page(
    connection: &mut PgConnection,
    after: &str,
    limit: i64,
) -> Result<Vec<Application>, Failure> {
    let rows = select_applications!("WHERE a.name > $1 ORDER BY a.name LIMIT $2", after, limit)
        .fetch_all(&mut *connection)
        .await?;
    with_versions(connection, rows).await
}

async fn with_versions(connection: &mut PgConnection, rows: Vec<Row>) -> Result<Vec<Application>, Failure> {
    let ids: Vec<i64> = rows.iter().map(|row| row.version_id).collect();
    let held = versions::by_ids(connection, &ids).await?;
    let held: BTreeMap<i64, _> = held.into_iter().map(|row| (row.id, row.version)).collect();
    let into_wire = |row: Row| {
        Ok(Application {
            name: row.name,
            image_id: row.image_id.unwrap_or_default(),
            image: row.image.unwrap_or_default(),
            r#type: row.image_type.as_deref().map_or(Ok(0), wire_image_type)?,
            version: held.get(&row.version_id).cloned(),
            auto_update: row.auto_update,
            created_at: Some(convert::timestamp(row.created_at)),
            updated_at: Some(convert::timestamp(row.updated_at)),
            etag: row.generation.to_string(),
        })
    };
    rows.into_iter().map(into_wire).collect()
}

/// Adds an application that is not there.
pub(crate) async fn insert(
    connection: &mut PgConnection,
    name: &str,
    image_id: &str,
    version_id: i64,
    auto_update: bool,
) -> Result<(), Failure> {
    sqlx::query!(
        "INSERT INTO applications (name, image_id, version_id, auto_update) VALUES ($1, $2, $3, $4)",
        name,
        image_id,
        version_id,
        auto_update,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Changes an application; without an image and a version, it holds what it held.
pub(crate) async fn update(
    connection: &mut PgConnection,
    name: &str,
    auto_update: bool,
    holds: Option<(&str, i64)>,
) -> Result<(), Failure> {
    sqlx::query!(
        "UPDATE applications
         SET auto_update = $2, image_id = coalesce($3, image_id), version_id = coalesce($4, version_id),
             updated_at = now(), generation = generation + 1
         WHERE name = $1",
        name,
        auto_update,
        holds.map(|(image_id, _)| image_id),
        holds.map(|(_, version_id)| version_id),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Removes an application.
pub(crate) async fn delete(connection: &mut PgConnection, name: &str) -> Result<(), Failure> {
    sqlx::query!("DELETE FROM applications WHERE name = $1", name)
        .execute(connection)
        .await?;
    Ok(())
}

/// Moves the applications that follow these images to what those show now. Answers their names.
pub(crate) async fn follow(
    connection: &mut PgConnection,
    image_ids: &[String],
) -> Result<Vec<String>, Failure> {
    let moved = sqlx::query_scalar!(
        "UPDATE applications a
         SET version_id = v.id, updated_at = now(), generation = a.generation + 1
         FROM images i JOIN versions v ON v.image_id = i.id AND v.number = i.newest_version
         WHERE i.id = ANY($1) AND i.status <> 4 AND a.image_id = i.id AND a.auto_update AND a.version_id <> v.id
         RETURNING a.name",
        image_ids,
    )
    .fetch_all(connection)
    .await?;
    Ok(moved)
}

/// Leaves the applications of those of these images that are deleted with the versions they hold.
/// Answers their names.
pub(crate) async fn leave(
    connection: &mut PgConnection,
    image_ids: &[String],
) -> Result<Vec<String>, Failure> {
    let left = sqlx::query_scalar!(
        "UPDATE applications a SET image_id = NULL, updated_at = now(), generation = a.generation + 1
         FROM images i WHERE i.id = ANY($1) AND i.status = 4 AND a.image_id = i.id
         RETURNING a.name",
        image_ids,
    )
    .fetch_all(connection)
    .await?;
    Ok(left)
}
