//! Indexes that lie about bytes, and bytes that change on the way: what cannot be proved true is
//! never seen, and costs nothing else.

use std::collections::BTreeSet;

use http::StatusCode;
use rootstock_model::{Digest, MetadataFtype, RootFtype};
use rootstock_proto::catalog::v1::{Status, SyncRunState};
use rootstock_tests::{
    cluster::Cluster,
    remote::{FakeRemote, Fault},
    tree::{PRODUCTS_PATH, Product, Tree},
};
use serde_json::{Value, json};

use super::{FIRST, SECOND, container, debian, every_second, image, set, versions};

/// One way for a version's bytes to be wrong.
struct Bend {
    /// The release of the product that is bent.
    name: &'static str,
    /// Changes what the index says of the version's items.
    index: fn(&mut Value),
    /// Changes what the server sends for the root.
    fault: Option<Fault>,
    /// What the version is to say of it.
    says: &'static str,
}

const fn lie(name: &'static str, index: fn(&mut Value), says: &'static str) -> Bend {
    Bend {
        name,
        index,
        fault: None,
        says,
    }
}

const fn damage(name: &'static str, fault: Fault, says: &'static str) -> Bend {
    Bend {
        name,
        index: |_| (),
        fault: Some(fault),
        says,
    }
}

/// The key of the root in a tree's index.
const ROOT: &str = "root.squashfs";

static BENDS: [Bend; 8] = [
    lie("size-plus-1", |items| grow(&mut items[ROOT]["size"], 1), "bytes"),
    lie(
        "size-minus-1",
        |items| grow(&mut items[ROOT]["size"], -1),
        "bytes",
    ),
    lie(
        "other-sha256",
        |items| items[ROOT]["sha256"] = json!(Digest::of(b"something else")),
        "SHA-256",
    ),
    lie(
        "other-fingerprint",
        |items| {
            for metadata in ["incus.tar.xz", "lxd.tar.xz"] {
                items[metadata]["combined_squashfs_sha256"] = json!(Digest::of(b"something else"));
            }
        },
        "fingerprint",
    ),
    damage("flipped", Fault::FlipByte { offset: 100 }, "SHA-256"),
    damage("truncated", Fault::Truncate { bytes: 100 }, "bytes"),
    damage("longer", Fault::Extra { bytes: 1 }, "bytes"),
    damage("gone", Fault::status(404), "404"),
];

fn grow(size: &mut Value, by: i64) {
    *size = json!(size.as_i64().unwrap() + by);
}

/// A tree with a good product and one for each bend, none of them bent yet.
fn straight_tree() -> anyhow::Result<Tree> {
    let mut tree = Tree::default();
    for release in BENDS.iter().map(|bend| bend.name).chain(["good"]) {
        let id = tree.add_product(Product::new("Test", release, "amd64"));
        tree.add_version(&id, container(FIRST))?;
    }
    Ok(tree)
}

fn id(release: &str) -> String {
    Product::new("Test", release, "amd64").id()
}

fn fingerprints(tree: &Tree, releases: &[&str]) -> anyhow::Result<BTreeSet<String>> {
    let of = |release: &&str| tree.fingerprint(&id(release), FIRST, RootFtype::Squashfs);
    Ok(set(&releases
        .iter()
        .map(of)
        .collect::<anyhow::Result<Vec<_>>>()?))
}

fn products_of(tree: &Tree) -> anyhow::Result<Value> {
    let indexes = tree.indexes();
    let products = indexes.iter().find(|(path, _)| *path == PRODUCTS_PATH);
    Ok(serde_json::from_str(products.map_or("", |(_, text)| text))?)
}

