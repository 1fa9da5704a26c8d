//! Exports that break, and go on.

use std::fs;

use anyhow::ensure;
use rootstock_model::Digest;
use rootstock_tests::fault_proxy::{Behaviour, FaultProxy};

use super::{PART_BYTES, Site, failure, metadata, root};

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
    let proxy = FaultProxy::start(site.cluster.edge.address())?;
    let server = format!("https://localhost:{}", proxy.address().port());
    proxy.set(Behaviour::CutAfter { bytes: 10 << 20 });
    site.ok(&["image", "export", "web", &target_text, "--server", &server])
        .await?;
    ensure!(fs::read(&file)? == root, "other bytes were written");
    ensure!(!part.exists());

    // What an earlier command has left is gone on with: only the rest comes.
    fs::remove_file(&file)?;
    fs::write(&part, &root[..20 << 20])?;
    let output = site.cli(&["image", "export", "web", &target_text]).await?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        output.status.success() && said.contains("from 20.0 MiB on"),
        "{said}"
    );
    ensure!(fs::read(&file)? == root, "other bytes were written");

    // What only looks like a part of it is not.
    fs::remove_file(&file)?;
    fs::write(&part, vec![7; 1000])?;
    site.ok(&["image", "export", "web", &target_text]).await?;
    ensure!(fs::read(&file)? == root, "other bytes were written");

    // What is there already does not come again, and what it was made to be is told.
    let printed = site
        .ok(&["image", "export", "web", &target_text, "--format", "json"])
        .await?;
    let printed: serde_json::Value = serde_json::from_str(&printed)?;
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
    let (said, code) = failure(
        &site
            .cli(&["image", "export", "web", &target.display().to_string()])
            .await?,
    );
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("is not this blob any more"), "{said}");
    assert!(!target.join(format!("{}.squashfs", Digest::of(&root))).exists());
    for (arguments, expected) in [
        (vec!["image", "export", "nonesuch"], 3),
        (vec!["image", "export", "web", "--version", "7"], 3),
    ] {
        let (said, code) = failure(&site.cli(&arguments).await?);
        assert_eq!(code, expected, "{said}");
    }
    site.cluster.stop().await
}
