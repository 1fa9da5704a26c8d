//! A server that an earlier standalone left behind when it was killed.
//!
//! We hold the lock of the data directory, so nobody needs that server any more; and it cannot be
//! taken over, because only a parent learns of its child's death. So it is stopped.

use std::{fs, io, os::unix::fs::MetadataExt as _, path::Path, time::Duration};

use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::time::{Instant, sleep, timeout};

use super::Error;

/// Signals in the order they are tried, and how long each may take: a fast stop writes everything
/// down, an immediate one leaves that to the recovery at the next start.
const STEPS: [(Signal, Duration); 2] = [
    (Signal::SIGINT, Duration::from_secs(30)),
    (Signal::SIGQUIT, Duration::from_secs(10)),
];
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Stops the server that runs in `data`, if one does, and sees to it that a stale `postmaster.pid`
/// does not keep the next one from starting.
pub(super) async fn stop(data: &Path) -> Result<(), Error> {
    let pid_file = data.join("postmaster.pid");
    let text = match fs::read_to_string(&pid_file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io("read", &pid_file)(error)),
    };
    let pid = text
        .lines()
        .next()
        .and_then(|line| line.trim().parse().ok())
        .filter(|pid| *pid > 1);
    let Some(pid) = pid.map(Pid::from_raw) else {
        tracing::warn!(path = %pid_file.display(), "removing a postmaster.pid that names no process");
        return fs::remove_file(&pid_file).map_err(Error::io("remove", &pid_file));
    };
    if !is_alive(pid) {
        // Postgres finds that out too, and knows what else to look at.
        return Ok(());
    }
    if runs_in(pid, data).await == Some(false) {
        // The number went to another process; Postgres could not tell, and would not start.
        tracing::warn!(process.pid = pid.as_raw(), "removing a stale postmaster.pid");
        return fs::remove_file(&pid_file).map_err(Error::io("remove", &pid_file));
    }
    tracing::warn!(
        process.pid = pid.as_raw(),
        "stopping a postgres that an earlier run left behind"
    );
    for (signal, patience) in STEPS {
        let deadline = Instant::now() + patience;
        // An error means that it is gone, or not ours to stop: both show below.
        let _ = kill(pid, signal);
        while Instant::now() < deadline {
            if !is_alive(pid) {
                return Ok(());
            }
            sleep(LOOK_AGAIN).await;
        }
    }
    Err(Error::Leftover(pid.as_raw()))
}

fn is_alive(pid: Pid) -> bool {
    kill(pid, None) != Err(Errno::ESRCH) && !is_zombie(pid)
}

/// Whether the process has ended and nobody has asked how: in a container without an init it may
/// stay so for good.
fn is_zombie(pid: Pid) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        // The name in parentheses may hold anything, so the state is what stands behind the last one.
        .and_then(|stat| Some(stat.rsplit_once(')')?.1.trim_start().starts_with('Z')))
        .unwrap_or(false)
}

/// Whether the process is a server on `data`; `None` when that cannot be seen.
async fn runs_in(pid: Pid, data: &Path) -> Option<bool> {
    if Path::new("/proc/self/cwd").exists() {
        // A server's working directory is its data directory, whatever that was called back then.
        let there = fs::metadata(format!("/proc/{pid}/cwd")).ok()?;
        let here = fs::metadata(data).ok()?;
        return Some((there.dev(), there.ino()) == (here.dev(), here.ino()));
    }
    let mut ps = tokio::process::Command::new("ps");
    ps.args(["-o", "command=", "-p", &pid.to_string()])
        .kill_on_drop(true);
    let output = timeout(Duration::from_secs(10), ps.output()).await.ok()?.ok()?;
    Some(String::from_utf8_lossy(&output.stdout).contains(data.to_str()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_pid_that_went_to_somebody_else_is_no_leftover() {
        let data = tempfile::tempdir().unwrap();
        let pid_file = data.path().join("postmaster.pid");
        // Our own pid: a stop by signal would end this test.
        for text in [
            format!("{}\n/somewhere\n", std::process::id()),
            "junk".into(),
            String::new(),
            "1\n".into(),
        ] {
            fs::write(&pid_file, &text).unwrap();
            stop(data.path()).await.unwrap();
            assert!(!pid_file.exists(), "{text:?}");
        }
        stop(data.path()).await.unwrap();
    }

    #[tokio::test]
    async fn a_server_that_was_left_behind_is_stopped() {
        let data = tempfile::tempdir().unwrap();
        // Like a server, it listens to these signals, though a background job's children are born deaf.
        let mut child = std::process::Command::new("env")
            .args(["--default-signal=INT,QUIT", "sleep", "1000"])
            .current_dir(data.path())
            .spawn()
            .unwrap();
        fs::write(data.path().join("postmaster.pid"), format!("{}\n", child.id())).unwrap();
        stop(data.path()).await.unwrap();
        assert!(!child.wait().unwrap().success());
    }
}
