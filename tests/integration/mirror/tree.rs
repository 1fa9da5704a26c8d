//! Trees of files: mirrored whole, polled for next to nothing, followed as they change.

use std::collections::BTreeSet;

use http::StatusCode;
use rootstock_model::{Digest, MetadataFtype, RootFtype};
use rootstock_proto::catalog::v1::{Remote, Status, SyncRunState};
use rootstock_tests::{
    cluster::{Cluster, ClusterOptions, edge},
    corpus::corpus,
    remote::FakeRemote,
    seaweed::SeaweedFs,
    tools,
    tree::{PRODUCTS_PATH, Product, Tree, Version},
};

use super::{FIRST, SECOND, THIRD, container, debian, every_second, image, set, versions};

#[tokio::test]
async fn a_tree_is_mirrored_and_polled_again_for_one_request_and_no_write() -> anyhow::Result<()> {
    let (server, mut tree, debian) = debian()?;
    let busybox = tree.add_product(Product::new("BusyBox", "1.36", "amd64"));
    // For LXD alone.
    let version = Version::new(FIRST).metadata(&[MetadataFtype::Lxd]);
    tree.add_version(&busybox, version.root(RootFtype::Squashfs))?;
    tree.publish(&server)?;
    let fingerprint = |product| tree.fingerprint(product, FIRST, RootFtype::Squashfs);
    let claimed = set([&fingerprint(&debian)?, &fingerprint(&busybox)?]);
    is_mirrored_and_polled_for_nothing(&server, claimed).await
}

#[tokio::test]
async fn a_real_tree_is_mirrored_and_polled_again_for_one_request_and_no_write() -> anyhow::Result<()> {
    let Some(corpus) = corpus() else {
        return Ok(());
    };
    let server = FakeRemote::https()?;
    server.put_directory(&corpus.join("tree"))?;
    // Those of the squashfs roots, as the tree's own index claims them.
    let claimed = [
        "52ab95651e5892545cd90167e82809ea1098418199aeec6008f1e32644e47784",
        "c3cc5ac3ea565257e64c9131fa2421a5239e8ee6bd776df3d948b94230fb087c",
    ];
    is_mirrored_and_polled_for_nothing(&server, claimed.map(str::to_owned).into()).await
}

/// Mirrors a tree of two versions, which are to have these fingerprints, and polls it again.
async fn is_mirrored_and_polled_for_nothing(
    server: &FakeRemote,
    claimed: BTreeSet<String>,
) -> anyhow::Result<()> {
    let cluster = Cluster::start().await?;
    let mirrored = cluster.mirror("images", server).await?;
    let status = mirrored.status.unwrap_or_default();
    assert_eq!(
        (status.last_error.as_str(), status.active_version_count),
        ("", 2),
        "{status:?}"
    );

    cluster.edge.wait_for(&claimed).await?;
    let files = cluster.edge.fetch_everything().await?;
    assert_eq!(files, cluster.stored()?.len(), "no more is stored than is listed");

    let before = cluster.content().await?;
    server.forget_requests();
    let run = cluster.sync("images").await?;
    assert_eq!(run.state(), SyncRunState::Succeeded, "{run:?}");
    let requests = server.requests();
    assert_eq!(requests.len(), 1, "{requests:#?}");
    let request = &requests[0];
    assert!(
        request.path == PRODUCTS_PATH
            && request.is_conditional()
            && request.status == Some(StatusCode::NOT_MODIFIED),
        "{request:#?}"
    );
    assert_eq!(cluster.content().await?, before, "a poll without news wrote");
    cluster.stop().await
}

#[tokio::test]
async fn a_new_version_is_picked_up_by_itself_and_the_oldest_retired_yet_readable() -> anyhow::Result<()> {
    let (server, mut tree, debian) = debian()?;
    let cluster = Cluster::start().await?;
    let remote = Remote {
        keep_versions: 2,
        ..every_second("images", &server)
    };
    cluster.add_remote(remote).await?;
    let root = |tree: &Tree, serial| tree.fingerprint(&debian, serial, RootFtype::Squashfs);
    let first = root(&tree, FIRST)?;
    cluster.edge.wait_for(&set([&first])).await?;
    assert_eq!(resolved(&cluster).await?, first);

    tree.add_version(&debian, container(SECOND))?;
    tree.publish(&server)?;
    let second = root(&tree, SECOND)?;
    cluster.edge.wait_for(&set([&first, &second])).await?;
    assert_eq!(resolved(&cluster).await?, second, "the alias stayed behind");

    tree.add_version(&debian, container(THIRD))?;
    tree.publish(&server)?;
    let third = root(&tree, THIRD)?;
    cluster.edge.wait_for(&set([&second, &third])).await?;
    assert_eq!(resolved(&cluster).await?, third);
    let images = cluster.images("images").await?;
    assert_eq!(
        versions(image(&images, &debian)),
        [(THIRD, Status::Active), (SECOND, Status::Active)]
    );

    // It may be what a client read in the index a moment ago.
    let retired = [
        tree.root(&debian, FIRST, RootFtype::Squashfs)?,
        tree.metadata(&debian, FIRST, MetadataFtype::Incus)?,
    ];
    for file in retired {
        assert_eq!(
            cluster.edge.blob(&file.digest).await?,
            StatusCode::OK,
            "{}",
            file.path
        );
    }
    cluster.edge.fetch_everything().await?;
    cluster.stop().await
}

