//! Uploads that break half-way, on either side.

use std::time::Duration;

use anyhow::ensure;
use bytes::Bytes;
use rootstock_model::Digest;
use rootstock_proto::catalog::v1::UploadState;
use rootstock_tests::{
    fault_proxy::{Behaviour, FaultProxy},
    processes::{Layout, Processes, Role, StoreKind},
    uploads::{Upload, header, upload},
};

use super::{PART_BYTES, Site, failure, fingerprint, metadata, root};

/// Sends bytes until the server says that some of them are kept; answers how many.
async fn send_until_kept(upload: &mut Upload, content: &Bytes, at_least: u64) -> anyhow::Result<u64> {
    let half = content.slice(..content.len() / 2);
    upload.send(half).await;
    loop {
        let (state, kept) = upload.answer().await?;
        ensure!(state == UploadState::Receiving, "{state:?}");
        if kept >= at_least {
            return Ok(kept);
        }
    }
}

#[tokio::test]
async fn a_cut_upload_goes_on_where_it_was() -> anyhow::Result<()> {
    let site = Site::start().await?;
    let proxy = FaultProxy::start(site.cluster.edge.address())?;
    let mut contents = site.cluster.edge.contents_through(proxy.address().port())?;
    let content = root(1, 12 * PART_BYTES)?;
    let mut cut = Upload::begin(&mut contents, header(&content)).await?;
    assert_eq!(cut.answer().await?, (UploadState::Receiving, 0));
    let kept = send_until_kept(&mut cut, &content, PART_BYTES).await?;
    proxy.cut_connections();
    let broken = cut.finish(content.slice(content.len() / 2..)).await;
    ensure!(broken.is_err(), "the connection was not cut");

    let mut again = Upload::begin(&mut contents, header(&content)).await?;
    let (state, offset) = again.ready().await?;
    assert_eq!(state, UploadState::Receiving);
    ensure!(
        offset >= kept && offset % PART_BYTES == 0,
        "{offset}, and {kept} were kept"
    );
    again.finish(content.slice(offset as usize..)).await?;
    assert_eq!(site.stored()?, [Digest::of(&content).to_hex()]);
    site.cluster.stop().await
}

#[tokio::test]
async fn the_command_goes_on_by_itself_and_sends_only_the_rest() -> anyhow::Result<()> {
    let site = Site::start().await?;
    let proxy = FaultProxy::start(site.cluster.edge.address())?;
    let (metadata, root) = (metadata("12")?, root(1, 24 * PART_BYTES)?);
    let files = [
        site.write("meta.tar.xz", &metadata)?,
        site.write("root.squashfs", &root)?,
    ];
    let server = format!("https://localhost:{}", proxy.address().port());
    let mut arguments = vec!["image", "import", "--name", "web", "--server", &server];
    arguments.extend(files.iter().map(String::as_str));
    // Each connection breaks after so many bytes: it takes several.
    proxy.set(Behaviour::CutAfter { bytes: 10 << 20 });
    let imported = site.cli(&arguments).await?;
    let said = String::from_utf8_lossy(&imported.stderr).into_owned();
    ensure!(imported.status.success(), "{said}");
    ensure!(
        said.contains("connecting again"),
        "the connection was not cut: {said}"
    );
    ensure!(said.contains("MiB on"), "all of it was sent anew: {said}");
    let image = site.cluster.catalog.image("web").await?;
    assert_eq!(image.fingerprint, fingerprint(&[&metadata, &root])?.to_hex());

    // A server that is gone is told as such, when there was patience enough.
    proxy.set(Behaviour::Refuse);
    let (said, code) = failure(&site.cli(&arguments).await?);
    assert_eq!(code, 4, "{said}");
    site.cluster.stop().await
}

#[tokio::test]
async fn another_gateway_goes_on_with_what_a_killed_one_had_over_a_local_store() -> anyhow::Result<()> {
    killed_gateway(StoreKind::Local).await
}

#[tokio::test]
async fn another_gateway_goes_on_with_what_a_killed_one_had_over_s3() -> anyhow::Result<()> {
    killed_gateway(StoreKind::SeaweedFs).await
}

async fn killed_gateway(store: StoreKind) -> anyhow::Result<()> {
    let layout = Layout {
        store,
        workers: 1,
        concurrent_transfers: 1,
    };
    let mut processes = Processes::start(layout).await?;
    processes.launch(Role::SecondGateway).await?;
    let part = processes.part_size_bytes();
    let content = root(1, 8 * part)?;
    let digest = Digest::of(&content);
    let mut contents = processes.contents(Role::Gateway)?;
    let mut cut = Upload::begin(&mut contents, header(&content)).await?;
    assert_eq!(cut.answer().await?, (UploadState::Receiving, 0));
    let kept = send_until_kept(&mut cut, &content, part).await?;
    processes.kill(Role::Gateway)?;

    // Longer than uploads live that nobody has named: the sweep leaves this one alone.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let mut contents = processes.contents(Role::SecondGateway)?;
    let offset = upload(&mut contents, header(&content), &content).await?;
    ensure!(
        offset >= kept,
        "{kept} were kept, and the other gateway began at {offset}"
    );
    let objects = processes.objects().await?;
    ensure!(
        objects
            .iter()
            .filter(|name| name.contains(&digest.to_hex()))
            .count()
            == 1,
        "{objects:?}"
    );
    processes.all_run()
}
