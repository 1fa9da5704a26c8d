//! Going on with a transfer that another worker began.

use rootstock_blobs::StoreConfig;
use rootstock_proto::sync::v1::{SaveJournalRequest, TransferTask, work::Task};
use rootstock_tests::{
    fake_work::{Call, Outcome},
    remote::{Content, Fault},
    seaweed::SeaweedFs,
};

use super::{MIB, Stage, digest_bytes};

const SIZE: u64 = 8 * MIB + 17;

/// Stores a metadata blob, then begins a transfer of a root whose source stalls, waits for a journal,
/// and kills the worker. Answers the root, the task to go on with, and what was saved.
async fn interrupted(
    stage: &Stage,
    stalled_at: u64,
    wanted: u64,
) -> (Content, TransferTask, SaveJournalRequest) {
    let worker = stage.worker();
    let (metadata, task) = stage.blob("metadata", 1000);
    assert!(matches!(
        stage.transfer(task).await,
        Call::Finish(_, Outcome::Transfer(_))
    ));
    let (root, task) = stage.blob("root", SIZE.max(stalled_at + MIB));
    let task = TransferTask {
        metadata_sha256: vec![digest_bytes(&metadata.digest().unwrap())],
        ..task
    };
    stage
        .remote
        .fault_times("root", 1, Fault::StallAfter { bytes: stalled_at });
    stage.catalog.give(Task::Transfer(task.clone()));
    let saved = stage
        .catalog
        .wait_for("a journal", |call| match call {
            Call::SaveJournal(saved) if saved.done_bytes >= wanted as i64 => Some(saved.clone()),
            _ => None,
        })
        .await
        .unwrap();
    worker.kill().await;
    assert!(!stage.holds(&root).await);
    stage.remote.forget_requests();
    (
        root,
        TransferTask {
            journal: saved.journal.clone(),
            ..task
        },
        saved,
    )
}

/// Interrupts a transfer, and wants another worker to fetch no more than the rest.
async fn goes_on(stage: &Stage, stalled_at: u64, wanted: u64) {
    let (root, task, saved) = interrupted(stage, stalled_at, wanted).await;
    let worker = stage.worker();
    let Call::Finish(_, Outcome::Transfer(done)) = stage.transfer(task).await else {
        panic!("nothing was stored")
    };
    assert!(stage.holds(&root).await);
    let [combination] = &done.combinations[..] else {
        panic!("{:?}", done.combinations)
    };
    let metadata = Content::generated(1000, b"", 1000);
    let fingerprint = Content::digest_of_all(&[&metadata, &root]).unwrap();
    assert_eq!(combination.fingerprint, digest_bytes(&fingerprint));

    let [asked] = &stage.remote.requests()[..] else {
        panic!("{:?}", stage.remote.requests())
    };
    assert_eq!(
        asked.range(),
        Some(&*format!("bytes={}-", saved.done_bytes)),
        "only the rest is fetched"
    );
    assert!(asked.headers.contains_key("if-range"));
    assert_eq!(asked.status.map(|status| status.as_u16()), Some(206));
    assert_eq!(stage.store.list_uploads().await.unwrap(), []);
    worker.stop().await;
}

#[tokio::test]
async fn only_the_rest_is_fetched_after_a_crash() {
    goes_on(&Stage::new().await, 5 * MIB + 100, 4 * MIB).await;
}

#[tokio::test]
async fn only_the_rest_is_fetched_after_a_crash_into_s3() {
    let mut config = SeaweedFs::shared().await.unwrap().config();
    config.part_size_bytes = 5 * MIB;
    let stage = Stage::on(StoreConfig::S3(config), None).await;
    // Two parts are on their way at a time: when the third was taken, the first is stored.
    goes_on(&stage, 15 * MIB + 100, 5 * MIB).await;
}

