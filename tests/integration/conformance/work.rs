//! What a worker relies on of `WorkService`: how work is claimed, and that leases fence. Polls stand for
//! all work.

use std::time::{Duration, Instant};

use rootstock_proto::{
    Error,
    catalog::v1::Remote,
    sync::v1::{
        ClaimRequest, Document, FailRequest, HeartbeatRequest, Lease, PollTask, ReleaseRequest,
        SaveJournalRequest, SnapshotChunk, SnapshotHeader, SubmitSnapshotRequest, Work, WorkKind,
        WorkProgress, submit_snapshot_request::Part, work::Task, work_service_client::WorkServiceClient,
    },
};
use rootstock_tests::{
    catalog::{TestCatalog, config},
    fake_work::FakeWork,
    postgres::{Postgres, TestDatabase},
};
use tonic::{Code, Status, transport::Channel};

/// A catalog of either kind, and a client that plays the worker.
struct Subject {
    name: &'static str,
    client: WorkServiceClient<Channel>,
    catalog: Catalog,
}

enum Catalog {
    Fake(FakeWork),
    Real(TestCatalog, TestDatabase<'static>),
}

impl Subject {
    async fn both() -> [Self; 2] {
        let database = Postgres::shared().await.unwrap().database().await.unwrap();
        let mut config = config(&database.url);
        // No lease is to end by itself here, and nothing that failed to come back.
        config.lease_duration = Duration::from_secs(60);
        config.retry_initial = Duration::from_secs(60);
        config.retry_max = Duration::from_secs(60);
        let real = TestCatalog::start(config).await.unwrap();
        let fake = FakeWork::start().unwrap();
        [
            Self {
                name: "fake",
                client: WorkServiceClient::connect(fake.uri()).await.unwrap(),
                catalog: Catalog::Fake(fake),
            },
            Self {
                name: "real",
                client: real.work(),
                catalog: Catalog::Real(real, database),
            },
        ]
    }

    /// Has a remote polled.
    async fn give(&self, name: &str) {
        let remote = Remote {
            name: name.to_owned(),
            url: "https://images.test".to_owned(),
            ..Remote::default()
        };
        match &self.catalog {
            Catalog::Fake(catalog) => {
                catalog.give(Task::Poll(PollTask {
                    remote: Some(remote),
                    ..PollTask::default()
                }));
            }
            Catalog::Real(catalog, _database) => {
                catalog.add_remote(remote).await.unwrap();
            }
        }
    }

    async fn claim(&self, kind: WorkKind, max: i32, wait: Duration) -> Vec<Work> {
        let request = ClaimRequest {
            worker: "test".to_owned(),
            kinds: vec![kind.into()],
            max,
            wait: prost_types::Duration::try_from(wait).ok(),
        };
        self.client
            .clone()
            .claim(request)
            .await
            .unwrap()
            .into_inner()
            .work
    }

    /// Has a remote polled, and claims that.
    async fn claimed(&self, name: &str) -> Lease {
        self.give(name).await;
        let work = self.claim(WorkKind::Poll, 1, Duration::from_secs(30)).await;
        work[0].lease.unwrap()
    }

    /// Which of these are lost.
    async fn lost(&self, leases: &[Lease]) -> Vec<Lease> {
        let work = leases.iter().map(|lease| WorkProgress {
            lease: Some(*lease),
            done_bytes: 0,
        });
        let request = HeartbeatRequest { work: work.collect() };
        self.client
            .clone()
            .heartbeat(request)
            .await
            .unwrap()
            .into_inner()
            .lost
    }

    async fn fail(&self, lease: Option<Lease>) -> Result<(), Status> {
        let request = FailRequest {
            lease,
            error: "of this test".to_owned(),
            ..FailRequest::default()
        };
        self.client.clone().fail(request).await.map(drop)
    }

    async fn save_journal(&self, lease: Option<Lease>) -> Result<(), Status> {
        let request = SaveJournalRequest {
            lease,
            ..SaveJournalRequest::default()
        };
        self.client.clone().save_journal(request).await.map(drop)
    }

