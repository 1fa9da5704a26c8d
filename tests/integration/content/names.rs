//! Names are looked at before any byte is sent.

use super::{Site, failure, metadata, root};
use anyhow::ensure;

#[tokio::test]
async fn names_and_aliases_are_checked_first() -> anyhow::Result<()> {
    let site = Site::start().await?;
    let meta = site.write("meta.tar.xz", &metadata("12")?)?;
    let first = site.write("first.squashfs", &root(1, 1 << 20)?)?;
    let other = site.write("other.squashfs", &root(2, 1 << 20)?)?;
    site.ok(&[
        "image", "import", "--name", "web", "--alias", "stable", &meta, &first,
    ])
    .await?;
    for (more, says) in [
        (vec!["--name", "web"], "--update"),
        (vec!["--name", "a b"], "not allowed there"),
        (vec!["--name", "new", "--alias", "a,b"], "aliases[0]"),
        (vec!["--name", "new", "--alias", "stable"], "--reuse"),
    ] {
        let mut arguments = vec!["image", "import"];
        arguments.extend(&more);
        arguments.extend([meta.as_str(), other.as_str()]);
        let output = site.cli(&arguments).await?;
        let (said, code) = failure(&output);
        assert_eq!(code, 1, "{more:?}: {said}");
        assert!(said.contains(says), "{more:?}: {said}");
        let all = String::from_utf8_lossy(&output.stderr);
        ensure!(
            !all.contains("sending"),
            "bytes were sent before that was told: {all}"
        );
    }
    // An alias of a user's is taken from the image that has it, when that is wanted.
    site.ok(&[
        "image", "import", "--name", "new", "--alias", "stable", "--reuse", &meta, &other,
    ])
    .await?;
    assert_eq!(site.cluster.catalog.image("stable").await?.name, "new");
    assert_eq!(site.cluster.catalog.image("web").await?.aliases, [""; 0]);
    site.cluster.stop().await
}

#[tokio::test]
async fn what_cannot_be_is_told_with_what_to_do() -> anyhow::Result<()> {
    let site = Site::start().await?;
    let root = site.write("root.squashfs", &root(1, 1 << 20)?)?;
    let meta = site.write("meta.tar.xz", &metadata("12")?)?;
    for (arguments, says) in [
        (vec!["image", "import", &root], "--os and --release"),
        (vec!["image", "import", &meta], "second file"),
        (vec!["image", "import", "/nonesuch"], "No such file"),
        (
            vec!["image", "import", &meta, &root, "--property", "x"],
            "KEY=VALUE",
        ),
        (vec!["image", "import", &root, "--os", "Debian"], "--release"),
    ] {
        let output = site.cli(&arguments).await?;
        let all = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {all}");
        assert!(all.contains(says), "{arguments:?}: {all}");
    }
    // The catalog's own address is of no use here.
    let catalog = format!("http://{}", site.cluster.catalog.address);
    let (said, code) = failure(
        &site
            .cli(&["image", "import", &meta, &root, "--server", &catalog])
            .await?,
    );
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("name a gateway's address"), "{said}");
    site.cluster.stop().await
}
