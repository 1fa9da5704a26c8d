//! What the processes stand on goes away for a while, in the middle of a sync, and comes back. None
//! of them is started again.

use std::time::Duration;

use anyhow::ensure;
use rootstock_tests::{
    postgres::Stop,
    processes::{Layout, Role, StoreKind},
};

use super::{Expect, Site, eventually, on_site};

/// How long things are away: longer than a lease, and than any retry of a single request should
/// last.
const OUTAGE: Duration = Duration::from_secs(10);

const fn one_worker(store: StoreKind) -> Layout {
    Layout {
        store,
        workers: 1,
        concurrent_transfers: 2,
    }
}

#[tokio::test]
async fn postgres_can_be_away_for_ten_seconds() {
    on_site(one_worker(StoreKind::Local), async |site| {
        let big = site.offer_and_wait_half_way("bullseye").await?;
        site.processes.postgres().stop(Stop::Immediate).await?;
        eventually("the catalog to say that it is not ready", async || {
            Ok(site.processes.readiness(Role::Catalog).await?.is_err())
        })
        .await?;
        pass(site).await?;
        let readiness = site.processes.readiness(Role::Catalog).await?;
        ensure!(readiness.is_err(), "the catalog is ready without its database");
        ensure!(
            site.processes.readiness(Role::Gateway).await?.is_ok(),
            "the gateway can be asked all the same"
        );
        site.processes.postgres().start().await?;
        eventually("the catalog to be ready", async || {
            Ok(site.processes.readiness(Role::Catalog).await?.is_ok())
        })
        .await?;
        site.mirrored(&big).await?;
        site.offer("trixie", 100_000)?;
        site.is_complete().await
    })
    .await;
}

#[tokio::test]
async fn the_s3_server_can_be_away_for_ten_seconds() {
    on_site(one_worker(StoreKind::SeaweedFs), async |site| {
        let big = site.offer_and_wait_half_way("bullseye").await?;
        site.visitor.expect(Expect::Index);
        site.processes.seaweedfs()?.stop().await?;
        pass(site).await?;
        for role in [Role::Catalog, Role::Gateway] {
            ensure!(
                site.processes.readiness(role).await?.is_ok(),
                "{role:?} answers without the store"
            );
        }
        site.processes.seaweedfs()?.start().await?;
        site.visitor.expect(Expect::Everything);
        site.mirrored(&big).await?;
        site.offer("trixie", 100_000)?;
        site.is_complete().await
    })
    .await;
}

#[tokio::test]
async fn the_remote_can_be_away_in_mid_blob() {
    on_site(one_worker(StoreKind::Local), async |site| {
        let big = site.offer_and_wait_half_way("bullseye").await?;
        let seen = site.remote.requests_for(&big.root.path).len();
        site.remote.stop();
        pass(site).await?;
        let stored = site.blobs.head(&big.root.digest).await?;
        ensure!(stored.is_none(), "the blob is stored without its second half");
        site.remote.start()?;
        site.mirrored(&big).await?;
        let later = site.requests_since(seen, &big);
        ensure!(!later.is_empty(), "the rest was never asked for");
        for request in later {
            ensure!(request.range().is_some(), "all of it was asked for again");
        }
        site.is_complete().await
    })
    .await;
}

#[tokio::test]
async fn a_gateway_that_starts_without_a_catalog_serves_what_it_had() {
    on_site(one_worker(StoreKind::Local), async |site| {
        eventually("the state file to hold the image", async || {
            let state = tokio::fs::read(site.processes.state_file()).await?;
            let name = b"debian:bookworm:amd64:default";
            // With an active version: its files' digests are in no earlier state.
            let digest = site
                .tree
                .root(&site.products[0], super::SERIAL, super::RootFtype::Squashfs)?
                .digest;
            let hex = digest.to_hex();
            Ok([&name[..], hex.as_bytes()]
                .iter()
                .all(|text| state.windows(text.len()).any(|window| window == *text)))
        })
        .await?;
        let big = site.offer_and_wait_half_way("bullseye").await?;
        site.processes.kill(Role::Catalog)?;
        site.restart(Role::Gateway).await?;
        // It is to have everything that was ever listed.
        site.visitor.more_rounds().await?;
        site.processes.launch(Role::Catalog).await?;
        site.mirrored(&big).await?;
        site.is_complete().await
    })
    .await;
}

/// Lets the outage last, and sees to it that the gateway went on all the while.
async fn pass(site: &Site) -> anyhow::Result<()> {
    let (more, ()) = tokio::join!(site.visitor.more_rounds(), tokio::time::sleep(OUTAGE));
    more?;
    site.visitor.verdict()
}
