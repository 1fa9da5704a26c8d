//! The real clients take the harness' own trees for real ones: so they are.

use rootstock_model::{MetadataFtype, RootFtype};
use rootstock_tests::{
    clients::{Client, Flavour},
    remote::FakeRemote,
    tools,
    tree::{Product, Tree, Version},
};

const SERIAL: &str = "20260101_0524";

async fn lists_and_exports(flavour: Flavour) -> anyhow::Result<()> {
    let Some(client) = Client::find(flavour)? else {
        return Ok(());
    };
    let mut tree = Tree::default();
    let id = tree.add_product(Product::new("Debian", "bookworm", "amd64"));
    let roots = [RootFtype::Squashfs, RootFtype::DiskKvmImg];
    let version = roots.into_iter().fold(Version::new(SERIAL), Version::root);
    tree.add_version(&id, version)?;
    let remote = FakeRemote::https()?;
    tree.publish(&remote)?;

    client.add_remote("fake", &remote.url(), remote.ca_pem()).await?;
    let mut listed: Vec<_> = client
        .list("fake")
        .await?
        .into_iter()
        .map(|image| image.fingerprint)
        .collect();
    let mut wanted = Vec::new();
    for root in roots {
        wanted.push(tree.fingerprint(&id, SERIAL, root)?.to_hex());
        let virtual_machine = root == RootFtype::DiskKvmImg;
        let exported = client.export("fake", "debian/bookworm", virtual_machine).await?;
        assert_eq!(
            exported.fingerprint,
            tree.fingerprint(&id, SERIAL, root)?,
            "{root}"
        );
        assert_eq!(exported.files.len(), 2);
    }
    listed.sort();
    wanted.sort();
    assert_eq!(listed, wanted);
    Ok(())
}

#[tokio::test]
async fn incus_takes_a_tree_for_a_real_one() -> anyhow::Result<()> {
    lists_and_exports(Flavour::Incus).await
}

#[tokio::test]
async fn lxc_takes_a_tree_for_a_real_one() -> anyhow::Result<()> {
    lists_and_exports(Flavour::Lxc).await
}

#[test]
fn incus_simplestreams_accepts_our_archives() -> anyhow::Result<()> {
    let Some(program) = tools::find_or_skip("incus-simplestreams") else {
        return Ok(());
    };
    let mut tree = Tree::default();
    let id = tree.add_product(Product::new("Debian", "bookworm", "amd64"));
    tree.add_version(&id, Version::new(SERIAL).root(RootFtype::Squashfs))?;
    let directory = tempfile::tempdir()?;
    tree.write_to(directory.path())?;
    let target = tempfile::tempdir()?;
    let path = |file: &str| directory.path().join(file);
    let output = std::process::Command::new(program)
        .arg("add")
        .arg(path(&tree.metadata(&id, SERIAL, MetadataFtype::Incus)?.path))
        .arg(path(&tree.root(&id, SERIAL, RootFtype::Squashfs)?.path))
        .current_dir(target.path())
        .output()?;
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let products = std::fs::read_to_string(target.path().join("streams/v1/images.json"))?;
    let fingerprint = tree.fingerprint(&id, SERIAL, RootFtype::Squashfs)?;
    assert!(products.contains(&fingerprint.to_hex()), "{products}");
    Ok(())
}
