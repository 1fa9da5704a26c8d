use std::{fs, io::Read as _};

use rootstock_model::{Digest, MetadataFtype, RootFtype};
use rootstock_tests::{
    remote::FakeRemote,
    tree::{INDEX_PATH, PRODUCTS_PATH, Product, Tree, Version},
};
use serde_json::Value;

const SERIAL: &str = "20260101_0524";

fn every_root() -> anyhow::Result<(Tree, String)> {
    let mut tree = Tree::default();
    let id = tree.add_product(Product::new("Debian", "bookworm", "amd64").requirement("secureboot", "false"));
    let version = RootFtype::ALL
        .into_iter()
        .fold(Version::new(SERIAL), Version::root);
    tree.add_version(&id, version)?;
    Ok((tree, id))
}

#[test]
fn sizes_and_hashes_of_the_index_are_those_of_the_files() -> anyhow::Result<()> {
    let (tree, id) = every_root()?;
    let directory = tempfile::tempdir()?;
    tree.write_to(directory.path())?;
    let index: Value = serde_json::from_slice(&fs::read(directory.path().join(INDEX_PATH))?)?;
    assert_eq!(index["index"]["images"]["path"], PRODUCTS_PATH);
    assert_eq!(index["index"]["images"]["products"][0], id);
    let products: Value = serde_json::from_slice(&fs::read(directory.path().join(PRODUCTS_PATH))?)?;
    let items = products["products"][&id]["versions"][SERIAL]["items"]
        .as_object()
        .unwrap();
    assert_eq!(items.len(), 2 + RootFtype::ALL.len());

    let bytes = |item: &Value| fs::read(directory.path().join(item["path"].as_str().unwrap()));
    for (key, item) in items {
        let bytes = bytes(item)?;
        assert_eq!(item["size"], bytes.len(), "{key}");
        assert_eq!(item["sha256"], Digest::of(&bytes).to_hex(), "{key}");
    }
    let metadata = items["incus.tar.xz"].clone();
    assert_eq!(
        metadata["path"], items["lxd.tar.xz"]["path"],
        "twins are one file"
    );
    for ftype in RootFtype::ALL {
        let both = [bytes(&metadata)?, bytes(&items[&format!("root.{ftype}")])?].concat();
        for field in ftype.combined_fields() {
            assert_eq!(metadata[*field], Digest::of(&both).to_hex(), "{ftype}");
        }
        assert_eq!(tree.fingerprint(&id, SERIAL, ftype)?, Digest::of(&both));
    }
    Ok(())
}

#[test]
fn archives_are_real_and_the_same_each_time() -> anyhow::Result<()> {
    let (tree, id) = every_root()?;
    let (again, _) = every_root()?;
    assert_eq!(tree.indexes(), again.indexes());

    let mut xz = Vec::new();
    tree.metadata(&id, SERIAL, MetadataFtype::Incus)?
        .content
        .copy_to(&mut xz)?;
    let mut archive = tar::Archive::new(liblzma::read::XzDecoder::new(&xz[..]));
    let mut entry = archive.entries()?.next().unwrap()?;
    assert_eq!(entry.path()?.to_str(), Some("metadata.yaml"));
    let mut text = String::new();
    entry.read_to_string(&mut text)?;
    assert!(text.starts_with("architecture: x86_64\n"), "{text}");

    let mut squashfs = Vec::new();
    tree.root(&id, SERIAL, RootFtype::Squashfs)?
        .content
        .copy_to(&mut squashfs)?;
    assert!(squashfs.starts_with(b"hsqs"));
    Ok(())
}

#[test]
fn publishing_again_takes_away_what_is_gone() -> anyhow::Result<()> {
    let remote = FakeRemote::https()?;
    let (mut tree, id) = every_root()?;
    tree.add_version(
        &id,
        Version::new("20260102_0524").root_of_size(RootFtype::Squashfs, 5_000_000),
    )?;
    tree.publish(&remote)?;
    let old = tree.root(&id, SERIAL, RootFtype::Squashfs)?.path.clone();
    let new = tree.root(&id, "20260102_0524", RootFtype::Squashfs)?.clone();
    assert_eq!(new.content.size(), 5_000_000);
    assert!(remote.has(&old) && remote.has(&new.path));

    tree.remove_version(&id, SERIAL)?;
    tree.publish(&remote)?;
    assert!(!remote.has(&old) && remote.has(&new.path));
    Ok(())
}
