//! Blobs that clients bring.

use bytes::Bytes;
use rootstock_model::Digest;
use rootstock_proto::{
    Error,
    catalog::v1::{UploadHeader, UploadState},
    convert::digest_bytes,
    sync::v1::{OpenUploadRequest, open_upload_response::Outcome},
};
use rootstock_tests::uploads::{Upload, download, header, upload};
use tonic::Code;

use super::{PART_BYTES, Site, metadata, request, root};

#[tokio::test]
async fn what_is_stored_already_is_not_sent_again() -> anyhow::Result<()> {
    let site = Site::start().await?;
    let mut contents = site.contents()?;
    for content in [root(1, 3 * PART_BYTES + 7)?, root(2, PART_BYTES)?, Bytes::new()] {
        assert_eq!(upload(&mut contents, header(&content), &content).await?, 0);
        let mut again = Upload::begin(&mut contents, header(&content)).await?;
        assert_eq!(again.answer().await?, (UploadState::Stored, content.len() as u64));
        assert!(site.stored()?.contains(&Digest::of(&content).to_hex()));
        // One that lies about its length is not told that all is well.
        let lie = UploadHeader {
            size_bytes: content.len() as i64 + 1,
            ..header(&content)
        };
        let status = upload(&mut contents, lie, &content).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    }
    site.cluster.stop().await
}

#[tokio::test]
async fn wrong_bytes_are_refused_and_nothing_is_left_of_them() -> anyhow::Result<()> {
    let site = Site::start().await?;
    let mut contents = site.contents()?;
    let (announced, sent) = (root(1, 3 * PART_BYTES)?, root(2, 3 * PART_BYTES)?);
    let status = upload(&mut contents, header(&announced), &sent)
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert!(status.message().contains(&Digest::of(&sent).to_hex()), "{status}");
    assert_eq!(site.stored()?, [""; 0], "something is left in the store");
    // Neither is there in the catalog: the next one begins at the beginning.
    let open = OpenUploadRequest {
        worker: "test".to_owned(),
        sha256: digest_bytes(&Digest::of(&announced)),
    };
    let opened = site
        .cluster
        .catalog
        .imports()
        .open_upload(open)
        .await?
        .into_inner();
    match opened.outcome {
        Some(Outcome::Opened(opened)) => {
            assert!(opened.journal.is_empty());
            let release = rootstock_proto::sync::v1::ReleaseRequest {
                leases: opened.lease.into_iter().collect(),
            };
            site.cluster.catalog.work().release(release).await?;
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(upload(&mut contents, header(&announced), &announced).await?, 0);
    // What cannot be is told before anything is sent.
    for (header, says) in [
        (
            UploadHeader {
                sha256: "x".to_owned(),
                ..header(&sent)
            },
            "header.sha256",
        ),
        (
            UploadHeader {
                size_bytes: i64::MAX,
                ..header(&sent)
            },
            "at most",
        ),
        (
            UploadHeader {
                size_bytes: -1,
                ..header(&sent)
            },
            "negative",
        ),
    ] {
        let status = upload(&mut contents, header, &sent).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().contains(says), "{status}");
    }
    site.cluster.stop().await
}

#[tokio::test]
async fn of_two_who_send_the_same_blob_one_waits() -> anyhow::Result<()> {
    let site = Site::start().await?;
    let content = root(1, 2 * PART_BYTES)?;
    let (mut one, mut two) = (site.contents()?, site.contents()?);
    let mut first = Upload::begin(&mut one, header(&content)).await?;
    assert_eq!(first.answer().await?, (UploadState::Receiving, 0));
    let mut second = Upload::begin(&mut two, header(&content)).await?;
    assert_eq!(second.answer().await?.0, UploadState::Waiting);
    first.finish(content.clone()).await?;
    // It is told that all of it is there, and has sent nothing.
    assert_eq!(second.ready().await?, (UploadState::Stored, content.len() as u64));
    site.cluster.stop().await
}

#[tokio::test]
async fn only_blobs_of_versions_are_given_out_and_only_whole() -> anyhow::Result<()> {
    let site = Site::start().await?;
    let mut contents = site.contents()?;
    let (metadata, root) = (metadata("12")?, root(1, 3 * PART_BYTES + 5)?);
    super::upload_both(&mut contents, &metadata, &root).await?;
    let digest = Digest::of(&root);
    let (_, ended) = download(&mut contents, &digest, 0).await;
    assert_eq!(ended.unwrap_err().code(), Code::NotFound, "no version has it yet");
    contents.import_image(request("web", &[&metadata, &root])).await?;
    // Read what was imported: this gateway knows it at once.
    let (content, ended) = download(&mut contents, &digest, 0).await;
    ended?;
    assert!(content == root, "other bytes came");
    let (content, ended) = download(&mut contents, &digest, 100).await;
    ended?;
    assert!(content == root[100..], "other bytes came");
    let (content, ended) = download(&mut contents, &digest, root.len() as u64).await;
    ended?;
    assert!(content.is_empty());
    let (_, ended) = download(&mut contents, &digest, root.len() as u64 + 1).await;
    assert_eq!(ended.unwrap_err().code(), Code::InvalidArgument);

    // A disk that forgets: whoever reads it does not get all of it.
    let path = site.blob_path(&digest);
    let mut damaged = std::fs::read(&path)?;
    damaged[17] ^= 1;
    std::fs::write(&path, damaged)?;
    let (content, ended) = download(&mut contents, &digest, 0).await;
    assert_eq!(ended.unwrap_err().code(), Code::DataLoss);
    assert!(content.len() < root.len(), "all of a damaged blob was given out");
    site.cluster.stop().await
}

#[tokio::test]
async fn a_catalog_moves_no_bytes() -> anyhow::Result<()> {
    let site = Site::start().await?;
    let channel = site.cluster.catalog.channel.clone();
    let mut contents =
        rootstock_proto::catalog::v1::content_service_client::ContentServiceClient::new(channel);
    let status = contents.import_image(request("web", &[])).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert_eq!(Error::from_status(&status), None);
    site.cluster.stop().await
}