/// Interrupts a transfer, lets `fault` happen when it is resumed, and wants it to succeed from anew.
async fn begins_anew(fault: Option<Fault>, change: bool) {
    let stage = Stage::new().await;
    let (root, task, saved) = interrupted(&stage, 5 * MIB + 100, 4 * MIB).await;
    if let Some(fault) = fault {
        stage.remote.fault_times("root", 1, fault);
    }
    if change {
        stage.store.abort_upload(&saved.upload_id).await.unwrap();
    }
    let worker = stage.worker();
    assert!(matches!(
        stage.transfer(task).await,
        Call::Finish(_, Outcome::Transfer(_))
    ));
    assert!(stage.holds(&root).await);
    let asked = stage.remote.requests();
    let last = asked.last().unwrap();
    assert_eq!(last.status.map(|status| status.as_u16()), Some(200), "{asked:?}");
    assert_eq!(
        stage.store.list_uploads().await.unwrap(),
        [],
        "the upload that was given up is gone"
    );
    worker.stop().await;
}

#[tokio::test]
async fn a_source_that_knows_no_ranges_is_read_from_the_start() {
    begins_anew(Some(Fault::IgnoreRange), false).await;
}

#[tokio::test]
async fn content_that_may_have_changed_is_read_from_the_start() {
    begins_anew(Some(Fault::ChangeValidators), false).await;
}

#[tokio::test]
async fn an_upload_that_is_gone_is_begun_anew() {
    begins_anew(None, true).await;
}

#[tokio::test]
async fn a_cut_source_leaves_what_came_to_the_next_attempt() {
    let stage = Stage::new().await;
    let worker = stage.worker();
    let (root, task) = stage.blob("root", SIZE);
    stage
        .remote
        .fault_times("root", 1, Fault::CloseAfter { bytes: 5 * MIB + 100 });
    let lease = stage.catalog.give(Task::Transfer(task.clone()));
    assert!(matches!(
        stage.catalog.outcome(lease).await.unwrap(),
        Call::Fail(_)
    ));
    let saved = stage.catalog.journals(lease).pop().unwrap();
    assert_eq!(saved.done_bytes, (5 * MIB) as i64, "every whole part is kept");

    stage.remote.forget_requests();
    let again = TransferTask {
        journal: saved.journal,
        ..task
    };
    assert!(matches!(
        stage.transfer(again).await,
        Call::Finish(_, Outcome::Transfer(_))
    ));
    assert!(stage.holds(&root).await);
    assert_eq!(stage.remote.requests()[0].range(), Some("bytes=5242880-"));
    worker.stop().await;
}

#[tokio::test]
async fn a_source_that_differs_in_size_does_not_spoil_what_came() {
    let stage = Stage::new().await;
    let (root, task, _) = interrupted(&stage, 5 * MIB + 100, 4 * MIB).await;
    let mut sources = task.sources.clone();
    sources[0].size_bytes += 1;
    sources.extend(task.sources.clone());
    let worker = stage.worker();
    assert!(matches!(
        stage.transfer(TransferTask { sources, ..task }).await,
        Call::Finish(_, Outcome::Transfer(_))
    ));
    assert!(stage.holds(&root).await);
    assert!(
        stage.remote.requests().last().unwrap().range().is_some(),
        "the second source goes on"
    );
    worker.stop().await;
}

#[tokio::test]
async fn a_source_without_validators_is_asked_for_the_rest_all_the_same() {
    let stage = Stage::new().await;
    let (root, task, saved) = interrupted(&stage, 5 * MIB + 100, 4 * MIB).await;
    // The same bytes at a place that the journal knows nothing of.
    stage.remote.put("elsewhere", root.clone()).unwrap();
    stage.remote.fault("elsewhere", Fault::NoValidators);
    let mut task = task;
    task.sources[0].path = "elsewhere".to_owned();
    let worker = stage.worker();
    assert!(matches!(
        stage.transfer(task).await,
        Call::Finish(_, Outcome::Transfer(_))
    ));
    assert!(stage.holds(&root).await);
    let [asked] = &stage.remote.requests()[..] else {
        panic!("{:?}", stage.remote.requests())
    };
    assert_eq!(asked.range(), Some(&*format!("bytes={}-", saved.done_bytes)));
    assert!(!asked.headers.contains_key("if-range"));
    worker.stop().await;
}
