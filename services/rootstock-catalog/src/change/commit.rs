//! Commit: what follows from a change, and the end of its transaction.

use std::collections::BTreeSet;

use prost::Message as _;
use rootstock_proto::catalog::v1::{Alias, Application, Change, ChangeOperation, change::Resource};

use super::{follow, writer::Writer};
use crate::{
    failure::Failure,
    queries::{aliases, applications, changes, images},
};

/// Reconciles all that depends on the versions of the noted images (status, counts, holds,
/// applications, defaults, aliases), appends what was noted to the log, and commits. Without anything
/// noted no revision is taken.
pub(crate) async fn commit(mut writer: Writer) -> Result<(), Failure> {
    reconcile_images(&mut writer).await?;
    let notes = std::mem::take(&mut writer.notes);
    let changes = notes.into_changes(writer.connection()).await?;
    if !changes.is_empty() {
        append(&mut writer, changes).await?;
    }
    writer.end().await
}

/// What follows from the versions of images: status, counts, what a hold hides, where applications
/// are, the default, and the aliases they may show.
async fn reconcile_images(writer: &mut Writer) -> Result<(), Failure> {
    let mut pending = writer.changed_images();
    if pending.is_empty() {
        return Ok(());
    }
    let mut touched = BTreeSet::new();
    while !pending.is_empty() {
        let moved = refresh_images(writer, &pending).await?;
        touched.extend(pending);
        // What follows an image takes what that shows now, and is looked at in its turn.
        pending = follow::follow_shown(writer, &moved).await?;
    }
    let touched: Vec<String> = touched.into_iter().collect();
    let defaults = images::settle_defaults(writer.connection(), &touched).await?;
    let others: Vec<String> = defaults
        .into_iter()
        .filter(|id| touched.binary_search(id).is_err())
        .collect();
    images::count_change(writer.connection(), &others).await?;
    for id in others {
        writer.image(&id, ChangeOperation::Updated);
    }
    let reconciled = aliases::reconcile(writer.connection(), &touched).await?;
    for alias in reconciled.taken {
        let operation = match &alias.holder {
            Some(holder) => {
                writer.image(holder, ChangeOperation::Updated);
                ChangeOperation::Updated
            }
            None => ChangeOperation::Created,
        };
        writer.note::<Alias>(alias.key, operation);
    }
    for (key, alias) in reconciled.deleted {
        writer.note_removed::<Alias>(key, alias);
    }
    Ok(())
}

/// Lets images follow their versions, and applications their images. Returns the images that show
/// another version now.
async fn refresh_images(writer: &mut Writer, ids: &[String]) -> Result<Vec<String>, Failure> {
    images::count_change(writer.connection(), ids).await?;
    images::release_without_version(writer.connection(), ids).await?;
    let refreshed = images::refresh_from_versions(writer.connection(), ids).await?;
    for version in refreshed.turned {
        writer.version(version, ChangeOperation::Updated);
    }
    let mut applications = applications::follow(writer.connection(), &refreshed.moved).await?;
    applications.extend(applications::leave(writer.connection(), ids).await?);
    for name in applications {
        writer.note::<Application>(name, ChangeOperation::Updated);
    }
    Ok(refreshed.moved)
}

async fn append(writer: &mut Writer, changes: Vec<(ChangeOperation, Resource)>) -> Result<(), Failure> {
    let payloads: Vec<Vec<u8>> = changes
        .into_iter()
        .map(|(operation, resource)| {
            // Revision and time are columns; they join the message when it is read.
            let operation = operation.into();
            Change {
                operation,
                resource: Some(resource),
                ..Change::default()
            }
            .encode_to_vec()
        })
        .collect();
    let before = writer.revision;
    changes::append(writer.connection(), before, &payloads).await
}
