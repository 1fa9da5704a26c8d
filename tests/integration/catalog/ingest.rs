//! Whole indexes, on demand.

use std::{collections::BTreeMap, fs, io::Read as _};

use rootstock_model::snapshot::Snapshot;
use rootstock_proto::{
    catalog::v1::{Image, ListImagesRequest, ListLeftOutRequest, SyncRemoteRequest},
    sync::v1::WorkKind,
};
use rootstock_tests::{
    catalog::{TestCatalog, content},
    corpus::corpus,
    indexes,
};

use super::{on_demand, start};

/// What is listed of an index.
struct Expected {
    products: usize,
    containers: i32,
    virtual_machines: i32,
}

async fn all_images(catalog: &TestCatalog) -> Vec<Image> {
    let mut images = vec![];
    let mut page_token = String::new();
    loop {
        let request = ListImagesRequest {
            page_size: 100,
            page_token,
            ..ListImagesRequest::default()
        };
        let page = catalog.images().list_images(request).await.unwrap().into_inner();
        images.extend(page.images);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return images;
        }
    }
}

fn read(path: &std::path::Path) -> Snapshot {
    let mut text = vec![];
    flate2::read::GzDecoder::new(fs::File::open(path).unwrap())
        .read_to_end(&mut text)
        .unwrap();
    rootstock_simplestreams::parse_products(&text).unwrap()
}

#[tokio::test]
async fn a_large_index_is_listed_whole_and_its_resubmission_writes_nothing() {
    let snapshot = rootstock_simplestreams::parse_products(&indexes::large(100)).unwrap();
    let expected = Expected {
        products: 100,
        containers: 300,
        virtual_machines: 300,
    };
    is_listed_whole("the large index", &snapshot, expected).await;
}

#[tokio::test]
async fn every_real_index_is_listed_whole_and_its_resubmission_writes_nothing() {
    let Some(corpus) = corpus() else { return };
    // (file, products, container versions, virtual machine versions)
    let expected = [
        ("incus-2026-one-product", 1, 1, 0),
        ("linuxcontainers-2022-11-17", 405, 1203, 312),
        ("linuxcontainers-2023-04-24", 428, 1257, 337),
        ("lxd-2026-one-product", 1, 1, 1),
        ("ubuntu-iso-server", 0, 0, 0),
        // 407 of each are offered; one product has more than the hundred that are kept.
        ("ubuntu-minimal-2023-11-15", 14, 329, 329),
    ];
    for (file, products, containers, virtual_machines) in expected {
        let snapshot = read(&corpus.join(format!("indexes/{file}.json.gz")));
        let expected = Expected {
            products,
            containers,
            virtual_machines,
        };
        is_listed_whole(file, &snapshot, expected).await;
    }
}

async fn is_listed_whole(file: &str, snapshot: &Snapshot, expected: Expected) {
    let (database, catalog) = start().await;
    catalog.add_remote(on_demand("images", 100)).await.unwrap();
    catalog.offer(snapshot).await.unwrap();

    let mut versions: BTreeMap<i32, i32> = BTreeMap::new();
    let images = all_images(&catalog).await;
    for image in &images {
        *versions.entry(image.r#type).or_default() += image.version_count;
    }
    let names: std::collections::BTreeSet<_> = images.iter().map(|image| &image.name).collect();
    let count = |image_type| versions.get(&image_type).copied().unwrap_or(0);
    assert_eq!(
        (names.len(), count(1), count(2)),
        (expected.products, expected.containers, expected.virtual_machines),
        "{file}"
    );

    let request = ListLeftOutRequest {
        remote: "images".to_owned(),
        page_size: 1000,
        page_token: String::new(),
    };
    let left_out = catalog
        .remotes()
        .list_left_out(request)
        .await
        .unwrap()
        .into_inner()
        .left_out;
    assert!(
        left_out.iter().all(|one| !one.message.is_empty()),
        "{file}: {left_out:?}"
    );
    let offered: usize = snapshot.images.iter().map(|image| image.versions.len()).sum();
    let listed: usize = images
        .iter()
        .map(|image| image.version_count.unsigned_abs() as usize)
        .sum();
    assert_eq!(
        left_out.len(),
        snapshot.left_out.len() + offered - listed,
        "{file}: {left_out:?}"
    );

    let request = SyncRemoteRequest {
        name: "images".to_owned(),
        ..SyncRemoteRequest::default()
    };
    catalog.remotes().sync_remote(request).await.unwrap();
    let work = catalog.claim(WorkKind::Poll).await.unwrap();
    let before = content(&database.url).await.unwrap();
    let recorded = catalog.submit(work.lease, snapshot).await.unwrap();
    assert_eq!(
        (recorded.changed_versions, recorded.queued_transfers),
        (0, 0),
        "{file}"
    );
    assert_eq!(
        content(&database.url).await.unwrap(),
        before,
        "{file}: a resubmission wrote"
    );
}
