//! Claims, and what each kind of work needs to know.

use std::time::Duration;

use rootstock_model::ArtifactRef;
use rootstock_proto::{
    convert::digest_bytes,
    sync::v1::{self as wire, work::Task},
};
use sqlx::PgConnection;

use crate::{
    Catalog,
    config::UPLOAD_ABANDONED_AFTER,
    failure::Failure,
    metrics,
    queries::{
        remotes, settings,
        sync_runs::{self, PlanTarget},
        transfers, uploads, webhooks,
    },
    work::{
        Kind, Subject,
        schedule::{self, Claimed},
    },
};

/// `index.json` is asked for again this often though the products files it named are unchanged: it
/// may name others.
pub(super) const INDEX_CHECK_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// Claims work that is due, with all that a worker must know to do it. Work that nobody wants any
/// more is dropped here.
pub(super) async fn claim(
    catalog: &Catalog,
    worker: &str,
    kinds: &[Kind],
    max: i64,
) -> Result<Vec<wire::Work>, Failure> {
    let mut transaction = catalog.pool.begin().await?;
    let claimed = schedule::claim_due(&mut transaction, worker, kinds, max, catalog.lease_duration).await?;
    let mut found = Vec::with_capacity(claimed.len());
    for piece in claimed {
        metrics::claimed(piece.kind);
        let task = match piece.kind {
            Kind::Poll => poll(&mut transaction, &piece).await?,
            Kind::Transfer => transfer(&mut transaction, &piece).await?,
            Kind::Verify => verify(&piece)?,
            Kind::Sweep => Some(sweep(&mut transaction, catalog.sweep_min_age).await?),
            Kind::AutoUpdate => Some(Task::AutoUpdate(wire::AutoUpdateTask {})),
            Kind::Expire => Some(Task::Expire(wire::ExpireTask {})),
            Kind::Collect => Some(Task::Collect(wire::CollectTask {})),
            Kind::Deliver => deliver(&mut transaction, &piece).await?,
            Kind::Upload => None,
        };
        match task {
            Some(task) => found.push(wire::Work {
                lease: Some(piece.lease.into()),
                lease_duration: prost_types::Duration::try_from(catalog.lease_duration).ok(),
                traceparent: piece.traceparent,
                task: Some(task),
            }),
            None => schedule::remove(&mut transaction, piece.lease.work_id).await?,
        }
    }
    transaction.commit().await?;
    Ok(found)
}

async fn poll(connection: &mut PgConnection, piece: &Claimed) -> Result<Option<Task>, Failure> {
    let (remote_id, plan_run_id) = match &piece.subject {
        Subject::PlanRun(id) => match sync_runs::plan_run(connection, id).await?.map(|run| run.target) {
            Some(PlanTarget::Described(remote)) => {
                return Ok(Some(Task::Poll(wire::PollTask {
                    remote: Some(*remote),
                    check_index: true,
                    plan_run_id: id.clone(),
                    ..wire::PollTask::default()
                })));
            }
            Some(PlanTarget::Remote(remote_id)) => (remote_id, Some(id)),
            None => return Ok(None),
        },
        subject => (subject.remote()?, None),
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
    if let Some(id) = plan_run_id {
        task.plan_run_id.clone_from(id);
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
    let sha256 = piece.subject.blob()?;
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
                artifact: Some(ArtifactRef::Digest(sha256).into()),
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
    let (metadata, root) = piece.subject.blob_pair()?;
    Ok(Some(Task::Verify(wire::VerifyTask {
        metadata_sha256: digest_bytes(&metadata),
        root_sha256: digest_bytes(&root),
    })))
}

async fn deliver(connection: &mut PgConnection, piece: &Claimed) -> Result<Option<Task>, Failure> {
    let Some(row) = webhooks::by_id(connection, piece.subject.webhook()?).await? else {
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
    uploads::remove_abandoned(connection, UPLOAD_ABANDONED_AFTER).await?;
    Ok(Task::Sweep(wire::SweepTask {
        live_uploads: transfers::live_uploads(connection).await?,
        min_age: prost_types::Duration::try_from(min_age).ok(),
        min_object_age: prost_types::Duration::try_from(min_object_age).ok(),
    }))
}
