//! Operators' commands against standalone and a small image server.

use rootstock_model::RootFtype;
use rootstock_tests::{
    remote::{FakeRemote, Fault},
    standalone::{DataDirectory, Standalone},
    tree::{Product, Tree, Version},
};
use serde_json::Value;

use super::failure;

const SERIAL: &str = "20260101_0524";

/// A server with one Debian container, whose root lies at the path that is returned.
pub(super) fn small_remote() -> anyhow::Result<(FakeRemote, String)> {
    let mut tree = Tree::default();
    let debian = tree.add_product(Product::new("Debian", "bookworm", "amd64"));
    tree.add_version(
        &debian,
        Version::new(SERIAL).root_of_size(RootFtype::Squashfs, 3 << 20),
    )?;
    let remote = FakeRemote::https()?;
    tree.publish(&remote)?;
    let root = tree.root(&debian, SERIAL, RootFtype::Squashfs)?.path.clone();
    Ok((remote, root))
}

pub(super) async fn add(
    standalone: &Standalone,
    remote: &FakeRemote,
    more: &[&str],
) -> anyhow::Result<String> {
    let directory = tempfile::tempdir()?;
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, remote.ca_pem())?;
    let (url, ca) = (remote.url(), ca.display().to_string());
    let mut arguments = vec!["remote", "add", "lab", &url, "--ca", &ca];
    arguments.extend(more);
    standalone.ok(&arguments).await
}

#[tokio::test]
async fn an_empty_catalog_is_a_header_and_an_empty_list() -> anyhow::Result<()> {
    let data = DataDirectory::new()?;
    let standalone = data.start().await?;
    assert_eq!(
        standalone.ok(&["image", "list"]).await?,
        "ID  NAME  STATUS  VERSIONS  ARCHITECTURE  DEFAULT\n"
    );
    assert_eq!(
        standalone.ok(&["image", "list", "--format", "json"]).await?,
        "[]\n"
    );
    assert_eq!(
        standalone.ok(&["remote", "list", "--format", "yaml"]).await?,
        "[]\n"
    );
    for (arguments, says) in [
        (["image", "show", "nonesuch"], "rootstock image list"),
        (["image", "fetch", "nonesuch"], "rootstock image list"),
        (["remote", "show", "nonesuch"], "rootstock remote list"),
        (["remote", "sync", "nonesuch"], "rootstock remote list"),
        (["remote", "remove", "nonesuch"], "rootstock remote list"),
    ] {
        let (said, code) = failure(&standalone.run(&arguments).await?);
        assert_eq!(code, 3, "{said}");
        assert!(said.contains("not found") && said.contains(says), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    let (said, code) = failure(&standalone.run(&["remote", "add", "lab", "ftp://x"]).await?);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("remote.url: must begin with https://"), "{said}");
    Ok(())
}

#[tokio::test]
async fn a_remote_is_added_synced_shown_and_removed() -> anyhow::Result<()> {
    let data = DataDirectory::new()?;
    let standalone = data.start().await?;
    let (remote, _) = small_remote()?;
    let added = add(&standalone, &remote, &["--exclude", "type=virtual-machine"]).await?;
    assert!(added.starts_with("added remote lab"), "{added}");
    add(&standalone, &remote, &["--exclude", "type=virtual-machine"])
        .await
        .expect("the same again is the same");
    let (said, code) = failure(
        &standalone
            .run(&["remote", "add", "lab", "https://elsewhere.example"])
            .await?,
    );
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("rootstock remote remove lab"), "{said}");

    let synced = standalone.ok(&["remote", "sync", "lab", "--wait"]).await?;
    assert!(synced.starts_with("synced lab: "), "{synced}");
    assert!(
        synced.ends_with("it holds 1 image and 1 active version now\n"),
        "{synced}"
    );

    let list = standalone.ok(&["image", "list"]).await?;
    let row: Vec<_> = list
        .lines()
        .nth(1)
        .unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .collect();
    assert_eq!(
        row,
        ["debian:bookworm:amd64:default", "active", "1", "x86_64", "true"]
    );
    let none = standalone.ok(&["image", "list", "--type", "vm"]).await?;
    assert_eq!(none.lines().count(), 1, "{none}");

    let shown = standalone
        .ok(&["image", "show", "debian/bookworm", "--format", "json"])
        .await?;
    let image: Value = serde_json::from_str(&shown)?;
    assert_eq!(image["status"], "active");
    assert_eq!(image["source"]["remote"], "lab");
    assert_eq!(image["versions"][0]["serial"], SERIAL);
    assert_eq!(image["versions"][0]["fingerprint"], image["fingerprint"]);
    let fingerprint = image["fingerprint"].as_str().unwrap_or_default();
    let by_prefix = standalone.ok(&["image", "show", &fingerprint[..12]]).await?;
    assert!(by_prefix.contains(fingerprint), "{by_prefix}");

    let plan = standalone
        .ok(&["remote", "sync", "lab", "--plan", "--format", "json"])
        .await?;
    let plan: Value = serde_json::from_str(&plan)?;
    assert_eq!(
        (&plan["state"], &plan["plan"]["fetch_blobs"]),
        (&"succeeded".into(), &0.into())
    );
    let remote_shown = standalone
        .ok(&["remote", "show", "lab", "--format", "json"])
        .await?;
    let remote_shown: Value = serde_json::from_str(&remote_shown)?;
    assert_eq!(remote_shown["status"]["image_count"], 1);
    assert_eq!(remote_shown["status"]["last_error"], "");

    standalone.ok(&["remote", "remove", "lab"]).await?;
    let list = standalone.ok(&["image", "list"]).await?;
    assert!(list.contains("active"), "stored images stay: {list}");
    Ok(())
}

