//! How the gateway follows the catalog, and what it does without one.

use std::time::Duration;

use http::StatusCode;
use rootstock_gateway::GatewayConfig;
use rootstock_model::Digest;
use rootstock_proto::catalog::v1::change::Resource;
use rootstock_tests::fault_proxy::Behaviour;
use time::OffsetDateTime;

use super::{Gateway, PATIENCE, Site, created, header, image, retired, text_of, updated};

const PRODUCTS: &str = "/streams/v1/images.json";

async fn version(site: &Site, number: i32, serial: &str) -> anyhow::Result<Resource> {
    let root = format!("root {serial}");
    let files = [("incus.tar.xz", "metadata".into()), ("squashfs", root.into())];
    site.version("i1", number, serial, &files).await
}

async fn wait_for_version(gateway: &Gateway, serial: &str) -> anyhow::Result<()> {
    gateway
        .wait_for_products(|products| products["debian"]["versions"].get(serial).is_some())
        .await
}

async fn blob_status(gateway: &Gateway, serial: &str) -> anyhow::Result<StatusCode> {
    let digest = Digest::of(format!("root {serial}").as_bytes());
    Ok(gateway.blob(&digest, &[]).await?.status())
}

#[tokio::test]
async fn nothing_of_a_transaction_shows_before_its_end() -> anyhow::Result<()> {
    let (site, _) = Site::with_root("root").await?;
    let gateway = site.gateway().await?;
    let new = version(&site, 1, "20261123").await?;
    let marker = image("i9", "marker");
    site.catalog.begin(created([new]));
    // The gateway has it by now, and several heartbeats after it.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(
        gateway.products().await?["debian"]["versions"]
            .get("20261123")
            .is_none()
    );
    assert_eq!(blob_status(&gateway, "20261123").await?, StatusCode::NOT_FOUND);
    site.catalog.commit(created([marker]));
    wait_for_version(&gateway, "20261123").await?;
    assert_eq!(blob_status(&gateway, "20261123").await?, StatusCode::OK);
    gateway.stop().await
}

#[tokio::test]
async fn images_are_served_while_the_catalog_is_away_and_followed_when_it_is_back() -> anyhow::Result<()> {
    let (site, root) = Site::with_root("root").await?;
    let gateway = site.gateway().await?;
    site.proxy.set(Behaviour::Refuse);
    let first = site
        .catalog
        .commit(created([version(&site, 1, "20261123").await?]));
    assert!(gateway.products().await?["debian"].is_object());
    assert_eq!(
        text_of(gateway.blob(&root, &[]).await?, StatusCode::OK).await?,
        "root"
    );
    assert!(gateway.readiness.is_ready(), "it serves, so it is ready");
    site.proxy.set(Behaviour::Pass);
    wait_for_version(&gateway, "20261123").await?;

    // Cut in the middle of a transaction: what came of it comes again, once.
    site.catalog
        .begin(created([version(&site, 2, "20261124").await?]));
    site.proxy.cut_connections();
    let last = site
        .catalog
        .commit(created([version(&site, 3, "20261125").await?]));
    wait_for_version(&gateway, "20261125").await?;
    wait_for_version(&gateway, "20261124").await?;
    assert!(last > first);
    let watches = site
        .catalog
        .calls()
        .into_iter()
        .filter(|call| call.path.ends_with("/Watch"));
    assert!(watches.count() >= 3);
    gateway.stop().await
}

