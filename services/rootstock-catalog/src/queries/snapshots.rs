//! What a remote's offer is planned against, and the set-wise recording of its outcome.

use std::collections::{BTreeMap, BTreeSet};

use rootstock_model::{
    Digest, ImageName, Status,
    plan::{Description, ImageKey, KnownImage, KnownState, KnownVersion, NewVersion},
    snapshot::{Artifact, OfferedVersion, Snapshot},
};
use sqlx::{PgConnection, types::Json};
use time::{OffsetDateTime, Time};

use super::{digest, image_type, status, versions::VersionKey};
use crate::failure::Failure;

/// The known state, and the rows behind it.
pub(crate) struct KnownRows {
    pub state: KnownState,
    pub ids: BTreeMap<ImageKey, String>,
    /// Images that a removed remote left behind and that this one offers again.
    pub adoptable: Vec<String>,
}

/// What the catalog knows as far as it matters to this remote and its offer.
pub(crate) async fn known(
    connection: &mut PgConnection,
    remote_id: i64,
    snapshot: &Snapshot,
) -> Result<KnownRows, Failure> {
    let names: Vec<String> = snapshot
        .images
        .iter()
        .map(|image| image.product.to_string())
        .collect();
    let types: Vec<String> = snapshot
        .images
        .iter()
        .map(|image| image.image_type.to_string())
        .collect();
    let rows = sqlx::query!(
        r#"SELECT i.id, i.name, i.type AS image_type, i.architecture, i.wanted_aliases, i.expires_at, i.remote_id,
                i.properties AS "properties: Json<BTreeMap<String, String>>",
                array_remove(ARRAY[i.hold_version], NULL) AS "pinned!"
           FROM images i
           WHERE i.status <> 4
             AND (i.remote_id = $1
                  OR i.remote_id IS NULL AND i.product <> ''
                     AND (i.name, i.type) IN (SELECT * FROM unnest($2::text[], $3::text[])))"#,
        remote_id,
        &names,
        &types,
    )
    .fetch_all(&mut *connection)
    .await?;
    let (mut ids, mut images, mut adoptable) = (BTreeMap::new(), BTreeMap::new(), vec![]);
    for row in rows {
        let key = image_key(&row.name, &row.image_type)?;
        let corrupt = |what: &str| Failure::Corrupt(format!("{what} of image {}", row.id));
        let aliases = row
            .wanted_aliases
            .iter()
            .map(|alias| alias.parse())
            .collect::<Result<_, _>>();
        let description = Description {
            architecture: row.architecture.parse().map_err(|_| corrupt("architecture"))?,
            properties: row.properties.0,
            aliases: aliases.map_err(|_| corrupt("an alias"))?,
            support_eol: row.expires_at.map(OffsetDateTime::date),
        };
        if row.remote_id.is_none() {
            adoptable.push(row.id.clone());
        }
        ids.insert(key.clone(), row.id);
        images.insert(
            key,
            KnownImage {
                description,
                versions: vec![],
                pinned: row.pinned,
                ignored_serials: BTreeSet::new(),
            },
        );
    }
    load_versions(connection, &ids, &mut images).await?;
    let state = KnownState {
        images,
        taken_names: taken_names(connection, remote_id, &names, &types).await?,
        taken_aliases: taken_aliases(connection, remote_id, snapshot).await?,
        ignored: ignored(connection, remote_id).await?,
    };
    Ok(KnownRows {
        state,
        ids,
        adoptable,
    })
}

fn image_key(name: &str, type_name: &str) -> Result<ImageKey, Failure> {
    let name: ImageName = name
        .parse()
        .map_err(|_| Failure::Corrupt(format!("image name {name:?}")))?;
    Ok((name, image_type(type_name)?))
}