#[tokio::test]
async fn a_plan_is_shown_before_anything_is_fetched() -> anyhow::Result<()> {
    let data = DataDirectory::new()?;
    let standalone = data.start().await?;
    let (remote, root) = small_remote()?;
    add(
        &standalone,
        &remote,
        &["--mode", "on-demand", "--include", "release=bookworm"],
    )
    .await?;
    let plan = standalone.ok(&["remote", "sync", "lab", "--plan"]).await?;
    assert!(plan.contains("nothing to fetch"), "on demand: {plan}");
    standalone.ok(&["remote", "sync", "lab", "--wait"]).await?;
    let list = standalone.ok(&["image", "list", "--status", "available"]).await?;
    assert!(list.contains("debian:bookworm:amd64:default"), "{list}");
    assert!(remote.requests_for(&root).is_empty());

    let fetched = standalone
        .ok(&["image", "fetch", "debian/bookworm", "--wait"])
        .await?;
    assert!(fetched.contains(" is active\n"), "{fetched}");
    assert!(fetched.contains("it is private: "), "{fetched}");
    assert_eq!(remote.requests_for(&root).len(), 1);
    Ok(())
}

#[tokio::test]
async fn waiting_ends_with_the_transfers_and_tells_of_each() -> anyhow::Result<()> {
    let data = DataDirectory::new()?;
    let standalone = data.start().await?;
    let (remote, root) = small_remote()?;
    let rate = Fault::Slow {
        bytes_per_second: 1 << 20,
    };
    remote.fault(&root, rate);
    add(&standalone, &remote, &[]).await?;
    let output = standalone.run(&["remote", "sync", "lab", "--wait"]).await?;
    let (said, code) = failure(&output);
    assert_eq!(code, 0, "{said}");
    for line in [
        "fetching debian:bookworm:amd64:default 20260101_0524 squashfs (3.00 MiB)",
        "stored   debian:bookworm:amd64:default 20260101_0524 squashfs (3.00 MiB)",
    ] {
        assert!(
            said.lines().any(|said| said == line),
            "{line:?} is not in\n{said}"
        );
    }
    let list = standalone.ok(&["image", "list"]).await?;
    assert!(list.contains(" active "), "{list}");
    Ok(())
}

