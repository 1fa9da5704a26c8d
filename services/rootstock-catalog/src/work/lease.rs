//! Leases: the fence that keeps a worker that lost its lease from changing anything.

use rootstock_proto::{Error, sync::v1 as wire};
use sqlx::PgConnection;

use super::{Kind, Subject};
use crate::failure::Failure;

/// A claim on a piece of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lease {
    pub work_id: i64,
    pub epoch: i64,
}

impl From<Option<wire::Lease>> for Lease {
    /// A missing lease is one that was never given.
    fn from(lease: Option<wire::Lease>) -> Self {
        let lease = lease.unwrap_or_default();
        Self {
            work_id: lease.work_id,
            epoch: lease.epoch,
        }
    }
}

impl From<Lease> for wire::Lease {
    fn from(lease: Lease) -> Self {
        Self {
            work_id: lease.work_id,
            epoch: lease.epoch,
        }
    }
}

/// A piece of work whose lease was checked; its row is locked until the transaction ends.
pub(crate) struct LeaseGuard {
    pub lease: Lease,
    pub kind: Kind,
    pub subject: Subject,
    pub failed_attempts: u32,
}

/// The fence: refuses a lease that is no longer in force, and keeps it in force until the
/// transaction ends.
pub(crate) async fn fence(connection: &mut PgConnection, lease: Lease) -> Result<LeaseGuard, Failure> {
    let row = sqlx::query!(
        "SELECT kind, subject, failed_attempts FROM work
         WHERE id = $1 AND epoch = $2 AND worker IS NOT NULL FOR UPDATE",
        lease.work_id,
        lease.epoch,
    )
    .fetch_optional(connection)
    .await?
    .ok_or(Error::LeaseLost)?;
    let kind =
        Kind::from_code(row.kind).ok_or_else(|| Failure::Corrupt(format!("work of kind {}", row.kind)))?;
    Ok(LeaseGuard {
        lease,
        kind,
        subject: Subject::from_column(kind, &row.subject)?,
        failed_attempts: u32::try_from(row.failed_attempts).unwrap_or(0),
    })
}

/// [`fence`] for a call that concerns work of one kind: refuses the lease of any other.
pub(crate) async fn fence_kind(
    connection: &mut PgConnection,
    lease: Lease,
    kind: Kind,
) -> Result<LeaseGuard, Failure> {
    let guard = fence(connection, lease).await?;
    if guard.kind == kind {
        Ok(guard)
    } else {
        let problem = format!("is that of a work of kind {}", guard.kind.label());
        Err(Error::invalid("lease", problem).into())
    }
}

/// Keeps the journal of a transfer or an upload.
pub(crate) async fn save_journal(
    connection: &mut PgConnection,
    lease: Lease,
    journal: &[u8],
    upload_id: &str,
    done_bytes: i64,
) -> Result<(), Failure> {
    let saved = sqlx::query!(
        "UPDATE work SET journal = $3, upload_id = $4, done_bytes = $5
         WHERE id = $1 AND epoch = $2 AND worker IS NOT NULL",
        lease.work_id,
        lease.epoch,
        journal,
        upload_id,
        done_bytes,
    )
    .execute(connection)
    .await?;
    if saved.rows_affected() == 0 {
        Err(Error::LeaseLost.into())
    } else {
        Ok(())
    }
}

/// Forgets the failures of work that goes on under its lease: it has succeeded with a part meanwhile.
pub(crate) async fn forget_failures(connection: &mut PgConnection, work_id: i64) -> Result<(), Failure> {
    sqlx::query!(
        "UPDATE work SET failed_attempts = 0, last_error = '' WHERE id = $1",
        work_id,
    )
    .execute(connection)
    .await?;
    Ok(())
}
