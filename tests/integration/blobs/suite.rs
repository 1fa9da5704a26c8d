//! What every backend must do.

use bytes::Bytes;
use rootstock_blobs::{
    BlobError, BlobStore, Finished, JournalProblem, PrefixHash, StoredBlob, UploadJournal,
};
use rootstock_model::Digest;

use super::{
    Subject, assert_no_upload_is_open, content, read, run_on_every_backend, store, write_all,
    write_in_pieces_of,
};

run_on_every_backend! {
    every_size_comes_back_as_it_was
    pieces_of_any_size_are_taken
    wrong_content_is_never_visible
    longer_content_is_refused_at_once
    shorter_content_is_refused
    an_upload_is_resumed_by_another_process
    an_upload_is_resumed_more_than_once
    a_finished_part_is_all_that_suspending_keeps
    a_journal_at_the_very_end_is_resumed
    wrong_content_after_a_resume_is_found
    a_damaged_journal_is_refused
    an_aborted_upload_is_not_resumed
    an_upload_aborted_under_its_writer_does_not_become_visible
    a_dropped_upload_is_listed_until_it_is_aborted
    a_cancelled_write_is_resumed_and_not_continued
    ranges_are_read
    a_missing_blob_is_not_found
    deleting_twice_is_fine
    every_blob_is_listed_and_nothing_else
    the_same_blob_is_uploaded_twice_at_a_time
    the_same_blob_is_uploaded_again
    combined_digests_come_from_stored_blobs_too
    a_check_passes
}

async fn every_size_comes_back_as_it_was(subject: Subject) {
    let part = subject.part_size;
    for (seed, len) in [0, 1, 700, part - 1, part, part + 1, 3 * part, 3 * part + 7]
        .into_iter()
        .enumerate()
    {
        let bytes = content(seed as u64, len);
        let digest = Digest::of(&bytes);
        assert_eq!(subject.store.head(&digest).await.unwrap(), None, "{len}");
        let mut upload = subject.store.begin_upload(&digest, len as u64).await.unwrap();
        upload.add_prefix_hash(PrefixHash::over(b"one")).unwrap();
        upload.add_prefix_hash(PrefixHash::over(b"another")).unwrap();
        write_all(&mut upload, bytes.clone()).await.unwrap();
        assert_eq!(
            subject.store.head(&digest).await.unwrap(),
            None,
            "{len} bytes were visible too early"
        );
        assert_eq!(upload.offset(), len as u64);
        let finished = upload.finish().await.unwrap();
        let combined = [b"one".as_slice(), b"another"].map(|prefix| Digest::of(&[prefix, &bytes].concat()));
        assert_eq!(
            finished,
            Finished {
                digest,
                size_bytes: len as u64,
                combined: combined.to_vec()
            },
            "{len}"
        );
        assert_eq!(
            subject.store.head(&digest).await.unwrap().unwrap().size_bytes,
            len as u64
        );
        assert!(
            read(&subject.store, &digest, None).await.unwrap() == bytes,
            "{len}"
        );
    }
    assert_no_upload_is_open(&subject.store).await;
}

async fn pieces_of_any_size_are_taken(subject: Subject) {
    let bytes = content(1, subject.part_size + 12_345);
    for size in [1000, 8191, 8192, 1 << 20, bytes.len()] {
        let digest = Digest::of(&bytes);
        let mut upload = subject
            .store
            .begin_upload(&digest, bytes.len() as u64)
            .await
            .unwrap();
        write_in_pieces_of(size, &mut upload, bytes.clone())
            .await
            .unwrap();
        upload.write(Bytes::new()).await.unwrap();
        upload.finish().await.unwrap();
        assert!(
            read(&subject.store, &digest, None).await.unwrap() == bytes,
            "{size}"
        );
        subject.store.delete(&digest).await.unwrap();
    }
}

async fn wrong_content_is_never_visible(subject: Subject) {
    for len in [0, 10, subject.part_size, 2 * subject.part_size + 1] {
        let announced = Digest::of(b"something else");
        let bytes = content(2, len);
        let mut upload = subject.store.begin_upload(&announced, len as u64).await.unwrap();
        write_all(&mut upload, bytes.clone()).await.unwrap();
        match upload.finish().await.unwrap_err() {
            BlobError::Mismatch { expected, actual } => {
                assert_eq!((expected, actual), (announced, Digest::of(&bytes)));
            }
            other => panic!("{other}"),
        }
        for digest in [announced, Digest::of(&bytes)] {
            assert_eq!(subject.store.head(&digest).await.unwrap(), None, "{len}");
        }
        assert_no_upload_is_open(&subject.store).await;
    }
}

