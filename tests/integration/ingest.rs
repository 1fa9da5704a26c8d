//! One blob from a stream into the store, under a lease: with a catalog that records what it is sent, and
//! a store that fails where a test wants it to.

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use rootstock_blobs::{BlobError, BlobStore, Fault, Faults, Operation};
use rootstock_ingest::{Ingest, LeaseClient, LeaseGuard, LeaseLoss, Leases, Partial, Stopped, Stored};
use rootstock_model::Digest;
use rootstock_proto::sync::v1::{
    ClaimRequest, TransferTask, WorkKind, work::Task, work_service_client::WorkServiceClient,
};
use rootstock_runtime::{
    Shutdown,
    grpc::client::{ClientOptions, ClientStack, connect_lazy},
};
use rootstock_tests::{fake_work::FakeWork, remote::Content};

const PART: usize = 1 << 20;
const METADATA: &[u8] = b"metadata";

/// A catalog, a store and one lease.
struct Stage {
    catalog: FakeWork,
    client: LeaseClient,
    lease: LeaseGuard,
    faults: Faults,
    blobs: BlobStore,
    shutdown: Shutdown,
    content: Bytes,
}

type Received = Result<Stored, Stopped<io::Error>>;

impl Stage {
    async fn new(seed: u64) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let catalog = FakeWork::start().unwrap();
        let stack = connect_lazy(&catalog.uri(), ClientOptions::default()).unwrap();
        let faults = Faults::default();
        let blobs = BlobStore::in_memory(PART as u64).with_faults(&faults);
        let mut metadata = blobs
            .begin_upload(&Digest::of(METADATA), METADATA.len() as u64)
            .await
            .unwrap();
        metadata.write(Bytes::from_static(METADATA)).await.unwrap();
        metadata.finish().await.unwrap();
        Self {
            lease: claimed(&catalog, stack.clone()).await,
            client: LeaseClient::new(stack),
            catalog,
            faults,
            blobs,
            shutdown: Shutdown::new(),
            content: content(seed),
        }
    }

    fn digest(&self) -> Digest {
        Digest::of(&self.content)
    }

    fn ingest(&self) -> Ingest<'_> {
        Ingest {
            blobs: &self.blobs,
            catalog: &self.client,
            lease: &self.lease,
            shutdown: &self.shutdown,
            digest: self.digest(),
            metadata: vec![Digest::of(METADATA)],
        }
    }

    /// The pieces of the content in this range, with time between them for journals to be saved.
    fn pieces(&self, range: std::ops::Range<usize>) -> impl Stream<Item = io::Result<Bytes>> + use<> {
        let content = self.content.slice(range);
        stream::unfold(content, |mut content| async move {
            tokio::time::sleep(Duration::from_millis(5)).await;
            let piece = content.split_to(content.len().min(PART / 8));
            (!piece.is_empty()).then_some((Ok(piece), content))
        })
    }

    /// Receives what `pieces` bring of a new upload.
    async fn receive(&self, pieces: impl Stream<Item = io::Result<Bytes>>) -> Received {
        let ingest = self.ingest();
        let upload = ingest.begin(self.content.len() as u64).await.unwrap();
        ingest.receive(upload, pieces, |_saved| {}).await
    }

    /// Continues from the newest journal that the catalog has, to the end; returns where that began.
    async fn resume(&self) -> u64 {
        let journals = self.catalog.journals(self.lease.lease());
        let ingest = self.ingest();
        let upload = ingest.resume(&journals.last().unwrap().journal).await;
        let upload = upload.unwrap().expect("the journal cannot be used");
        let offset = upload.offset();
        let rest = self.pieces(usize::try_from(offset).unwrap()..self.content.len());
        let stored = ingest.receive(upload, rest, |_saved| {}).await.unwrap();
        self.assert_stored(&stored).await;
        offset
    }

    async fn assert_stored(&self, stored: &Stored) {
        assert_eq!(stored.finished.digest, self.digest());
        let [combination] = &stored.combinations()[..] else {
            panic!("{stored:?}")
        };
        let fingerprint = Digest::of(&[METADATA, &self.content].concat());
        assert_eq!(combination.fingerprint, &fingerprint.as_bytes()[..]);
        assert!(self.blobs.head(&self.digest()).await.unwrap().is_some());
    }

    async fn assert_invisible(&self) {
        assert_eq!(self.blobs.head(&self.digest()).await.unwrap(), None);
    }

    fn newest_journal_bytes(&self) -> i64 {
        let journals = self.catalog.journals(self.lease.lease());
        journals.last().map_or(0, |saved| saved.done_bytes)
    }
}

fn content(seed: u64) -> Bytes {
    let mut bytes = Vec::new();
    let content = Content::generated(seed, b"", 4 * PART as u64 + 100);
    content.copy_to(&mut bytes).unwrap();
    bytes.into()
}

/// A lease that the catalog has put in force.
async fn claimed(catalog: &FakeWork, stack: ClientStack) -> LeaseGuard {
    catalog.give(Task::Transfer(TransferTask::default()));
    let request = ClaimRequest {
        worker: "test".to_owned(),
        kinds: vec![WorkKind::Transfer.into()],
        max: 1,
        wait: None,
    };
    let answer = WorkServiceClient::new(stack).claim(request).await.unwrap();
    let work = answer.into_inner().work.remove(0);
    Arc::new(Leases::default()).hold(work.lease.unwrap(), work.lease_duration)
}

/// A stream that brings this and breaks.
fn broken(pieces: impl Stream<Item = io::Result<Bytes>>) -> impl Stream<Item = io::Result<Bytes>> {
    pieces.chain(stream::iter([Err(io::ErrorKind::ConnectionReset.into())]))
}

