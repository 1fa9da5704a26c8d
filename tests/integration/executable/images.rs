//! Operators' commands about images, against standalone and a small image server.

use rootstock_model::RootFtype;
use rootstock_tests::{
    remote::FakeRemote,
    standalone::{DataDirectory, Standalone},
    tree::{Product, Tree, Version},
};
use serde_json::Value;

use super::{commands::add, failure};

const IMAGE: &str = "debian:bookworm:amd64:default";
const OTHER: &str = "alpine:edge:amd64:default";

/// A server with a Debian container of two versions and an Alpine of one, mirrored.
async fn mirrored(data: &DataDirectory) -> anyhow::Result<(Standalone, FakeRemote)> {
    let mut tree = Tree::default();
    let debian = tree.add_product(Product::new("Debian", "bookworm", "amd64"));
    let alpine = tree.add_product(Product::new("Alpine", "edge", "amd64"));
    for (product, serial) in [
        (&debian, "20260101_0524"),
        (&debian, "20260102_0524"),
        (&alpine, "20260101_1300"),
    ] {
        tree.add_version(
            product,
            Version::new(serial).root_of_size(RootFtype::Squashfs, 4096),
        )?;
    }
    let remote = FakeRemote::https()?;
    tree.publish(&remote)?;
    let standalone = data.start().await?;
    add(&standalone, &remote, &[]).await?;
    standalone.ok(&["remote", "sync", "lab", "--wait"]).await?;
    Ok((standalone, remote))
}

async fn json(standalone: &Standalone, arguments: &[&str]) -> anyhow::Result<Value> {
    let arguments = [arguments, &["--format", "json"]].concat();
    Ok(serde_json::from_str(&standalone.ok(&arguments).await?)?)
}

#[tokio::test]
async fn aliases_are_made_pinned_moved_renamed_and_deleted() -> anyhow::Result<()> {
    let data = DataDirectory::new()?;
    let (standalone, _remote) = mirrored(&data).await?;
    let made = standalone
        .ok(&[
            "image",
            "alias",
            "create",
            "our/base",
            "debian/bookworm",
            "--description",
            "for the shop",
        ])
        .await?;
    assert_eq!(
        made,
        "alias our/base points to debian/bookworm (version: newest)\n"
    );
    let pinned = json(
        &standalone,
        &["image", "alias", "update", "our/base", "--version", "0"],
    )
    .await?;
    assert_eq!(
        (&pinned["version"], &pinned["description"]),
        (&0.into(), &"for the shop".into())
    );
    let resolved = json(&standalone, &["image", "resolve", "our/base"]).await?;
    assert_eq!(resolved["version"]["serial"], "20260101_0524");
    let newest = json(&standalone, &["image", "alias", "update", "our/base", "--newest"]).await?;
    assert_eq!(newest["version"], Value::Null);
    standalone
        .ok(&["image", "alias", "update", "our/base", "--image", OTHER])
        .await?;
    standalone
        .ok(&["image", "alias", "rename", "our/base", "our/other"])
        .await?;
    let list = standalone.ok(&["image", "alias", "list", "our/*"]).await?;
    assert!(list.contains("our/other") && !list.contains("our/base"), "{list}");
    let of_image = json(&standalone, &["image", "alias", "list", "--image", OTHER]).await?;
    assert!(of_image.to_string().contains("our/other"), "{of_image}");

    standalone.ok(&["image", "alias", "rm", "our/other"]).await?;
    let (said, code) = failure(&standalone.run(&["image", "alias", "show", "our/other"]).await?);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("rootstock image alias list"), "{said}");
    Ok(())
}

#[tokio::test]
async fn resolving_tells_files_and_what_a_host_lacks() -> anyhow::Result<()> {
    let data = DataDirectory::new()?;
    let mut tree = Tree::default();
    let product = Product::new("Debian", "bookworm", "amd64").requirement("nesting", "true");
    let debian = tree.add_product(product);
    tree.add_version(
        &debian,
        Version::new("20260101_0524").root_of_size(RootFtype::Squashfs, 4096),
    )?;
    let remote = FakeRemote::https()?;
    tree.publish(&remote)?;
    let standalone = data.start().await?;
    add(&standalone, &remote, &[]).await?;
    standalone.ok(&["remote", "sync", "lab", "--wait"]).await?;

    let text = standalone.ok(&["image", "resolve"]).await?;
    assert!(
        text.contains("blobs/sha256/") && text.contains("0 (20260101_0524)"),
        "{text}"
    );
    let (said, code) = failure(&standalone.run(&["image", "resolve", IMAGE, "--check"]).await?);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("requirements.nesting"), "{said}");
    standalone
        .ok(&["image", "resolve", IMAGE, "--nesting", "--use"])
        .await?;
    standalone.ok(&["image", "use", IMAGE]).await?;
    Ok(())
}