async fn longer_content_is_refused_at_once(subject: Subject) {
    let bytes = content(3, 2 * subject.part_size);
    let digest = Digest::of(&bytes);
    let mut upload = subject
        .store
        .begin_upload(&digest, bytes.len() as u64)
        .await
        .unwrap();
    let journal = write_all(&mut upload, bytes.clone()).await.unwrap();
    let error = upload.write(Bytes::from_static(b"!")).await.unwrap_err();
    let (expected, actual) = (bytes.len() as u64, bytes.len() as u64 + 1);
    assert!(
        matches!(error, BlobError::SizeMismatch { expected_bytes, actual_bytes }
            if expected_bytes == expected && actual_bytes == actual),
        "{error}"
    );
    assert_no_upload_is_open(&subject.store).await;
    let error = upload.write(Bytes::from_static(b"!")).await.unwrap_err();
    assert!(matches!(error, BlobError::JournalUnusable(_)), "{error}");
    upload.finish().await.unwrap_err();
    assert_eq!(subject.store.head(&digest).await.unwrap(), None);
    if let Some(journal) = journal {
        assert_unusable(subject.store.resume_upload(&journal).await, JournalProblem::Gone);
    }
}

async fn shorter_content_is_refused(subject: Subject) {
    for len in [10, 2 * subject.part_size + 1] {
        let bytes = content(4, len);
        let digest = Digest::of(&bytes);
        let mut upload = subject.store.begin_upload(&digest, len as u64).await.unwrap();
        write_all(&mut upload, bytes.slice(..len - 1)).await.unwrap();
        let error = upload.finish().await.unwrap_err();
        assert!(
            matches!(error, BlobError::SizeMismatch { expected_bytes, actual_bytes }
                if expected_bytes == len as u64 && actual_bytes == len as u64 - 1),
            "{error}"
        );
        assert_eq!(subject.store.head(&digest).await.unwrap(), None);
        assert_no_upload_is_open(&subject.store).await;
    }
}

/// Uploads the first `len` bytes and vanishes; returns the newest journal as bytes.
pub(super) async fn interrupted_at(subject: &Subject, bytes: &Bytes, len: usize) -> Vec<u8> {
    let digest = Digest::of(bytes);
    let mut upload = subject
        .store
        .begin_upload(&digest, bytes.len() as u64)
        .await
        .unwrap();
    upload.add_prefix_hash(PrefixHash::over(b"metadata")).unwrap();
    upload.set_validator(Some("\"etag\"".to_owned()));
    // A store may be as fast as the writer: then the newest journal came with the last bytes.
    let last = write_all(&mut upload, bytes.slice(..len)).await.unwrap();
    upload
        .suspend()
        .await
        .unwrap()
        .or(last)
        .expect("no part became durable")
        .to_bytes()
}

pub(super) async fn finish_from(store: &BlobStore, journal: &UploadJournal, bytes: &Bytes) -> Finished {
    let mut upload = store.resume_upload(journal).await.unwrap();
    assert_eq!(upload.offset(), journal.offset());
    let offset = usize::try_from(upload.offset()).unwrap();
    write_all(&mut upload, bytes.slice(offset..)).await.unwrap();
    upload.finish().await.unwrap()
}

pub(super) fn fingerprint(bytes: &Bytes) -> Digest {
    Digest::of(&[b"metadata".as_slice(), bytes].concat())
}

async fn an_upload_is_resumed_by_another_process(subject: Subject) {
    let part = subject.part_size;
    let bytes = content(5, 3 * part + 100);
    for interrupted in [part, part + 1, 2 * part + part / 2, 3 * part + 50] {
        let saved = interrupted_at(&subject, &bytes, interrupted).await;
        let journal = UploadJournal::from_bytes(&saved).unwrap();
        assert_eq!(journal.offset(), (interrupted / part * part) as u64);
        assert_eq!(journal.validator(), Some("\"etag\""));
        assert_eq!(journal.prefixes(), [Digest::of(b"metadata")]);
        let finished = finish_from(&subject.reopened().await, &journal, &bytes).await;
        assert_eq!(finished.combined, [fingerprint(&bytes)], "{interrupted}");
        assert!(read(&subject.store, &finished.digest, None).await.unwrap() == bytes);
        assert_no_upload_is_open(&subject.store).await;
        // The same journal once more: the upload is over.
        assert_unusable(subject.store.resume_upload(&journal).await, JournalProblem::Gone);
        subject.store.delete(&finished.digest).await.unwrap();
    }
}