async fn load_versions(
    connection: &mut PgConnection,
    ids: &BTreeMap<ImageKey, String>,
    images: &mut BTreeMap<ImageKey, KnownImage>,
) -> Result<(), Failure> {
    let keys: BTreeMap<&str, &ImageKey> = ids.iter().map(|(key, id)| (id.as_str(), key)).collect();
    let id_list: Vec<String> = ids.values().cloned().collect();
    let rows = sqlx::query!(
        "SELECT v.image_id, v.number, v.serial, v.status, v.size_bytes, v.fingerprint, a.sha256, a.path
         FROM versions v JOIN artifacts a ON a.version_id = v.id
         WHERE v.image_id = ANY($1) AND v.status <> 4
         ORDER BY v.image_id, v.number, a.position",
        &id_list,
    )
    .fetch_all(&mut *connection)
    .await?;
    let ignored = sqlx::query!(
        "SELECT image_id, serial FROM versions WHERE image_id = ANY($1) AND ignored",
        &id_list,
    )
    .fetch_all(&mut *connection)
    .await?;
    for row in ignored {
        let key = keys.get(row.image_id.as_str());
        if let Some(image) = key.and_then(|key| images.get_mut(*key)) {
            image.ignored_serials.insert(row.serial);
        }
    }
    for row in rows {
        let Some(image) = keys
            .get(row.image_id.as_str())
            .and_then(|key| images.get_mut(*key))
        else {
            continue;
        };
        let file = (digest(&row.sha256)?, row.path);
        match image.versions.last_mut().filter(|last| last.number == row.number) {
            Some(last) => last.files.push(file),
            None => image.versions.push(KnownVersion {
                number: row.number,
                serial: row.serial,
                status: status(row.status)?,
                size_bytes: u64::try_from(row.size_bytes).unwrap_or(0),
                fingerprint: row.fingerprint.as_deref().map(digest).transpose()?,
                files: vec![file],
            }),
        }
    }
    Ok(())
}

/// The remote's images that a user deleted.
async fn ignored(connection: &mut PgConnection, remote_id: i64) -> Result<BTreeSet<ImageKey>, Failure> {
    let rows = sqlx::query!(
        "SELECT product, type AS image_type FROM images WHERE remote_id = $1 AND ignored",
        remote_id,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| image_key(&row.product, &row.image_type))
        .collect()
}

async fn taken_names(
    connection: &mut PgConnection,
    remote_id: i64,
    names: &[String],
    types: &[String],
) -> Result<BTreeMap<ImageKey, String>, Failure> {
    let rows = sqlx::query!(
        r#"SELECT i.name, i.type AS image_type, coalesce('remote ' || r.name, 'a local image') AS "owner!"
           FROM images i LEFT JOIN remotes r ON r.id = i.remote_id
           WHERE i.status <> 4 AND (i.name, i.type) IN (SELECT * FROM unnest($2::text[], $3::text[]))
             AND (i.remote_id <> $1 OR i.remote_id IS NULL AND i.product = '')"#,
        remote_id,
        names,
        types,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| Ok((image_key(&row.name, &row.image_type)?, row.owner)))
        .collect()
}

async fn taken_aliases(
    connection: &mut PgConnection,
    remote_id: i64,
    snapshot: &Snapshot,
) -> Result<BTreeMap<rootstock_model::plan::AliasKey, String>, Failure> {
    let offered: Vec<String> = snapshot
        .images
        .iter()
        .flat_map(|image| &image.aliases)
        .map(ToString::to_string)
        .collect();
    let rows = sqlx::query!(
        r#"SELECT a.name, a.type AS image_type, a.architecture, i.name || coalesce(' of remote ' || r.name, '') AS "owner!"
           FROM aliases a JOIN images i ON i.id = a.image_id LEFT JOIN remotes r ON r.id = i.remote_id
           WHERE a.name = ANY($2)
             AND (i.remote_id <> $1 OR i.remote_id IS NULL AND i.product = '')"#,
        remote_id,
        &offered,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let corrupt = || Failure::Corrupt(format!("alias {:?}", row.name));
            let alias = row.name.parse().map_err(|_| corrupt())?;
            let architecture = row.architecture.parse().map_err(|_| corrupt())?;
            Ok(((alias, image_type(&row.image_type)?, architecture), row.owner))
        })
        .collect()
}

