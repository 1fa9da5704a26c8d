//! The writer: how anything that the catalog promises is changed.
//!
//! One writer at a time: a writer holds the row `catalog_revision` from its first statement to its
//! commit. So the order of revisions is the order of commits, a watcher that has seen revision R
//! has seen everything before it, and no two writers can deadlock or overlook each other. What is
//! slow (polls, transfers, hashing) happens outside; a write is a handful of statements on whole
//! sets. Claims, heartbeats and journals change nothing that is promised and do not come by here.

use std::collections::BTreeMap;

use prost::Message as _;
use rootstock_proto::catalog::v1::{
    Alias, Application, Change, ChangeOperation, Image, Remote, Setting, Status, change::Resource,
};
use sqlx::{PgConnection, PgPool, Postgres, Transaction};

use crate::{
    failure::Failure,
    feed::CHANGES_CHANNEL,
    follow,
    queries::{
        aliases, applications, images,
        versions::{self, VersionRow},
    },
};

/// An open change of the catalog. Dropped without [`Writer::commit`], it changes nothing.
pub(crate) struct Writer {
    transaction: Transaction<'static, Postgres>,
    revision: i64,
    remotes: Vec<(ChangeOperation, Remote)>,
    images: BTreeMap<String, ChangeOperation>,
    versions: BTreeMap<i64, ChangeOperation>,
    removed_versions: Vec<VersionRow>,
    removed_images: Vec<Image>,
    aliases: Vec<(ChangeOperation, Alias)>,
    applications: BTreeMap<String, ChangeOperation>,
    removed_applications: Vec<Application>,
    settings: Vec<Setting>,
}

impl Writer {
    /// Waits for the writer before to end, and begins.
    pub(crate) async fn begin(pool: &PgPool) -> Result<Self, Failure> {
        let mut transaction = pool.begin().await?;
        let revision = sqlx::query_scalar!("SELECT revision FROM catalog_revision FOR UPDATE")
            .fetch_one(&mut *transaction)
            .await?;
        Ok(Self {
            transaction,
            revision,
            remotes: vec![],
            images: BTreeMap::new(),
            versions: BTreeMap::new(),
            removed_versions: vec![],
            removed_images: vec![],
            aliases: vec![],
            applications: BTreeMap::new(),
            removed_applications: vec![],
            settings: vec![],
        })
    }

    /// The transaction's connection.
    pub(crate) fn connection(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }

    /// Notes what happened to a remote.
    pub(crate) fn remote(&mut self, operation: ChangeOperation, remote: Remote) {
        self.remotes.push((
            operation,
            Remote {
                ca_pem: String::new(),
                auth: String::new(),
                status: None,
                ..remote
            },
        ));
    }

    /// Notes that a setting changed to this. There are no others than there ever were: it is updated.
    pub(crate) fn setting(&mut self, setting: Setting) {
        self.settings.push(setting);
    }

    /// Notes what happened to an image.
    pub(crate) fn image(&mut self, id: &str, operation: ChangeOperation) {
        note(&mut self.images, id.to_owned(), operation);
    }

    /// Notes what happened to a version. Note its image too.
    pub(crate) fn version(&mut self, id: i64, operation: ChangeOperation) {
        note(&mut self.versions, id, operation);
    }

    /// Notes that a version was removed, which was this. Note its image too.
    pub(crate) fn removed_version(&mut self, version: VersionRow) {
        self.removed_versions.push(version);
    }

    /// Notes that an image was removed, which was this.
    pub(crate) fn removed_image(&mut self, mut image: Image) {
        clear_for_log(&mut image);
        self.removed_images.push(image);
    }

    /// Notes what happened to an alias, which is this now, or last was.
    pub(crate) fn alias(&mut self, operation: ChangeOperation, alias: Alias) {
        self.aliases.push((operation, alias));
    }

    /// Notes what happened to an application.
    pub(crate) fn application(&mut self, name: &str, operation: ChangeOperation) {
        note(&mut self.applications, name.to_owned(), operation);
    }

    /// Notes that an application was removed, which was this.
    pub(crate) fn removed_application(&mut self, application: Application) {
        self.removed_applications.push(application);
    }

    /// Lets all that depends on the versions of the noted images follow them (status, counts, holds,
    /// applications, defaults, aliases), appends what was noted to the log, and commits. Nothing noted, no revision taken.
    pub(crate) async fn commit(mut self) -> Result<(), Failure> {
        if !self.images.is_empty() {
            self.settle_images().await?;
        }
        let changes = self.changes().await?;
        if !changes.is_empty() {
            self.append(changes).await?;
        }
        self.transaction.commit().await?;
        Ok(())
    }