    async fn submit(&self, parts: Vec<Part>) -> Result<(), Status> {
        let messages = parts
            .into_iter()
            .map(|part| SubmitSnapshotRequest { part: Some(part) });
        let stream = futures::stream::iter(messages.collect::<Vec<_>>());
        self.client.clone().submit_snapshot(stream).await.map(drop)
    }
}

fn header(lease: Option<Lease>) -> Part {
    let document = Document {
        path: "streams/v1/images.json".to_owned(),
        sha256: vec![7; 32].into(),
        ..Document::default()
    };
    Part::Header(SnapshotHeader {
        lease,
        documents: vec![document],
    })
}

fn chunk() -> Part {
    Part::Chunk(SnapshotChunk::default())
}

fn is_lost(result: &Result<(), Status>) -> bool {
    let error = result.as_ref().err().and_then(Error::from_status);
    error == Some(Error::LeaseLost)
}

#[tokio::test]
async fn a_claim_takes_what_is_wanted_and_waits_for_it() {
    const WAIT: Duration = Duration::from_millis(200);
    for subject in Subject::both().await {
        let name = subject.name;
        let begun = Instant::now();
        assert_eq!(subject.claim(WorkKind::Poll, 1, WAIT).await, [], "{name}");
        assert!(begun.elapsed() >= WAIT, "{name} did not wait");

        let waiting = subject.claim(WorkKind::Poll, 1, Duration::from_secs(30));
        let (work, ()) = tokio::join!(waiting, async {
            tokio::time::sleep(WAIT).await;
            subject.give("first").await;
        });
        let [work] = &work[..] else {
            panic!("{name}: {work:?}")
        };
        let lease = work.lease.unwrap();
        assert!(lease.work_id > 0 && lease.epoch > 0, "{name}: {lease:?}");
        assert!(work.lease_duration.unwrap_or_default().seconds > 0, "{name}");
        match &work.task {
            Some(Task::Poll(task)) => assert_eq!(task.remote.clone().unwrap().name, "first", "{name}"),
            other => panic!("{name}: {other:?}"),
        }

        for remote in ["second", "third", "fourth"] {
            subject.give(remote).await;
        }
        assert_eq!(
            subject.claim(WorkKind::Verify, 3, Duration::ZERO).await,
            [],
            "{name}"
        );
        assert_eq!(subject.claim(WorkKind::Poll, 2, WAIT).await.len(), 2, "{name}");
        assert_eq!(subject.claim(WorkKind::Poll, 2, WAIT).await.len(), 1, "{name}");
        assert_eq!(
            subject.claim(WorkKind::Poll, 2, Duration::ZERO).await,
            [],
            "{name}"
        );
    }
}

#[tokio::test]
async fn what_bears_no_lease_in_force_is_refused() {
    for subject in Subject::both().await {
        let name = subject.name;
        let lease = subject.claimed("images").await;
        let older = Lease {
            epoch: lease.epoch - 1,
            ..lease
        };
        let unknown = Lease {
            work_id: lease.work_id + 1_000_000,
            ..lease
        };
        for wrong in [Some(older), Some(unknown), None] {
            assert!(is_lost(&subject.fail(wrong).await), "{name}: {wrong:?}");
            assert!(is_lost(&subject.save_journal(wrong).await), "{name}: {wrong:?}");
            assert!(
                is_lost(&subject.submit(vec![header(wrong), chunk()]).await),
                "{name}: {wrong:?}"
            );
        }
        assert_eq!(
            subject.lost(&[older, lease, unknown]).await,
            [older, unknown],
            "{name}"
        );
        let request = ReleaseRequest {
            leases: vec![older, unknown],
        };
        subject.client.clone().release(request).await.unwrap();
        assert_eq!(
            subject.lost(&[lease]).await,
            [],
            "{name}: another's lease was released"
        );
    }
}

#[tokio::test]
async fn a_lease_ends_with_what_ends_its_work_and_with_nothing_else() {
    for subject in Subject::both().await {
        let name = subject.name;
        let failed = subject.claimed("failed").await;
        let released = subject.claimed("released").await;
        let submitted = subject.claimed("submitted").await;
        subject.save_journal(Some(failed)).await.unwrap();
        assert_eq!(subject.lost(&[failed, released, submitted]).await, [], "{name}");

        subject.fail(Some(failed)).await.unwrap();
        subject
            .submit(vec![header(Some(submitted)), chunk()])
            .await
            .unwrap();
        let request = ReleaseRequest {
            leases: vec![released],
        };
        subject.client.clone().release(request).await.unwrap();
        let all = [failed, released, submitted];
        assert_eq!(subject.lost(&all).await, all, "{name}");
        for lease in all {
            assert!(is_lost(&subject.fail(Some(lease)).await), "{name}: {lease:?}");
        }
    }
}

#[tokio::test]
async fn a_snapshot_is_one_header_and_chunks_or_is_refused_and_its_lease_kept() {
    for subject in Subject::both().await {
        let name = subject.name;
        let lease = subject.claimed("images").await;
        let head = || header(Some(lease));
        for parts in [vec![], vec![chunk(), head()], vec![head(), chunk(), head()]] {
            let refused = subject.submit(parts.clone()).await.unwrap_err();
            assert_eq!(
                refused.code(),
                Code::InvalidArgument,
                "{name}: {parts:?}: {refused}"
            );
        }
        assert_eq!(subject.lost(&[lease]).await, [], "{name}");
        subject.submit(vec![head()]).await.unwrap();
        assert_eq!(subject.lost(&[lease]).await, [lease], "{name}");
    }
}