async fn an_upload_is_resumed_more_than_once(subject: Subject) {
    let part = subject.part_size;
    let bytes = content(6, 4 * part + 1);
    let first = UploadJournal::from_bytes(&interrupted_at(&subject, &bytes, part).await).unwrap();
    // What the second writer stored after its last saved journal is overwritten by the third.
    for until in [3 * part + 5, 2 * part] {
        let mut upload = subject.reopened().await.resume_upload(&first).await.unwrap();
        let written = write_all(&mut upload, bytes.slice(part..until)).await;
        written.unwrap();
        drop(upload);
    }
    let finished = finish_from(&subject.store, &first, &bytes).await;
    assert_eq!(finished.combined, [fingerprint(&bytes)]);
    assert!(read(&subject.store, &finished.digest, None).await.unwrap() == bytes);
}

async fn a_finished_part_is_all_that_suspending_keeps(subject: Subject) {
    let bytes = content(7, 2 * subject.part_size);
    let digest = Digest::of(&bytes);
    let mut upload = subject
        .store
        .begin_upload(&digest, bytes.len() as u64)
        .await
        .unwrap();
    write_all(&mut upload, bytes.slice(..subject.part_size - 1))
        .await
        .unwrap();
    assert_eq!(upload.suspend().await.unwrap(), None);
}

async fn a_journal_at_the_very_end_is_resumed(subject: Subject) {
    let bytes = content(8, 2 * subject.part_size);
    let saved = interrupted_at(&subject, &bytes, bytes.len()).await;
    let journal = UploadJournal::from_bytes(&saved).unwrap();
    assert_eq!(journal.offset(), bytes.len() as u64);
    let finished = finish_from(&subject.reopened().await, &journal, &bytes).await;
    assert_eq!(finished.combined, [fingerprint(&bytes)]);
    assert!(read(&subject.store, &finished.digest, None).await.unwrap() == bytes);
}

async fn wrong_content_after_a_resume_is_found(subject: Subject) {
    let bytes = content(9, 2 * subject.part_size + 10);
    let saved = interrupted_at(&subject, &bytes, subject.part_size).await;
    let journal = UploadJournal::from_bytes(&saved).unwrap();
    let mut upload = subject.store.resume_upload(&journal).await.unwrap();
    write_all(&mut upload, content(10, subject.part_size + 10))
        .await
        .unwrap();
    let error = upload.finish().await.unwrap_err();
    assert!(matches!(error, BlobError::Mismatch { .. }), "{error}");
    assert_eq!(subject.store.head(&Digest::of(&bytes)).await.unwrap(), None);
    assert_no_upload_is_open(&subject.store).await;
}

async fn a_damaged_journal_is_refused(subject: Subject) {
    let bytes = content(11, 2 * subject.part_size);
    let saved = interrupted_at(&subject, &bytes, subject.part_size).await;
    for position in (0..saved.len()).step_by(37) {
        let mut damaged = saved.clone();
        damaged[position] ^= 1;
        assert!(
            matches!(
                UploadJournal::from_bytes(&damaged),
                Err(BlobError::JournalUnusable(_))
            ),
            "{position}"
        );
    }
    let other = subject.other_kind().await;
    let journal = UploadJournal::from_bytes(&saved).unwrap();
    assert_unusable(
        other.store.resume_upload(&journal).await,
        JournalProblem::OtherStore,
    );
}

async fn an_aborted_upload_is_not_resumed(subject: Subject) {
    let bytes = content(12, 2 * subject.part_size);
    let saved = interrupted_at(&subject, &bytes, subject.part_size).await;
    let journal = UploadJournal::from_bytes(&saved).unwrap();
    subject
        .store
        .resume_upload(&journal)
        .await
        .unwrap()
        .abort()
        .await
        .unwrap();
    assert_no_upload_is_open(&subject.store).await;
    assert_unusable(
        subject.reopened().await.resume_upload(&journal).await,
        JournalProblem::Gone,
    );
}

