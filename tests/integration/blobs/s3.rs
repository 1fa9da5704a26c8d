//! What only S3 has.

use std::time::Duration;

use reqwest::{
    StatusCode,
    header::{CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, RANGE},
};
use rootstock_blobs::{
    BlobError, BlobStore, Outcome, PartIntegrity, PresignOptions, S3Config, Secret, StoreConfig,
};
use rootstock_model::Digest;
use rootstock_tests::seaweed::SeaweedFs;

use super::{Subject, assert_no_upload_is_open, content, read, store, write_all};

const HOUR: Duration = Duration::from_secs(3600);

async fn config() -> S3Config {
    let _ = rustls::crypto::ring::default_provider().install_default();
    SeaweedFs::shared().await.unwrap().config()
}

async fn open(config: &S3Config) -> BlobStore {
    BlobStore::open(&StoreConfig::S3(config.clone())).await.unwrap()
}

#[tokio::test]
async fn a_presigned_url_serves_the_blob_and_its_ranges() {
    let blobs = open(&config().await).await;
    for len in [1000, 17 * 1024 * 1024] {
        let bytes = content(1, len);
        let digest = store(&blobs, &bytes).await;
        let plain = blobs
            .presign_get(&digest, HOUR, PresignOptions::default())
            .await
            .unwrap()
            .unwrap();
        let response = reqwest::get(plain.clone()).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/octet-stream");
        assert!(!response.headers().contains_key(CONTENT_ENCODING));
        assert!(response.bytes().await.unwrap() == bytes);

        let request = reqwest::Client::new()
            .get(plain.clone())
            .header(RANGE, "bytes=10-19");
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT);
        assert_eq!(response.headers()[CONTENT_RANGE], format!("bytes 10-19/{len}"));
        assert_eq!(response.bytes().await.unwrap(), bytes[10..20]);

        let mut tampered = plain;
        tampered.set_path(
            &tampered
                .path()
                .replace(&digest.to_hex(), &Digest::of(b"other").to_hex()),
        );
        assert_eq!(
            reqwest::get(tampered).await.unwrap().status(),
            StatusCode::FORBIDDEN
        );
    }
}

#[tokio::test]
async fn a_presigned_url_says_how_the_answer_is_labelled() {
    let blobs = open(&config().await).await;
    let digest = store(&blobs, &content(2, 10)).await;
    let options = PresignOptions {
        content_disposition: Some("attachment; filename=\"incus.tar.xz\"".to_owned()),
        content_type: Some("application/x-xz".to_owned()),
    };
    let url = blobs.presign_get(&digest, HOUR, options).await.unwrap().unwrap();
    let response = reqwest::get(url).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(
        response.headers()[CONTENT_DISPOSITION],
        "attachment; filename=\"incus.tar.xz\""
    );
    assert_eq!(response.headers()[CONTENT_TYPE], "application/x-xz");
}