/// Gives images that a removed remote left behind to this one.
pub(crate) async fn adopt(
    connection: &mut PgConnection,
    remote_id: i64,
    ids: &[String],
) -> Result<(), Failure> {
    if !ids.is_empty() {
        sqlx::query!(
            "UPDATE images SET remote_id = $1 WHERE id = ANY($2)",
            remote_id,
            ids
        )
        .execute(connection)
        .await?;
    }
    Ok(())
}

/// An image to record.
pub(crate) struct NewImageRow<'a> {
    pub id: String,
    pub key: &'a ImageKey,
    pub description: &'a Description,
}

/// The columns of descriptions, for `unnest`. Aliases travel as JSON: arrays of arrays must be even.
struct DescriptionColumns {
    ids: Vec<String>,
    architectures: Vec<String>,
    properties: Vec<serde_json::Value>,
    aliases: Vec<serde_json::Value>,
    expires_at: Vec<Option<OffsetDateTime>>,
}

impl DescriptionColumns {
    fn of(rows: &[NewImageRow<'_>]) -> Self {
        let column =
            |of: fn(&Description) -> serde_json::Value| rows.iter().map(|row| of(row.description)).collect();
        Self {
            ids: rows.iter().map(|row| row.id.clone()).collect(),
            architectures: rows
                .iter()
                .map(|row| row.description.architecture.to_string())
                .collect(),
            properties: column(|description| serde_json::json!(description.properties)),
            aliases: column(|description| serde_json::json!(description.aliases)),
            expires_at: rows
                .iter()
                .map(|row| {
                    row.description
                        .support_eol
                        .map(|day| day.with_time(Time::MIDNIGHT).assume_utc())
                })
                .collect(),
        }
    }
}

/// Records new images. They have no versions yet, and so the status of none.
pub(crate) async fn insert_images(
    connection: &mut PgConnection,
    remote_id: i64,
    rows: &[NewImageRow<'_>],
) -> Result<(), Failure> {
    if rows.is_empty() {
        return Ok(());
    }
    let columns = DescriptionColumns::of(rows);
    let names: Vec<String> = rows.iter().map(|row| row.key.0.to_string()).collect();
    let types: Vec<String> = rows.iter().map(|row| row.key.1.to_string()).collect();
    sqlx::query!(
        "INSERT INTO images (id, name, type, architecture, status, immutable, public, remote_id, product, properties,
             wanted_aliases, expires_at)
         SELECT id, name, type, architecture, 0, true, true, $1, name, properties,
             ARRAY(SELECT jsonb_array_elements_text(aliases)), expires_at
         FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::jsonb[], $7::jsonb[], $8::timestamptz[])
             AS new (id, name, type, architecture, properties, aliases, expires_at)",
        remote_id,
        &columns.ids,
        &names,
        &types,
        &columns.architectures,
        &columns.properties,
        &columns.aliases,
        &columns.expires_at as &[Option<OffsetDateTime>],
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Records what images are described as now.
pub(crate) async fn describe_images(
    connection: &mut PgConnection,
    rows: &[NewImageRow<'_>],
) -> Result<(), Failure> {
    if rows.is_empty() {
        return Ok(());
    }
    let columns = DescriptionColumns::of(rows);
    sqlx::query!(
        "UPDATE images i
         SET architecture = new.architecture, properties = new.properties, expires_at = new.expires_at,
             wanted_aliases = ARRAY(SELECT jsonb_array_elements_text(new.aliases))
         FROM unnest($1::text[], $2::text[], $3::jsonb[], $4::jsonb[], $5::timestamptz[])
             AS new (id, architecture, properties, aliases, expires_at)
         WHERE i.id = new.id",
        &columns.ids,
        &columns.architectures,
        &columns.properties,
        &columns.aliases,
        &columns.expires_at as &[Option<OffsetDateTime>],
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A version to record. Those of one image stand together, oldest first.
pub(crate) struct NewVersionRow<'a> {
    pub image_id: &'a str,
    pub new: &'a NewVersion<'a>,
}

/// Records new versions and their artifacts, numbered on from their images' last; answers their rows.
pub(crate) async fn insert_versions(
    connection: &mut PgConnection,
    rows: &[NewVersionRow<'_>],
) -> Result<Vec<i64>, Failure> {
    if rows.is_empty() {
        return Ok(vec![]);
    }
    let texts = |of: fn(&OfferedVersion) -> &str| -> Vec<String> {
        rows.iter().map(|row| of(row.new.offered).to_owned()).collect()
    };
    let image_ids: Vec<String> = rows.iter().map(|row| row.image_id.to_owned()).collect();
    let statuses: Vec<i16> = rows.iter().map(|row| row.new.status.code()).collect();
    let fingerprints: Vec<Option<Vec<u8>>> = rows
        .iter()
        .map(|row| {
            row.new
                .content
                .fingerprint()
                .map(|fingerprint| fingerprint.as_bytes().to_vec())
        })
        .collect();
    let sizes: Vec<i64> = rows
        .iter()
        .map(|row| bytes_column(row.new.content.size_bytes()))
        .collect();
    let created: Vec<Option<OffsetDateTime>> = rows.iter().map(|row| row.new.offered.created_at).collect();
    let ids = sqlx::query_scalar!(
        "WITH new AS (
             SELECT *, row_number() OVER (PARTITION BY image_id ORDER BY position) - 1 AS nth
             FROM unnest($1::text[], $2::text[], $3::text[], $4::smallint[], $5::bytea[], $6::bigint[],
                         $7::timestamptz[])
                 WITH ORDINALITY
                 AS n (image_id, serial, label, status, fingerprint, size_bytes, created_at, position)
         ), inserted AS (
             INSERT INTO versions (image_id, number, serial, label, status, fingerprint, size_bytes, created_at)
             SELECT image_id, i.next_version + nth, serial, label, new.status, fingerprint, size_bytes,
                 coalesce(new.created_at, now())
             FROM new JOIN images i ON i.id = image_id
             ORDER BY position
             RETURNING id, image_id, number
         ), numbered AS (
             UPDATE images i SET next_version = top.number + 1
             FROM (SELECT image_id, max(number) AS number FROM inserted GROUP BY image_id) AS top
             WHERE i.id = top.image_id
         )
         SELECT id FROM inserted ORDER BY id",
        &image_ids,
        &texts(|offered| &offered.serial),
        &texts(|offered| &offered.label),
        &statuses,
        &fingerprints as &[Option<Vec<u8>>],
        &sizes,
        &created as &[Option<OffsetDateTime>],
    )
    .fetch_all(&mut *connection)
    .await?;
    insert_artifacts(connection, rows, &ids).await?;
    Ok(ids)
}

/// Identities are given in the order of insertion, which is that of `rows`.
async fn insert_artifacts(
    connection: &mut PgConnection,
    rows: &[NewVersionRow<'_>],
    ids: &[i64],
) -> Result<(), Failure> {
    if rows.len() != ids.len() {
        return Err(Failure::Corrupt(format!(
            "{} versions were recorded of {}",
            ids.len(),
            rows.len()
        )));
    }
    let (mut version_ids, mut positions, mut ftypes) = (vec![], vec![], vec![]);
    let (mut digests, mut sizes, mut paths) = (vec![], vec![], vec![]);
    for (row, id) in rows.iter().zip(ids) {
        for (position, artifact) in (0i16..).zip(row.new.content.artifacts()) {
            version_ids.push(*id);
            positions.push(position);
            ftypes.push(artifact.ftype.to_owned());
            digests.push(artifact.sha256.as_bytes().to_vec());
            sizes.push(bytes_column(artifact.size_bytes));
            paths.push(artifact.path);
        }
    }
    sqlx::query!(
        "INSERT INTO artifacts (version_id, position, ftype, sha256, size_bytes, path)
         SELECT * FROM unnest($1::bigint[], $2::smallint[], $3::text[], $4::bytea[], $5::bigint[], $6::text[])",
        &version_ids,
        &positions,
        &ftypes,
        &digests,
        &sizes,
        &paths,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Where the files of a version lie now.
pub(crate) struct Relocation<'a> {
    pub image_id: &'a str,
    pub number: i32,
    pub files: Vec<Artifact<&'static str>>,
}

/// Records where the files of versions lie now.
pub(crate) async fn relocate(
    connection: &mut PgConnection,
    relocations: &[Relocation<'_>],
) -> Result<(), Failure> {
    if relocations.is_empty() {
        return Ok(());
    }
    let (mut image_ids, mut numbers) = (vec![], vec![]);
    let (mut digests, mut paths) = (vec![], vec![]);
    for relocation in relocations {
        for file in &relocation.files {
            image_ids.push(relocation.image_id.to_owned());
            numbers.push(relocation.number);
            digests.push(file.sha256.as_bytes().to_vec());
            paths.push(file.path.clone());
        }
    }
    sqlx::query!(
        "UPDATE artifacts a SET path = new.path
         FROM unnest($1::text[], $2::int[], $3::bytea[], $4::text[]) AS new (image_id, number, sha256, path)
         JOIN versions v ON v.image_id = new.image_id AND v.number = new.number
         WHERE a.version_id = v.id AND a.sha256 = new.sha256",
        &image_ids,
        &numbers,
        &digests,
        &paths,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The parser takes no length that does not fit a signed column.
fn bytes_column(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// What a removed remote leaves behind.
pub(crate) struct Orphans {
    /// Its images that are not deleted.
    pub images: Vec<String>,
    /// Versions that are not stored: nobody can bring them any more.
    pub lost_versions: Vec<VersionKey>,
    /// The blobs of those.
    pub lost_blobs: Vec<Digest>,
}

/// Leaves a remote's images without it. What was ignored of it is forgotten with it.
pub(crate) async fn orphan(connection: &mut PgConnection, remote_id: i64) -> Result<Orphans, Failure> {
    let images = sqlx::query!(
        "UPDATE images SET remote_id = NULL, ignored = false WHERE remote_id = $1 RETURNING id, status",
        remote_id,
    )
    .fetch_all(&mut *connection)
    .await?;
    let deleted = Status::Deleted.code();
    let all: Vec<String> = images.iter().map(|image| image.id.clone()).collect();
    let mut images: Vec<String> = images
        .into_iter()
        .filter(|image| image.status != deleted)
        .map(|image| image.id)
        .collect();
    // What was added of them has nowhere to bring its versions from either.
    let added = sqlx::query_scalar!(
        "SELECT id FROM images WHERE origin_id = ANY($1) AND status <> 4",
        &all
    )
    .fetch_all(&mut *connection)
    .await?;
    images.extend(added);
    let rows = sqlx::query!(
        "SELECT v.id, v.image_id, a.sha256 FROM versions v JOIN artifacts a ON a.version_id = v.id
         WHERE v.image_id = ANY($1) AND v.status NOT IN (3, 4) ORDER BY v.id",
        &images,
    )
    .fetch_all(connection)
    .await?;
    let mut orphans = Orphans {
        images,
        lost_versions: vec![],
        lost_blobs: vec![],
    };
    for row in rows {
        orphans.lost_blobs.push(digest(&row.sha256)?);
        if orphans.lost_versions.last().is_none_or(|key| key.id != row.id) {
            orphans.lost_versions.push(VersionKey {
                id: row.id,
                image_id: row.image_id,
            });
        }
    }
    Ok(orphans)
}
