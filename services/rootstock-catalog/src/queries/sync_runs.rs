//! Syncs that were asked for.

use prost::Message as _;
use rootstock_model::limits;
use rootstock_proto::catalog::v1::{Plan, Remote, SyncRun, SyncRunState};
use sqlx::PgConnection;

use crate::{failure::Failure, plan_pages};

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

/// Records that a remote is to be tried that need not be there, and forgets the oldest.
pub(crate) async fn create_try(
    connection: &mut PgConnection,
    id: &str,
    remote: &Remote,
) -> Result<(), Failure> {
    sqlx::query!(
        "INSERT INTO sync_runs (id, remote, plan_only, force, state) VALUES ($1, $2, true, false, $3)",
        id,
        remote.encode_to_vec(),
        SyncRunState::Pending as i16,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "DELETE FROM sync_runs WHERE id IN (
             SELECT id FROM sync_runs WHERE remote_id IS NULL AND state <> $1
             ORDER BY requested_at DESC OFFSET $2)",
        SyncRunState::Pending as i16,
        KEPT_RUNS,
    )
    .execute(connection)
    .await?;
    Ok(())
}

fn decode_remote(bytes: &[u8]) -> Result<Remote, Failure> {
    Remote::decode(bytes).map_err(|error| Failure::Corrupt(format!("a tried remote: {error}")))
}

