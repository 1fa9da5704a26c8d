//! Claims: one worker at a time, fenced.

use std::time::Duration;

use rootstock_proto::{
    Error,
    catalog::v1::SyncRemoteRequest,
    sync::v1::{
        FailRequest, HeartbeatRequest, Lease, ReleaseRequest, SaveJournalRequest, Work, WorkKind,
        WorkProgress,
    },
};
use rootstock_tests::{
    catalog::{TestCatalog, config, transfer_task},
    postgres::Postgres,
};

use super::{
    offers::{image, snapshot},
    remote, start,
};

fn lost(result: Result<impl std::fmt::Debug, tonic::Status>) -> bool {
    Error::from_status(&result.unwrap_err()) == Some(Error::LeaseLost)
}

#[tokio::test]
async fn a_worker_that_lost_its_lease_can_change_nothing() {
    let (_database, catalog) = start().await;
    catalog.add_remote(remote("images")).await.unwrap();
    let first = catalog.claim(WorkKind::Poll).await.unwrap();
    // The lease of two seconds runs out, and another worker has the poll.
    let second = catalog.claim(WorkKind::Poll).await.unwrap();
    let (first, second) = (first.lease.unwrap(), second.lease.unwrap());
    assert_eq!((first.work_id, first.epoch + 1), (second.work_id, second.epoch));

    let offer = snapshot(vec![image("a:1", &[], &["20260101"])]);
    assert!(lost(catalog.submit(Some(first), &offer).await));
    assert!(lost(catalog.finish_poll(Some(first)).await));
    let beat = |lease| HeartbeatRequest {
        work: vec![WorkProgress {
            lease: Some(lease),
            done_bytes: 0,
        }],
    };
    let answer = catalog.work().heartbeat(beat(first)).await.unwrap().into_inner();
    assert_eq!(answer.lost, [first]);
    catalog
        .work()
        .release(ReleaseRequest { leases: vec![first] })
        .await
        .unwrap();
    assert_eq!(
        catalog
            .work()
            .heartbeat(beat(second))
            .await
            .unwrap()
            .into_inner()
            .lost,
        []
    );
    assert!(catalog.image("a:1").await.is_err());
    catalog.submit(Some(second), &offer).await.unwrap();
    assert!(
        lost(catalog.submit(Some(second), &offer).await),
        "a lease ends with its work"
    );
}

#[tokio::test]
async fn a_heartbeat_keeps_a_lease_and_a_journal_outlives_its_worker() {
    let (_database, catalog) = start().await;
    catalog.add_remote(remote("images")).await.unwrap();
    catalog
        .offer(&snapshot(vec![image("a:1", &[], &["20260101"])]))
        .await
        .unwrap();
    let work = catalog.claim(WorkKind::Transfer).await.unwrap();
    let lease = work.lease;
    for _ in 0..3 {
        let beat = HeartbeatRequest {
            work: vec![WorkProgress {
                lease,
                done_bytes: 10,
            }],
        };
        assert_eq!(
            catalog.work().heartbeat(beat).await.unwrap().into_inner().lost,
            []
        );
        let other = catalog
            .claim_now(WorkKind::Transfer, Duration::from_secs(1))
            .await
            .unwrap();
        assert!(other.is_none(), "claimed twice: {other:?}");
    }
    let journal = SaveJournalRequest {
        lease,
        journal: bytes::Bytes::from_static(b"journal"),
        upload_id: "upload".to_owned(),
        done_bytes: 20,
    };
    catalog.work().save_journal(journal.clone()).await.unwrap();
    catalog
        .work()
        .release(ReleaseRequest {
            leases: lease.into_iter().collect(),
        })
        .await
        .unwrap();
    let again = catalog.claim(WorkKind::Transfer).await.unwrap();
    assert_eq!(transfer_task(&again).unwrap().journal, "journal");
    assert!(lost(catalog.work().save_journal(journal).await));
    let sweep = catalog.claim(WorkKind::Sweep).await.unwrap();
    let Some(rootstock_proto::sync::v1::work::Task::Sweep(task)) = sweep.task else {
        panic!("{sweep:?}")
    };
    assert_eq!(task.live_uploads, ["upload"]);
}