/// What "debian/bookworm" is in the catalog. Its newest serial has the name at the edge too.
async fn resolved(cluster: &Cluster) -> anyhow::Result<Digest> {
    let image = cluster.catalog.image("debian/bookworm").await?;
    let offer = cluster.edge.offer().await?;
    let [listed] = offer.images.as_slice() else {
        anyhow::bail!("not one image: {offer:#?}");
    };
    anyhow::ensure!(
        listed
            .aliases
            .iter()
            .any(|alias| alias.as_str() == "debian/bookworm")
    );
    let newest = edge::versions(&offer).last();
    let newest = newest.and_then(|version| version.contents[0].fingerprint());
    let fingerprint: Digest = image.fingerprint.parse()?;
    anyhow::ensure!(newest == Some(fingerprint), "the edge has another newest version");
    Ok(fingerprint)
}

#[tokio::test]
async fn what_incus_simplestreams_has_made_is_mirrored() -> anyhow::Result<()> {
    let (Some(program), Some(_)) = (
        tools::find_or_skip("incus-simplestreams"),
        tools::find_or_skip("mksquashfs"),
    ) else {
        return Ok(());
    };
    let mut source = Tree::default();
    let debian = source.add_product(Product::new("Debian", "bookworm", "amd64"));
    source.add_version(&debian, container(FIRST))?;
    let (files, made) = (tempfile::tempdir()?, tempfile::tempdir()?);
    source.write_to(files.path())?;
    let path = |path: &str| files.path().join(path);
    let output = tokio::process::Command::new(program)
        .args(["add", "--alias", "debian"])
        .arg(path(&source.metadata(&debian, FIRST, MetadataFtype::Incus)?.path))
        .arg(path(&source.root(&debian, FIRST, RootFtype::Squashfs)?.path))
        .current_dir(made.path())
        .output()
        .await?;
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );

    let server = FakeRemote::https()?;
    server.put_directory(made.path())?;
    let cluster = Cluster::start().await?;
    cluster.mirror("images", &server).await?;
    let fingerprint = source.fingerprint(&debian, FIRST, RootFtype::Squashfs)?;
    cluster.edge.wait_for(&set([&fingerprint])).await?;
    assert_eq!(cluster.edge.fetch_everything().await?, 2);
    for alias in ["debian", "Debian/bookworm/default"] {
        let image = cluster.catalog.image(alias).await?;
        assert_eq!(image.fingerprint, fingerprint.to_hex(), "{alias}");
    }
    // The tool's twelve digits are a date as they are.
    let offer = cluster.edge.offer().await?;
    let serials: Vec<_> = edge::versions(&offer)
        .map(|version| version.serial.as_str())
        .collect();
    assert!(
        serials.iter().all(|serial| serial.starts_with("20260101")),
        "{serials:?}"
    );
    cluster.stop().await
}

#[tokio::test]
async fn a_tree_is_mirrored_into_a_real_s3_server() -> anyhow::Result<()> {
    let (server, tree, debian) = debian()?;
    let seaweed = SeaweedFs::shared().await?;
    let fingerprint = tree.fingerprint(&debian, FIRST, RootFtype::Squashfs)?;
    // Through the gateway, and by a redirect to the store.
    for redirect_blobs in [false, true] {
        let cluster = Cluster::start_with(ClusterOptions {
            store: Some(rootstock_blobs::StoreConfig::S3(seaweed.config())),
            redirect_blobs,
        })
        .await?;
        cluster.mirror("images", &server).await?;
        cluster.edge.wait_for(&set([&fingerprint])).await?;
        assert_eq!(cluster.edge.fetch_everything().await?, 2, "{redirect_blobs}");
        cluster.stop().await?;
    }
    Ok(())
}
