//! Servers of all kinds, on demand and side by side.

use std::{collections::BTreeMap, fs, io::Read as _};

use anyhow::Context as _;
use http::StatusCode;
use rootstock_model::{MetadataFtype, RootFtype};
use rootstock_proto::catalog::v1::{
    FetchImageRequest, Image, ImageType, Remote, RemoteMode, Status, UpdateImageRequest,
};
use rootstock_tests::{
    clients::{Client, Flavour},
    cluster::{Cluster, remote},
    corpus::corpus,
    remote::{FakeRemote, Fault},
    tree::{PRODUCTS_PATH, Product, Tree, Version},
};

use super::{FIRST, debian, image, put_products, set, versions};

#[tokio::test]
async fn a_server_for_one_family_serves_both() -> anyhow::Result<()> {
    let cluster = Cluster::start().await?;
    let mut all = Vec::new();
    for (release, metadata) in [("lxd", MetadataFtype::Lxd), ("incus", MetadataFtype::Incus)] {
        let mut tree = Tree::default();
        let id = tree.add_product(Product::new("Test", release, "amd64"));
        let version = Version::new(FIRST).metadata(&[metadata]);
        tree.add_version(&id, version.root(RootFtype::Squashfs))?;
        let server = FakeRemote::https()?;
        tree.publish(&server)?;
        cluster.mirror(release, &server).await?;
        all.push(tree.fingerprint(&id, FIRST, RootFtype::Squashfs)?);
    }
    cluster.edge.wait_for(&set(&all)).await?;
    cluster.edge.fetch_everything().await?;
    for flavour in [Flavour::Incus, Flavour::Lxc] {
        let Some(client) = Client::find(flavour)? else {
            continue;
        };
        let edge = &cluster.edge;
        client.add_remote("gateway", &edge.url(), edge.ca_pem()).await?;
        let listed = client.list("gateway").await?;
        let listed = listed.into_iter().map(|image| image.fingerprint);
        assert_eq!(
            listed.collect::<std::collections::BTreeSet<_>>(),
            set(&all),
            "{flavour:?}"
        );
    }
    cluster.stop().await
}

fn on_demand(name: &str, server: &FakeRemote) -> Remote {
    Remote {
        mode: RemoteMode::OnDemand.into(),
        keep_versions: 100,
        ..remote(name, server)
    }
}

