//! What references may mean, in one round trip: images, each with the version that would be used
//! of it and that version's files.

use rootstock_model::{
    Digest, ImageType,
    reference::{Candidate, Reference, ReferenceKind},
};
use rootstock_proto::{catalog::v1 as wire, convert};
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::{
    digest, image_type,
    images::{ImageRow, image_columns},
    wire_status,
};
use crate::failure::Failure;

/// Something that a reference may mean.
#[derive(Debug)]
pub(crate) struct Found {
    pub candidate: Candidate,
    pub image: wire::Image,
    /// The version that a fingerprint or a pinned alias names.
    pub pinned: Option<i32>,
    /// The version asked for, else the pinned one, else the current one; `None` when there is none
    /// of that number.
    pub version: Option<wire::Version>,
}

/// A reference as it is looked up, and the number of the version that is wanted of whatever it is.
#[derive(Debug)]
pub(crate) struct Asked {
    text: String,
    alias: Option<(String, &'static str)>,
    fingerprints: Option<(Digest, Digest)>,
    version: Option<i32>,
}

impl Asked {
    pub(crate) fn new(reference: &Reference<'_>, version: Option<i32>) -> Self {
        Self {
            text: reference.text.to_owned(),
            alias: reference
                .alias_of_architecture
                .map(|(alias, architecture)| (alias.to_owned(), architecture.kernel_name())),
            fingerprints: reference.fingerprints,
            version,
        }
    }
}

/// Postgres is to plan this once per connection: planning takes ten times as long as the rest. It keeps
/// a plan only while that is no worse than one made for the arguments, and goes on comparing with what
/// such plans cost when the catalog was smaller; so it must not see the arguments, and they stand in
/// subqueries. What hangs on a reference or an image is looked up for each, by its key.
const FIND: &str = concat!(
    "WITH asked AS MATERIALIZED (
         SELECT * FROM unnest((SELECT $1::text[]), (SELECT $2::text[]), (SELECT $3::text[]),
                              (SELECT $4::bytea[]), (SELECT $5::bytea[]), (SELECT $6::integer[]))
         WITH ORDINALITY AS asked (text, alias, architecture, first, last, version, position)
     ), found AS MATERIALIZED (
         SELECT a.position, a.version, meant.id, meant.kind, meant.pinned
         FROM asked a CROSS JOIN LATERAL (
             SELECT id, 0 AS kind, NULL::integer AS pinned FROM images WHERE id = a.text AND status <> 4
             UNION ALL SELECT id, 1, NULL FROM images WHERE name = a.text AND status <> 4
             UNION ALL SELECT image_id, 2, version FROM aliases WHERE name = a.text
             UNION ALL SELECT image_id, 3, version FROM aliases WHERE name = a.alias AND architecture = a.architecture
             UNION ALL (SELECT image_id, 4, number FROM versions
                        WHERE fingerprint BETWEEN a.first AND a.last AND status <> 4
                        LIMIT 20)
             UNION ALL SELECT id, 5, NULL FROM images WHERE is_default AND a.text = ''
         ) AS meant
     )
     SELECT f.position, f.kind, f.pinned, d.*, v.number, v.serial, v.label, v.status AS version_status,
         v.error_message, v.fingerprint AS version_fingerprint, v.size_bytes, v.created_at AS version_created_at,
         v.delisted_at, v.hidden, files.ftypes, files.digests, files.sizes
     FROM found f
     CROSS JOIN LATERAL (SELECT ",
    image_columns!(),
    " FROM image_details WHERE id = f.id AND status <> 4 LIMIT 1) AS d
     LEFT JOIN LATERAL (
         SELECT * FROM versions
         WHERE image_id = d.id AND number = coalesce(f.version, f.pinned, d.newest_version) AND status <> 4
         LIMIT 1
     ) AS v ON true
     LEFT JOIN LATERAL (
         SELECT array_agg(ftype ORDER BY position) AS ftypes, array_agg(sha256 ORDER BY position) AS digests,
             array_agg(size_bytes ORDER BY position) AS sizes
         FROM artifacts WHERE version_id = v.id
     ) AS files ON true
     ORDER BY f.position, f.kind, d.id, v.number"
);

/// An image that a reference may mean, and the version of it.
#[derive(sqlx::FromRow)]
struct Row {
    position: i64,
    kind: i32,
    pinned: Option<i32>,
    #[sqlx(flatten)]
    image: ImageRow,
    number: Option<i32>,
    serial: Option<String>,
    label: Option<String>,
    version_status: Option<i16>,
    error_message: Option<String>,
    version_fingerprint: Option<Vec<u8>>,
    size_bytes: Option<i64>,
    version_created_at: Option<OffsetDateTime>,
    delisted_at: Option<OffsetDateTime>,
    hidden: Option<bool>,
    ftypes: Option<Vec<String>>,
    digests: Option<Vec<Vec<u8>>>,
    sizes: Option<Vec<i64>>,
}

/// Looks up what a reference may mean. Answers in the order of kind, image and number.
pub(crate) async fn find(
    connection: &mut PgConnection,
    reference: &Reference<'_>,
    version: Option<i32>,
) -> Result<Vec<Found>, Failure> {
    let found = find_all(connection, &[Asked::new(reference, version)]).await?;
    Ok(found.into_iter().flatten().collect())
}

/// Looks up what each of these may mean, in the order of kind, image and number. Every resolve comes by here.
pub(crate) async fn find_all(
    connection: &mut PgConnection,
    asked: &[Asked],
) -> Result<Vec<Vec<Found>>, Failure> {
    let texts: Vec<&str> = asked.iter().map(|asked| asked.text.as_str()).collect();
    let aliases: Vec<Option<&str>> = asked
        .iter()
        .map(|asked| asked.alias.as_ref().map(|(alias, _)| alias.as_str()))
        .collect();
    let architectures: Vec<Option<&str>> = asked
        .iter()
        .map(|asked| asked.alias.as_ref().map(|(_, architecture)| *architecture))
        .collect();
    let first: Vec<Option<&[u8]>> = asked
        .iter()
        .map(|asked| {
            asked
                .fingerprints
                .as_ref()
                .map(|(first, _)| &first.as_bytes()[..])
        })
        .collect();
    let last: Vec<Option<&[u8]>> = asked
        .iter()
        .map(|asked| asked.fingerprints.as_ref().map(|(_, last)| &last.as_bytes()[..]))
        .collect();
    let versions: Vec<Option<i32>> = asked.iter().map(|asked| asked.version).collect();
    let rows: Vec<Row> = sqlx::query_as(FIND)
        .bind(texts)
        .bind(aliases)
        .bind(architectures)
        .bind(first)
        .bind(last)
        .bind(versions)
        .fetch_all(connection)
        .await?;
    let mut found: Vec<Vec<Found>> = asked.iter().map(|_| vec![]).collect();
    for row in rows {
        let version = match row.number {
            None => None,
            Some(number) => Some(wire::Version {
                number,
                serial: row.serial.unwrap_or_default(),
                fingerprint: hex(row.version_fingerprint.as_deref())?,
                size_bytes: row.size_bytes.unwrap_or_default(),
                created_at: row.version_created_at.map(convert::timestamp),
                status: wire_status(row.version_status.unwrap_or_default())?,
                error_message: row.error_message.unwrap_or_default(),
                artifacts: artifacts(row.ftypes, row.digests, row.sizes)?,
                deleted_at: None,
                label: row.label.unwrap_or_default(),
                delisted_at: row.delisted_at.map(convert::timestamp),
                hidden: row.hidden.unwrap_or_default(),
            }),
        };
        let image_type: ImageType = image_type(&row.image.image_type)?;
        let candidate = Candidate {
            kind: kind(row.kind)?,
            image_type,
            architecture: row.image.architecture.parse().ok(),
        };
        let position = usize::try_from(row.position - 1).ok();
        let found = position.and_then(|position| found.get_mut(position));
        let found = found.ok_or_else(|| Failure::Corrupt("an answer to no question".to_owned()))?;
        found.push(Found {
            candidate,
            image: row.image.into_wire()?,
            pinned: row.pinned,
            version,
        });
    }
    Ok(found)
}

fn kind(number: i32) -> Result<ReferenceKind, Failure> {
    let kind = usize::try_from(number)
        .ok()
        .and_then(|number| ReferenceKind::ALL.get(number));
    kind.copied()
        .ok_or_else(|| Failure::Corrupt(format!("kind {number} of a reference")))
}

fn hex(bytes: Option<&[u8]>) -> Result<String, Failure> {
    let digest = bytes.map(digest).transpose()?;
    Ok(digest.map(|digest| digest.to_hex()).unwrap_or_default())
}

fn artifacts(
    ftypes: Option<Vec<String>>,
    digests: Option<Vec<Vec<u8>>>,
    sizes: Option<Vec<i64>>,
) -> Result<Vec<wire::Artifact>, Failure> {
    let columns = ftypes
        .unwrap_or_default()
        .into_iter()
        .zip(digests.unwrap_or_default())
        .zip(sizes.unwrap_or_default());
    columns
        .map(|((ftype, sha256), size_bytes)| {
            Ok(wire::Artifact {
                ftype,
                sha256: digest(&sha256)?.to_hex(),
                size_bytes,
            })
        })
        .collect()
}
