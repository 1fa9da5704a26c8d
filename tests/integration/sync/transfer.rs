//! Transfers: what becomes visible, from which source, and what failures say. And the two kinds of
//! work that only touch the store.

use std::time::Duration;

use rootstock_model::Digest;
use rootstock_proto::sync::v1::{
    Combination, SweepTask, TransferSource, TransferTask, VerifyTask, work::Task,
};
use rootstock_tests::{
    fake_work::{Call, Outcome},
    remote::{Content, FakeRemote, Fault},
};

use super::{MIB, Stage, add_source, digest_bytes, error_of, remote, source, transfer_of};

const SIZE: u64 = 5 * MIB + 17;

fn finished(call: Call) -> rootstock_proto::sync::v1::TransferOutcome {
    match call {
        Call::Finish(_, Outcome::Transfer(finished)) => finished,
        other => panic!("nothing was stored: {other:?}"),
    }
}

fn combination(metadata: &Content, root: &Content) -> Combination {
    Combination {
        metadata_sha256: digest_bytes(&metadata.digest().unwrap()),
        root_sha256: digest_bytes(&root.digest().unwrap()),
        fingerprint: digest_bytes(&Content::digest_of_all(&[metadata, root]).unwrap()),
    }
}

/// A copy of the blob of which a byte is another one.
fn with_wrong_byte(content: &Content, offset: usize) -> Content {
    let mut bytes = Vec::new();
    content.copy_to(&mut bytes).unwrap();
    bytes[offset] ^= 1;
    bytes.into()
}

#[tokio::test]
async fn a_blob_is_stored_and_its_fingerprints_come_with_it() {
    let stage = Stage::new().await;
    let worker = stage.worker();
    let (metadata, task) = stage.blob("metadata", 1000);
    let stored = finished(stage.transfer(task).await);
    assert_eq!((stored.size_bytes, stored.combinations), (1000, vec![]));

    let (root, task) = stage.blob("root", SIZE);
    let missing = Digest::of(b"not stored");
    let metadata_sha256 = vec![digest_bytes(&metadata.digest().unwrap()), digest_bytes(&missing)];
    let lease = stage.catalog.give(Task::Transfer(TransferTask {
        metadata_sha256,
        ..task
    }));
    let stored = finished(stage.catalog.outcome(lease).await.unwrap());
    assert_eq!(stored.size_bytes, SIZE as i64);
    assert_eq!(
        stored.combinations,
        [combination(&metadata, &root)],
        "what is not stored is left to be verified"
    );
    assert!(stage.holds(&root).await);
    assert_eq!(stage.store.list_uploads().await.unwrap(), []);
    let saved = stage.catalog.journals(lease);
    assert!(saved.iter().all(|saved| !saved.upload_id.is_empty()), "{saved:?}");
    worker.stop().await;
}

#[tokio::test]
async fn an_empty_blob_is_a_blob() {
    let stage = Stage::new().await;
    let worker = stage.worker();
    let (empty, task) = stage.blob("empty", 0);
    assert_eq!(finished(stage.transfer(task).await).size_bytes, 0);
    assert!(stage.holds(&empty).await);
    worker.stop().await;
}

#[tokio::test]
async fn what_is_stored_already_is_not_asked_for() {
    let stage = Stage::new().await;
    let worker = stage.worker();
    let (_, task) = stage.blob("root", SIZE);
    finished(stage.transfer(task.clone()).await);
    stage.remote.forget_requests();
    let again = finished(stage.transfer(task).await);
    assert_eq!(again.size_bytes, SIZE as i64);
    assert_eq!(stage.remote.requests().len(), 0);
    worker.stop().await;
}

