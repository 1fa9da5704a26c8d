//! Exports: who gets one, and those that break and go on.

use std::{fs, process::Output};

use anyhow::ensure;
use bytes::Bytes;
use rootstock_model::Digest;
use rootstock_proto::catalog::v1::{
    CollectBlobsRequest, ImportImageRequest, ListBlobsRequest, blob_service_client::BlobServiceClient,
};
use rootstock_tests::{
    fault_proxy::{Behaviour, FaultProxy},
    uploads::download,
};
use tonic::{Code, transport::Channel};

use super::{PART_BYTES, Site, failure, metadata, request, root};

#[tokio::test]
async fn an_export_goes_on_where_it_was() -> anyhow::Result<()> {
    let site = Site::start().await?;
    let (metadata, root) = (metadata("12")?, root(1, 24 * PART_BYTES)?);
    let files = [
        site.write("meta.tar.xz", &metadata)?,
        site.write("root.squashfs", &root)?,
    ];
    site.ok(&["image", "import", "--name", "web", &files[0], &files[1]])
        .await?;
    let target = site.files.path().join("exported");
    let file = target.join(format!("{}.squashfs", Digest::of(&root)));
    let part = target.join(format!("{}.squashfs.part", Digest::of(&root)));
    let target_text = target.display().to_string();

    // The connection breaks again and again; the command goes on by itself.
    let proxy = FaultProxy::start(site.cluster.grpc)?;
    let port = site.cluster.grpc.port();
    let export = ["image", "export", "web", &target_text];
    proxy.set(Behaviour::CutAfter { bytes: 10 << 20 });
    succeeded(site.operate(proxy.address().port(), &export).await?)?;
    ensure!(fs::read(&file)? == root, "other bytes were written");
    ensure!(!part.exists());

    // What an earlier command has left is gone on with: only the rest comes.
    fs::remove_file(&file)?;
    fs::write(&part, &root[..20 << 20])?;
    let output = site.operate(port, &export).await?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        output.status.success() && said.contains("from 20.0 MiB on"),
        "{said}"
    );
    ensure!(fs::read(&file)? == root, "other bytes were written");

    // What only looks like a part of it is not.
    fs::remove_file(&file)?;
    fs::write(&part, vec![7; 1000])?;
    succeeded(site.operate(port, &export).await?)?;
    ensure!(fs::read(&file)? == root, "other bytes were written");

    // What is there already does not come again, and what it was made to be is told.
    let export = [&export[..], &["--format", "json"]].concat();
    let printed = succeeded(site.operate(port, &export).await?)?;
    let printed: serde_json::Value = serde_json::from_slice(&printed)?;
    assert_eq!(printed["version"], 0);
    assert_eq!(printed["files"][1]["path"], file.display().to_string());
    assert_eq!(printed["files"][1]["sha256"], Digest::of(&root).to_hex());
    site.cluster.stop().await
}

#[tokio::test]
async fn a_damaged_store_is_noticed_and_nothing_gets_its_name() -> anyhow::Result<()> {
    let site = Site::start().await?;
    let (metadata, root) = (metadata("12")?, root(1, 2 * PART_BYTES)?);
    let files = [
        site.write("meta.tar.xz", &metadata)?,
        site.write("root.squashfs", &root)?,
    ];
    site.ok(&["image", "import", "--name", "web", &files[0], &files[1]])
        .await?;
    let path = site.blob_path(&Digest::of(&root));
    let mut damaged = fs::read(&path)?;
    damaged[100] ^= 1;
    fs::write(&path, damaged)?;
    let target = site.files.path().join("exported");
    let port = site.cluster.grpc.port();
    let (said, code) = failure(
        &site
            .operate(port, &["image", "export", "web", &target.display().to_string()])
            .await?,
    );
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("is not this blob any more"), "{said}");
    assert!(!target.join(format!("{}.squashfs", Digest::of(&root))).exists());
    for (arguments, expected) in [
        (vec!["image", "export", "nonesuch"], 3),
        (vec!["image", "export", "web", "--version", "7"], 3),
    ] {
        let (said, code) = failure(&site.operate(port, &arguments).await?);
        assert_eq!(code, expected, "{said}");
    }
    site.cluster.stop().await
}

#[tokio::test]
async fn a_private_image_leaves_through_the_operators_listener_alone() -> anyhow::Result<()> {
    let site = Site::start().await?;
    let (metadata, root) = (metadata("12")?, root(1, 2 * PART_BYTES)?);
    let (public_metadata, public_root) = (super::metadata("13")?, super::root(2, 2 * PART_BYTES)?);
    let mut contents = site.contents()?;
    super::upload_both(&mut contents, &metadata, &root).await?;
    contents.import_image(request("web", &[&metadata, &root])).await?;
    super::upload_both(&mut contents, &public_metadata, &public_root).await?;
    let public = ImportImageRequest {
        public: true,
        ..request("everyones", &[&public_metadata, &public_root])
    };
    contents.import_image(public).await?;

    let mut through_https = site.cluster.edge.contents()?;
    for content in [&metadata, &root, &Bytes::from_static(b"never heard of")] {
        let (bytes, ended) = download(&mut through_https, &Digest::of(content), 0).await;
        let status = ended.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied);
        assert!(status.message().contains("grpc_listen"), "{status:?}");
        assert!(bytes.is_empty());
    }
    let (bytes, ended) = download(&mut through_https, &Digest::of(&public_root), 0).await;
    ended?;
    ensure!(bytes == public_root, "other bytes came");
    let (bytes, ended) = download(&mut contents, &Digest::of(&root), 0).await;
    ended?;
    ensure!(bytes == root, "other bytes came");

    // What lists the blobs of all images is not there for everyone either.
    let mut everyones = BlobServiceClient::new(site.cluster.edge.channel()?);
    let status = everyones
        .list_blobs(ListBlobsRequest::default())
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    let status = everyones
        .collect_blobs(CollectBlobsRequest::default())
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    let channel = Channel::from_shared(format!("http://{}", site.cluster.grpc))?.connect_lazy();
    let listed = BlobServiceClient::new(channel)
        .list_blobs(ListBlobsRequest::default())
        .await?;
    assert_eq!(listed.into_inner().blobs.len(), 4);
    site.cluster.stop().await
}

/// What was printed.
fn succeeded(output: Output) -> anyhow::Result<Vec<u8>> {
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {said}", output.status);
    Ok(output.stdout)
}
