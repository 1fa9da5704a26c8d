//! Commit: what follows from a change, and the end of its transaction.

use prost::Message as _;
use rootstock_proto::catalog::v1::{Change, ChangeOperation, change::Resource};

use super::{
    follow,
    writer::{Writer, clear_for_log, clear_state_for_log},
};
use crate::{
    failure::Failure,
    feed::CHANGES_CHANNEL,
    queries::{aliases, applications, images, versions},
};

/// Lets all that depends on the versions of the noted images follow them (status, counts, holds,
/// applications, defaults, aliases), appends what was noted to the log, and commits. Nothing noted, no revision taken.
pub(crate) async fn commit(mut writer: Writer) -> Result<(), Failure> {
    if !writer.images.is_empty() {
        reconcile_images(&mut writer).await?;
    }
    let changes = changes(&mut writer).await?;
    if !changes.is_empty() {
        append(&mut writer, changes).await?;
    }
    writer.end().await
}

/// What follows from the versions of images: status, counts, what a hold hides, where applications
/// are, the default, and the aliases they may show.
async fn reconcile_images(writer: &mut Writer) -> Result<(), Failure> {
    let mut touched: Vec<String> = vec![];
    let mut pending: Vec<String> = writer.images.keys().cloned().collect();
    while !pending.is_empty() {
        let moved = refresh_images(writer, &pending).await?;
        touched.append(&mut pending);
        // What follows an image takes what that shows now, and is looked at in its turn.
        pending = follow::follow_shown(writer, &moved).await?;
    }
    touched.sort_unstable();
    touched.dedup();
    let defaults = images::settle_defaults(writer.connection(), &touched).await?;
    let others: Vec<String> = defaults.into_iter().filter(|id| !touched.contains(id)).collect();
    images::count_change(writer.connection(), &others).await?;
    for id in others {
        writer.image(&id, ChangeOperation::Updated);
    }
    let settled = aliases::settle(writer.connection(), &touched).await?;
    for (alias, holder) in settled.moved {
        writer.image(&holder, ChangeOperation::Updated);
        writer.aliases.push((ChangeOperation::Updated, alias));
    }
    let created = settled
        .created
        .into_iter()
        .map(|alias| (ChangeOperation::Created, alias));
    let deleted = settled
        .deleted
        .into_iter()
        .map(|alias| (ChangeOperation::Deleted, alias));
    writer.aliases.extend(created.chain(deleted));
    Ok(())
}

/// Lets images follow their versions, and applications their images. Answers the images that show
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
        writer.application(&name, ChangeOperation::Updated);
    }
    Ok(refreshed.moved)
}

/// The noted changes with their resources as they are now; what holds others comes first.
async fn changes(writer: &mut Writer) -> Result<Vec<(ChangeOperation, Resource)>, Failure> {
    let mut changes = Vec::new();
    changes.extend(
        writer
            .settings
            .drain(..)
            .map(|setting| (ChangeOperation::Updated, Resource::Setting(setting))),
    );
    changes.extend(
        writer
            .remotes
            .drain(..)
            .map(|(op, remote)| (op, Resource::Remote(remote))),
    );
    let ids: Vec<String> = writer.images.keys().cloned().collect();
    for mut image in images::by_ids(writer.connection(), &ids).await? {
        let operation = writer
            .images
            .get(&image.id)
            .copied()
            .unwrap_or(ChangeOperation::Updated);
        clear_for_log(&mut image);
        changes.push((operation, Resource::Image(image)));
    }
    changes.extend(
        writer
            .removed_versions
            .drain(..)
            .map(|row| (ChangeOperation::Deleted, Resource::Version(row.into()))),
    );
    // After their versions: whoever reads the log finds what these belong to.
    changes.extend(
        writer
            .removed_images
            .drain(..)
            .map(|image| (ChangeOperation::Deleted, Resource::Image(image))),
    );
    let ids: Vec<i64> = writer.versions.keys().copied().collect();
    for row in versions::by_ids(writer.connection(), &ids).await? {
        let operation = writer
            .versions
            .get(&row.id)
            .copied()
            .unwrap_or(ChangeOperation::Updated);
        changes.push((operation, Resource::Version(row.into())));
    }
    changes.extend(
        writer
            .aliases
            .drain(..)
            .map(|(op, alias)| (op, Resource::Alias(alias))),
    );
    changes.extend(writer.removed_applications.drain(..).map(|mut application| {
        clear_state_for_log(&mut application);
        (ChangeOperation::Deleted, Resource::Application(application))
    }));
    let names: Vec<String> = writer.applications.keys().cloned().collect();
    for mut application in applications::by_names(writer.connection(), &names).await? {
        clear_state_for_log(&mut application);
        let operation = writer
            .applications
            .get(&application.name)
            .copied()
            .unwrap_or(ChangeOperation::Updated);
        changes.push((operation, Resource::Application(application)));
    }
    Ok(changes)
}

async fn append(writer: &mut Writer, changes: Vec<(ChangeOperation, Resource)>) -> Result<(), Failure> {
    let first = writer.revision + 1;
    let last = writer.revision + i64::try_from(changes.len()).unwrap_or(i64::MAX);
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
    sqlx::query!(
        "INSERT INTO changes (revision, transaction_revision, changed_at, payload)
             SELECT $1 + position - 1, $2, now(), payload
             FROM unnest($3::bytea[]) WITH ORDINALITY AS change (payload, position)",
        first,
        last,
        &payloads,
    )
    .execute(writer.connection())
    .await?;
    sqlx::query!("UPDATE catalog_revision SET revision = $1", last)
        .execute(writer.connection())
        .await?;
    sqlx::query!("SELECT pg_notify($1, '')", CHANGES_CHANNEL)
        .execute(writer.connection())
        .await?;
    Ok(())
}
