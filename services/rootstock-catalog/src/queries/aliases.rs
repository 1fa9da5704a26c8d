//! Aliases.

use rootstock_model::{ImageType, NamePattern, limits::MAX_ALIASES};
use rootstock_proto::{Error, Refusal, catalog::v1::Alias};
use sqlx::PgConnection;

use super::{select::Select, wire_image_type};
use crate::failure::Failure;

/// What became of aliases.
#[derive(Debug, Default)]
pub(crate) struct Reconciled {
    pub taken: Vec<Taken>,
    /// Each as it last was.
    pub deleted: Vec<(OwnedKey, Alias)>,
}

/// An alias that points to an image which had it not.
#[derive(Debug)]
pub(crate) struct Taken {
    pub key: OwnedKey,
    /// The image that had it; `None` when it is new.
    pub holder: Option<String>,
}

/// Makes these images' aliases what they should be. An image has the aliases that are its by right
/// once it has something to show. An alias that another image has moves only if that one is of the
/// same remote and it is no longer its by right; one that a user made never does.
pub(crate) async fn reconcile(
    connection: &mut PgConnection,
    image_ids: &[String],
) -> Result<Reconciled, Failure> {
    let taken = sqlx::query!(
        r#"WITH wanted AS (
               SELECT DISTINCT ON (w.name, i.type, i.architecture)
                   w.name, i.type, i.architecture, i.id, a.image_id AS holder
               FROM images i
               CROSS JOIN LATERAL unnest(i.wanted_aliases) AS w (name)
               LEFT JOIN aliases a ON a.name = w.name AND a.type = i.type AND a.architecture = i.architecture
               LEFT JOIN images h ON h.id = a.image_id
               WHERE i.id = ANY($1) AND i.remote_id IS NOT NULL AND i.version_count > 0
                 AND i.status IN (3, 5)
                 AND (a.image_id IS NULL
                      OR a.image_id <> i.id AND NOT a.user_made AND h.remote_id = i.remote_id
                         AND NOT w.name = ANY(h.wanted_aliases))
               ORDER BY w.name, i.type, i.architecture, i.id
           ), taken AS (
               INSERT INTO aliases AS a (name, type, architecture, image_id)
               SELECT name, type, architecture, id FROM wanted
               ON CONFLICT (name, type, architecture)
               DO UPDATE SET image_id = excluded.image_id, generation = a.generation + 1
           )
           SELECT name AS "name!", type AS "image_type!", architecture AS "architecture!", holder AS "holder?"
           FROM wanted"#,
        image_ids,
    )
    .fetch_all(&mut *connection)
    .await?;
    let taken = taken.into_iter().map(|row| Taken {
        key: OwnedKey {
            name: row.name,
            image_type: row.image_type,
            architecture: row.architecture,
        },
        holder: row.holder,
    });
    let unwanted = sqlx::query_as!(
        Row,
        "DELETE FROM aliases a USING images i
         WHERE i.id = a.image_id AND i.id = ANY($1)
           AND (i.status = 4 OR i.remote_id IS NOT NULL AND NOT a.user_made AND NOT a.name = ANY(i.wanted_aliases)
                OR a.version IS NOT NULL
                   AND NOT EXISTS (SELECT 1 FROM versions v
                                   WHERE v.image_id = i.id AND v.number = a.version AND v.status <> 4))
         RETURNING a.name, a.type AS image_type, a.architecture, a.image_id, a.version, a.description, a.user_made,
             a.generation",
        image_ids,
    )
    .fetch_all(connection)
    .await?;
    Ok(Reconciled {
        taken: taken.collect(),
        deleted: keyed(unwanted)?,
    })
}

/// An alias as it is in its row.
#[derive(sqlx::FromRow)]
struct Row {
    name: String,
    image_type: String,
    architecture: String,
    image_id: String,
    version: Option<i32>,
    description: String,
    user_made: bool,
    generation: i64,
}

impl Row {
    fn into_wire(self) -> Result<Alias, Failure> {
        Ok(Alias {
            name: self.name,
            r#type: wire_image_type(&self.image_type)?,
            architecture: self.architecture,
            image_id: self.image_id,
            version: self.version,
            description: self.description,
            synced: !self.user_made,
            etag: self.generation.to_string(),
        })
    }
}

