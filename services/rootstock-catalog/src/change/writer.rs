//! The writer: how anything that the catalog promises is changed.
//!
//! One writer at a time: a writer holds the row `catalog_revision` from its first statement to its
//! commit. So the order of revisions is the order of commits, a watcher that has seen revision R
//! has seen everything before it, and no two writers can deadlock or overlook each other. What is
//! slow (polls, transfers, hashing) happens outside; a write is a handful of statements on whole
//! sets. Claims, heartbeats and journals change nothing that is promised and do not come by here.

use std::collections::BTreeMap;

use rootstock_proto::catalog::v1::{Alias, Application, ChangeOperation, Image, Remote, Setting, Status};
use sqlx::{PgConnection, PgPool, Postgres, Transaction};

use crate::{failure::Failure, queries::versions::VersionRow};

/// An open change of the catalog. Dropped without [`commit`](super::commit), it changes nothing.
pub(crate) struct Writer {
    transaction: Transaction<'static, Postgres>,
    pub(super) revision: i64,
    pub(super) remotes: Vec<(ChangeOperation, Remote)>,
    pub(super) images: BTreeMap<String, ChangeOperation>,
    pub(super) versions: BTreeMap<i64, ChangeOperation>,
    pub(super) removed_versions: Vec<VersionRow>,
    pub(super) removed_images: Vec<Image>,
    pub(super) aliases: Vec<(ChangeOperation, Alias)>,
    pub(super) applications: BTreeMap<String, ChangeOperation>,
    pub(super) removed_applications: Vec<Application>,
    pub(super) settings: Vec<Setting>,
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

    /// Makes the change hold.
    pub(super) async fn end(self) -> Result<(), Failure> {
        Ok(self.transaction.commit().await?)
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