#[tokio::test]
async fn a_transfer_that_gives_up_fails_the_command_and_is_named() -> anyhow::Result<()> {
    let data = DataDirectory::new()?;
    let mut command = data.command()?;
    command.env("ROOTSTOCK_CATALOG__TRANSFER_ATTEMPTS", "1");
    let standalone = Standalone::start(command, &data.path()).await?;
    let (remote, root) = small_remote()?;
    remote.fault(&root, Fault::FlipByte { offset: 1 << 20 });
    add(&standalone, &remote, &[]).await?;
    let (said, code) = failure(&standalone.run(&["remote", "sync", "lab", "--wait"]).await?);
    assert_eq!(code, 1, "{said}");
    let last = said.lines().last().unwrap_or_default();
    assert!(
        last.contains("1 blob could not be fetched: debian:bookworm:amd64:default")
            && last.contains("squashfs"),
        "{said}"
    );
    let shown = standalone.ok(&["remote", "show", "lab"]).await?;
    assert!(shown.contains("failed transfers"), "{shown}");

    remote.clear_faults(&root);
    standalone.ok(&["remote", "sync", "lab", "--wait"]).await?;
    let list = standalone.ok(&["image", "list"]).await?;
    assert!(list.contains(" active "), "{list}");
    Ok(())
}

#[tokio::test]
async fn changes_are_watched_as_they_happen() -> anyhow::Result<()> {
    let data = DataDirectory::new()?;
    let standalone = data.start().await?;
    let command = standalone.cli(&["watch", "--initial-state", "--format", "json"])?;
    let mut watch = rootstock_tests::process::Process::start("watch", command)?;
    let is_change = |line: &str, kind: &str, operation: &str| {
        serde_json::from_str::<Value>(line)
            .is_ok_and(|change| change["operation"] == operation && change.get(kind).is_some())
    };
    watch
        .wait_for_line("a setting of the initial state", |line| {
            is_change(line, "setting", "state").then_some(())
        })
        .await?;
    let (remote, _) = small_remote()?;
    add(&standalone, &remote, &[]).await?;
    for (kind, operation) in [
        ("remote", "created"),
        ("image", "created"),
        ("version", "created"),
        ("version", "updated"),
        ("alias", "created"),
    ] {
        watch
            .wait_for_line(&format!("{kind} {operation}"), |line| {
                is_change(line, kind, operation).then_some(())
            })
            .await?;
    }
    watch.signal(nix::sys::signal::Signal::SIGINT)?;
    assert_eq!(watch.wait().await?.code(), Some(130));
    assert!(watch.output().contains("--from-revision"), "{}", watch.output());
    Ok(())
}

#[tokio::test]
async fn a_reader_that_goes_away_is_no_failure() -> anyhow::Result<()> {
    let data = DataDirectory::new()?;
    let standalone = data.start().await?;
    let mut command = standalone.cli(&["image", "list"])?;
    command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let mut child = command.spawn()?;
    drop(child.stdout.take());
    let output = child.wait_with_output()?;
    let (said, code) = failure(&output);
    assert_eq!((said.as_str(), code), ("", 0));
    Ok(())
}

#[tokio::test]
async fn ctrl_c_leaves_the_sync_running_and_says_so() -> anyhow::Result<()> {
    let data = DataDirectory::new()?;
    let standalone = data.start().await?;
    let (remote, root) = small_remote()?;
    remote.fault_times(&root, 1, Fault::StallAfter { bytes: 1 << 20 });
    add(&standalone, &remote, &[]).await?;
    let command = standalone.cli(&["remote", "sync", "lab", "--wait"])?;
    let mut sync = rootstock_tests::process::Process::start("sync", command)?;
    sync.wait_for_line("the stalled transfer", |line| {
        line.starts_with("fetching ").then_some(())
    })
    .await?;
    sync.signal(nix::sys::signal::Signal::SIGINT)?;
    assert_eq!(sync.wait().await?.code(), Some(130));
    assert!(sync.output().contains("goes on by itself"), "{}", sync.output());
    let shown = standalone.ok(&["remote", "show", "lab"]).await?;
    assert!(shown.contains("1 waiting or running"), "{shown}");
    Ok(())
}