#[tokio::test]
async fn nothing_wrong_becomes_visible_and_nothing_of_it_stays() {
    let mut stage = Stage::new().await;
    // As long as a busy machine may take for what does answer.
    stage.config.remote.idle_timeout = Duration::from_secs(2);
    stage.config.remote.header_timeout = Duration::from_secs(2);
    stage.config.remote.connect_timeout = Duration::from_secs(2);
    let worker = stage.worker();
    for (index, (fault, expected)) in [
        (
            Fault::FlipByte { offset: SIZE / 2 },
            "other bytes than the index says",
        ),
        (Fault::Truncate { bytes: SIZE - 1 }, "the index says"),
        (Fault::Extra { bytes: 1 }, "the index says"),
        (Fault::status(404), "lists a file that it does not have"),
        (Fault::status(500), "in trouble"),
        (Fault::HangBeforeHeaders, "did not answer within"),
    ]
    .into_iter()
    .enumerate()
    {
        let path = format!("root-{index}");
        let (content, task) = stage.blob(&path, SIZE + index as u64);
        stage.remote.fault(&path, fault.clone());
        let failed = stage.transfer(task).await;
        let error = error_of(&failed);
        assert!(
            error.contains(expected) || error.contains("expected"),
            "{fault:?}: {error}"
        );
        assert!(error.starts_with("remote images: GET https://"), "{error}");
        assert!(!stage.holds(&content).await, "{fault:?}");
    }
    assert_eq!(stage.store.list_uploads().await.unwrap(), []);
    worker.stop().await;
}

#[tokio::test]
async fn a_wrong_length_is_seen_before_the_first_byte() {
    let stage = Stage::new().await;
    let worker = stage.worker();
    let (content, _) = stage.blob("root", SIZE);
    for claimed in [SIZE - 1, SIZE + 1] {
        let task = transfer_of(&content, vec![source(&stage.remote, "root", claimed)]);
        let failed = stage.transfer(task).await;
        assert!(error_of(&failed).contains(&format!("has {SIZE} bytes there, the index says {claimed}")));
    }
    assert_eq!(stage.store.list_uploads().await.unwrap(), []);
    worker.stop().await;
}

#[tokio::test]
async fn without_a_length_the_bytes_are_counted() {
    let stage = Stage::new().await;
    let worker = stage.worker();
    let (content, task) = stage.blob("root", SIZE);
    stage.remote.fault("root", Fault::Chunked);
    for (claimed, expected) in [
        (SIZE + 1, "the content ended after"),
        (SIZE - 1, "expected 5242896"),
    ] {
        let task = transfer_of(&content, vec![source(&stage.remote, "root", claimed)]);
        let failed = stage.transfer(task).await;
        assert!(error_of(&failed).contains(expected), "{}", error_of(&failed));
        assert!(!stage.holds(&content).await);
    }
    finished(stage.transfer(task).await);
    assert!(stage.holds(&content).await);
    worker.stop().await;
}

#[tokio::test]
async fn a_source_that_trickles_is_given_up() {
    let mut stage = Stage::new().await;
    stage.config.remote.min_bytes_per_second = 10_000_000;
    stage.config.remote.low_speed_window = Duration::from_millis(500);
    let worker = stage.worker();
    let (_, task) = stage.blob("root", SIZE);
    stage.remote.fault(
        "root",
        Fault::Slow {
            bytes_per_second: 200_000,
        },
    );
    let failed = stage.transfer(task).await;
    assert!(
        error_of(&failed).contains("bytes per second came"),
        "{}",
        error_of(&failed)
    );
    worker.stop().await;
}

#[tokio::test]
async fn the_next_source_is_tried_when_one_is_wrong() {
    let stage = Stage::new().await;
    let worker = stage.worker();
    let (content, task) = stage.blob("root", SIZE);
    let mirror = FakeRemote::https().unwrap();
    mirror.put("mirrored", content.clone()).unwrap();
    for fault in [
        Fault::FlipByte { offset: 3 },
        Fault::status(404),
        Fault::Truncate { bytes: 9 },
    ] {
        stage.remote.fault("root", fault.clone());
        let mut task = task.clone();
        add_source(&mut task, source(&mirror, "mirrored", SIZE));
        finished(stage.transfer(task).await);
        assert!(stage.holds(&content).await, "{fault:?}");
        stage.store.delete(&content.digest().unwrap()).await.unwrap();
        stage.remote.clear_faults("root");
    }
    assert_eq!(mirror.requests().len(), 3);
    assert!(mirror.requests().iter().all(|request| request.range().is_none()));
    worker.stop().await;
}

