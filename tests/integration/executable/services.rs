//! The production form: a process for each service, over a Postgres that is somebody else's.

use std::{net::SocketAddr, process::Command};

use rootstock_model::RootFtype;
use rootstock_tests::{
    postgres::Postgres,
    process::{self, Process},
    remote::FakeRemote,
    standalone::run,
    tree::{Product, Tree, Version},
};

use super::{failure, rootstock};

/// A command for a process that listens on free ports and logs little.
fn serve(arguments: &[&str]) -> anyhow::Result<Command> {
    let mut command = process::command()?;
    command.args(arguments).args(["--admin-listen", "127.0.0.1:0"]);
    Ok(command)
}

async fn end(mut process: Process) -> anyhow::Result<()> {
    process.terminate()?;
    assert_eq!(process.wait().await?.code(), Some(0), "{}", process.output());
    Ok(())
}

#[tokio::test]
async fn three_processes_mirror_and_serve_as_standalone_does() -> anyhow::Result<()> {
    let database = Postgres::shared().await?.database().await?;
    let blobs = tempfile::tempdir()?;
    let of_database = |command: &mut Command| {
        command.env("ROOTSTOCK_CATALOG__DATABASE_URL", &database.url);
    };
    let to_catalog = |command: &mut Command, section: &str, catalog: SocketAddr| {
        command
            .env(
                format!("ROOTSTOCK_{section}__CATALOG_URL"),
                format!("http://{catalog}"),
            )
            .env("ROOTSTOCK_BLOBS__LOCAL__DIRECTORY", blobs.path());
    };

    let mut migrate = process::command()?;
    migrate.arg("migrate");
    of_database(&mut migrate);
    let migrated = run(migrate).await?;
    assert!(migrated.status.success(), "{}", failure(&migrated).0);

    let mut command = serve(&["serve", "catalog", "--grpc-listen", "127.0.0.1:0"])?;
    of_database(&mut command);
    let mut catalog = Process::start("catalog", command)?;
    let catalog_address = catalog.address("grpc").await?;

    let mut command = serve(&["serve", "sync"])?;
    to_catalog(&mut command, "SYNC", catalog_address);
    let mut sync = Process::start("sync", command)?;
    sync.address("admin").await?;

    let mut command = serve(&["serve", "gateway", "--grpc-listen", "127.0.0.1:0"])?;
    to_catalog(&mut command, "GATEWAY", catalog_address);
    command
        .args(["--http-listen", "127.0.0.1:0"])
        .env("ROOTSTOCK_GATEWAY__TLS__SELF_SIGNED", blobs.path().join("tls"))
        .env("ROOTSTOCK_GATEWAY__TLS__NAMES", r#"["127.0.0.1"]"#);
    let mut gateway = Process::start("gateway", command)?;
    gateway.address("https").await?;
    let server = format!("http://{}", gateway.address("grpc").await?);

    let mut tree = Tree::default();
    let alpine = tree.add_product(Product::new("Alpine", "3.24", "amd64"));
    tree.add_version(&alpine, Version::new("20260101_1300").root(RootFtype::Squashfs))?;
    let remote = FakeRemote::http()?;
    tree.publish(&remote)?;
    for arguments in [
        &["remote", "add", "lab", &remote.url()][..],
        &["remote", "sync", "lab", "--wait"],
    ] {
        let output = rootstock(&[arguments, &["--server", &server]].concat()).await?;
        assert!(output.status.success(), "{}", failure(&output).0);
    }
    let list = rootstock(&["image", "list", "--server", &server]).await?;
    let list = String::from_utf8(list.stdout)?;
    assert!(list.contains("alpine:3.24:amd64:default  active"), "{list}");

    for process in [gateway, sync, catalog] {
        end(process).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_catalog_that_has_no_database_yet_waits_and_says_so() -> anyhow::Result<()> {
    let mut command = serve(&["serve", "catalog", "--grpc-listen", "127.0.0.1:0"])?;
    command.env(
        "ROOTSTOCK_CATALOG__DATABASE_URL",
        "postgres://nobody@127.0.0.1:1/nowhere",
    );
    let mut catalog = Process::start("catalog", command)?;
    catalog
        .wait_for_line("that it waits", |line| {
            line.contains("waiting for the database").then_some(())
        })
        .await?;
    assert!(!catalog.output().contains("ready grpc"), "{}", catalog.output());
    end(catalog).await
}

#[tokio::test]
async fn a_database_that_is_not_there_cannot_be_migrated() -> anyhow::Result<()> {
    let mut migrate = process::command()?;
    migrate.args(["migrate", "--log-filter", "off"]);
    migrate.env(
        "ROOTSTOCK_CATALOG__DATABASE_URL",
        "postgres://nobody@127.0.0.1:1/nowhere",
    );
    let (said, code) = failure(&run(migrate).await?);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("cannot migrate the database"), "{said}");
    Ok(())
}
