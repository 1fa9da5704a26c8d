//! Flags, variables and files, before anything runs.

use std::fs;

use rootstock_tests::{process, standalone::run};

use super::{failure, rootstock};

#[tokio::test]
async fn the_version_and_the_help_are_results() -> anyhow::Result<()> {
    let version = rootstock(&["--version"]).await?;
    assert_eq!(
        String::from_utf8(version.stdout)?,
        concat!("rootstock ", env!("CARGO_PKG_VERSION"), "\n")
    );
    let help = rootstock(&["remote", "add", "-h"]).await?;
    assert!(help.status.success());
    let help = String::from_utf8(help.stdout)?;
    assert!(
        help.contains("Examples:") && help.contains("--keep-versions"),
        "{help}"
    );
    let (said, code) = failure(&rootstock(&["remote", "ad"]).await?);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("unrecognized subcommand"), "{said}");
    Ok(())
}

#[tokio::test]
async fn every_mistake_of_every_source_is_in_one_report() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("rootstock.toml");
    fs::write(
        &file,
        "[blobs]\nkind = 'ftp'\n[catalog]\nlease_duration = 'long'\npoolsize = 3\n",
    )?;
    let mut command = process::command()?;
    command
        .args(["check-config", "--grpc-listen", "nowhere", "--config"])
        .arg(&file);
    command.env("ROOTSTOCK_SYNC__CONCURRENT_TRANSFERS", "many");
    let (said, code) = failure(&run(command).await?);
    assert_eq!(code, 2, "{said}");
    for mistake in [
        "5 mistakes",
        "blobs.kind",
        "catalog.lease_duration",
        "catalog.poolsize: unknown key",
        "grpc_listen",
        "sync.concurrent_transfers",
        "ROOTSTOCK_SYNC__CONCURRENT_TRANSFERS",
    ] {
        assert!(said.contains(mistake), "{mistake} is missing in\n{said}");
    }
    Ok(())
}

#[tokio::test]
async fn what_is_in_force_is_printed_without_secrets_and_can_be_used_again() -> anyhow::Result<()> {
    let mut command = process::command()?;
    command.args([
        "check-config",
        "--for",
        "catalog",
        "--admin-listen",
        "127.0.0.1:1",
    ]);
    command.env(
        "ROOTSTOCK_CATALOG__DATABASE_URL",
        "postgres://u:hunter2@db.example/rootstock",
    );
    let output = run(command).await?;
    let printed = String::from_utf8(output.stdout)?;
    assert!(output.status.success(), "{printed}");
    assert!(printed.contains("admin_listen = \"127.0.0.1:1\""), "{printed}");
    assert!(!printed.contains("hunter2"), "{printed}");
    Ok(())
}

#[tokio::test]
async fn each_process_says_what_it_lacks() -> anyhow::Result<()> {
    for (arguments, lacks) in [
        (["serve", "catalog"], "catalog.database_url"),
        (["serve", "sync"], "sync.catalog_url"),
        (["serve", "gateway"], "gateway.catalog_url"),
    ] {
        let (said, code) = failure(&rootstock(&arguments).await?);
        assert_eq!(code, 2, "{said}");
        assert!(said.contains(lacks), "{said}");
    }
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_not_there_is_exit_code_4() -> anyhow::Result<()> {
    // A port that was free a moment ago, and that nobody else gets to listen on.
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?;
    drop(taken);
    let server = format!("http://{address}");
    for arguments in [
        &["image", "list"][..],
        &["remote", "sync", "x", "--wait"],
        &["watch"],
    ] {
        let mut arguments = arguments.to_vec();
        arguments.extend(["--server", &server]);
        let (said, code) = failure(&rootstock(&arguments).await?);
        assert_eq!(code, 4, "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(
            said.contains(&server) && said.contains("rootstock standalone"),
            "{said}"
        );
    }
    let (said, code) = failure(&rootstock(&["image", "list", "--server", "catalog:7443"]).await?);
    assert_eq!(code, 2, "{said}");
    let (said, code) = failure(&rootstock(&["healthcheck", "--admin", &address.to_string()]).await?);
    assert_eq!(code, 1, "{said}");
    Ok(())
}
