//! What must hold when a store fails in the middle: nothing half-made is visible, and the journal goes on.

use std::time::Duration;

use bytes::Bytes;
use rootstock_blobs::{
    BlobError, BlobStore, Fault, FaultPoint, Faults, JournalProblem, Operation, Outcome, StoredBlob,
    UploadJournal,
};
use rootstock_model::Digest;

use super::{
    Subject, assert_no_upload_is_open, content, read, run_on_every_backend, store,
    suite::{assert_unusable, fingerprint, finish_from, interrupted_at},
    write_all,
};

run_on_every_backend! {
    an_upload_whose_part_failed_is_resumed
    a_completion_that_failed_is_repeated
    a_completion_whose_answer_is_lost_is_complete
    a_completion_that_is_refused_leaves_nothing
    a_read_that_fails_in_the_middle_ends_with_an_error
    an_upload_that_cannot_be_removed_stays_invisible
    a_resume_that_failed_is_repeated
    a_listing_that_fails_ends
    a_slow_store_is_waited_for
}

/// The subject's store with faults that strike when they are told to.
fn faulty(subject: &Subject) -> (BlobStore, Faults) {
    let faults = Faults::default();
    (subject.store.with_faults(&faults), faults)
}

/// The journal of an upload of `bytes` that stopped after its first part.
async fn after_one_part(subject: &Subject, bytes: &Bytes) -> UploadJournal {
    UploadJournal::from_bytes(&interrupted_at(subject, bytes, subject.part_size).await).unwrap()
}

/// Goes on from `journal` to the end; what the store makes of it.
async fn try_to_finish(store: &BlobStore, journal: &UploadJournal, bytes: &Bytes) -> Result<(), BlobError> {
    let mut upload = store.resume_upload(journal).await?;
    let offset = usize::try_from(upload.offset()).unwrap();
    write_all(&mut upload, bytes.slice(offset..)).await?;
    upload.finish().await.map(drop)
}

async fn assert_invisible(subject: &Subject, bytes: &Bytes) {
    assert_eq!(subject.store.head(&Digest::of(bytes)).await.unwrap(), None);
}

async fn an_upload_whose_part_failed_is_resumed(subject: Subject) {
    let bytes = content(1, 4 * subject.part_size + 100);
    let journal = after_one_part(&subject, &bytes).await;
    let (blobs, faults) = faulty(&subject);
    for (nth, fault) in [
        (1, Fault::Unavailable),
        (2, Fault::Refused),
        (3, Fault::AnswerLost),
    ] {
        faults.inject(Operation::Write, nth, fault);
        let mut upload = blobs.resume_upload(&journal).await.unwrap();
        let rest = bytes.slice(subject.part_size..);
        let error = write_all(&mut upload, rest.clone()).await.unwrap_err();
        assert_eq!(faults.pending(), 0, "{error}");
        let error = upload.write(rest).await.unwrap_err();
        assert!(matches!(error, BlobError::Interrupted), "{error}");
        assert!(matches!(upload.finish().await, Err(BlobError::Interrupted)));
        assert_invisible(&subject, &bytes).await;
    }
    let finished = finish_from(&blobs, &journal, &bytes).await;
    assert_eq!(finished.combined, [fingerprint(&bytes)]);
    assert!(read(&subject.store, &finished.digest, None).await.unwrap() == bytes);
    assert_no_upload_is_open(&subject.store).await;
}

async fn a_completion_that_failed_is_repeated(subject: Subject) {
    let bytes = content(2, 2 * subject.part_size + 100);
    let journal = after_one_part(&subject, &bytes).await;
    let (blobs, faults) = faulty(&subject);
    faults.inject(Operation::Publish, 1, Fault::Unavailable);
    let error = try_to_finish(&blobs, &journal, &bytes).await.unwrap_err();
    assert!(error.retryable() && error.outcome() == Outcome::Failed, "{error}");
    assert_eq!(faults.pending(), 0);
    assert_invisible(&subject, &bytes).await;
    try_to_finish(&blobs, &journal, &bytes).await.unwrap();
    assert!(read(&subject.store, &Digest::of(&bytes), None).await.unwrap() == bytes);
    assert_no_upload_is_open(&subject.store).await;
}

async fn a_completion_whose_answer_is_lost_is_complete(subject: Subject) {
    let bytes = content(3, 2 * subject.part_size + 100);
    let journal = after_one_part(&subject, &bytes).await;
    let (blobs, faults) = faulty(&subject);
    faults.inject(Operation::Publish, 1, Fault::AnswerLost);
    let error = try_to_finish(&blobs, &journal, &bytes).await.unwrap_err();
    assert!(
        error.retryable() && error.outcome() == Outcome::Unknown,
        "{error}"
    );
    assert!(read(&subject.store, &Digest::of(&bytes), None).await.unwrap() == bytes);
    assert_unusable(subject.store.resume_upload(&journal).await, JournalProblem::Gone);
    assert_no_upload_is_open(&subject.store).await;
}

async fn a_completion_that_is_refused_leaves_nothing(subject: Subject) {
    let bytes = content(4, 2 * subject.part_size + 100);
    let journal = after_one_part(&subject, &bytes).await;
    let (blobs, faults) = faulty(&subject);
    faults.inject(Operation::Publish, 1, Fault::Refused);
    let error = try_to_finish(&blobs, &journal, &bytes).await.unwrap_err();
    assert!(matches!(error, BlobError::Refused { .. }), "{error}");
    assert_invisible(&subject, &bytes).await;
    assert_no_upload_is_open(&subject.store).await;
    assert_unusable(subject.store.resume_upload(&journal).await, JournalProblem::Gone);
}

