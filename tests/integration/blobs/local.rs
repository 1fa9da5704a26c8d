//! What only local disk has.

use std::{fs, os::unix::fs::PermissionsExt as _};

use rootstock_blobs::{BlobError, BlobStore, JournalProblem, PresignOptions, StoreConfig};
use rootstock_model::Digest;
use tempfile::TempDir;

use super::{Subject, content, store, write_all};

fn mode_of(path: &std::path::Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn directories_are_private_and_blobs_read_only() {
    let directory = TempDir::new().unwrap();
    let root = directory.path().join("a/b");
    let blobs = BlobStore::open(&StoreConfig::local(&root)).await.unwrap();
    let digest = store(&blobs, &content(1, 100)).await;
    let hex = digest.to_hex();
    for folder in [
        "",
        "uploads",
        "blobs",
        "blobs/sha256",
        &format!("blobs/sha256/{}", &hex[..2]),
    ] {
        assert_eq!(mode_of(&root.join(folder)), 0o700, "{folder}");
    }
    assert_eq!(
        mode_of(&root.join(format!("blobs/sha256/{}/{hex}", &hex[..2]))),
        0o444
    );
}

#[tokio::test]
async fn there_is_no_presigned_url() {
    let subject = Subject::local().await;
    let digest = store(&subject.store, &content(1, 100)).await;
    let hour = std::time::Duration::from_secs(3600);
    let url = subject
        .store
        .presign_get(&digest, hour, PresignOptions::default())
        .await
        .unwrap();
    assert_eq!(url, None);
}

#[tokio::test]
async fn a_staging_file_that_lost_bytes_is_not_resumed() {
    let subject = Subject::local().await;
    let bytes = content(2, 2 * subject.part_size);
    let mut upload = subject
        .store
        .begin_upload(&Digest::of(&bytes), bytes.len() as u64)
        .await
        .unwrap();
    write_all(&mut upload, bytes.slice(..subject.part_size))
        .await
        .unwrap();
    let journal = upload.suspend().await.unwrap().unwrap();
    let Some(StoreConfig::Local(config)) = &subject.config else {
        unreachable!()
    };
    let staging = fs::read_dir(config.root.join("uploads"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    fs::File::options()
        .write(true)
        .open(&staging)
        .unwrap()
        .set_len(subject.part_size as u64 - 1)
        .unwrap();
    let error = subject.store.resume_upload(&journal).await.unwrap_err();
    assert!(
        matches!(error, BlobError::JournalUnusable(JournalProblem::Shorter)),
        "{error}"
    );
}

#[tokio::test]
async fn two_writers_cannot_share_a_staging_file() {
    let subject = Subject::local().await;
    let bytes = content(3, 2 * subject.part_size);
    let mut upload = subject
        .store
        .begin_upload(&Digest::of(&bytes), bytes.len() as u64)
        .await
        .unwrap();
    write_all(&mut upload, bytes.slice(..subject.part_size))
        .await
        .unwrap();
    let journal = upload.suspend().await.unwrap().unwrap();
    let first = subject.store.resume_upload(&journal).await.unwrap();
    let error = subject
        .reopened()
        .await
        .resume_upload(&journal)
        .await
        .unwrap_err();
    assert!(
        matches!(error, BlobError::JournalUnusable(JournalProblem::InUse)),
        "{error}"
    );
    drop(first);
    subject.store.resume_upload(&journal).await.unwrap();
}

#[tokio::test]
async fn a_directory_that_cannot_be_made_is_refused() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let error = BlobStore::open(&StoreConfig::local(file.join("blobs")))
        .await
        .unwrap_err();
    assert!(matches!(error, BlobError::Refused { .. }), "{error}");
    assert!(!error.retryable());
}