#[tokio::test]
async fn the_next_source_goes_on_where_one_was_cut() {
    let stage = Stage::new().await;
    let worker = stage.worker();
    let (content, mut task) = stage.blob("root", SIZE);
    let mirror = FakeRemote::https().unwrap();
    mirror.put("mirrored", content.clone()).unwrap();
    add_source(&mut task, source(&mirror, "mirrored", SIZE));
    stage.remote.fault("root", Fault::CloseAfter { bytes: 3 * MIB });
    finished(stage.transfer(task).await);
    assert!(stage.holds(&content).await);
    let asked = mirror.requests();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].range(), Some("bytes=3145728-"));
    assert!(
        !asked[0].headers.contains_key("if-range"),
        "another server's validators mean nothing"
    );
    worker.stop().await;
}

#[tokio::test]
async fn a_mixture_that_is_wrong_is_fetched_whole_from_one() {
    let stage = Stage::new().await;
    let worker = stage.worker();
    let (content, mut task) = stage.blob("root", SIZE);
    stage.remote.put("root", with_wrong_byte(&content, 5)).unwrap();
    stage.remote.fault("root", Fault::CloseAfter { bytes: 3 * MIB });
    let mirror = FakeRemote::https().unwrap();
    mirror.put("mirrored", content.clone()).unwrap();
    add_source(&mut task, source(&mirror, "mirrored", SIZE));
    finished(stage.transfer(task).await);
    assert!(stage.holds(&content).await);
    let ranges: Vec<_> = mirror
        .requests()
        .iter()
        .map(|request| request.range().map(str::to_owned))
        .collect();
    assert_eq!(ranges, [Some("bytes=3145728-".to_owned()), None]);
    worker.stop().await;
}

#[tokio::test]
async fn when_all_fail_all_are_named_and_the_shortest_wait_counts() {
    let stage = Stage::new().await;
    let worker = stage.worker();
    let (_, mut task) = stage.blob("root", SIZE);
    let mirror = FakeRemote::https().unwrap();
    let mut named = source(&mirror, "mirrored", SIZE);
    named.remote.as_mut().unwrap().name = "mirror".to_owned();
    add_source(&mut task, named);
    let busy = |seconds: &str| Fault::Status {
        code: 503,
        retry_after: Some(seconds.to_owned()),
    };

    stage.remote.fault_times("root", 1, busy("90"));
    mirror.fault_times("mirrored", 1, busy("30"));
    let Call::Fail(failed) = stage.transfer(task.clone()).await else {
        panic!("it did not fail")
    };
    assert!(
        failed.error.starts_with("remote images: GET "),
        "{}",
        failed.error
    );
    assert!(failed.error.contains("; remote mirror: GET "), "{}", failed.error);
    assert_eq!(failed.retry_after.unwrap().seconds, 30);

    stage.remote.fault_times("root", 1, busy("90"));
    let Call::Fail(failed) = stage.transfer(task).await else {
        panic!("it did not fail")
    };
    assert_eq!(
        failed.retry_after, None,
        "the one that has it no more may have it again soon"
    );
    worker.stop().await;
}

#[tokio::test]
async fn nonsense_from_the_catalog_fails_and_harms_nothing() {
    let stage = Stage::new().await;
    let worker = stage.worker();
    let (content, good) = stage.blob("root", SIZE);
    let of_source = |source| transfer_of(&content, vec![source]);
    let source = source(&stage.remote, "root", SIZE);
    for (task, expected) in [
        (
            TransferTask {
                sha256: b"short"[..].into(),
                ..good.clone()
            },
            "sha256: is 5 bytes",
        ),
        (
            TransferTask {
                metadata_sha256: vec![b"x"[..].into()],
                ..good.clone()
            },
            "metadata_sha256: is 1 bytes",
        ),
        (
            TransferTask {
                sources: vec![],
                ..good.clone()
            },
            "no remote offers this file",
        ),
        (
            of_source(TransferSource {
                path: "../root".into(),
                ..source.clone()
            }),
            "does not lie below",
        ),
        (
            of_source(TransferSource {
                size_bytes: -1,
                ..source.clone()
            }),
            "source.size_bytes: is negative",
        ),
        (
            TransferTask {
                sources: vec![source.clone()],
                ..good.clone()
            },
            "source.artifact: is missing",
        ),
        (
            of_source(TransferSource {
                remote: None,
                ..source.clone()
            }),
            "remote.name",
        ),
    ] {
        let failed = stage.transfer(task).await;
        assert!(
            error_of(&failed).contains(expected),
            "{expected}: {}",
            error_of(&failed)
        );
    }
    let nonsense = TransferTask {
        journal: b"nonsense"[..].into(),
        ..good
    };
    finished(stage.transfer(nonsense).await);
    assert!(stage.holds(&content).await);
    worker.stop().await;
}