fn keyed(rows: Vec<Row>) -> Result<Vec<(OwnedKey, Alias)>, Failure> {
    let keyed = rows.into_iter().map(|row| {
        let key = OwnedKey {
            name: row.name.clone(),
            image_type: row.image_type.clone(),
            architecture: row.architecture.clone(),
        };
        Ok((key, row.into_wire()?))
    });
    keyed.collect()
}

/// The aliases of this name; type and architecture narrow them. In the order of (type, architecture).
pub(crate) async fn by_name(
    connection: &mut PgConnection,
    name: &str,
    image_type: Option<ImageType>,
    architecture: Option<&str>,
) -> Result<Vec<Alias>, Failure> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT name, type AS image_type, architecture, image_id, version, description, user_made, generation
         FROM aliases
         WHERE name = $1 AND ($2::text IS NULL OR type = $2) AND ($3::text IS NULL OR architecture = $3)
         ORDER BY type, architecture",
        name,
        image_type.map(ImageType::as_str),
        architecture,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Row::into_wire).collect()
}

/// Names one alias.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key<'a> {
    pub name: &'a str,
    pub image_type: ImageType,
    /// By the kernel's name.
    pub architecture: &'a str,
}

/// A [`Key`] to keep, as the columns have it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct OwnedKey {
    pub name: String,
    pub image_type: String,
    pub architecture: String,
}

impl From<Key<'_>> for OwnedKey {
    fn from(key: Key<'_>) -> Self {
        Self {
            name: key.name.to_owned(),
            image_type: key.image_type.as_str().to_owned(),
            architecture: key.architecture.to_owned(),
        }
    }
}

/// What an alias that a user made is to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a> {
    pub image_id: &'a str,
    pub version: Option<i32>,
    pub description: &'a str,
}

/// Checks, once a user's aliases were made, that their image has no more of them than it may.
///
/// # Errors
/// `FAILED_PRECONDITION` (LIMIT_REACHED).
pub(crate) async fn check_count(connection: &mut PgConnection, image_id: &str) -> Result<(), Failure> {
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM aliases WHERE image_id = $1 AND user_made"#,
        image_id,
    )
    .fetch_one(connection)
    .await?;
    if usize::try_from(count).is_ok_and(|count| count <= MAX_ALIASES) {
        return Ok(());
    }
    let message = format!(
        "at most {MAX_ALIASES} aliases can be made of one image: remove one first (`rootstock image alias delete`)"
    );
    Err(Error::refused(Refusal::LimitReached, message).into())
}

/// Makes a user's alias of what is not there, or is to be replaced.
pub(crate) async fn put(
    connection: &mut PgConnection,
    key: Key<'_>,
    target: Target<'_>,
) -> Result<Alias, Failure> {
    let row = sqlx::query_as!(
        Row,
        "INSERT INTO aliases AS a (name, type, architecture, image_id, version, description, user_made)
         VALUES ($1, $2, $3, $4, $5, $6, true)
         ON CONFLICT (name, type, architecture)
         DO UPDATE SET image_id = excluded.image_id, version = excluded.version,
             description = excluded.description, generation = a.generation + 1
         RETURNING name, type AS image_type, architecture, image_id, version, description, user_made, generation",
        key.name,
        key.image_type.as_str(),
        key.architecture,
        target.image_id,
        target.version,
        target.description,
    );
    row.fetch_one(connection).await?.into_wire()
}

/// Changes what an alias points to and says, whoever made it.
pub(crate) async fn update(
    connection: &mut PgConnection,
    key: Key<'_>,
    target: Target<'_>,
) -> Result<Alias, Failure> {
    let row = sqlx::query_as!(
        Row,
        "UPDATE aliases SET image_id = $4, version = $5, description = $6, generation = generation + 1
         WHERE name = $1 AND type = $2 AND architecture = $3
         RETURNING name, type AS image_type, architecture, image_id, version, description, user_made, generation",
        key.name,
        key.image_type.as_str(),
        key.architecture,
        target.image_id,
        target.version,
        target.description,
    );
    row.fetch_one(connection).await?.into_wire()
}

