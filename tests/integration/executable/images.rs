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

pub(super) async fn json(standalone: &Standalone, arguments: &[&str]) -> anyhow::Result<Value> {
    let arguments = [arguments, &["--format", "json"]].concat();
    Ok(serde_json::from_str(&standalone.ok(&arguments).await?)?)
}

#[tokio::test]
async fn an_image_is_rolled_back_explained_and_released() -> anyhow::Result<()> {
    let data = DataDirectory::new()?;
    let (standalone, _remote) = mirrored(&data).await?;
    let held = standalone
        .ok(&[
            "image",
            "rollback",
            "debian/bookworm",
            "--reason",
            "DNS is broken",
            "--until",
            "7d",
        ])
        .await?;
    assert!(
        held.starts_with("debian:bookworm:amd64:default is held at version 0 (20260101_0524) until "),
        "{held}"
    );
    let shown = json(&standalone, &["image", "show", "debian/bookworm"]).await?;
    assert_eq!(shown["hold"]["reason"], "DNS is broken");
    assert_eq!(
        (&shown["hold"]["version"], &shown["current_version"]),
        (&0.into(), &0.into())
    );
    assert_eq!(shown["versions"][0]["hidden"], true);
    let shown = standalone.ok(&["image", "show", "debian/bookworm"]).await?;
    assert!(
        shown.contains(": DNS is broken") && shown.contains("hidden"),
        "{shown}"
    );

    let released = standalone.ok(&["image", "release", "debian/bookworm"]).await?;
    assert_eq!(
        released,
        format!("{IMAGE} is not held; it shows version 1 (20260102_0524)\n")
    );
    let (said, code) = failure(
        &standalone
            .run(&["image", "rollback", OTHER, "--reason", "there is none before"])
            .await?,
    );
    assert_eq!(code, 1, "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    Ok(())
}

#[tokio::test]
async fn the_default_is_switched_and_deletions_are_refused_or_forced() -> anyhow::Result<()> {
    let data = DataDirectory::new()?;
    let (standalone, _remote) = mirrored(&data).await?;
    standalone.ok(&["image", "switch", OTHER]).await?;
    let defaults = json(&standalone, &["image", "list", "--default"]).await?;
    assert_eq!(defaults[0]["name"], OTHER, "{defaults}");
    assert_eq!(defaults.as_array().map(Vec::len), Some(1));

    for (arguments, says) in [
        (&["image", "delete", IMAGE, "--yes"][..], "--force"),
        (&["image", "delete", OTHER, "--yes", "--force"], "image switch"),
        (
            &["image", "delete", OTHER, "--version", "0", "--yes"],
            "at least one version",
        ),
    ] {
        let (said, code) = failure(&standalone.run(arguments).await?);
        assert_eq!(code, 1, "{said}");
        assert!(said.contains(says), "{arguments:?}: {said}");
    }
    let (said, code) = failure(
        &standalone
            .run(&["image", "delete", IMAGE, "nonesuch", "-fy"])
            .await?,
    );
    assert_eq!(code, 3, "a name that is mistyped stops it all: {said}");

    let deleted = standalone
        .ok(&["image", "delete-version", IMAGE, "0", "--yes"])
        .await?;
    assert_eq!(
        deleted,
        format!("deleted version 0 of {IMAGE}; it shows version 1 (20260102_0524) now\n")
    );
    let (said, code) = failure(&standalone.run(&["image", "rm", IMAGE, "-fy"]).await?);
    assert_eq!((said, code), (format!("deleted image {IMAGE}"), 0));
    let left = json(&standalone, &["image", "list"]).await?;
    assert_eq!(left.as_array().map(Vec::len), Some(1), "{left}");
    Ok(())
}

#[tokio::test]
async fn applications_hold_follow_and_let_go() -> anyhow::Result<()> {
    let data = DataDirectory::new()?;
    let (standalone, _remote) = mirrored(&data).await?;
    standalone
        .ok(&["application", "create", "shop", "debian/bookworm"])
        .await?;
    standalone
        .ok(&[
            "app",
            "create",
            "till",
            "debian/bookworm",
            "--version",
            "0",
            "--auto-update",
            "false",
        ])
        .await?;
    let list = standalone.ok(&["application", "list"]).await?;
    let rows: Vec<Vec<&str>> = list
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(
        rows[0],
        ["NAME", "IMAGE", "TYPE", "VERSION", "SERIAL", "AUTO-UPDATE"]
    );
    assert_eq!(
        rows[1],
        ["shop", IMAGE, "container", "1", "20260102_0524", "true"]
    );
    assert_eq!(
        rows[2],
        ["till", IMAGE, "container", "0", "20260101_0524", "false"]
    );
    let used = json(&standalone, &["image", "show", IMAGE]).await?;
    assert_eq!(used["used_by"], serde_json::json!(["shop", "till"]));

    let updated = json(&standalone, &["application", "update", "till", "--version", "1"]).await?;
    assert_eq!(updated["version"]["number"], 1);
    let updated = json(
        &standalone,
        &["application", "update", "till", "--auto-update", "on"],
    )
    .await?;
    assert_eq!(updated["auto_update"], true);
    let stale = [
        "application",
        "update",
        "till",
        "--auto-update",
        "off",
        "--etag",
        "stale",
    ];
    let (said, code) = failure(&standalone.run(&stale).await?);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("changed meanwhile"), "{said}");

    let (said, code) = failure(&standalone.run(&["application", "delete", "shop"]).await?);
    assert_eq!(code, 2, "{said}");
    standalone.ok(&["application", "delete", "shop", "--yes"]).await?;
    let (said, code) = failure(&standalone.run(&["application", "show", "shop"]).await?);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("rootstock application list"), "{said}");
    Ok(())
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

    let text = standalone
        .ok(&["image", "resolve", "--type", "container"])
        .await?;
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
