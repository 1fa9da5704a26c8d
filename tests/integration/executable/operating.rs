//! Operators' commands about remotes, settings, blobs and images of one's own, as they go on after the first sync.

use rootstock_tests::{
    remote::FakeRemote,
    standalone::{DataDirectory, Standalone},
};
use serde_json::Value;

use super::{
    commands::{add, small_remote},
    failure,
    images::json,
};

const IMAGE: &str = "debian:bookworm:amd64:default";

async fn mirrored(data: &DataDirectory) -> anyhow::Result<(Standalone, FakeRemote)> {
    let standalone = data.start().await?;
    let (remote, _) = small_remote()?;
    add(&standalone, &remote, &[]).await?;
    standalone.ok(&["remote", "sync", "lab", "--wait"]).await?;
    Ok((standalone, remote))
}

#[tokio::test]
async fn a_remote_is_tried_changed_and_left_alone() -> anyhow::Result<()> {
    let data = DataDirectory::new()?;
    let standalone = data.start().await?;
    let (remote, root) = small_remote()?;
    add(&standalone, &remote, &["--mode", "on-demand"]).await?;
    let before = json(&standalone, &["remote", "show", "lab"]).await?;
    assert_eq!(before["disabled"], false, "{before}");

    let tried = standalone.ok(&["remote", "test", "lab"]).await?;
    assert!(
        tried.starts_with("lab answers; a sync would do this:\n"),
        "{tried}"
    );
    let (said, code) = failure(
        &standalone
            .run(&["remote", "test", "lab", "--keep-versions", "2"])
            .await?,
    );
    assert_eq!(code, 2, "what is there is tried as it is: {said}");
    let (said, code) = failure(
        &standalone
            .run(&["remote", "test", "other", &remote.url(), "--mode", "mirror"])
            .await?,
    );
    assert_eq!(code, 1, "its certificate is not trusted: {said}");
    assert_eq!(said.lines().count(), 1, "{said}");

    let update = [
        "remote",
        "update",
        "lab",
        "--mode",
        "mirror",
        "--keep-versions",
        "3",
    ];
    assert_eq!(
        standalone
            .ok(&[&update[..], &["--include", "os=debian"]].concat())
            .await?,
        "changed remote lab\n"
    );
    let shown = json(&standalone, &["remote", "show", "lab"]).await?;
    assert_eq!(
        (&shown["mode"], &shown["keep_versions"], &shown["include"][0]),
        (&"mirror".into(), &3.into(), &"os=debian".into())
    );
    let etag = before["etag"].as_str().unwrap_or_default();
    let stale = ["remote", "update", "lab", "--unset", "include", "--etag", etag];
    let (said, code) = failure(&standalone.run(&stale).await?);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("changed") && said.lines().count() == 1, "{said}");
    let (said, code) = failure(&standalone.run(&["remote", "update", "lab"]).await?);
    assert_eq!(code, 2, "nothing to change: {said}");

    // A change is polled for at once; whoever waits for the next sync sees it stored.
    standalone.ok(&["remote", "sync", "lab", "--wait"]).await?;
    assert!(!remote.requests_for(&root).is_empty());

    assert_eq!(
        standalone.ok(&["remote", "disable", "lab"]).await?,
        "disabled remote lab\n"
    );
    let shown = json(&standalone, &["remote", "show", "lab"]).await?;
    assert_eq!(
        (&shown["disabled"], &shown["status"]["next_poll_at"]),
        (&true.into(), &Value::Null),
        "{shown}"
    );
    assert_eq!(
        standalone.ok(&["remote", "enable", "lab"]).await?,
        "enabled remote lab\n"
    );
    let shown = json(&standalone, &["remote", "show", "lab"]).await?;
    assert_eq!(shown["disabled"], false, "{shown}");
    Ok(())
}

#[tokio::test]
async fn settings_are_shown_set_and_set_back() -> anyhow::Result<()> {
    let data = DataDirectory::new()?;
    let standalone = data.start().await?;
    let key = "images.update_interval";
    let default = standalone.ok(&["config", "get", key]).await?;
    assert_eq!(
        standalone.ok(&["config", "set", key, "15m"]).await?,
        format!("{key} is 15m now\n")
    );
    assert_eq!(standalone.ok(&["config", "get", key]).await?, "15m\n");
    standalone.ok(&["config", "set", &format!("{key}=20m")]).await?;
    let all = json(&standalone, &["config", "show"]).await?;
    let of_key = |all: &Value| {
        let settings = all.as_array().cloned().unwrap_or_default();
        settings.into_iter().find(|setting| setting["key"] == key)
    };
    assert_eq!(
        of_key(&all).map(|setting| setting["value"].clone()),
        Some("20m".into())
    );
    for (arguments, code, says) in [
        (&["config", "set", key, "soon"][..], 1, key),
        (&["config", "set", key], 2, "rootstock config reset"),
        (&["config", "get", "images.nonesuch"], 3, "images.nonesuch"),
    ] {
        let (said, exit) = failure(&standalone.run(arguments).await?);
        assert_eq!(exit, code, "{arguments:?}: {said}");
        assert!(said.contains(says) && said.lines().count() == 1, "{said}");
    }
    assert_eq!(standalone.ok(&["config", "get", key]).await?, "20m\n");
    standalone.ok(&["config", "reset", key]).await?;
    assert_eq!(standalone.ok(&["config", "get", key]).await?, default);
    Ok(())
}