#[tokio::test]
async fn verifying_computes_the_fingerprint_of_what_is_stored() {
    let stage = Stage::new().await;
    let worker = stage.worker();
    let (metadata, task) = stage.blob("metadata", 1000);
    finished(stage.transfer(task).await);
    let (root, task) = stage.blob("root", SIZE);
    let verify = VerifyTask {
        metadata_sha256: digest_bytes(&metadata.digest().unwrap()),
        root_sha256: digest_bytes(&root.digest().unwrap()),
    };
    let lease = stage.catalog.give(Task::Verify(verify.clone()));
    let failed = stage.catalog.outcome(lease).await.unwrap();
    assert!(
        error_of(&failed).contains("not in the store"),
        "{}",
        error_of(&failed)
    );

    finished(stage.transfer(task).await);
    let lease = stage.catalog.give(Task::Verify(verify));
    let Call::Finish(_, Outcome::Verify(done)) = stage.catalog.outcome(lease).await.unwrap() else {
        panic!("it failed")
    };
    assert_eq!(done.combination, Some(combination(&metadata, &root)));
    worker.stop().await;
}

#[tokio::test]
async fn a_sweep_removes_what_is_old_and_named_by_nobody() {
    let stage = Stage::new().await;
    let worker = stage.worker();
    let begin = async |name: &[u8]| {
        let upload = stage
            .store
            .begin_upload(&Digest::of(name), 10 * MIB)
            .await
            .unwrap();
        upload.id().to_owned()
    };
    let (live, dead) = (begin(b"live").await, begin(b"dead").await);
    let left = async || {
        let uploads = stage.store.list_uploads().await.unwrap();
        uploads.into_iter().map(|upload| upload.id).collect::<Vec<_>>()
    };
    for (min_age_seconds, removed) in [(3600, 0), (0, 1)] {
        let min_age = Some(prost_types::Duration {
            seconds: min_age_seconds,
            nanos: 0,
        });
        let task = SweepTask {
            live_uploads: vec![live.clone()],
            min_age,
            min_object_age: None,
        };
        let lease = stage.catalog.give(Task::Sweep(task));
        let Call::Finish(_, Outcome::Sweep(done)) = stage.catalog.outcome(lease).await.unwrap() else {
            panic!("it failed")
        };
        assert_eq!(done.removed_uploads, removed);
        assert_eq!(left().await.contains(&dead), removed == 0);
    }
    assert_eq!(left().await, [live]);
    let lease = stage.catalog.give(Task::Sweep(SweepTask::default()));
    let failed = stage.catalog.outcome(lease).await.unwrap();
    assert!(
        error_of(&failed).contains("min_age"),
        "a sweep that spares nobody is a mistake"
    );
    worker.stop().await;
}

#[tokio::test]
async fn a_source_is_asked_for_the_bytes_as_they_are() {
    let stage = Stage::new().await;
    let worker = stage.worker();
    let (_, task) = stage.blob("some dir/root #1?", SIZE);
    let mut spaced = task.clone();
    spaced.sources[0].remote = Some(remote(&stage.remote));
    finished(stage.transfer(spaced).await);
    let asked = stage.remote.requests_for("some dir/root #1?");
    assert_eq!(asked[0].headers["accept-encoding"], "identity");
    worker.stop().await;
}