async fn an_upload_aborted_under_its_writer_does_not_become_visible(subject: Subject) {
    let bytes = content(13, 2 * subject.part_size);
    let digest = Digest::of(&bytes);
    let mut upload = subject
        .store
        .begin_upload(&digest, bytes.len() as u64)
        .await
        .unwrap();
    write_all(&mut upload, bytes.slice(..10)).await.unwrap();
    subject.store.abort_upload(upload.id()).await.unwrap();
    let finished = async {
        write_all(&mut upload, bytes.slice(10..)).await?;
        upload.finish().await
    };
    let error = finished.await.unwrap_err();
    assert!(
        matches!(error, BlobError::JournalUnusable(JournalProblem::Gone)),
        "{error}"
    );
    assert_eq!(subject.store.head(&digest).await.unwrap(), None);
}

async fn a_dropped_upload_is_listed_until_it_is_aborted(subject: Subject) {
    let bytes = content(14, 2 * subject.part_size);
    let digest = Digest::of(&bytes);
    let mut upload = subject
        .store
        .begin_upload(&digest, bytes.len() as u64)
        .await
        .unwrap();
    write_all(&mut upload, bytes.slice(..subject.part_size + 1))
        .await
        .unwrap();
    let id = upload.id().to_owned();
    drop(upload);
    let other = subject.reopened().await;
    let listed = other.list_uploads().await.unwrap();
    assert_eq!(
        listed
            .iter()
            .map(|open| (&open.id, open.digest))
            .collect::<Vec<_>>(),
        [(&id, Some(digest))]
    );
    assert!(listed[0].age.as_secs() < 3600, "{:?}", listed[0].age);
    other.abort_upload(&id).await.unwrap();
    assert_no_upload_is_open(&subject.store).await;
    other.abort_upload(&id).await.unwrap();
    for nonsense in ["", "nonsense", "../../x", "other/key?uploadId=1"] {
        other.abort_upload(nonsense).await.unwrap();
    }
}

async fn a_cancelled_write_is_resumed_and_not_continued(subject: Subject) {
    let bytes = content(20, 4 * subject.part_size);
    let digest = Digest::of(&bytes);
    // A write that never had to wait was not cancelled, so this may take more than one attempt.
    for _ in 0..20 {
        let saved = interrupted_at(&subject, &bytes, subject.part_size).await;
        let journal = UploadJournal::from_bytes(&saved).unwrap();
        let mut upload = subject.store.resume_upload(&journal).await.unwrap();
        let rest = bytes.slice(subject.part_size..);
        if futures::FutureExt::now_or_never(upload.write(rest.clone())).is_some() {
            upload.abort().await.unwrap();
            continue;
        }
        let error = upload.write(rest).await.unwrap_err();
        assert!(matches!(error, BlobError::Interrupted), "{error}");
        assert!(matches!(upload.finish().await, Err(BlobError::Interrupted)));
        let finished = finish_from(&subject.store, &journal, &bytes).await;
        assert_eq!(
            (finished.digest, finished.combined),
            (digest, vec![fingerprint(&bytes)])
        );
        assert!(read(&subject.store, &digest, None).await.unwrap() == bytes);
        return;
    }
    panic!("no write ever had to wait");
}

async fn ranges_are_read(subject: Subject) {
    let bytes = content(15, 2 * subject.part_size + 1000);
    let len = bytes.len() as u64;
    let digest = store(&subject.store, &bytes).await;
    let middle = subject.part_size as u64;
    for range in [
        0..1,
        0..len,
        middle - 1..middle + 1,
        middle..middle + 700_000,
        len - 10..len,
        len - 1..len,
        len - 10..len + 10,
        0..u64::MAX,
        len - 1..u64::MAX,
    ] {
        let reader = subject.store.read(&digest, Some(range.clone())).await.unwrap();
        let expected = range.start..range.end.min(len);
        assert_eq!(
            (reader.size_bytes, reader.range),
            (len, expected.clone()),
            "{range:?}"
        );
        let found = read(&subject.store, &digest, Some(range.clone())).await.unwrap();
        let expected = usize::try_from(expected.start).unwrap()..usize::try_from(expected.end).unwrap();
        assert!(found == bytes[expected], "{range:?}");
    }
    let backwards = std::ops::Range { start: 10, end: 9 };
    for range in [len..len + 1, len..u64::MAX, len + 10..len + 20, 5..5, backwards] {
        let error = subject
            .store
            .read(&digest, Some(range.clone()))
            .await
            .unwrap_err();
        assert!(
            matches!(error, BlobError::RangeNotSatisfiable { size_bytes } if size_bytes == len),
            "{range:?}: {error}"
        );
    }
    let empty = store(&subject.store, &Bytes::new()).await;
    let error = subject.store.read(&empty, Some(0..1)).await.unwrap_err();
    assert!(
        matches!(error, BlobError::RangeNotSatisfiable { size_bytes: 0 }),
        "{error}"
    );
}