/// Gives an alias another name, which must be free.
pub(crate) async fn rename(
    connection: &mut PgConnection,
    key: Key<'_>,
    new_name: &str,
) -> Result<Alias, Failure> {
    let row = sqlx::query_as!(
        Row,
        "UPDATE aliases SET name = $4, generation = generation + 1
         WHERE name = $1 AND type = $2 AND architecture = $3
         RETURNING name, type AS image_type, architecture, image_id, version, description, user_made, generation",
        key.name,
        key.image_type.as_str(),
        key.architecture,
        new_name,
    );
    row.fetch_one(connection).await?.into_wire()
}

/// Removes an alias.
pub(crate) async fn delete(connection: &mut PgConnection, key: Key<'_>) -> Result<(), Failure> {
    sqlx::query!(
        "DELETE FROM aliases WHERE name = $1 AND type = $2 AND architecture = $3",
        key.name,
        key.image_type.as_str(),
        key.architecture,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Which aliases a listing wants.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    pub image_id: Option<String>,
    pub name: Option<NamePattern>,
}

/// At most `rows` aliases of a listing in the order of (name, type, architecture), after `after`.
pub(crate) async fn list(
    connection: &mut PgConnection,
    filter: &Filter,
    after: (&str, &str, &str),
    rows: usize,
) -> Result<Vec<Alias>, Failure> {
    let select = Select::new(
        "SELECT name, type AS image_type, architecture, image_id, version, description, user_made, generation
         FROM aliases WHERE (name, type, architecture) > (",
    )
    .bind(after.0, ", ")
    .bind(after.1, ", ")
    .bind(after.2, ")")
    .and(" AND image_id = ", filter.image_id.as_deref(), "")
    .and_matches("name", filter.name.as_ref())
    .text(" ORDER BY name, type, architecture");
    let rows: Vec<Row> = select.fetch(connection, rows).await?;
    rows.into_iter().map(Row::into_wire).collect()
}

/// The aliases that are pinned to versions of an image, at most `limit`.
pub(crate) async fn pinned_of_image(
    connection: &mut PgConnection,
    image_id: &str,
    limit: i64,
) -> Result<Vec<Alias>, Failure> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT name, type AS image_type, architecture, image_id, version, description, user_made, generation
         FROM aliases WHERE image_id = $1 AND version IS NOT NULL
         ORDER BY name, type, architecture LIMIT $2",
        image_id,
        limit,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Row::into_wire).collect()
}

/// A page of all aliases in the order of their keys, after `after`.
pub(crate) async fn page(
    connection: &mut PgConnection,
    after: Option<&OwnedKey>,
    limit: i64,
) -> Result<Vec<(OwnedKey, Alias)>, Failure> {
    let after = after.map_or(("", "", ""), |key| {
        (
            key.name.as_str(),
            key.image_type.as_str(),
            key.architecture.as_str(),
        )
    });
    let rows = sqlx::query_as!(
        Row,
        "SELECT name, type AS image_type, architecture, image_id, version, description, user_made, generation
         FROM aliases
         WHERE (name, type, architecture) > ($1, $2, $3) ORDER BY name, type, architecture LIMIT $4",
        after.0,
        after.1,
        after.2,
        limit,
    );
    keyed(rows.fetch_all(connection).await?)
}

/// The aliases of these keys, in the order of their keys.
pub(crate) async fn by_keys(
    connection: &mut PgConnection,
    keys: &[OwnedKey],
) -> Result<Vec<(OwnedKey, Alias)>, Failure> {
    let column = |part: fn(&OwnedKey) -> &String| keys.iter().map(part).cloned().collect::<Vec<_>>();
    let rows = sqlx::query_as!(
        Row,
        "SELECT name, type AS image_type, architecture, image_id, version, description, user_made, generation
         FROM aliases
         WHERE (name, type, architecture) IN (SELECT * FROM unnest($1::text[], $2::text[], $3::text[]))
         ORDER BY name, type, architecture",
        &column(|key| &key.name),
        &column(|key| &key.image_type),
        &column(|key| &key.architecture),
    );
    keyed(rows.fetch_all(connection).await?)
}