#[tokio::test]
async fn a_gateway_that_missed_too_much_begins_anew() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let (old, kept) = (
        version(&site, 0, "20261120").await?,
        version(&site, 1, "20261121").await?,
    );
    site.catalog.commit(created([image("i1", "debian"), old, kept]));
    let gateway = site.gateway().await?;
    site.proxy.set(Behaviour::Refuse);
    let Resource::Version(gone) = version(&site, 0, "20261120").await? else {
        unreachable!()
    };
    site.catalog.commit([(
        rootstock_proto::catalog::v1::ChangeOperation::Deleted,
        Resource::Version(gone),
    )]);
    site.catalog
        .commit(created([version(&site, 2, "20261122").await?]));
    site.catalog.forget_history();
    site.proxy.set(Behaviour::Pass);
    wait_for_version(&gateway, "20261122").await?;
    let products = gateway.products().await?;
    let serials: Vec<_> = products["debian"]["versions"]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    assert_eq!(serials, ["20261121", "20261122"], "swapped as a whole");
    // Clients may hold the index of before.
    assert_eq!(blob_status(&gateway, "20261120").await?, StatusCode::OK);
    site.catalog
        .commit(created([version(&site, 3, "20261123").await?]));
    wait_for_version(&gateway, "20261123").await?;
    gateway.stop().await
}

#[tokio::test]
async fn a_gateway_without_a_state_says_so_until_it_has_one() -> anyhow::Result<()> {
    let (site, root) = Site::with_root("root").await?;
    site.proxy.set(Behaviour::Refuse);
    let gateway = site.start(site.config()).await?;
    for response in [
        gateway.get(PRODUCTS, &[]).await?,
        gateway.get("/streams/v1/index.json", &[]).await?,
        gateway.blob(&root, &[]).await?,
    ] {
        assert!(!header(&response, "retry-after").is_empty());
        assert_eq!(header(&response, "cache-control"), "no-store");
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
    assert!(!gateway.readiness.is_ready());
    site.proxy.set(Behaviour::Pass);
    gateway.wait_ready().await?;
    assert!(gateway.products().await?["debian"].is_object());
    gateway.stop().await
}

#[tokio::test]
async fn a_gateway_that_starts_without_the_catalog_serves_what_it_served_before() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let (old, new) = (
        version(&site, 0, "20261120").await?,
        version(&site, 1, "20261121").await?,
    );
    site.catalog
        .commit(created([image("i1", "debian"), old.clone(), new]));
    let config = GatewayConfig {
        state_file: Some(site.directory.path().join("state")),
        ..site.config()
    };
    let gateway = site.start(config.clone()).await?;
    gateway.wait_ready().await?;
    site.catalog
        .commit(updated(retired(&old, OffsetDateTime::now_utc())));
    gateway
        .wait_for_products(|products| products["debian"]["versions"].get("20261120").is_none())
        .await?;
    let tag = header(&gateway.get(PRODUCTS, &[]).await?, "etag").to_owned();
    gateway.stop().await?;

    site.proxy.set(Behaviour::Refuse);
    let gateway = site.start(config.clone()).await?;
    gateway.wait_ready().await?;
    assert_eq!(header(&gateway.get(PRODUCTS, &[]).await?, "etag"), tag);
    for serial in ["20261120", "20261121"] {
        assert_eq!(blob_status(&gateway, serial).await?, StatusCode::OK, "{serial}");
    }
    // What the catalog says counts for more than the file, whatever the revisions.
    site.catalog
        .commit(created([version(&site, 2, "20261122").await?]));
    site.proxy.set(Behaviour::Pass);
    wait_for_version(&gateway, "20261122").await?;
    gateway.stop().await?;

    // A file that is damaged is as good as none.
    std::fs::write(site.directory.path().join("state"), "nonsense")?;
    let gateway = site.start(config).await?;
    gateway.wait_ready().await?;
    wait_for_version(&gateway, "20261122").await?;
    gateway.stop().await
}

#[tokio::test]
async fn a_catalog_that_hangs_does_not_hold_up_requests() -> anyhow::Result<()> {
    let (site, root) = Site::with_root("root").await?;
    let gateway = site.gateway().await?;
    site.proxy.set(Behaviour::BlackHole);
    let answered = async {
        gateway.products().await?;
        text_of(gateway.blob(&root, &[]).await?, StatusCode::OK).await
    };
    tokio::time::timeout(PATIENCE, answered).await??;
    tokio::time::timeout(PATIENCE, gateway.stop()).await?
}
