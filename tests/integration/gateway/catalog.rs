//! The gateway before the real catalog; the test plays the worker that stores blobs.

use std::collections::BTreeMap;

use anyhow::Context as _;
use http::StatusCode;
use rootstock_gateway::GatewayConfig;
use rootstock_model::{
    Digest, RootFtype,
    snapshot::{Content, Snapshot},
};
use rootstock_proto::catalog::v1::{
    CreateRemoteRequest, Remote, SyncRemoteRequest, remote_service_client::RemoteServiceClient,
};
use rootstock_tests::{
    catalog::{TestCatalog, config},
    postgres::Postgres,
    tree::{PRODUCTS_PATH, Product, Tree, Version},
};

use super::{Site, grpc::over_tls};

const FIRST: &str = "20260101_0524";
const SECOND: &str = "20260102_0524";

/// What a poll of the tree finds.
fn offer(tree: &Tree) -> anyhow::Result<Snapshot> {
    let indexes = tree.indexes();
    let (_, products) = indexes
        .iter()
        .find(|(path, _)| *path == PRODUCTS_PATH)
        .context("a tree has products")?;
    Ok(rootstock_simplestreams::parse_products(products.as_bytes())?)
}

/// Submits the tree and reports each of its blobs as stored and verified.
async fn mirror(catalog: &TestCatalog, tree: &Tree) -> anyhow::Result<()> {
    let snapshot = offer(tree)?;
    let mut fingerprints = BTreeMap::new();
    for version in snapshot.images.iter().flat_map(|image| &image.versions) {
        if let Content::Split {
            metadata,
            root,
            fingerprint: Some(fingerprint),
        } = &version.contents[0]
        {
            fingerprints.insert((metadata.sha256, root.sha256), *fingerprint);
        }
    }
    let submitted = catalog.offer(&snapshot).await?;
    for _ in 0..submitted.queued_transfers {
        catalog.transfer().await?;
    }
    for _ in 0..submitted.changed_versions {
        catalog
            .verify(|metadata, root| fingerprints[&(metadata, root)])
            .await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_the_catalog_makes_active_is_served_and_what_it_retires_is_not_listed() -> anyhow::Result<()> {
    let database = Postgres::shared().await?.database().await?;
    let catalog = TestCatalog::start(config(&database.url)).await?;
    let site = Site::new().await?;
    let gateway = site
        .start(GatewayConfig {
            catalog_url: format!("http://{}", catalog.address),
            ..site.config()
        })
        .await?;
    // An empty catalog is a state too.
    gateway.wait_ready().await?;
    assert_eq!(gateway.products().await?, serde_json::json!({}));

    let remote = Remote {
        name: "images".to_owned(),
        url: "https://images.example".to_owned(),
        keep_versions: 1,
        ..Remote::default()
    };
    let mut remotes = RemoteServiceClient::new(over_tls(&gateway).await?);
    remotes
        .create_remote(CreateRemoteRequest { remote: Some(remote) })
        .await?;

    let mut tree = Tree::default();
    let debian =
        tree.add_product(Product::new("Debian", "bookworm", "amd64").requirement("secureboot", "false"));
    tree.add_version(
        &debian,
        Version::new(FIRST)
            .root(RootFtype::Squashfs)
            .root(RootFtype::DiskKvmImg),
    )?;
    for file in tree.files() {
        site.store(&file.content).await?;
    }
    mirror(&catalog, &tree).await?;
    let items = |products: &serde_json::Value, serial: &str| {
        products[&debian]["versions"][serial]["items"]
            .as_object()
            .map_or(0, serde_json::Map::len)
    };
    // Twins of the metadata, a container's root and a virtual machine's.
    gateway
        .wait_for_products(|products| items(products, FIRST) == 4)
        .await?;
    let product = gateway.products().await?[&debian].take();
    assert_eq!(product["aliases"], "debian/bookworm,debian/bookworm/default");
    assert_eq!(product["requirements"]["secureboot"], "false");

    tree.add_version(
        &debian,
        Version::new(SECOND)
            .root(RootFtype::Squashfs)
            .root(RootFtype::DiskKvmImg),
    )?;
    for file in tree.files() {
        site.store(&file.content).await?;
    }
    remotes
        .sync_remote(SyncRemoteRequest {
            name: "images".to_owned(),
            ..SyncRemoteRequest::default()
        })
        .await?;
    mirror(&catalog, &tree).await?;
    gateway
        .wait_for_products(|products| items(products, SECOND) == 4 && items(products, FIRST) == 0)
        .await?;
    for serial in [FIRST, SECOND] {
        let root: Digest = tree.root(&debian, serial, RootFtype::Squashfs)?.digest;
        let response = gateway.blob(&root, &[]).await?;
        assert_eq!(response.status(), StatusCode::OK, "{serial}");
        assert_eq!(Digest::of(&response.bytes().await?), root);
    }

    // A gateway that starts now sees the same, from the state instead of the changes.
    let other = site
        .start(GatewayConfig {
            catalog_url: format!("http://{}", catalog.address),
            ..site.config()
        })
        .await?;
    other.wait_ready().await?;
    assert_eq!(other.products().await?, gateway.products().await?);
    let retired = tree.root(&debian, FIRST, RootFtype::Squashfs)?.digest;
    assert_eq!(other.blob(&retired, &[]).await?.status(), StatusCode::OK);
    other.stop().await?;
    gateway.stop().await?;
    catalog.stop().await
}
