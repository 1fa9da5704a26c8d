//! Memory does not grow with the blob. The measurements run alone, each in a process of its own: the
//! peak of this one belongs to whatever tests run beside.

#![cfg(target_os = "linux")]

use std::process::Command;

use bytes::Bytes;
use rootstock_blobs::BlobStore;
use rootstock_model::Digest;
use sha2::{Digest as _, Sha256};

use super::Subject;

const MIB: usize = 1024 * 1024;
const BLOB_MIB: usize = 256;
/// Far more than the documented bound (3 MiB on local disk, three parts on S3), which leaves room for
/// the allocator and the HTTP client; far less than the blob.
const BOUND_MIB: usize = 64;

#[test]
fn uploading_to_local_disk_takes_little_memory() {
    run_alone("blobs::memory::measure_local");
}

#[test]
fn uploading_to_s3_takes_little_memory() {
    run_alone("blobs::memory::measure_s3");
}

fn run_alone(test: &str) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--ignored", "--nocapture"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let ran_one = text.contains("1 passed");
    assert!(
        output.status.success() && ran_one,
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures its process: started by uploading_to_local_disk_takes_little_memory"]
async fn measure_local() {
    measure(&Subject::local().await.store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures its process: started by uploading_to_s3_takes_little_memory"]
async fn measure_s3() {
    measure(&Subject::s3().await.store).await;
}

async fn measure(store: &BlobStore) {
    let piece = |number: usize| vec![u8::try_from(number % 251).unwrap(); MIB];
    let mut hash = Sha256::new();
    (0..BLOB_MIB).for_each(|number| hash.update(piece(number)));
    let digest = Digest::new(hash.finalize().into());

    let before = peak_resident_mib();
    let mut upload = store
        .begin_upload(&digest, (BLOB_MIB * MIB) as u64)
        .await
        .unwrap();
    for number in 0..BLOB_MIB {
        upload.write(Bytes::from(piece(number))).await.unwrap();
    }
    upload.finish().await.unwrap();
    assert_eq!(store.combined_digests(Vec::new(), &digest).await.unwrap(), []);
    let grown = peak_resident_mib() - before;
    assert!(grown < BOUND_MIB, "moving {BLOB_MIB} MiB took {grown} MiB");
}

fn peak_resident_mib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() / 1024
}
