//! What a reference may mean, in one round trip: images, each with the version that would be used
//! of it and that version's files.

use std::collections::BTreeMap;

use rootstock_model::{
    ImageType,
    reference::{Candidate, Reference, ReferenceKind},
};
use rootstock_proto::{catalog::v1 as wire, convert};
use sqlx::{PgConnection, types::Json};

use super::{digest, image_type, images::ImageRow, wire_status};
use crate::failure::Failure;

/// Something that a reference may mean.
pub(crate) struct Found {
    pub candidate: Candidate,
    pub image: wire::Image,
    /// The version that a fingerprint or a pinned alias names.
    pub pinned: Option<i32>,
    /// The version asked for, else the pinned one, else the current one; `None` when there is none
    /// of that number.
    pub version: Option<wire::Version>,
}

/// Looks up what a reference may mean; `version` is the number of the version that is wanted of
/// whatever it is. Answers in the order of kind, image and number.
///
/// Every resolve comes by here. Postgres is to plan it once per connection: planning takes ten times
/// as long as the rest. It keeps a plan only while that is no worse than one made for the arguments,
/// and goes on comparing with what such plans cost when the catalog was smaller; so it must not see
/// the arguments, and they stand in subqueries. What hangs on an image is looked up for each, by its
/// key.
pub(crate) async fn find(
    connection: &mut PgConnection,
    reference: &Reference<'_>,
    version: Option<i32>,
) -> Result<Vec<Found>, Failure> {
    let (alias, architecture) = reference.alias_of_architecture.unzip();
    let (first, last) = reference.fingerprints.unzip();
    let rows = sqlx::query!(
        r#"WITH found AS MATERIALIZED (
               SELECT id, 0 AS kind, NULL::integer AS pinned FROM images WHERE id = (SELECT $1::text) AND status <> 4
               UNION ALL SELECT id, 1, NULL FROM images WHERE name = (SELECT $1::text) AND status <> 4
               UNION ALL SELECT image_id, 2, version FROM aliases WHERE name = (SELECT $1::text)
               UNION ALL SELECT image_id, 3, version FROM aliases WHERE name = (SELECT $2::text) AND architecture = (SELECT $3::text)
               UNION ALL (SELECT image_id, 4, number FROM versions
                          WHERE fingerprint BETWEEN (SELECT $4::bytea) AND (SELECT $5::bytea) AND status <> 4
                          LIMIT 20)
               UNION ALL SELECT id, 5, NULL FROM images WHERE is_default AND (SELECT $1::text) = ''
           )
           SELECT f.kind AS "kind!", f.pinned, d.id AS "id!", d.name AS "name!", d.type AS "image_type!",
               d.architecture AS "architecture!", d.status AS "status!", d.is_default AS "is_default!",
               d.immutable AS "immutable!", d.public AS "public!", d.cached AS "cached!",
               d.source_product AS "source_product!",
               d.properties AS "properties!: Json<BTreeMap<String, String>>", d.expires_at,
               d.created_at AS "created_at!", d.version_count AS "version_count!", d.newest_version,
               d.auto_update AS "auto_update!", d.origin_id, d.release AS "release!", d.hold_version,
               d.hold_reason AS "hold_reason!", d.hold_until, d.held_at, d.generation AS "generation!",
               d.last_used_at, d.remote, d.fingerprint, d.aliases AS "aliases!", d.used_by AS "used_by!",
               v.number AS "number?", v.serial AS "serial?", v.label AS "label?", v.status AS "version_status?",
               v.error_message AS "error_message?", v.fingerprint AS "version_fingerprint?",
               v.size_bytes AS "size_bytes?", v.created_at AS "version_created_at?",
               v.delisted_at AS "delisted_at?", v.hidden AS "hidden?",
               files.ftypes AS "ftypes?", files.digests AS "digests?", files.sizes AS "sizes?"
           FROM found f
           CROSS JOIN LATERAL (SELECT * FROM image_details WHERE id = f.id AND status <> 4 LIMIT 1) AS d
           LEFT JOIN LATERAL (
               SELECT * FROM versions
               WHERE image_id = d.id AND number = coalesce((SELECT $6::integer), f.pinned, d.newest_version) AND status <> 4
               LIMIT 1
           ) AS v ON true
           LEFT JOIN LATERAL (
               SELECT array_agg(ftype ORDER BY position) AS ftypes, array_agg(sha256 ORDER BY position) AS digests,
                   array_agg(size_bytes ORDER BY position) AS sizes
               FROM artifacts WHERE version_id = v.id
           ) AS files ON true
           ORDER BY f.kind, d.id, v.number"#,
        reference.text,
        alias,
        architecture.map(|architecture| architecture.kernel_name()),
        first.as_ref().map(|first| &first.as_bytes()[..]),
        last.as_ref().map(|last| &last.as_bytes()[..]),
        version,
    )
    .fetch_all(connection)
    .await?;
    let mut found = Vec::with_capacity(rows.len());
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
        let image_type: ImageType = image_type(&row.image_type)?;
        let candidate = Candidate {
            kind: kind(row.kind)?,
            image_type,
            architecture: row.architecture.parse().ok(),
        };
        let image = ImageRow {
            id: row.id,
            name: row.name,
            image_type: row.image_type,
            architecture: row.architecture,
            status: row.status,
            is_default: row.is_default,
            immutable: row.immutable,
            public: row.public,
            cached: row.cached,
            source_product: row.source_product,
            properties: row.properties,
            expires_at: row.expires_at,
            created_at: row.created_at,
            version_count: row.version_count,
            newest_version: row.newest_version,
            auto_update: row.auto_update,
            origin_id: row.origin_id,
            release: row.release,
            hold_version: row.hold_version,
            hold_reason: row.hold_reason,
            hold_until: row.hold_until,
            held_at: row.held_at,
            generation: row.generation,
            last_used_at: row.last_used_at,
            remote: row.remote,
            fingerprint: row.fingerprint,
            aliases: row.aliases,
            used_by: row.used_by,
        };
        found.push(Found {
            candidate,
            image: image.into_wire()?,
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
