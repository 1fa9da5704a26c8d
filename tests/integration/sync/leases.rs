//! Leases: how they are kept, what happens when one is lost, and how a worker comes and goes.

use std::{collections::BTreeMap, time::Duration};

use rootstock_proto::{
    Error,
    sync::v1::{
        ClaimRequest, Lease, TransferTask, WorkKind, work::Task, work_service_client::WorkServiceClient,
    },
};
use rootstock_tests::{
    fake_work::{Call, Outcome},
    remote::Fault,
};
use tonic::Status;

use super::{MIB, Stage};

const SIZE: u64 = 8 * MIB;
const SHORT_LEASE: Duration = Duration::from_secs(3);

/// Gives a transfer whose source stalls after 2 MiB and a bit, and waits until a journal is saved: that
/// of the first of the two parts, for whether the second is durable shows with the next byte.
async fn stalled(stage: &Stage, lease_duration: Duration) -> (Lease, TransferTask) {
    let (_, task) = stage.blob("stalled", SIZE);
    stage
        .remote
        .fault("stalled", Fault::StallAfter { bytes: 2 * MIB + 100 });
    let lease = stage
        .catalog
        .give_for(Task::Transfer(task.clone()), lease_duration);
    stage
        .catalog
        .wait_for("a journal", |call| saved(call, lease, MIB))
        .await
        .unwrap();
    (lease, task)
}

fn saved(call: &Call, of: Lease, wanted: u64) -> Option<()> {
    match call {
        Call::SaveJournal(saved) if saved.lease == Some(of) => {
            (saved.done_bytes >= wanted as i64).then_some(())
        }
        _ => None,
    }
}

/// Waits until the only slot for transfers is free again: another transfer gets through.
async fn slot_is_free(stage: &Stage, path: &str) {
    let (content, task) = stage.blob(path, 1000);
    assert!(matches!(
        stage.transfer(task).await,
        Call::Finish(_, Outcome::Transfer(_))
    ));
    assert!(stage.holds(&content).await);
}

async fn stage_of_one_slot() -> Stage {
    let mut stage = Stage::new().await;
    stage.config.concurrent_transfers = 1;
    stage
}

#[tokio::test]
async fn all_leases_are_kept_by_one_heartbeat_that_tells_the_progress() {
    let stage = Stage::new().await;
    let worker = stage.worker();
    let (first, _) = stalled(&stage, SHORT_LEASE).await;
    let (second, _) = stalled(&stage, SHORT_LEASE).await;
    let beat = |call: &Call| match call {
        Call::Heartbeat(work) => {
            let progress: BTreeMap<_, _> = work
                .iter()
                .map(|progress| (progress.lease.unwrap().work_id, progress.done_bytes))
                .collect();
            // An earlier one may have come while the bytes did.
            let all_came = |lease: &Lease| progress.get(&lease.work_id) >= Some(&((2 * MIB) as i64));
            (progress.len() == 2 && [first, second].iter().all(all_came)).then_some(())
        }
        _ => None,
    };
    stage.catalog.wait_for("a heartbeat", beat).await.unwrap();
    worker.stop().await;
}

#[tokio::test]
async fn a_lost_lease_stops_the_work_at_once() {
    let stage = stage_of_one_slot().await;
    let worker = stage.worker();
    let (lease, _) = stalled(&stage, SHORT_LEASE).await;
    stage.catalog.lose(lease);
    slot_is_free(&stage, "next").await;

    let said: Vec<_> = stage.catalog.calls();
    let outcome = said.iter().any(|call| match call {
        Call::Fail(failed) => failed.lease == Some(lease),
        Call::Release(leases) => leases.contains(&lease),
        _ => false,
    });
    assert!(!outcome, "nothing is said of it any more: {said:?}");
    let [upload] = &stage.store.list_uploads().await.unwrap()[..] else {
        panic!("the upload is left")
    };
    assert_eq!(stage.catalog.journals(lease)[0].upload_id, upload.id);
    worker.stop().await;
}

#[tokio::test]
async fn a_refused_journal_stops_the_work_too() {
    let stage = stage_of_one_slot().await;
    let worker = stage.worker();
    let (_, task) = stage.blob("slow", SIZE);
    stage.remote.fault(
        "slow",
        Fault::Slow {
            bytes_per_second: MIB,
        },
    );
    // No heartbeat comes in time to tell: the journal's answer does.
    let lease = stage
        .catalog
        .give_for(Task::Transfer(task), Duration::from_secs(600));
    stage
        .catalog
        .wait_for("a journal", |call| saved(call, lease, MIB))
        .await
        .unwrap();
    stage.catalog.lose(lease);
    slot_is_free(&stage, "next").await;
    assert!(
        !stage
            .catalog
            .calls()
            .iter()
            .any(|call| matches!(call, Call::Fail(_)))
    );
    worker.stop().await;
}

#[tokio::test]
async fn without_the_catalog_work_goes_on_until_its_lease_must_be_presumed_lost() {
    let mut stage = stage_of_one_slot().await;
    let worker = stage.worker();
    stalled(&stage, SHORT_LEASE).await;
    stage.catalog.stop();
    tokio::time::sleep(SHORT_LEASE).await;
    stage.catalog.resume().unwrap();
    slot_is_free(&stage, "next").await;
    worker.stop().await;
}