    /// What follows from the versions of images: status, counts, what a hold hides, where applications
    /// are, the default, and the aliases they may show.
    async fn settle_images(&mut self) -> Result<(), Failure> {
        let mut touched: Vec<String> = vec![];
        let mut pending: Vec<String> = self.images.keys().cloned().collect();
        while !pending.is_empty() {
            let moved = self.refresh_images(&pending).await?;
            touched.append(&mut pending);
            // What follows an image takes what that shows now, and is looked at in its turn.
            pending = follow::follow_shown(self, &moved).await?;
        }
        touched.sort_unstable();
        touched.dedup();
        let defaults = images::settle_defaults(&mut self.transaction, &touched).await?;
        let others: Vec<String> = defaults.into_iter().filter(|id| !touched.contains(id)).collect();
        images::count_change(&mut self.transaction, &others).await?;
        for id in others {
            self.image(&id, ChangeOperation::Updated);
        }
        let settled = aliases::settle(&mut self.transaction, &touched).await?;
        for (alias, holder) in settled.moved {
            self.image(&holder, ChangeOperation::Updated);
            self.aliases.push((ChangeOperation::Updated, alias));
        }
        let created = settled
            .created
            .into_iter()
            .map(|alias| (ChangeOperation::Created, alias));
        let deleted = settled
            .deleted
            .into_iter()
            .map(|alias| (ChangeOperation::Deleted, alias));
        self.aliases.extend(created.chain(deleted));
        Ok(())
    }

    /// Lets images follow their versions, and applications their images. Answers the images that show
    /// another version now.
    async fn refresh_images(&mut self, ids: &[String]) -> Result<Vec<String>, Failure> {
        images::count_change(&mut self.transaction, ids).await?;
        images::release_without_version(&mut self.transaction, ids).await?;
        let refreshed = images::refresh_from_versions(&mut self.transaction, ids).await?;
        for version in refreshed.turned {
            self.version(version, ChangeOperation::Updated);
        }
        let mut applications = applications::follow(&mut self.transaction, &refreshed.moved).await?;
        applications.extend(applications::leave(&mut self.transaction, ids).await?);
        for name in applications {
            self.application(&name, ChangeOperation::Updated);
        }
        Ok(refreshed.moved)
    }

    /// The noted changes with their resources as they are now; what holds others comes first.
    async fn changes(&mut self) -> Result<Vec<(ChangeOperation, Resource)>, Failure> {
        let mut changes = Vec::new();
        changes.extend(
            self.settings
                .drain(..)
                .map(|setting| (ChangeOperation::Updated, Resource::Setting(setting))),
        );
        changes.extend(
            self.remotes
                .drain(..)
                .map(|(op, remote)| (op, Resource::Remote(remote))),
        );
        let ids: Vec<String> = self.images.keys().cloned().collect();
        for mut image in images::by_ids(&mut self.transaction, &ids).await? {
            let operation = self
                .images
                .get(&image.id)
                .copied()
                .unwrap_or(ChangeOperation::Updated);
            clear_for_log(&mut image);
            changes.push((operation, Resource::Image(image)));
        }
        changes.extend(
            self.removed_versions
                .drain(..)
                .map(|row| (ChangeOperation::Deleted, Resource::Version(row.into()))),
        );
        // After their versions: whoever reads the log finds what these belong to.
        changes.extend(
            self.removed_images
                .drain(..)
                .map(|image| (ChangeOperation::Deleted, Resource::Image(image))),
        );
        let ids: Vec<i64> = self.versions.keys().copied().collect();
        for row in versions::by_ids(&mut self.transaction, &ids).await? {
            let operation = self
                .versions
                .get(&row.id)
                .copied()
                .unwrap_or(ChangeOperation::Updated);
            changes.push((operation, Resource::Version(row.into())));
        }
        changes.extend(
            self.aliases
                .drain(..)
                .map(|(op, alias)| (op, Resource::Alias(alias))),
        );
        changes.extend(self.removed_applications.drain(..).map(|mut application| {
            clear_state_for_log(&mut application);
            (ChangeOperation::Deleted, Resource::Application(application))
        }));
        let names: Vec<String> = self.applications.keys().cloned().collect();
        for mut application in applications::by_names(&mut self.transaction, &names).await? {
            clear_state_for_log(&mut application);
            let operation = self
                .applications
                .get(&application.name)
                .copied()
                .unwrap_or(ChangeOperation::Updated);
            changes.push((operation, Resource::Application(application)));
        }
        Ok(changes)
    }

    async fn append(&mut self, changes: Vec<(ChangeOperation, Resource)>) -> Result<(), Failure> {
        let first = self.revision + 1;
        let last = self.revision + i64::try_from(changes.len()).unwrap_or(i64::MAX);
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
        .execute(&mut *self.transaction)
        .await?;
        sqlx::query!("UPDATE catalog_revision SET revision = $1", last)
            .execute(&mut *self.transaction)
            .await?;
        sqlx::query!("SELECT pg_notify($1, '')", CHANGES_CHANNEL)
            .execute(&mut *self.transaction)
            .await?;
        Ok(())
    }
}

/// Leaves the state of an application's version to the version's own changes: the application does not
/// change with it.
pub(crate) fn clear_state_for_log(application: &mut Application) {
    if let Some(version) = &mut application.version {
        version.set_status(Status::Unspecified);
        version.error_message.clear();
        version.hidden = false;
        (version.deleted_at, version.delisted_at) = (None, None);
    }
}

/// Leaves out of an image what has changes of its own, or none: aliases, uses, applications.
pub(crate) fn clear_for_log(image: &mut Image) {
    image.aliases.clear();
    image.used_by.clear();
    image.last_used_at = None;
}

/// What a resource went through in one transaction is one change: made and changed is made.
fn note<K: Ord>(noted: &mut BTreeMap<K, ChangeOperation>, key: K, operation: ChangeOperation) {
    noted
        .entry(key)
        .and_modify(|before| {
            if *before != ChangeOperation::Created || operation == ChangeOperation::Deleted {
                *before = operation;
            }
        })
        .or_insert(operation);
}