#[tokio::test]
async fn an_image_of_ones_own_is_added_and_changed() -> anyhow::Result<()> {
    let data = DataDirectory::new()?;
    let (standalone, _remote) = mirrored(&data).await?;
    let added = standalone
        .ok(&[
            "image",
            "add",
            "base",
            "debian/bookworm@20260101",
            "--property",
            "team=lab",
            "--alias",
            "golden",
        ])
        .await?;
    assert_eq!(
        added,
        "added base: version 0 (20260101_0524, 3.00 MiB) is active\n"
    );
    let shown = json(&standalone, &["image", "show", "golden"]).await?;
    assert_eq!(
        (&shown["name"], &shown["immutable"], &shown["auto_update"]),
        (&"base".into(), &false.into(), &false.into()),
        "{shown}"
    );
    let (said, code) = failure(
        &standalone
            .run(&["image", "add", "other", "debian/bookworm@1999"])
            .await?,
    );
    assert_ne!(code, 0);
    assert!(
        said.contains("20260101_0524") && said.lines().count() == 1,
        "the nearest: {said}"
    );

    let update = [
        "image",
        "update",
        "base",
        "--property",
        "os=Ours",
        "--unset-property",
        "team",
    ];
    standalone
        .ok(&[
            &update[..],
            &["--private", "--auto-update", "yes", "--expires", "90d"],
        ]
        .concat())
        .await?;
    let changed = json(&standalone, &["image", "show", "base"]).await?;
    assert_eq!(
        (
            &changed["public"],
            &changed["auto_update"],
            &changed["properties"]["os"]
        ),
        (&false.into(), &true.into(), &"Ours".into()),
        "{changed}"
    );
    assert_eq!(changed["properties"]["team"], Value::Null);
    assert!(changed["expires_at"].is_string(), "{changed}");

    let etag = shown["etag"].as_str().unwrap_or_default();
    let (said, code) = failure(
        &standalone
            .run(&["image", "update", "base", "--public", "--etag", etag])
            .await?,
    );
    assert_eq!(code, 1, "{said}");
    let (said, code) = failure(
        &standalone
            .run(&["image", "update", IMAGE, "--property", "os=x"])
            .await?,
    );
    assert_eq!(code, 1, "a synced image is immutable: {said}");
    assert!(said.contains("immutable") && said.lines().count() == 1, "{said}");
    let (_, code) = failure(&standalone.run(&["image", "update", "base"]).await?);
    assert_eq!(code, 2, "nothing to change");
    Ok(())
}

#[tokio::test]
async fn what_is_stored_is_listed_with_what_needs_it() -> anyhow::Result<()> {
    let data = DataDirectory::new()?;
    let (standalone, _remote) = mirrored(&data).await?;
    let reasons = async || -> anyhow::Result<Vec<String>> {
        let blobs = json(&standalone, &["blob", "list", "--needed"]).await?;
        let blobs = blobs.as_array().cloned().unwrap_or_default();
        let reason = |blob: &Value| format!("{} {}", blob["needs"][0]["reason"], blob["needs"][0]["image"]);
        Ok(blobs.iter().map(reason).collect())
    };
    // Metadata and root.
    assert_eq!(reasons().await?, vec![format!("\"version\" \"{IMAGE}\""); 2]);
    standalone.ok(&["image", "delete", IMAGE, "-fy"]).await?;
    assert_eq!(
        reasons().await?,
        vec![format!("\"grace\" \"{IMAGE}\""); 2],
        "whoever has the index yet can still download them"
    );
    assert_eq!(
        json(&standalone, &["blob", "list", "--unneeded"]).await?,
        Value::Array(vec![])
    );
    for collect in [&["blob", "collect", "--dry-run"][..], &["blob", "collect"]] {
        let said = standalone.ok(collect).await?;
        assert!(
            said.starts_with("nothing to remove; 2 blobs in the store, "),
            "{said}"
        );
    }
    Ok(())
}