async fn a_missing_blob_is_not_found(subject: Subject) {
    let digest = Digest::of(b"missing");
    for range in [None, Some(0..1), Some(5..5)] {
        let error = subject.store.read(&digest, range).await.unwrap_err();
        assert!(
            matches!(error, BlobError::NotFound { digest: found } if found == digest),
            "{error}"
        );
    }
    assert_eq!(subject.store.head(&digest).await.unwrap(), None);
}

async fn deleting_twice_is_fine(subject: Subject) {
    let digest = store(&subject.store, &content(16, 1000)).await;
    for _ in 0..2 {
        subject.store.delete(&digest).await.unwrap();
        assert_eq!(subject.store.head(&digest).await.unwrap(), None);
    }
}

async fn every_blob_is_listed_and_nothing_else(subject: Subject) {
    let listed = async || -> Vec<StoredBlob> {
        let mut listed: Vec<_> = futures::TryStreamExt::try_collect(subject.store.list())
            .await
            .unwrap();
        listed.sort_by_key(|blob| blob.digest);
        listed
    };
    assert_eq!(listed().await, []);
    let mut expected = Vec::new();
    for size in [0, 1, 700] {
        expected.push((store(&subject.store, &content(20, size)).await, size as u64));
    }
    expected.sort();
    let unfinished = subject
        .store
        .begin_upload(&Digest::of(b"unfinished"), 7)
        .await
        .unwrap();
    let found = listed().await;
    assert!(found.iter().all(|blob| blob.age.as_secs() < 3600), "{found:?}");
    let found: Vec<_> = found
        .into_iter()
        .map(|blob| (blob.digest, blob.size_bytes))
        .collect();
    assert_eq!(found, expected);
    subject.store.abort_upload(unfinished.id()).await.unwrap();
    subject.store.delete(&expected[0].0).await.unwrap();
    assert_eq!(listed().await.len(), 2);
}

async fn the_same_blob_is_uploaded_twice_at_a_time(subject: Subject) {
    let bytes = content(17, 2 * subject.part_size + 3);
    let uploads = (0..4).map(|_| store(&subject.store, &bytes));
    let digests = futures::future::join_all(uploads).await;
    assert!(digests.iter().all(|digest| *digest == Digest::of(&bytes)));
    assert!(read(&subject.store, &digests[0], None).await.unwrap() == bytes);
    assert_no_upload_is_open(&subject.store).await;
}

async fn the_same_blob_is_uploaded_again(subject: Subject) {
    let bytes = content(18, 2 * subject.part_size);
    let digest = store(&subject.store, &bytes).await;
    let mut reader = subject.store.read(&digest, None).await.unwrap();
    let first = futures::TryStreamExt::try_next(&mut reader.stream)
        .await
        .unwrap()
        .unwrap();
    store(&subject.store, &bytes).await;
    let rest: Vec<Bytes> = futures::TryStreamExt::try_collect(reader.stream).await.unwrap();
    assert!(
        [first.to_vec(), rest.concat()].concat() == bytes,
        "a reader saw the second upload"
    );
    assert!(read(&subject.store, &digest, None).await.unwrap() == bytes);
}

async fn combined_digests_come_from_stored_blobs_too(subject: Subject) {
    let bytes = content(19, subject.part_size + 1);
    let root = store(&subject.store, &bytes).await;
    let metadata = store(&subject.store, &Bytes::from_static(b"metadata")).await;
    let prefix = subject.store.prefix_hash(&metadata).await.unwrap();
    assert_eq!(prefix.prefix(), &metadata);
    let combined = subject
        .store
        .combined_digests(vec![prefix, PrefixHash::over(b"")], &root)
        .await
        .unwrap();
    assert_eq!(combined, [fingerprint(&bytes), root]);
}

async fn a_check_passes(subject: Subject) {
    subject.store.check().await.unwrap();
    assert_no_upload_is_open(&subject.store).await;
}

#[track_caller]
pub(super) fn assert_unusable<T: std::fmt::Debug>(result: Result<T, BlobError>, expected: JournalProblem) {
    match result {
        Err(BlobError::JournalUnusable(problem)) => assert_eq!(problem, expected),
        other => panic!("{other:?}"),
    }
}
