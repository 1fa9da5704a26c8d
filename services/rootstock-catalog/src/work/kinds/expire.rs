//! Expiry: what has run out ends. Cached images leave the store, holds end, and rows go that were kept for a
//! while.

use std::time::Duration;

use rootstock_proto::catalog::v1::{ChangeOperation, VersionChange};
use sqlx::PgConnection;

use crate::{
    Catalog,
    change::{self, Writer},
    failure::Failure,
    queries::{expiry, images, settings, transfers, versions},
    services::image::release_holds,
    work::{Kind, Lease, lease::fence_kind, rules::CatalogKind},
};

/// An expiry is late by no more than this: what is set meanwhile is seen by the next round.
const MAX_INTERVAL: Duration = Duration::from_secs(60);
/// What ran out and could not be ended (an application holds it) is no reason to look without a pause.
const MIN_INTERVAL: Duration = Duration::from_secs(5);
/// Cached images in one transaction: other writers wait for it.
const IMAGES: i64 = 50;
/// Rows removed in one transaction.
const ROWS: i64 = 500;

/// The kind.
pub(crate) struct Expire;

#[tonic::async_trait]
impl CatalogKind for Expire {
    async fn round(&self, catalog: &Catalog, lease: Lease) -> Result<(), Failure> {
        loop {
            let expired_images = expire_cached(catalog, lease).await?;
            let ended_holds = end_holds(catalog, lease).await?;
            let (versions, images) = purge(catalog, lease).await?;
            let (runs, facts) = tidy(catalog, lease).await?;
            let purged_rows = versions + images + runs + facts;
            if expired_images + ended_holds + purged_rows > 0 {
                tracing::info!(expired_images, ended_holds, purged_rows, "ended what has run out");
            }
            let is_full = expired_images >= IMAGES
                || ended_holds >= IMAGES
                || [versions, images, runs, facts]
                    .into_iter()
                    .any(|rows| rows >= ROWS);
            if !is_full {
                return Ok(());
            }
        }
    }

    async fn next_round(
        &self,
        _catalog: &Catalog,
        connection: &mut PgConnection,
    ) -> Result<Duration, Failure> {
        let settings = settings::load(connection).await?;
        let days = unused_days(settings.remote_cache_expiry_days);
        let next = expiry::next(connection, days, settings.deletion_grace).await?;
        Ok(next.map_or(MAX_INTERVAL, |next| next.clamp(MIN_INTERVAL, MAX_INTERVAL)))
    }
}

async fn begin(catalog: &Catalog, lease: Lease) -> Result<Writer, Failure> {
    let mut writer = Writer::begin(&catalog.pool).await?;
    fence_kind(writer.connection(), lease, Kind::Expire).await?;
    Ok(writer)
}

fn unused_days(days: u32) -> i32 {
    i32::try_from(days).unwrap_or(i32::MAX)
}

/// Cached images that nobody used go off the list; their bytes stay readable for the grace, and go with
/// the next collection after it.
async fn expire_cached(catalog: &Catalog, lease: Lease) -> Result<i64, Failure> {
    let mut writer = begin(catalog, lease).await?;
    let days = settings::load(writer.connection())
        .await?
        .remote_cache_expiry_days;
    let expired = expiry::cached_images(writer.connection(), unused_days(days), IMAGES).await?;
    if expired.is_empty() {
        return Ok(0);
    }
    let delisted = expiry::delist(writer.connection(), &expired).await?;
    for id in &expired {
        writer.image(id, ChangeOperation::Updated);
        tracing::info!(
            image.id = id,
            "cached image leaves the store: it was not used, or its time is over"
        );
    }
    let ids: Vec<i64> = delisted.iter().map(|version| version.id).collect();
    for version in &delisted {
        writer.version(version.id, ChangeOperation::Updated);
        writer.image(&version.image_id, ChangeOperation::Updated);
    }
    let files = expiry::files(writer.connection(), &ids).await?;
    transfers::remove_unwanted_transfers(writer.connection(), &files).await?;
    change::commit(writer).await?;
    Ok(count(expired.len()))
}

/// Holds whose time is over end: the newest version is shown again.
async fn end_holds(catalog: &Catalog, lease: Lease) -> Result<i64, Failure> {
    let mut writer = begin(catalog, lease).await?;
    let over = expiry::holds(writer.connection(), IMAGES).await?;
    if over.is_empty() {
        return Ok(0);
    }
    release_holds(&mut writer, &over).await?;
    change::commit(writer).await?;
    tracing::info!(holds = over.len(), "holds ended: their time was over");
    Ok(count(over.len()))
}

/// Removes rows of what was deleted so long ago that nobody may ask for it, and tells watchers, who
/// forget it then.
async fn purge(catalog: &Catalog, lease: Lease) -> Result<(i64, i64), Failure> {
    let mut writer = begin(catalog, lease).await?;
    let grace = settings::load(writer.connection()).await?.deletion_grace;
    let gone = expiry::deleted_versions(writer.connection(), grace, ROWS).await?;
    for version in versions::by_ids(writer.connection(), &gone).await? {
        writer.note_removed(version.id, VersionChange::from(version));
    }
    versions::remove(writer.connection(), &gone).await?;
    let empty = expiry::deleted_images(writer.connection(), ROWS).await?;
    for image in images::by_ids(writer.connection(), &empty).await? {
        writer.note_removed(image.id.clone(), image);
    }
    expiry::remove_images(writer.connection(), &empty).await?;
    change::commit(writer).await?;
    Ok((count(gone.len()), count(empty.len())))
}

/// Removes what nobody is promised.
async fn tidy(catalog: &Catalog, lease: Lease) -> Result<(i64, i64), Failure> {
    let mut transaction = catalog.pool.begin().await?;
    fence_kind(&mut transaction, lease, Kind::Expire).await?;
    let runs = expiry::remove_runs(&mut transaction, ROWS).await?;
    let facts = expiry::remove_combinations(&mut transaction, ROWS).await?;
    transaction.commit().await?;
    let rows = |removed| i64::try_from(removed).unwrap_or(i64::MAX);
    Ok((rows(runs), rows(facts)))
}

fn count(found: usize) -> i64 {
    i64::try_from(found).unwrap_or(i64::MAX)
}
