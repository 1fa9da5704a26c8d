//! What is asked before something goes, at a terminal and where there is none.

use std::{
    fs::File,
    io::Write as _,
    process::{Output, Stdio},
};

use nix::pty::openpty;
use rootstock_tests::standalone::{DataDirectory, Standalone, run};

use super::{
    commands::{add, small_remote},
    failure,
};

/// Runs a command with a terminal as its standard input, at which `typed` is typed.
async fn at_a_terminal(standalone: &Standalone, arguments: &[&str], typed: &str) -> anyhow::Result<Output> {
    let pty = openpty(None, None)?;
    let mut keyboard = File::from(pty.master);
    // A terminal keeps what is typed until it is read.
    keyboard.write_all(typed.as_bytes())?;
    let mut command = standalone.cli(arguments)?;
    command.stdin(Stdio::from(pty.slave));
    let output = run(command).await?;
    drop(keyboard);
    Ok(output)
}

#[tokio::test]
async fn a_deletion_is_asked_about_as_amc_does() -> anyhow::Result<()> {
    let data = DataDirectory::new()?;
    let standalone = data.start().await?;
    let (remote, _) = small_remote()?;
    add(&standalone, &remote, &[]).await?;
    standalone.ok(&["remote", "sync", "lab", "--wait"]).await?;

    let delete = ["image", "delete", "debian/bookworm"];
    let (said, code) = failure(&standalone.run(&delete).await?);
    assert_eq!(code, 2, "nobody to ask: {said}");
    assert!(said.contains("--yes"), "{said}");

    let (said, code) = failure(&at_a_terminal(&standalone, &delete, "n\n").await?);
    assert_eq!(code, 1, "{said}");
    assert_eq!(
        said,
        "The following image will be REMOVED:\n  - debian:bookworm:amd64:default\n\
         Do you want to continue? [Y/n]: rootstock: nothing was removed"
    );
    let (said, code) = failure(&at_a_terminal(&standalone, &["image", "delete", "nonesuch"], "y\n").await?);
    assert_eq!(code, 3, "what is not there is not asked about: {said}");
    assert!(!said.contains("REMOVED"), "{said}");
    let list = standalone.ok(&["image", "list"]).await?;
    assert!(list.contains(" active "), "{list}");

    // Force is about the image, and does not answer the question.
    let forced = ["image", "delete", "debian/bookworm", "--force"];
    let (said, code) = failure(&at_a_terminal(&standalone, &forced, "\n").await?);
    assert_eq!(code, 0, "Enter is yes: {said}");
    let list = standalone.ok(&["image", "list"]).await?;
    assert_eq!(list.lines().count(), 1, "{list}");
    Ok(())
}