#[tokio::test]
async fn an_outcome_is_reported_when_the_catalog_is_back() {
    let stage = stage_of_one_slot().await;
    let worker = stage.worker();
    let (content, task) = stage.blob("root", SIZE);
    stage.remote.fault(
        "root",
        Fault::Slow {
            bytes_per_second: 8 * MIB,
        },
    );
    let lease = stage.catalog.give(Task::Transfer(task));
    stage
        .catalog
        .wait_for("the claim", |call| {
            (*call == Call::Claim(vec![lease])).then_some(())
        })
        .await
        .unwrap();
    stage.catalog.refuse(Some(
        Error::Unavailable("the database is not reachable".into()).into(),
    ));
    while !stage.holds(&content).await {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stage.catalog.refuse(None);
    assert!(matches!(
        stage.catalog.outcome(lease).await.unwrap(),
        Call::Finish(_, Outcome::Transfer(_))
    ));
    let requests = stage.remote.requests_for("root").len();
    assert_eq!(requests, 1, "it was not fetched again");
    worker.stop().await;
}

#[tokio::test]
async fn a_worker_waits_for_a_catalog_that_is_not_there_yet() {
    let mut stage = Stage::new().await;
    stage.catalog.stop();
    let worker = stage.worker();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!worker.readiness.is_ready());
    stage.catalog.resume().unwrap();
    assert!(worker.readiness.wait_ready().await);
    slot_is_free(&stage, "root").await;
    worker.stop().await;
}

#[tokio::test]
async fn a_shutdown_saves_and_gives_back_what_is_under_way() {
    let stage = Stage::new().await;
    let worker = stage.worker();
    let (lease, task) = stalled(&stage, Duration::from_secs(600)).await;
    worker.stop().await;
    assert_eq!(
        stage.catalog.outcome(lease).await.unwrap(),
        Call::Release(vec![lease])
    );
    let saved = stage.catalog.journals(lease).pop().unwrap();
    assert_eq!(saved.done_bytes, (2 * MIB) as i64);
    let claims = stage.catalog.claims().len();

    stage.remote.clear_faults("stalled");
    stage.remote.forget_requests();
    let worker = stage.worker();
    let again = TransferTask {
        journal: saved.journal,
        ..task
    };
    assert!(matches!(
        stage.transfer(again).await,
        Call::Finish(_, Outcome::Transfer(_))
    ));
    assert_eq!(stage.remote.requests()[0].range(), Some("bytes=2097152-"));
    assert!(stage.catalog.claims().len() > claims);
    worker.stop().await;
}

#[tokio::test]
async fn a_shutdown_ends_without_the_catalog_too() {
    let mut stage = Stage::new().await;
    stage.config.shutdown_grace = Duration::from_millis(500);
    let worker = stage.worker();
    let (lease, task) = stalled(&stage, Duration::from_secs(600)).await;
    let saved = stage.catalog.journals(lease).pop().unwrap();
    stage.catalog.stop();
    tokio::time::timeout(Duration::from_secs(60), worker.stop())
        .await
        .expect("the worker waits for a catalog that is gone");

    // Nothing could be reported, and nothing is lost: the next worker goes on from the last journal.
    stage.catalog.resume().unwrap();
    let reported = stage.catalog.calls().into_iter().any(|call| match call {
        Call::Fail(failed) => failed.lease == Some(lease),
        Call::Release(leases) => leases.contains(&lease),
        _ => false,
    });
    assert!(!reported, "the catalog was gone");
    stage.remote.clear_faults("stalled");
    stage.remote.forget_requests();
    let worker = stage.worker();
    let range = format!("bytes={}-", saved.done_bytes);
    let again = TransferTask {
        journal: saved.journal,
        ..task
    };
    assert!(matches!(
        stage.transfer(again).await,
        Call::Finish(_, Outcome::Transfer(_))
    ));
    assert_eq!(stage.remote.requests()[0].range(), Some(&*range));
    worker.stop().await;
}

#[tokio::test]
async fn a_worker_asks_for_as_much_as_it_has_slots() {
    let stage = Stage::new().await;
    let worker = stage.worker();
    stalled(&stage, Duration::from_secs(600)).await;
    slot_is_free(&stage, "next").await;
    worker.stop().await;
    let claims = stage.catalog.claims();
    let workers: std::collections::BTreeSet<_> = claims.iter().map(|claim| &claim.worker).collect();
    assert_eq!(workers.len(), 1);
    let asked = |kind: WorkKind| {
        let of_kind = claims
            .iter()
            .filter(move |claim| claim.kinds == [i32::from(kind)]);
        of_kind.map(|claim| claim.max).collect::<Vec<_>>()
    };
    assert_eq!(asked(WorkKind::Transfer)[..2], [4, 3]);
    assert_eq!(asked(WorkKind::Poll)[0], 2);
    assert_eq!(asked(WorkKind::Verify)[0], 1);
    assert_eq!(asked(WorkKind::Sweep)[0], 1);
}

#[tokio::test]
async fn a_catalog_that_says_no_is_not_asked_again_and_again() {
    const IMPATIENT: usize = 400;
    let stage = Stage::new().await;
    stage.catalog.refuse(Some(Status::permission_denied("not you")));
    let worker = stage.worker();
    // The measure of how fast this machine answers: a client that asks again at once.
    let mut impatient = WorkServiceClient::connect(stage.catalog.uri()).await.unwrap();
    for _ in 0..IMPATIENT {
        impatient.claim(ClaimRequest::default()).await.unwrap_err();
    }
    worker.stop().await;
    let claims = stage.catalog.claims().len() - IMPATIENT;
    assert!(claims > 0, "the worker did not ask at all");
    // A worker has several kinds of work, and asks for each on its own.
    assert!(claims < IMPATIENT / 2, "{claims} in the time of {IMPATIENT}");
}