#[tokio::test]
async fn on_demand_an_image_comes_when_it_is_asked_for() -> anyhow::Result<()> {
    let (server, tree, debian) = debian()?;
    let cluster = Cluster::start().await?;
    cluster.add_remote(on_demand("images", &server)).await?;
    let images = cluster.images("images").await?;
    assert_eq!(versions(image(&images, &debian)), [(FIRST, Status::Available)]);
    let root = tree.root(&debian, FIRST, RootFtype::Squashfs)?;
    assert_eq!(server.requests_for(&root.path).len(), 0);
    cluster.edge.wait_for(&set([])).await?;
    assert_eq!(cluster.edge.blob(&root.digest).await?, StatusCode::NOT_FOUND);

    let request = FetchImageRequest {
        image: "debian:bookworm:amd64:default".to_owned(),
        ..FetchImageRequest::default()
    };
    cluster.catalog.images().fetch_image(request).await?;
    let fingerprint = tree.fingerprint(&debian, FIRST, RootFtype::Squashfs)?;
    cluster.settle("images").await?;
    let images = cluster.images("images").await?;
    let fetched = image(&images, &debian);
    assert_eq!(versions(fetched), [(FIRST, Status::Active)]);
    assert!(fetched.cached, "it came by use");
    // What is cached is private until somebody has it otherwise.
    assert!(!fetched.public);
    cluster.edge.wait_for(&set([])).await?;
    assert_eq!(cluster.edge.blob(&root.digest).await?, StatusCode::NOT_FOUND);
    let request = UpdateImageRequest {
        image: Some(Image {
            id: fetched.id.clone(),
            public: true,
            ..Image::default()
        }),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["public".to_owned()],
        }),
    };
    cluster.catalog.images().update_image(request).await?;
    cluster.edge.wait_for(&set([&fingerprint])).await?;

    for flavour in [Flavour::Incus, Flavour::Lxc] {
        let Some(client) = Client::find(flavour)? else {
            continue;
        };
        let edge = &cluster.edge;
        client.add_remote("gateway", &edge.url(), edge.ca_pem()).await?;
        let exported = client.export("gateway", "debian/bookworm", false).await?;
        assert_eq!(exported.fingerprint, fingerprint, "{flavour:?}");
    }
    // A download of the root is a use.
    cluster.edge.blob(&root.digest).await?;
    for _ in 0..600 {
        if image(&cluster.images("images").await?, &debian)
            .last_used_at
            .is_some()
        {
            return cluster.stop().await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    anyhow::bail!("the download was not noted as a use")
}

#[tokio::test]
async fn a_broken_remote_costs_its_neighbour_nothing() -> anyhow::Result<()> {
    let (good, tree, debian) = debian()?;
    let mut broken_tree = Tree::default();
    let fedora = broken_tree.add_product(Product::new("Fedora", "40", "amd64"));
    broken_tree.add_version(&fedora, super::container(FIRST))?;
    let broken = FakeRemote::https()?;
    broken_tree.publish(&broken)?;
    let root = broken_tree.root(&fedora, FIRST, RootFtype::Squashfs)?;
    broken.fault(&root.path, Fault::CloseAfter { bytes: 100 });

    let cluster = Cluster::start().await?;
    let (_, status) = tokio::try_join!(cluster.mirror("good", &good), cluster.mirror("broken", &broken))?;
    let status = status.status.unwrap_or_default();
    assert_eq!(
        (status.last_error.as_str(), status.failed_transfer_count),
        ("", 1),
        "the index is fine: {status:?}"
    );
    let fingerprint = tree.fingerprint(&debian, FIRST, RootFtype::Squashfs)?;
    cluster.edge.wait_for(&set([&fingerprint])).await?;
    cluster.edge.fetch_everything().await?;
    let images = cluster.images("broken").await?;
    let bad = image(&images, &fedora);
    assert_eq!(versions(bad), [(FIRST, Status::Error)]);
    assert!(
        bad.versions[0].error_message.contains("connection"),
        "{:?}",
        bad.versions[0]
    );
    cluster.stop().await
}

#[tokio::test]
async fn real_indexes_are_listed_whole_and_polled_again_for_nothing() -> anyhow::Result<()> {
    let Some(corpus) = corpus() else {
        return Ok(());
    };
    // (file, products, container versions, virtual machine versions)
    for (file, products, containers, virtual_machines) in [
        ("linuxcontainers-2022-11-17", 405, 1203, 312),
        // 407 of each are offered; one product has more than the hundred that are kept.
        ("ubuntu-minimal-2023-11-15", 14, 329, 329),
    ] {
        let server = FakeRemote::https()?;
        let mut text = Vec::new();
        let packed = fs::File::open(corpus.join(format!("indexes/{file}.json.gz")))?;
        flate2::read::GzDecoder::new(packed).read_to_end(&mut text)?;
        let document: serde_json::Value = serde_json::from_slice(&text)?;
        let offered = document["products"].as_object().context("no products")?;
        let names: Vec<&str> = offered.keys().map(String::as_str).collect();
        put_products(&server, text, &names)?;
        let cluster = Cluster::start().await?;
        let added = cluster.add_remote(on_demand("images", &server)).await?;
        let status = added.status.unwrap_or_default();
        assert_eq!(status.last_error, "", "{file}");

        let images = cluster.images("images").await?;
        let mut versions: BTreeMap<ImageType, usize> = BTreeMap::new();
        for image in &images {
            *versions.entry(image.r#type()).or_default() += image.versions.len();
        }
        let names: std::collections::BTreeSet<_> = images.iter().map(|image| &image.name).collect();
        let count = |image_type| versions.get(&image_type).copied().unwrap_or(0);
        assert_eq!(
            (
                names.len(),
                count(ImageType::Container),
                count(ImageType::VirtualMachine)
            ),
            (products, containers, virtual_machines),
            "{file}"
        );
        let left_out = cluster.left_out("images").await?;
        assert!(
            left_out
                .iter()
                .all(|one| !one.reason.is_empty() && !one.message.is_empty())
        );
        assert_eq!(cluster.edge.fingerprints().await?, set([]), "{file}");

        let before = cluster.content().await?;
        server.forget_requests();
        cluster.sync("images").await?;
        let requests: Vec<_> = server
            .requests()
            .into_iter()
            .map(|request| request.path)
            .collect();
        assert_eq!(requests, [PRODUCTS_PATH], "{file}");
        assert_eq!(
            cluster.content().await?,
            before,
            "{file}: a poll without news wrote"
        );
        cluster.stop().await?;
    }
    Ok(())
}
