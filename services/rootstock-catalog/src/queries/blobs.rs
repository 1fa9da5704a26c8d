//! Blobs that are stored, and the fingerprints of two of them together.

use std::collections::{BTreeMap, BTreeSet};

use rootstock_model::Digest;
use sqlx::PgConnection;

use super::digest;
use crate::failure::Failure;

/// Which of these are stored.
pub(crate) async fn stored(
    connection: &mut PgConnection,
    digests: &[Digest],
) -> Result<BTreeSet<Digest>, Failure> {
    let keys: Vec<Vec<u8>> = digests.iter().map(|digest| digest.as_bytes().to_vec()).collect();
    let rows = sqlx::query_scalar!("SELECT sha256 FROM blobs WHERE sha256 = ANY($1)", &keys)
        .fetch_all(connection)
        .await?;
    rows.iter().map(|row| digest(row)).collect()
}

/// Records that a blob is stored and verified. Known ones stay as they are.
pub(crate) async fn record(
    connection: &mut PgConnection,
    sha256: &Digest,
    size_bytes: i64,
) -> Result<(), Failure> {
    sqlx::query!(
        "INSERT INTO blobs (sha256, size_bytes) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        sha256.as_bytes(),
        size_bytes,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The fingerprint of metadata and root together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Combination {
    pub metadata: Digest,
    pub root: Digest,
    pub fingerprint: Digest,
}

/// Records facts. Known ones stay as they are.
pub(crate) async fn record_combinations(
    connection: &mut PgConnection,
    facts: &[Combination],
) -> Result<(), Failure> {
    let column = |of: fn(&Combination) -> &Digest| -> Vec<Vec<u8>> {
        facts.iter().map(|fact| of(fact).as_bytes().to_vec()).collect()
    };
    sqlx::query!(
        "INSERT INTO combinations (metadata_sha256, root_sha256, fingerprint)
         SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::bytea[]) ON CONFLICT DO NOTHING",
        &column(|fact| &fact.metadata),
        &column(|fact| &fact.root),
        &column(|fact| &fact.fingerprint),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The known fingerprints of these pairs of (metadata, root).
pub(crate) async fn combinations(
    connection: &mut PgConnection,
    pairs: &[(Digest, Digest)],
) -> Result<BTreeMap<(Digest, Digest), Digest>, Failure> {
    let metadata: Vec<Vec<u8>> = pairs
        .iter()
        .map(|(metadata, _)| metadata.as_bytes().to_vec())
        .collect();
    let roots: Vec<Vec<u8>> = pairs.iter().map(|(_, root)| root.as_bytes().to_vec()).collect();
    let rows = sqlx::query!(
        "SELECT c.metadata_sha256, c.root_sha256, c.fingerprint
         FROM unnest($1::bytea[], $2::bytea[]) AS pair (metadata, root)
         JOIN combinations c ON c.metadata_sha256 = pair.metadata AND c.root_sha256 = pair.root",
        &metadata,
        &roots,
    )
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            Ok((
                (digest(&row.metadata_sha256)?, digest(&row.root_sha256)?),
                digest(&row.fingerprint)?,
            ))
        })
        .collect()
}