async fn a_read_that_fails_in_the_middle_ends_with_an_error(subject: Subject) {
    let bytes = content(5, 2 * subject.part_size + 100);
    let digest = store(&subject.store, &bytes).await;
    let (blobs, faults) = faulty(&subject);
    for fault in [Fault::Unavailable, Fault::AnswerLost] {
        for verified in [false, true] {
            faults.inject(FaultPoint::ReadPiece, 2, fault);
            let mut reader = match verified {
                true => blobs.read_verified(&digest).await.unwrap(),
                false => blobs.read(&digest, None).await.unwrap(),
            };
            let (mut came, mut error) = (Vec::new(), None);
            while let Some(piece) = futures::StreamExt::next(&mut reader.stream).await {
                match piece {
                    Ok(piece) if error.is_none() => came.extend_from_slice(&piece),
                    Ok(_) => panic!("a piece came after an error"),
                    Err(failed) => error = Some(failed),
                }
            }
            assert_eq!(faults.pending(), 0);
            assert!(
                matches!(error, Some(BlobError::Unavailable { .. })),
                "{fault:?}: {error:?}"
            );
            assert!(came.len() < bytes.len() && bytes.starts_with(&came), "{fault:?}");
        }
        faults.inject(FaultPoint::ReadPiece, 2, fault);
        blobs.combined_digests(Vec::new(), &digest).await.unwrap_err();
    }
    assert!(read(&blobs, &digest, None).await.unwrap() == bytes);
    assert_eq!(blobs.combined_digests(Vec::new(), &digest).await.unwrap(), []);
}

async fn an_upload_that_cannot_be_removed_stays_invisible(subject: Subject) {
    let bytes = content(6, 2 * subject.part_size + 100);
    let announced = Digest::of(b"something else");
    let (blobs, faults) = faulty(&subject);
    faults.inject(Operation::Abort, 1, Fault::Unavailable);
    let mut upload = blobs.begin_upload(&announced, bytes.len() as u64).await.unwrap();
    let id = upload.id().to_owned();
    write_all(&mut upload, bytes.clone()).await.unwrap();
    let error = upload.finish().await.unwrap_err();
    assert!(matches!(error, BlobError::Mismatch { .. }), "{error}");
    assert_eq!(faults.pending(), 0);
    for digest in [announced, Digest::of(&bytes)] {
        assert_eq!(subject.store.head(&digest).await.unwrap(), None);
    }
    let open = subject.store.list_uploads().await.unwrap();
    assert_eq!(open.iter().map(|open| &open.id).collect::<Vec<_>>(), [&id]);
    subject.store.abort_upload(&id).await.unwrap();
    assert_no_upload_is_open(&subject.store).await;
}

async fn a_resume_that_failed_is_repeated(subject: Subject) {
    let bytes = content(7, 2 * subject.part_size);
    let journal = after_one_part(&subject, &bytes).await;
    let (blobs, faults) = faulty(&subject);
    faults.inject(Operation::Resume, 1, Fault::Unavailable);
    let saved = journal.to_bytes();
    let error = blobs
        .continue_upload(&Digest::of(&bytes), &saved)
        .await
        .unwrap_err();
    assert!(error.retryable(), "{error}");
    let upload = blobs.continue_upload(&Digest::of(&bytes), &saved).await.unwrap();
    assert_eq!(upload.unwrap().offset(), journal.offset());
    finish_from(&blobs, &journal, &bytes).await;
}

async fn a_listing_that_fails_ends(subject: Subject) {
    let digest = store(&subject.store, &content(8, 1000)).await;
    let (blobs, faults) = faulty(&subject);
    faults.inject(Operation::List, 1, Fault::Unavailable);
    let listed: Vec<_> = futures::StreamExt::collect(blobs.list()).await;
    assert!(
        matches!(&listed[..], [Err(BlobError::Unavailable { .. })]),
        "{listed:?}"
    );
    let listed: Vec<StoredBlob> = futures::TryStreamExt::try_collect(blobs.list()).await.unwrap();
    assert!(listed.iter().any(|blob| blob.digest == digest), "{listed:?}");
}

async fn a_slow_store_is_waited_for(subject: Subject) {
    let bytes = content(8, 3 * subject.part_size);
    let (blobs, faults) = faulty(&subject);
    let pause = Duration::from_millis(100);
    for operation in [Operation::Begin, Operation::Write, Operation::Publish] {
        faults.inject(operation, 1, Fault::Delay(pause));
    }
    faults.inject(FaultPoint::ReadPiece, 2, Fault::Delay(pause));
    let digest = store(&blobs, &bytes).await;
    assert!(read(&blobs, &digest, None).await.unwrap() == bytes);
    assert_eq!(faults.pending(), 0);
}

/// Small enough to be hashed at once: a thread that is waited for would stop the clock.
const SMALL: usize = 1000;

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_ends_an_upload() {
    let (blobs, faults) = faulty(&Subject::memory().await);
    let bytes = content(9, SMALL);
    let digest = Digest::of(&bytes);
    faults.inject(Operation::Publish, 1, Fault::Delay(Duration::from_secs(3600)));
    let mut upload = blobs.begin_upload(&digest, SMALL as u64).await.unwrap();
    upload.write(bytes).await.unwrap();
    let error = upload.finish().await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
    assert_eq!(blobs.head(&digest).await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_falls_silent_ends_a_read() {
    let (blobs, faults) = faulty(&Subject::memory().await);
    let bytes = content(10, SMALL);
    let digest = store(&blobs, &bytes).await;
    faults.inject(FaultPoint::ReadPiece, 1, Fault::Delay(Duration::from_secs(3600)));
    let error = read(&blobs, &digest, None).await.unwrap_err();
    assert!(matches!(error, BlobError::Unavailable { .. }), "{error}");
    assert!(read(&blobs, &digest, None).await.unwrap() == bytes);
}