/// A run as it stands.
pub(crate) async fn get(connection: &mut PgConnection, id: &str) -> Result<Option<SyncRun>, Failure> {
    let row = sqlx::query!(
        r#"SELECT s.id, r.name AS "name?", s.remote, s.plan_only, s.state, s.error, s.plan
         FROM sync_runs s LEFT JOIN remotes r ON r.id = s.remote_id WHERE s.id = $1"#,
        id,
    )
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let plan = row.plan.map(|bytes| Plan::decode(&bytes[..])).transpose();
    let tried = row.remote.as_deref().map(decode_remote).transpose()?;
    Ok(Some(SyncRun {
        id: row.id,
        remote: row.name.or(tried.map(|remote| remote.name)).unwrap_or_default(),
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
    outcome: Result<Plan, String>,
) -> Result<bool, Failure> {
    let Columns {
        state,
        plan,
        more,
        error,
    } = Columns::of(outcome);
    let ids = sqlx::query_scalar!(
        "UPDATE sync_runs SET state = $4, plan = $5, error = $6
         WHERE remote_id = $1 AND NOT plan_only AND state = $3 AND work_epoch = $2 RETURNING id",
        remote_id,
        epoch,
        SyncRunState::Pending as i16,
        state,
        plan,
        error,
    )
    .fetch_all(&mut *connection)
    .await?;
    insert_plan_parts(connection, &ids, &more).await?;
    any_pending(connection, remote_id).await
}

/// Ends a run that only wanted a plan.
pub(crate) async fn finish_plan(
    connection: &mut PgConnection,
    id: &str,
    outcome: Result<Plan, String>,
) -> Result<(), Failure> {
    let Columns {
        state,
        plan,
        more,
        error,
    } = Columns::of(outcome);
    let tried = sqlx::query_scalar!("SELECT remote FROM sync_runs WHERE id = $1", id)
        .fetch_optional(&mut *connection)
        .await?;
    // Nobody needs the credentials of a try that is over.
    let tried = tried.flatten().as_deref().map(decode_remote).transpose()?;
    let tried = tried.map(|mut remote| {
        remote.auth.clear();
        remote.encode_to_vec()
    });
    sqlx::query!(
        "UPDATE sync_runs SET state = $2, plan = $3, error = $4, remote = $5 WHERE id = $1",
        id,
        state,
        plan,
        error,
        tried,
    )
    .execute(&mut *connection)
    .await?;
    insert_plan_parts(connection, &[id.to_owned()], &more).await
}

struct Columns {
    state: i16,
    /// The plan, or its first part.
    plan: Option<Vec<u8>>,
    /// The parts after it.
    more: Vec<Vec<u8>>,
    error: String,
}

impl Columns {
    fn of(outcome: Result<Plan, String>) -> Self {
        match outcome {
            Ok(plan) => {
                let mut parts = plan_pages::split(plan)
                    .into_iter()
                    .map(|part| part.encode_to_vec());
                Self {
                    state: SyncRunState::Succeeded as i16,
                    plan: parts.next(),
                    more: parts.collect(),
                    error: String::new(),
                }
            }
            Err(error) => Self {
                state: SyncRunState::Failed as i16,
                plan: None,
                more: vec![],
                error: limits::cut_error(&error).to_owned(),
            },
        }
    }
}

/// Records what comes after the first part of the plan of these runs.
async fn insert_plan_parts(
    connection: &mut PgConnection,
    run_ids: &[String],
    more: &[Vec<u8>],
) -> Result<(), Failure> {
    if more.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "INSERT INTO sync_run_plan_parts (run_id, part, payload)
         SELECT runs.id, parts.part, parts.payload
         FROM unnest($1::text[]) AS runs (id)
         CROSS JOIN unnest($2::bytea[]) WITH ORDINALITY AS parts (payload, part)",
        run_ids,
        more,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A part of a run's plan.
pub(crate) struct PlanPart {
    pub plan: Plan,
    pub is_last: bool,
}

/// A part of a run's plan, the first being 0; `None` when there is no such run. A run without a plan has
/// an empty one.
pub(crate) async fn plan_part(
    connection: &mut PgConnection,
    id: &str,
    part: i32,
) -> Result<Option<PlanPart>, Failure> {
    let row = sqlx::query!(
        r#"SELECT CASE WHEN $2 = 0 THEN s.plan ELSE p.payload END AS payload,
                NOT EXISTS (SELECT FROM sync_run_plan_parts m WHERE m.run_id = s.id AND m.part > $2) AS "is_last!"
           FROM sync_runs s LEFT JOIN sync_run_plan_parts p ON p.run_id = s.id AND p.part = $2
           WHERE s.id = $1"#,
        id,
        part,
    )
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let plan = Plan::decode(row.payload.as_deref().unwrap_or_default())
        .map_err(|error| Failure::Corrupt(format!("a plan: {error}")))?;
    let is_last = row.is_last;
    Ok(Some(PlanPart { plan, is_last }))
}

/// What a plan is made for.
pub(crate) enum PlanTarget {
    /// The remote of this row.
    Remote(i64),
    /// One that need not be there.
    Described(Box<Remote>),
}

/// A run that only wants a plan.
pub(crate) struct PlanRun {
    pub target: PlanTarget,
    pub force: bool,
}

/// The pending plan run of this id.
pub(crate) async fn plan_run(connection: &mut PgConnection, id: &str) -> Result<Option<PlanRun>, Failure> {
    let row = sqlx::query!(
        "SELECT remote_id, remote, force FROM sync_runs WHERE id = $1 AND plan_only AND state = $2",
        id,
        SyncRunState::Pending as i16,
    )
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let target = match (row.remote_id, row.remote) {
        (Some(remote_id), _) => PlanTarget::Remote(remote_id),
        (None, Some(remote)) => PlanTarget::Described(Box::new(decode_remote(&remote)?)),
        (None, None) => return Err(Failure::Corrupt(format!("sync run {id} has no remote"))),
    };
    Ok(Some(PlanRun {
        target,
        force: row.force,
    }))
}

/// Whether a sync of this remote was asked for that is not over.
pub(crate) async fn any_pending(connection: &mut PgConnection, remote_id: i64) -> Result<bool, Failure> {
    let any = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM sync_runs WHERE remote_id = $1 AND NOT plan_only AND state = $2) AS "any!""#,
        remote_id,
        SyncRunState::Pending as i16,
    );
    Ok(any.fetch_one(connection).await?)
}
