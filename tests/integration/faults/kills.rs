//! `kill -9`, in the middle of a sync.

use anyhow::ensure;
use rootstock_tests::processes::{Layout, Role, StoreKind};

use super::{BIG_BYTES, Site, eventually, on_site};

#[tokio::test]
async fn every_process_can_be_killed_in_mid_sync_over_a_local_store() {
    kill_each_in_turn(StoreKind::Local).await;
}

#[tokio::test]
async fn every_process_can_be_killed_in_mid_sync_over_s3() {
    kill_each_in_turn(StoreKind::SeaweedFs).await;
}

async fn kill_each_in_turn(store: StoreKind) {
    let layout = Layout {
        store,
        workers: 1,
        concurrent_transfers: 2,
    };
    on_site(layout, async |site| {
        site.plant_orphan().await?;
        kill_the_worker(site).await?;
        kill_the_catalog(site).await?;
        kill_the_gateway(site).await?;
        site.is_complete().await
    })
    .await;
}

/// The transfer goes on from its last part, with a request for the rest.
async fn kill_the_worker(site: &mut Site) -> anyhow::Result<()> {
    let big = site.offer_and_wait_half_way("bullseye").await?;
    let seen = site.remote.requests_for(&big.root.path).len();
    site.restart(Role::Sync(0)).await?;
    site.mirrored(&big).await?;
    let later = site.requests_since(seen, &big);
    ensure!(!later.is_empty(), "the rest was never asked for");
    site.asked_for_the_rest(&later)
}

/// The worker waits for the catalog; whether it had to let go of the transfer or not, no part is
/// fetched twice that the catalog knows of.
async fn kill_the_catalog(site: &mut Site) -> anyhow::Result<()> {
    let big = site.offer_and_wait_half_way("trixie").await?;
    let seen = site.remote.requests_for(&big.root.path).len();
    site.restart(Role::Catalog).await?;
    site.mirrored(&big).await?;
    site.asked_for_the_rest(&site.requests_since(seen, &big))
}

/// The gateway has no part in a sync: no byte is fetched twice.
async fn kill_the_gateway(site: &mut Site) -> anyhow::Result<()> {
    let big = site.offer_and_wait_half_way("forky").await?;
    let seen = site.remote.requests_for(&big.root.path).len();
    site.restart(Role::Gateway).await?;
    site.mirrored(&big).await?;
    let later = site.requests_since(seen, &big);
    ensure!(later.is_empty(), "the transfer was disturbed: {later:#?}");
    Ok(())
}

#[tokio::test]
async fn another_worker_finishes_what_a_killed_one_had() {
    let layout = Layout {
        store: StoreKind::SeaweedFs,
        workers: 2,
        concurrent_transfers: 1,
    };
    on_site(layout, async |site| {
        // As each fetches one blob at a time, each has one of these.
        let one = site.offer("bullseye", BIG_BYTES)?;
        let other = site.offer("trixie", BIG_BYTES)?;
        site.half_way(&one).await?;
        site.half_way(&other).await?;
        let bigs = [one, other];
        let seen = bigs.each_ref().map(|big| {
            site.remote.clear_faults(&big.root.path);
            site.remote.requests_for(&big.root.path).len()
        });
        site.processes.kill(Role::Sync(0))?;
        eventually("the rest to be asked for by the other worker", async || {
            let later = bigs
                .iter()
                .zip(seen)
                .map(|(big, seen)| site.requests_since(seen, big));
            Ok(later.map(|requests| requests.len()).sum::<usize>() == 1)
        })
        .await?;
        site.is_complete().await?;
        for (big, seen) in bigs.iter().zip(seen) {
            site.asked_for_the_rest(&site.requests_since(seen, big))?;
        }
        Ok(())
    })
    .await;
}