fn cut(received: Received) -> Partial {
    match received.unwrap_err() {
        Stopped::BySource(partial, error) => {
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
            partial
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn journals_are_saved_in_order_while_bytes_flow() {
    let stage = Stage::new(1).await;
    let ingest = stage.ingest();
    let upload = ingest.begin(stage.content.len() as u64).await.unwrap();
    let reported = Mutex::new(Vec::new());
    let all = stage.pieces(0..stage.content.len());
    let stored = ingest
        .receive(upload, all, |saved| reported.lock().unwrap().push(saved))
        .await
        .unwrap();
    stage.assert_stored(&stored).await;
    let saved = stage.catalog.journals(stage.lease.lease());
    assert!(
        saved[0].journal.is_empty() && !saved[0].upload_id.is_empty(),
        "the upload is announced before there is a journal: {:?}",
        saved[0]
    );
    assert!(saved.len() > 1, "no journal was saved");
    assert!(
        saved.is_sorted_by(|before, after| before.done_bytes < after.done_bytes),
        "{saved:?}"
    );
    let reported = reported.into_inner().unwrap();
    assert!(!reported.is_empty());
    for bytes in reported {
        assert!(
            saved.iter().any(|saved| saved.done_bytes == bytes as i64),
            "{bytes} bytes were reported as saved"
        );
    }
}

#[tokio::test]
async fn a_second_stream_continues_what_the_first_brought() {
    let stage = Stage::new(2).await;
    let half = 2 * PART + PART / 2;
    let partial = cut(stage.receive(broken(stage.pieces(0..half))).await);
    let upload = partial.into_upload().await.unwrap();
    assert_eq!(
        upload.offset(),
        half as u64,
        "not even the part in progress is lost"
    );
    let rest = stage.pieces(half..stage.content.len());
    let stored = stage.ingest().receive(upload, rest, |_saved| {}).await.unwrap();
    stage.assert_stored(&stored).await;
}

#[tokio::test]
async fn a_suspended_upload_is_resumed_from_its_journal() {
    let stage = Stage::new(3).await;
    let partial = cut(stage.receive(broken(stage.pieces(0..2 * PART + 1))).await);
    partial.suspend().await.unwrap();
    stage.assert_invisible().await;
    assert_eq!(stage.resume().await, 2 * PART as u64);
}

#[tokio::test]
async fn a_shutdown_stops_between_two_pieces() {
    let stage = Stage::new(4).await;
    let silent = stage.pieces(0..3 * PART).chain(stream::pending());
    let (received, ()) = tokio::join!(stage.receive(silent), async {
        while stage.newest_journal_bytes() < PART as i64 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        stage.shutdown.trigger();
    });
    let Err(Stopped::Shutdown(partial)) = received else {
        panic!("{received:?}")
    };
    partial.suspend().await.unwrap();
    let stage = Stage {
        shutdown: Shutdown::new(),
        ..stage
    };
    assert!(stage.resume().await >= PART as u64);
}

#[tokio::test]
async fn a_part_that_fails_is_resumed_from_the_last_journal() {
    let stage = Stage::new(5).await;
    stage.faults.inject(Operation::Write, 4, Fault::Unavailable);
    let received = stage.receive(stage.pieces(0..stage.content.len())).await;
    assert!(
        matches!(received, Err(Stopped::ByStore(BlobError::Unavailable { .. }))),
        "{received:?}"
    );
    assert_eq!(stage.faults.pending(), 0);
    stage.assert_invisible().await;
    assert_eq!(
        stage.resume().await,
        3 * PART as u64,
        "the journal of the part before is saved before the failure is reported"
    );
}

#[tokio::test]
async fn a_completion_that_fails_is_resumed_from_the_last_journal() {
    let stage = Stage::new(6).await;
    stage.faults.inject(Operation::Publish, 1, Fault::Unavailable);
    let received = stage.receive(stage.pieces(0..stage.content.len())).await;
    assert!(
        matches!(received, Err(Stopped::ByStore(BlobError::Unavailable { .. }))),
        "{received:?}"
    );
    stage.assert_invisible().await;
    assert_eq!(stage.resume().await, 4 * PART as u64);
}

#[tokio::test]
async fn wrong_bytes_are_never_visible() {
    let stage = Stage::new(7).await;
    let mut wrong = stage.content.to_vec();
    wrong[PART] ^= 1;
    let wrong = stream::iter([Ok(Bytes::from(wrong))]);
    let received = stage.receive(wrong).await;
    assert!(
        matches!(received, Err(Stopped::ByStore(BlobError::Mismatch { .. }))),
        "{received:?}"
    );
    stage.assert_invisible().await;
    assert_eq!(stage.blobs.list_uploads().await.unwrap(), []);
}

#[tokio::test]
async fn a_lease_that_another_worker_has_ends_it() {
    let stage = Stage::new(8).await;
    stage.catalog.lose(stage.lease.lease());
    let received = stage.receive(stage.pieces(0..stage.content.len())).await;
    assert!(
        matches!(received, Err(Stopped::LeaseLost(LeaseLoss::Revoked))),
        "{received:?}"
    );
    stage.assert_invisible().await;
}

#[tokio::test]
async fn a_catalog_that_does_not_answer_stops_no_upload() {
    let mut stage = Stage::new(9).await;
    stage.catalog.stop();
    let stored = stage.receive(stage.pieces(0..stage.content.len())).await.unwrap();
    stage.assert_stored(&stored).await;
}