#[tokio::test]
async fn a_presigned_url_carries_the_public_address() {
    let mut config = config().await;
    let port = config.endpoint.as_ref().unwrap().port().unwrap();
    config.public_endpoint = format!("http://localhost:{port}").parse().ok();
    let blobs = open(&config).await;
    let bytes = content(3, 10);
    let digest = store(&blobs, &bytes).await;
    let url = blobs
        .presign_get(&digest, HOUR, PresignOptions::default())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(url.host_str(), Some("localhost"));
    assert_eq!(reqwest::get(url).await.unwrap().bytes().await.unwrap(), bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_part_integrity_works() {
    for (seed, part_integrity) in [
        PartIntegrity::Sha256,
        PartIntegrity::Crc64nvme,
        PartIntegrity::None,
    ]
    .into_iter()
    .enumerate()
    {
        let config = S3Config {
            part_integrity,
            part_size_bytes: 5 << 20,
            ..config().await
        };
        let blobs = open(&config).await;
        for len in [0, 1000, 11 << 20] {
            let bytes = content(seed as u64, len);
            let digest = store(&blobs, &bytes).await;
            assert!(
                read(&blobs, &digest, None).await.unwrap() == bytes,
                "{part_integrity:?} {len}"
            );
        }
        // Part ids look different with checksums, and go through a journal all the same.
        let bytes = content(seed as u64 + 100, 11 << 20);
        let digest = Digest::of(&bytes);
        let mut upload = blobs.begin_upload(&digest, bytes.len() as u64).await.unwrap();
        write_all(&mut upload, bytes.slice(..6 << 20)).await.unwrap();
        let journal = upload.suspend().await.unwrap().unwrap();
        let mut upload = open(&config).await.resume_upload(&journal).await.unwrap();
        write_all(&mut upload, bytes.slice(5 << 20..)).await.unwrap();
        upload.finish().await.unwrap();
        assert!(
            read(&blobs, &digest, None).await.unwrap() == bytes,
            "{part_integrity:?}"
        );
    }
}

#[tokio::test]
async fn more_uploads_than_a_page_holds_are_listed() {
    let blobs = open(&config().await).await;
    let count = 1003;
    let begin = |number: u32| {
        let blobs = blobs.clone();
        async move {
            blobs
                .begin_upload(&Digest::of(&number.to_le_bytes()), 100 << 20)
                .await
                .unwrap()
                .id()
                .to_owned()
        }
    };
    let uploads = futures::StreamExt::buffered(futures::stream::iter((0..count).map(begin)), 16);
    let mut begun: Vec<String> = futures::StreamExt::collect(uploads).await;
    let listed = blobs.list_uploads().await.unwrap();
    assert!(listed.iter().all(|open| open.digest.is_some()));
    let mut listed: Vec<String> = listed.into_iter().map(|open| open.id).collect();
    begun.sort();
    listed.sort();
    assert!(
        begun == listed,
        "{} were begun, {} are listed",
        begun.len(),
        listed.len()
    );
}

#[tokio::test]
async fn uploads_of_others_in_the_bucket_are_neither_seen_nor_aborted() {
    let (ours, theirs) = (open(&config().await).await, open(&config().await).await);
    let upload = theirs.begin_upload(&Digest::of(b"x"), 100 << 20).await.unwrap();
    assert_no_upload_is_open(&ours).await;
    ours.abort_upload(upload.id()).await.unwrap();
    assert_eq!(theirs.list_uploads().await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_the_service_refuses_is_not_worth_retrying() {
    let good = config().await;
    let wrong_secret = S3Config {
        secret_access_key: Some(Secret::new("wrong")),
        ..good.clone()
    };
    let wrong_bucket = S3Config {
        bucket: "no-such-bucket".to_owned(),
        ..good
    };
    for config in [wrong_secret, wrong_bucket] {
        let blobs = open(&config).await;
        for error in [
            blobs.check().await.unwrap_err(),
            blobs.list_uploads().await.unwrap_err(),
            blobs.read(&Digest::of(b"x"), None).await.unwrap_err(),
        ] {
            assert!(
                matches!(error, BlobError::Refused { .. }),
                "{}: {error}",
                config.bucket
            );
            assert_eq!(error.outcome(), Outcome::Failed);
            assert!(!error.to_string().contains("wrong"), "{error}");
        }
    }
}

#[tokio::test]
async fn a_part_that_is_not_the_one_that_was_hashed_is_not_published() {
    let subject = Subject::s3().await;
    let bytes = content(4, 2 * subject.part_size + 10);
    let digest = Digest::of(&bytes);
    let mut upload = subject
        .store
        .begin_upload(&digest, bytes.len() as u64)
        .await
        .unwrap();
    write_all(&mut upload, bytes.slice(..subject.part_size))
        .await
        .unwrap();
    let journal = upload.suspend().await.unwrap().unwrap();
    // A worker that lost its claim goes on with another second part, while the new one has the right one.
    let mut right = subject.reopened().await.resume_upload(&journal).await.unwrap();
    write_all(&mut right, bytes.slice(subject.part_size..2 * subject.part_size))
        .await
        .unwrap();
    let after = right.suspend().await.unwrap().unwrap();
    let mut wrong = subject.reopened().await.resume_upload(&journal).await.unwrap();
    write_all(&mut wrong, content(5, subject.part_size))
        .await
        .unwrap();
    wrong.suspend().await.unwrap();

    let mut right = subject.store.resume_upload(&after).await.unwrap();
    write_all(&mut right, bytes.slice(2 * subject.part_size..))
        .await
        .unwrap();
    // Services differ: one keeps both parts and takes the one asked for, another has only the last.
    match right.finish().await {
        Ok(_) => assert!(read(&subject.store, &digest, None).await.unwrap() == bytes),
        Err(error) => {
            assert!(matches!(error, BlobError::Refused { .. }), "{error}");
            assert_eq!(subject.store.head(&digest).await.unwrap(), None);
        }
    }
    assert_no_upload_is_open(&subject.store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_restarts_is_waited_for() {
    let server = SeaweedFs::start_own().await.unwrap();
    let subject = Subject::on(&server).await;
    let bytes = content(6, 3 * subject.part_size + 5);
    let digest = Digest::of(&bytes);
    let mut upload = subject
        .store
        .begin_upload(&digest, bytes.len() as u64)
        .await
        .unwrap();
    write_all(&mut upload, bytes.slice(..subject.part_size + 1))
        .await
        .unwrap();
    server.stop().await.unwrap();
    let rest = async {
        write_all(&mut upload, bytes.slice(subject.part_size + 1..)).await?;
        upload.finish().await
    };
    let (finished, started) = tokio::join!(rest, server.start());
    started.unwrap();
    finished.unwrap();
    assert!(read(&subject.store, &digest, None).await.unwrap() == bytes);
}

#[tokio::test]
async fn a_service_that_is_not_there_is_unavailable() {
    let mut config = config().await;
    // Nothing listens on port 1.
    config.endpoint = "http://127.0.0.1:1".parse().ok();
    let error = open(&config).await.check().await.unwrap_err();
    assert!(matches!(error, BlobError::Unavailable { .. }), "{error}");
    assert!(error.retryable());
}
