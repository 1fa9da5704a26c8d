use std::process::Command;

use nix::{sys::signal::kill, unistd::Pid};
use rootstock_tests::process::Process;

fn shell(script: &str) -> anyhow::Result<Process> {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    Process::start("a shell", command)
}

#[tokio::test]
async fn output_is_read_and_the_end_is_seen() -> anyhow::Result<()> {
    let script = "trap 'exit 7' TERM; echo 'gateway: https://127.0.0.1:8443'; echo oops >&2
                  while :; do sleep 0.05; done";
    let mut process = shell(script)?;
    assert_eq!(process.address("gateway").await?.to_string(), "127.0.0.1:8443");
    process
        .wait_for_line("the complaint", |line| (line == "oops").then_some(()))
        .await?;
    assert!(process.exit_status()?.is_none());
    process.terminate()?;
    assert_eq!(process.wait().await?.code(), Some(7));
    Ok(())
}

#[tokio::test]
async fn a_process_that_ends_too_early_is_an_error_with_its_output() -> anyhow::Result<()> {
    let mut process = shell("echo what went wrong >&2; exit 3")?;
    let error = process.address("gateway").await.unwrap_err().to_string();
    assert!(
        error.contains("exit status: 3") && error.contains("what went wrong"),
        "{error}"
    );
    Ok(())
}

#[tokio::test]
async fn a_dropped_process_is_gone() -> anyhow::Result<()> {
    let process = shell("exec sleep 1000")?;
    let pid = Pid::from_raw(process.pid().try_into()?);
    kill(pid, None)?;
    drop(process);
    assert_eq!(kill(pid, None), Err(nix::errno::Errno::ESRCH));
    Ok(())
}
