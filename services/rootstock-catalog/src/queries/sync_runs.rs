//! Syncs that were asked for.

use prost::Message as _;
use rootstock_proto::catalog::v1::{Plan, SyncRun, SyncRunState};
use sqlx::PgConnection;

use crate::failure::Failure;

/// Runs kept of each remote.
const KEPT_RUNS: i64 = 20;

/// Records that a sync was asked for, and forgets the oldest.
pub(crate) async fn create(
    connection: &mut PgConnection,
    id: &str,
    remote_id: i64,
    plan_only: bool,
    force: bool,
) -> Result<(), Failure> {
    sqlx::query!(
        "INSERT INTO sync_runs (id, remote_id, plan_only, force, state) VALUES ($1, $2, $3, $4, $5)",
        id,
        remote_id,
        plan_only,
        force,
        SyncRunState::Pending as i16,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "DELETE FROM sync_runs WHERE id IN (
             SELECT id FROM sync_runs WHERE remote_id = $1 AND state <> $2
             ORDER BY requested_at DESC OFFSET $3)",
        remote_id,
        SyncRunState::Pending as i16,
        KEPT_RUNS,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A run as it stands.
pub(crate) async fn get(connection: &mut PgConnection, id: &str) -> Result<Option<SyncRun>, Failure> {
    let row = sqlx::query!(
        "SELECT s.id, r.name AS remote, s.plan_only, s.state, s.error, s.plan
         FROM sync_runs s JOIN remotes r ON r.id = s.remote_id WHERE s.id = $1",
        id,
    )
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let plan = row.plan.map(|bytes| Plan::decode(&bytes[..])).transpose();
    Ok(Some(SyncRun {
        id: row.id,
        remote: row.remote,
        plan_only: row.plan_only,
        state: i32::from(row.state),
        error: row.error,
        plan: plan.map_err(|error| Failure::Corrupt(format!("a plan: {error}")))?,
    }))
}

/// What the runs want that a claim of a poll is to carry out.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wanted {
    pub any: bool,
    pub force: bool,
}

/// Gives the remote's pending runs to the claim of its poll that begins now.
pub(crate) async fn attach(connection: &mut PgConnection, remote_id: i64, epoch: i64) -> Result<(), Failure> {
    sqlx::query!(
        "UPDATE sync_runs SET work_epoch = $2 WHERE remote_id = $1 AND NOT plan_only AND state = $3",
        remote_id,
        epoch,
        SyncRunState::Pending as i16,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What the runs of this claim want.
pub(crate) async fn wanted(
    connection: &mut PgConnection,
    remote_id: i64,
    epoch: i64,
) -> Result<Wanted, Failure> {
    let force = sqlx::query_scalar!(
        "SELECT force FROM sync_runs
         WHERE remote_id = $1 AND NOT plan_only AND state = $3 AND work_epoch = $2",
        remote_id,
        epoch,
        SyncRunState::Pending as i16,
    )
    .fetch_all(connection)
    .await?;
    Ok(Wanted {
        any: !force.is_empty(),
        force: force.contains(&true),
    })
}

/// Ends the runs of this claim. True when others were asked for meanwhile.
pub(crate) async fn finish(
    connection: &mut PgConnection,
    remote_id: i64,
    epoch: i64,
    outcome: &Result<Plan, String>,
) -> Result<bool, Failure> {
    let (state, plan, error) = columns(outcome);
    sqlx::query!(
        "UPDATE sync_runs SET state = $4, plan = $5, error = $6
         WHERE remote_id = $1 AND NOT plan_only AND state = $3 AND work_epoch = $2",
        remote_id,
        epoch,
        SyncRunState::Pending as i16,
        state,
        plan,
        error,
    )
    .execute(&mut *connection)
    .await?;
    let others = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM sync_runs WHERE remote_id = $1 AND NOT plan_only AND state = $2) AS "any!""#,
        remote_id,
        SyncRunState::Pending as i16,
    )
    .fetch_one(connection)
    .await?;
    Ok(others)
}

/// Ends a run that only wanted a plan.
pub(crate) async fn finish_plan(
    connection: &mut PgConnection,
    id: &str,
    outcome: &Result<Plan, String>,
) -> Result<(), Failure> {
    let (state, plan, error) = columns(outcome);
    sqlx::query!(
        "UPDATE sync_runs SET state = $2, plan = $3, error = $4 WHERE id = $1",
        id,
        state,
        plan,
        error,
    )
    .execute(connection)
    .await?;
    Ok(())
}

fn columns(outcome: &Result<Plan, String>) -> (i16, Option<Vec<u8>>, &str) {
    match outcome {
        Ok(plan) => (SyncRunState::Succeeded as i16, Some(plan.encode_to_vec()), ""),
        Err(error) => (SyncRunState::Failed as i16, None, error),
    }
}

/// The remote and the force of a pending plan run.
pub(crate) async fn plan_run(
    connection: &mut PgConnection,
    id: &str,
) -> Result<Option<(i64, bool)>, Failure> {
    let row = sqlx::query!(
        r#"SELECT remote_id AS "remote_id!", force FROM sync_runs WHERE id = $1 AND plan_only AND state = $2"#,
        id,
        SyncRunState::Pending as i16,
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| (row.remote_id, row.force)))
}
