//! Claims, and what each kind of work needs to know.

use std::time::Duration;

use rootstock_model::Digest;
use rootstock_proto::{
    convert::digest_bytes,
    sync::v1::{self as wire, WorkKind, work::Task},
};
use sqlx::PgConnection;

use crate::{
    Catalog,
    failure::Failure,
    metrics,
    queries::{
        remotes, settings,
        sync_runs::{self, PlanTarget},
        transfers, uploads, webhooks,
        work::{self, Claimed},
    },
    services::import::ABANDONED_AFTER,
    snapshot::subject_remote,
};

/// `index.json` is asked for again this often though the products files it named are unchanged: it
/// may name others.
pub(super) const INDEX_CHECK_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// The blob of a transfer's subject.
pub(in crate::services) fn subject_blob(subject: &str) -> Result<Digest, Failure> {
    subject
        .parse()
        .map_err(|_| Failure::Corrupt(format!("transfer of {subject:?}")))
}

/// The webhook of a delivery's subject.
pub(super) fn subject_webhook(subject: &str) -> Result<i64, Failure> {
    subject
        .parse()
        .map_err(|_| Failure::Corrupt(format!("delivery to {subject:?}")))
}

/// Claims work that is due, with all that a worker must know to do it. Work that nobody wants any
/// more is dropped here.
pub(super) async fn claim(
    catalog: &Catalog,
    worker: &str,
    kinds: &[i16],
    max: i64,
) -> Result<Vec<wire::Work>, Failure> {
    let mut transaction = catalog.pool.begin().await?;
    let claimed = work::claim(&mut transaction, worker, kinds, max, catalog.lease_duration).await?;
    let mut found = Vec::with_capacity(claimed.len());
    for piece in claimed {
        metrics::claimed(piece.kind);
        let task = match WorkKind::try_from(i32::from(piece.kind)) {
            Ok(WorkKind::Poll) => poll(&mut transaction, &piece).await?,
            Ok(WorkKind::Transfer) => transfer(&mut transaction, &piece).await?,
            Ok(WorkKind::Verify) => verify(&piece)?,
            Ok(WorkKind::Sweep) => Some(sweep(&mut transaction, catalog.sweep_min_age).await?),
            Ok(WorkKind::AutoUpdate) => Some(Task::AutoUpdate(wire::AutoUpdateTask {})),
            Ok(WorkKind::Expire) => Some(Task::Expire(wire::ExpireTask {})),
            Ok(WorkKind::Collect) => Some(Task::Collect(wire::CollectTask {})),
            Ok(WorkKind::Deliver) => deliver(&mut transaction, &piece).await?,
            Ok(_) | Err(_) => None,
        };
        match task {
            Some(task) => found.push(wire::Work {
                lease: Some(wire::Lease {
                    work_id: piece.lease.work_id,
                    epoch: piece.lease.epoch,
                }),
                lease_duration: prost_types::Duration::try_from(catalog.lease_duration).ok(),
                traceparent: piece.traceparent,
                task: Some(task),
            }),
            None => work::remove(&mut transaction, piece.lease.work_id).await?,
        }
    }
    transaction.commit().await?;
    Ok(found)
}

async fn poll(connection: &mut PgConnection, piece: &Claimed) -> Result<Option<Task>, Failure> {
    let plan = sync_runs::plan_run(connection, &piece.subject).await?;
    let is_plan = plan.is_some();
    let remote_id = match plan.map(|plan| plan.target) {
        Some(PlanTarget::Described(remote)) => {
            return Ok(Some(Task::Poll(wire::PollTask {
                remote: Some(*remote),
                check_index: true,
                plan_run_id: piece.subject.clone(),
                ..wire::PollTask::default()
            })));
        }
        Some(PlanTarget::Remote(remote_id)) => remote_id,
        None => match subject_remote(&piece.subject) {
            Ok(remote_id) => remote_id,
            // A plan whose run is gone.
            Err(_) => return Ok(None),
        },
    };
    let Some(row) = remotes::by_ids(connection, &[remote_id])
        .await?
        .into_iter()
        .next()
    else {
        return Ok(None);
    };
    let mut task = wire::PollTask {
        remote: Some(row.remote),
        check_index: true,
        ..wire::PollTask::default()
    };
    if is_plan {
        task.plan_run_id = piece.subject.clone();
        return Ok(Some(Task::Poll(task)));
    }
    sync_runs::attach(connection, remote_id, piece.lease.epoch).await?;
    // A forced sync is for an index that was refused: it must be submitted again.
    if !sync_runs::wanted(connection, remote_id, piece.lease.epoch)
        .await?
        .force
    {
        task.documents = remotes::documents(connection, remote_id).await?;
        task.check_index = remotes::index_check_due(connection, remote_id, INDEX_CHECK_INTERVAL).await?;
    }
    Ok(Some(Task::Poll(task)))
}

async fn transfer(connection: &mut PgConnection, piece: &Claimed) -> Result<Option<Task>, Failure> {
    let sha256 = subject_blob(&piece.subject)?;
    let sources = transfers::sources(connection, &sha256).await?;
    let mut ids: Vec<i64> = sources.iter().map(|source| source.remote_id).collect();
    ids.dedup();
    let remotes = remotes::by_ids(connection, &ids).await?;
    let sources: Vec<wire::TransferSource> = sources
        .into_iter()
        .filter_map(|source| {
            let row = remotes.iter().find(|row| row.id == source.remote_id)?;
            Some(wire::TransferSource {
                remote: Some(row.remote.clone()),
                path: source.path,
                size_bytes: source.size_bytes,
            })
        })
        .collect();
    if sources.is_empty() {
        return Ok(None);
    }
    let metadata = transfers::metadata_of_root(connection, &sha256).await?;
    Ok(Some(Task::Transfer(wire::TransferTask {
        sha256: digest_bytes(&sha256),
        sources,
        journal: piece.journal.clone().into(),
        metadata_sha256: metadata.iter().map(digest_bytes).collect(),
    })))
}

fn verify(piece: &Claimed) -> Result<Option<Task>, Failure> {
    let pair = transfers::subject_pair(&piece.subject);
    let (metadata, root) =
        pair.ok_or_else(|| Failure::Corrupt(format!("verification of {:?}", piece.subject)))?;
    Ok(Some(Task::Verify(wire::VerifyTask {
        metadata_sha256: digest_bytes(&metadata),
        root_sha256: digest_bytes(&root),
    })))
}

async fn deliver(connection: &mut PgConnection, piece: &Claimed) -> Result<Option<Task>, Failure> {
    let Some(row) = webhooks::by_id(connection, subject_webhook(&piece.subject)?).await? else {
        return Ok(None);
    };
    let status = row.webhook.status.clone().unwrap_or_default();
    Ok(Some(Task::Deliver(wire::DeliverTask {
        webhook: Some(row.webhook),
        delivered_revision: status.delivered_revision,
        ping: status.ping_pending,
    })))
}

async fn sweep(connection: &mut PgConnection, min_age: Duration) -> Result<Task, Failure> {
    // An object that nothing knows may be one that a database of yesterday does not know yet.
    let min_object_age = min_age.max(settings::load(connection).await?.deletion_grace);
    uploads::remove_abandoned(connection, ABANDONED_AFTER).await?;
    Ok(Task::Sweep(wire::SweepTask {
        live_uploads: transfers::live_uploads(connection).await?,
        min_age: prost_types::Duration::try_from(min_age).ok(),
        min_object_age: prost_types::Duration::try_from(min_object_age).ok(),
    }))
}
