//! The whole way of an image: a remote's tree, polled and mirrored by a real worker, promised by the
//! catalog, and seen by clients through the gateway.

mod bytes;
mod clients;
mod hostile;
mod modes;
mod tree;

use std::collections::BTreeSet;

use rootstock_model::{Digest, RootFtype};
use rootstock_proto::catalog::v1::{Image, Remote, Status, Version as CatalogVersion};
use rootstock_tests::{
    cluster::remote,
    remote::FakeRemote,
    tree::{INDEX_PATH, PRODUCTS_PATH, Product, Tree, Version},
};

const FIRST: &str = "20260101_0524";
const SECOND: &str = "20260102_0524";
const THIRD: &str = "20260103_0524";

/// A server of a tree with one line of containers in one version, and the product's id.
fn debian() -> anyhow::Result<(FakeRemote, Tree, String)> {
    let mut tree = Tree::default();
    let debian = tree.add_product(Product::new("Debian", "bookworm", "amd64"));
    tree.add_version(&debian, container(FIRST))?;
    let server = FakeRemote::https()?;
    tree.publish(&server)?;
    Ok((server, tree, debian))
}

fn container(serial: &str) -> Version {
    Version::new(serial).root(RootFtype::Squashfs)
}

/// Serves a products file that somebody else wrote, beside an index that says that these products
/// are in it.
fn put_products(server: &FakeRemote, products: Vec<u8>, names: &[&str]) -> anyhow::Result<()> {
    let images = serde_json::json!({
        "datatype": "image-downloads", "path": PRODUCTS_PATH, "format": "products:1.0", "products": names,
    });
    let index = serde_json::json!({ "format": "index:1.0", "index": { "images": images } });
    server.put(INDEX_PATH, index.to_string())?;
    Ok(server.put(PRODUCTS_PATH, products)?)
}

/// A remote that is polled by itself, as often as one can be.
fn every_second(name: &str, server: &FakeRemote) -> Remote {
    Remote {
        update_interval: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
        ..remote(name, server)
    }
}

fn set<'a>(fingerprints: impl IntoIterator<Item = &'a Digest>) -> BTreeSet<String> {
    fingerprints.into_iter().map(|digest| digest.to_hex()).collect()
}

fn image<'a>(images: &'a [Image], name: &str) -> &'a Image {
    let mut found = images.iter().filter(|image| image.name == name);
    found.next().unwrap_or_else(|| panic!("no {name} in {images:#?}"))
}

/// What is known of an image's versions, newest first: serials and statuses.
fn versions(image: &Image) -> Vec<(&str, Status)> {
    let known = |version: &CatalogVersion| version.status();
    let versions = image.versions.iter();
    versions
        .map(|version| (version.serial.as_str(), known(version)))
        .collect()
}
