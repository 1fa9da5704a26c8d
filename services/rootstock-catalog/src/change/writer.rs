//! The writer: how anything that the catalog promises is changed.
//!
//! One writer at a time: a writer holds the row `catalog_revision` from its first statement to its
//! commit. So the order of revisions is the order of commits, a watcher that has seen revision R
//! has seen everything before it, and no two writers can deadlock or overlook each other. What is
//! slow (polls, transfers, hashing) happens outside; a write is a handful of statements on whole
//! sets. Claims, heartbeats and journals change nothing that is promised and do not come by here.

use rootstock_proto::catalog::v1::{ChangeOperation, Image, VersionChange};
use sqlx::{PgConnection, PgPool, Postgres, Transaction};

use super::log::{Noted, Notes};
use crate::failure::Failure;

/// An open change of the catalog. Dropped without [`commit`](super::commit), it changes nothing.
pub(crate) struct Writer {
    transaction: Transaction<'static, Postgres>,
    /// The newest revision before this change.
    pub(super) revision: i64,
    pub(super) notes: Notes,
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
            notes: Notes::default(),
        })
    }

    /// The transaction's connection.
    pub(crate) fn connection(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }

    /// Notes what happened to a resource that is there. The commit reads what it is then.
    pub(crate) fn note<R: Noted>(&mut self, key: impl Into<R::Key>, operation: ChangeOperation) {
        R::notes(&mut self.notes).change(key.into(), operation);
    }

    /// Notes that a resource was removed, which was this.
    pub(crate) fn note_removed<R: Noted>(&mut self, key: impl Into<R::Key>, resource: R) {
        R::notes(&mut self.notes).delete(key.into(), resource);
    }

    /// Notes what happened to an image.
    pub(crate) fn image(&mut self, id: &str, operation: ChangeOperation) {
        self.note::<Image>(id, operation);
    }

    /// Notes what happened to a version. Note its image too.
    pub(crate) fn version(&mut self, id: i64, operation: ChangeOperation) {
        self.note::<VersionChange>(id, operation);
    }

    /// The images noted so far, in the order of their ids.
    pub(super) fn changed_images(&mut self) -> Vec<String> {
        Image::notes(&mut self.notes).changed()
    }

    /// Ends the transaction, and with it the turn of this writer.
    pub(super) async fn end(self) -> Result<(), Failure> {
        Ok(self.transaction.commit().await?)
    }
}