#[tokio::test]
async fn many_workers_share_the_work_without_overlap() {
    let (_database, catalog) = start().await;
    for number in 0..40 {
        catalog
            .add_remote(remote(&format!("remote-{number}")))
            .await
            .unwrap();
    }
    let claims = (0..40).map(|_| catalog.claim(WorkKind::Poll));
    let claimed = futures::future::try_join_all(claims).await.unwrap();
    let mut ids: Vec<Lease> = claimed.into_iter().filter_map(|work| work.lease).collect();
    ids.sort_by_key(|lease| lease.work_id);
    ids.dedup();
    assert_eq!(ids.len(), 40);
    assert!(ids.iter().all(|lease| lease.epoch == 1));
}

/// Claims a poll with the longest wait, and meanwhile does what makes one due. Fails when the claim sleeps to
/// its own limit of 20 s, or to the end of the lease that it saw.
async fn claim_while(catalog: &TestCatalog, makes_due: impl Future<Output = ()>) -> Work {
    let claim = catalog.claim_now(WorkKind::Poll, Duration::from_secs(20));
    let soon = tokio::time::timeout(Duration::from_secs(15), claim);
    let (claimed, ()) = tokio::join!(soon, async {
        // The claim is to be asleep by then; were it not, it would find the work at once.
        tokio::time::sleep(Duration::from_millis(500)).await;
        makes_due.await;
    });
    claimed
        .expect("the waiting claim slept on although work was due")
        .unwrap()
        .unwrap()
}

#[tokio::test]
async fn a_waiting_claim_hears_of_work_that_comes_back_early() {
    let database = Postgres::shared().await.unwrap().database().await.unwrap();
    let mut config = config(&database.url);
    config.lease_duration = Duration::from_secs(60);
    let catalog = TestCatalog::start(config).await.unwrap();
    catalog.add_remote(remote("images")).await.unwrap();

    // A sync that was asked for during a poll needs another poll after it.
    let first = catalog.claim(WorkKind::Poll).await.unwrap();
    let request = SyncRemoteRequest {
        name: "images".to_owned(),
        ..SyncRemoteRequest::default()
    };
    catalog.remotes().sync_remote(request).await.unwrap();
    let second = claim_while(&catalog, async {
        catalog.finish_poll(first.lease).await.unwrap();
    });
    let second = second.await;

    // A failure is tried again after 100 ms, which is before the claim saw anything fall due.
    claim_while(&catalog, async {
        let request = FailRequest {
            lease: second.lease,
            error: "the remote is not there".to_owned(),
            retry_after: None,
        };
        catalog.work().fail(request).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn one_connection_is_enough_for_everything_at_once() {
    let database = Postgres::shared().await.unwrap().database().await.unwrap();
    let mut config = config(&database.url);
    config.database_connections = 1;
    let catalog = TestCatalog::start(config).await.unwrap();
    let mut watcher = catalog
        .watches()
        .watch(rootstock_proto::catalog::v1::WatchRequest {
            from_revision: 0,
            initial_state: true,
            ..Default::default()
        })
        .await
        .unwrap()
        .into_inner();
    let waiting = (0..4).map(|_| catalog.claim_now(WorkKind::Verify, Duration::from_secs(3)));
    let busy = async {
        for number in 0..5 {
            let name = format!("remote-{number}");
            catalog.add_remote(remote(&name)).await.unwrap();
            let product = format!("product:{number}");
            catalog
                .offer(&snapshot(vec![image(&product, &[], &["20260101"])]))
                .await
                .unwrap();
            catalog.image(&product).await.unwrap();
        }
    };
    let (_, ()) = tokio::join!(futures::future::join_all(waiting), busy);
    assert!(watcher.message().await.unwrap().is_some());
}
