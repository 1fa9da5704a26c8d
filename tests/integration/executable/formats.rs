//! What programs read: JSON, YAML and CSV of every list, exact where tables round.

use rootstock_tests::standalone::{DataDirectory, Standalone};
use serde_json::Value;

use super::{
    commands::{add, small_remote},
    failure,
};

/// A list in all three formats, each read by a parser of its own; the number of things in it.
async fn in_all_formats(standalone: &Standalone, arguments: &[&str]) -> anyhow::Result<usize> {
    let of = |format| [arguments, &["--format", format]].concat();
    let json: Vec<Value> = serde_json::from_str(&standalone.ok(&of("json")).await?)?;
    let yaml: Vec<Value> = serde_yaml_ng::from_str(&standalone.ok(&of("yaml")).await?)?;
    assert_eq!(json, yaml, "{arguments:?}");
    let csv = standalone.ok(&of("csv")).await?;
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let columns = reader.headers()?.clone();
    let rows = reader.records().collect::<Result<Vec<_>, _>>()?;
    assert_eq!(rows.len(), json.len(), "{csv}");
    for (row, record) in rows.iter().zip(&json) {
        for (column, cell) in columns.iter().zip(row) {
            let path = format!("/{}", column.replace('.', "/"));
            if let Some(Value::String(text)) = record.pointer(&path) {
                assert_eq!(cell, text, "{column}");
            }
            if let Some(value @ (Value::Number(_) | Value::Bool(_))) = record.pointer(&path) {
                assert_eq!(cell, value.to_string(), "{column}");
            }
        }
    }
    Ok(json.len())
}

#[tokio::test]
async fn lists_are_the_same_to_every_program() -> anyhow::Result<()> {
    let data = DataDirectory::new()?;
    let standalone = data.start().await?;
    for empty in [["image", "list"], ["remote", "list"], ["transfer", "list"]] {
        assert_eq!(in_all_formats(&standalone, &empty).await?, 0, "{empty:?}");
    }
    let (remote, _) = small_remote()?;
    add(&standalone, &remote, &[]).await?;
    standalone.ok(&["remote", "sync", "lab", "--wait"]).await?;
    assert_eq!(in_all_formats(&standalone, &["image", "list"]).await?, 1);
    assert_eq!(in_all_formats(&standalone, &["remote", "list"]).await?, 1);

    let shown = standalone
        .ok(&["--format", "json", "image", "show", "debian/bookworm"])
        .await?;
    let image: Value = serde_json::from_str(&shown)?;
    let version = &image["versions"][0];
    let artifacts = version["artifacts"].as_array().map_or(&[][..], Vec::as_slice);
    let bytes: i64 = artifacts
        .iter()
        .filter_map(|artifact| artifact["size_bytes"].as_i64())
        .sum();
    assert!(bytes > 3 << 20, "{shown}");
    assert_eq!(version["size_bytes"], bytes, "exact, where the table rounds");
    let created_at = image["created_at"].as_str().unwrap_or_default();
    time::OffsetDateTime::parse(created_at, &time::format_description::well_known::Rfc3339)?;
    let csv = standalone
        .ok(&["image", "show", "debian/bookworm", "--format", "csv"])
        .await?;
    assert_eq!(csv.lines().count(), 2, "{csv}");
    Ok(())
}

#[tokio::test]
async fn flags_about_the_server_stand_anywhere() -> anyhow::Result<()> {
    let data = DataDirectory::new()?;
    let standalone = data.start().await?;
    let server = format!("http://{}", standalone.grpc);
    for arguments in [
        ["--server", &server, "--format", "json", "image", "list"],
        ["image", "--server", &server, "list", "--format", "json"],
        ["image", "list", "--format", "json", "--server", &server],
    ] {
        let output = super::rootstock(&arguments).await?;
        assert_eq!(String::from_utf8_lossy(&output.stdout), "[]\n", "{arguments:?}");
    }
    Ok(())
}

#[tokio::test]
async fn exit_codes_tell_what_happened() -> anyhow::Result<()> {
    // Port 1 is never ours, and nobody listens there.
    let nobody = ["image", "list", "--server", "http://127.0.0.1:1"];
    for (arguments, expected, says) in [
        (&nobody[..], 4, "rootstock standalone"),
        (&["image", "lsit"][..], 2, "'list'"),
        (
            &["standalone", "--server", "http://127.0.0.1:1"][..],
            2,
            "--server",
        ),
        (&["image", "list", "--server", "nonsense"][..], 2, "--server"),
    ] {
        let (said, code) = failure(&super::rootstock(arguments).await?);
        assert_eq!(code, expected, "{arguments:?}: {said}");
        assert!(said.contains(says), "{arguments:?}: {said}");
    }
    let (said, _) = failure(&super::rootstock(&nobody).await?);
    assert_eq!(said.lines().count(), 1, "{said}");
    let (said, _) = failure(&super::rootstock(&[&nobody[..], &["--debug"]].concat()).await?);
    assert!(said.lines().count() > 1 && said.contains("Unavailable"), "{said}");
    let help = super::rootstock(&["--help"]).await?;
    assert!(help.status.success());
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    assert!(help.contains("Exit codes: 0 done, 1 refused or failed"), "{help}");
    Ok(())
}