#[tokio::test]
async fn wrong_bytes_are_never_seen_and_cost_their_own_version_only() -> anyhow::Result<()> {
    let mut tree = straight_tree()?;
    let server = FakeRemote::https()?;
    tree.publish(&server)?;
    let mut products = products_of(&tree)?;
    for bend in &BENDS {
        (bend.index)(&mut products["products"][id(bend.name)]["versions"][FIRST]["items"]);
        if let Some(fault) = &bend.fault {
            let root = tree.root(&id(bend.name), FIRST, RootFtype::Squashfs)?;
            server.fault(&root.path, fault.clone());
        }
    }
    server.put(PRODUCTS_PATH, products.to_string())?;

    let cluster = Cluster::start().await?;
    let elsewhere = cluster.written_elsewhere()?;
    cluster.add_remote(every_second("images", &server)).await?;
    let good = tree.fingerprint(&id("good"), FIRST, RootFtype::Squashfs)?;
    cluster.edge.wait_for(&set([&good])).await?;
    assert_eq!(cluster.edge.fetch_everything().await?, 2);

    let images = cluster.images("images").await?;
    let stored = cluster.stored()?;
    for bend in &BENDS {
        let image = image(&images, &id(bend.name));
        assert_eq!(versions(image), [(FIRST, Status::Error)], "{}", bend.name);
        let message = &image.versions[0].error_message;
        assert!(message.contains(bend.says), "{}: {message}", bend.name);
        let alias = cluster.catalog.image(&format!("test/{}", bend.name)).await;
        assert!(alias.is_err(), "{}: {alias:?}", bend.name);

        let root = tree.root(&id(bend.name), FIRST, RootFtype::Squashfs)?;
        let metadata = tree.metadata(&id(bend.name), FIRST, MetadataFtype::Incus)?;
        for digest in [root.digest, metadata.digest, Digest::of(b"something else")] {
            let status = cluster.edge.blob(&digest).await?;
            assert_eq!(status, StatusCode::NOT_FOUND, "{}", bend.name);
        }
        // Of the pair with a wrong fingerprint the files themselves are what they should be.
        if bend.name != "other-fingerprint" {
            assert!(!stored.contains(&root.digest), "{}", bend.name);
        }
    }
    assert_eq!(cluster.written_elsewhere()?, elsewhere);

    // The index is mended: at the next poll everything comes that was only lied about.
    tree.publish(&server)?;
    let lies = BENDS.iter().filter(|bend| bend.fault.is_none());
    let lies: Vec<_> = lies.map(|bend| bend.name).chain(["good"]).collect();
    cluster.edge.wait_for(&fingerprints(&tree, &lies)?).await?;

    // The files are mended too, and the operator says so.
    for file in tree.files() {
        server.clear_faults(&file.path);
    }
    let run = cluster.sync("images").await?;
    assert_eq!(run.state(), SyncRunState::Succeeded, "{run:?}");
    let all: Vec<_> = BENDS.iter().map(|bend| bend.name).chain(["good"]).collect();
    cluster.edge.wait_for(&fingerprints(&tree, &all)?).await?;
    cluster.edge.fetch_everything().await?;
    cluster.stop().await
}

#[tokio::test]
async fn a_bad_new_version_leaves_the_old_one_in_its_place() -> anyhow::Result<()> {
    let (server, mut tree, debian) = debian()?;
    let cluster = Cluster::start().await?;
    cluster.mirror("images", &server).await?;
    let first = tree.fingerprint(&debian, FIRST, RootFtype::Squashfs)?;
    cluster.edge.wait_for(&set([&first])).await?;

    tree.add_version(&debian, container(SECOND))?;
    tree.publish(&server)?;
    let root = tree.root(&debian, SECOND, RootFtype::Squashfs)?.path.clone();
    server.fault(&root, Fault::FlipByte { offset: 100 });
    cluster.sync("images").await?;
    let images = cluster.images("images").await?;
    assert_eq!(
        versions(image(&images, &debian)),
        [(SECOND, Status::Error), (FIRST, Status::Active)]
    );
    let resolved = cluster.catalog.image("debian/bookworm").await?;
    assert_eq!(resolved.fingerprint, first.to_hex());
    assert_eq!(cluster.edge.fingerprints().await?, set([&first]));

    server.clear_faults(&root);
    cluster.sync("images").await?;
    let second = tree.fingerprint(&debian, SECOND, RootFtype::Squashfs)?;
    cluster.edge.wait_for(&set([&first, &second])).await?;
    cluster.stop().await
}

#[tokio::test]
async fn a_fingerprint_that_the_index_does_not_claim_is_computed() -> anyhow::Result<()> {
    let (server, tree, debian) = debian()?;
    let mut products = products_of(&tree)?;
    let items = &mut products["products"][&debian]["versions"][FIRST]["items"];
    for metadata in ["incus.tar.xz", "lxd.tar.xz"] {
        items[metadata]
            .as_object_mut()
            .unwrap()
            .retain(|key, _| !key.starts_with("combined"));
    }
    server.put(PRODUCTS_PATH, products.to_string())?;
    let cluster = Cluster::start().await?;
    cluster.mirror("images", &server).await?;
    let fingerprint = tree.fingerprint(&debian, FIRST, RootFtype::Squashfs)?;
    cluster.edge.wait_for(&set([&fingerprint])).await?;
    cluster.stop().await
}
