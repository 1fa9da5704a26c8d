//! Retention: which versions an image keeps, and how the others go.

use rootstock_model::{Status, VersionConstraint, plan};
use rootstock_proto::catalog::v1::{ChangeOperation, VersionChange};

use super::writer::Writer;
use crate::{
    failure::Failure,
    queries::{
        images, settings,
        versions::{self, VersionKey},
    },
};

/// Retires what is beyond the versions that these images keep. What was made here is kept until it is
/// deleted.
pub(crate) async fn enforce(writer: &mut Writer, image_ids: &[String]) -> Result<(), Failure> {
    let default = settings::load(writer.connection()).await?.default_keep_versions;
    let mut beyond = vec![];
    for (image_id, rules) in images::retention(writer.connection(), image_ids).await? {
        let active = versions::active_of_image(writer.connection(), &image_id).await?;
        let numbers = active
            .iter()
            .map(|(_, number, serial)| (*number, serial.as_str()));
        let pinned = versions::pinned_of_image(writer.connection(), &image_id).await?;
        let keep = if rules.keep > 0 { rules.keep } else { default };
        let constraint: Option<VersionConstraint> = rules.version_constraint.parse().ok();
        let admits = |serial: &str| constraint.is_none_or(|constraint| constraint.admits(serial));
        let retired = plan::retire_admitted(numbers, keep, &pinned, admits);
        let retired = active.iter().filter(|(_, number, _)| retired.contains(number));
        beyond.extend(retired.map(|(id, ..)| VersionKey {
            id: *id,
            image_id: image_id.clone(),
        }));
    }
    retire_versions(writer, &beyond).await
}

/// Removes versions that were never stored: there is nothing to be kept readable.
pub(crate) async fn remove_versions(writer: &mut Writer, versions: &[VersionKey]) -> Result<(), Failure> {
    if versions.is_empty() {
        return Ok(());
    }
    let ids: Vec<i64> = versions.iter().map(|version| version.id).collect();
    // One that was listed until lately is retired instead: its blobs are readable for the grace yet.
    let rows = versions::by_ids(writer.connection(), &ids).await?;
    let (delisted, unknown): (Vec<_>, Vec<_>) = rows
        .into_iter()
        .partition(|row| row.version.delisted_at.is_some());
    let delisted: Vec<VersionKey> = delisted.into_iter().map(|row| row.key()).collect();
    retire_versions(writer, &delisted).await?;
    let ids: Vec<i64> = unknown.iter().map(|row| row.id).collect();
    for row in unknown {
        writer.image(&row.image_id, ChangeOperation::Updated);
        writer.note_removed(row.id, VersionChange::from(row));
    }
    versions::remove(writer.connection(), &ids).await
}

/// Retires versions: hidden at once, their blobs readable until the grace is over.
pub(crate) async fn retire_versions(writer: &mut Writer, versions: &[VersionKey]) -> Result<(), Failure> {
    if versions.is_empty() {
        return Ok(());
    }
    let ids: Vec<i64> = versions.iter().map(|version| version.id).collect();
    versions::set_status(writer.connection(), &ids, Status::Deleted, "").await?;
    for version in versions {
        writer.version(version.id, ChangeOperation::Updated);
        writer.image(&version.image_id, ChangeOperation::Updated);
    }
    Ok(())
}
