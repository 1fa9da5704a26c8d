//! `rootstock standalone` on data of its own, and operators' commands against it.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use anyhow::Context as _;
use tempfile::TempDir;

use crate::{
    guard::Guard,
    process::{self, Process},
};

/// A Postgres that a killed standalone or test left behind is stopped by its pid file; `$1` is the directory.
const STOP_POSTGRES_AND_REMOVE: &str = r#"
pid=$1/data/postgres/data/postmaster.pid
[ -e "$pid" ] && kill -QUIT "$(head -n 1 "$pid")"
for tenth in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    [ -e "$pid" ] && sleep 0.1
done
rm -rf "$1"
"#;

/// A directory for the data of standalone, or of a Postgres alone. Whatever happens to the test, nothing is left of it, and no
/// database in it.
#[derive(Debug)]
pub struct DataDirectory {
    // Dropped first: the directory cannot be removed under a running server.
    _guard: Guard,
    directory: TempDir,
}

/// A standalone that is ready.
#[derive(Debug)]
pub struct Standalone {
    /// Its process.
    pub process: Process,
    /// The public gRPC API.
    pub grpc: SocketAddr,
    /// The TLS edge.
    pub https: SocketAddr,
    /// Health and metrics.
    pub admin: SocketAddr,
    /// The certificate to trust.
    pub ca: PathBuf,
}

impl DataDirectory {
    /// A new one, that an unprivileged Postgres can enter.
    pub fn new() -> anyhow::Result<Self> {
        let parent = parent_for_everyone()?;
        let directory = tempfile::Builder::new()
            .prefix("rootstock-data-")
            .tempdir_in(parent)?;
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o711))?;
        let path = directory.path().to_str().context("TMPDIR is no UTF-8")?;
        let guard = Guard::new(STOP_POSTGRES_AND_REMOVE, &[path])?;
        Ok(Self {
            _guard: guard,
            directory,
        })
    }

    /// What `--data-dir` is to be.
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// The id of the Postgres that runs in it, or ran there last.
    pub fn postgres_pid(&self) -> Option<i32> {
        let text = fs::read_to_string(self.path().join("postgres/data/postmaster.pid")).ok()?;
        text.lines().next()?.trim().parse().ok()
    }

    /// The command that starts standalone here, on ports that are free.
    pub fn command(&self) -> anyhow::Result<Command> {
        let mut command = process::command()?;
        command.arg("standalone").arg("--data-dir").arg(self.path());
        for listener in ["--grpc-listen", "--http-listen", "--admin-listen"] {
            command.args([listener, "127.0.0.1:0"]);
        }
        Ok(command)
    }

    /// Starts standalone here; returns when it is ready.
    pub async fn start(&self) -> anyhow::Result<Standalone> {
        Standalone::start(self.command()?, &self.path()).await
    }
}

/// A directory for temporary ones that Postgres can enter, whoever runs it.
fn parent_for_everyone() -> anyhow::Result<PathBuf> {
    let as_root = nix::unistd::geteuid().is_root();
    [std::env::temp_dir(), "/tmp".into(), "/var/tmp".into()]
        .into_iter()
        .find(|path| !as_root || open_to_others(path))
        .context("neither TMPDIR nor /tmp nor /var/tmp can be entered by an unprivileged user")
}

fn open_to_others(path: &Path) -> bool {
    path.ancestors()
        .all(|part| fs::metadata(part).is_ok_and(|metadata| metadata.mode() & 0o001 != 0))
}

impl Standalone {
    /// Starts a command made by [`DataDirectory::command`], with what the caller added to it.
    pub async fn start(command: Command, data: &Path) -> anyhow::Result<Self> {
        let mut process = Process::start("standalone", command)?;
        let grpc = process.address("grpc").await?;
        let https = process.address("https").await?;
        let admin = process.address("admin").await?;
        Ok(Self {
            process,
            grpc,
            https,
            admin,
            ca: data.join("tls/ca.crt"),
        })
    }

    /// A command for this server: `rootstock <arguments>`.
    pub fn cli(&self, arguments: &[&str]) -> anyhow::Result<Command> {
        let mut command = process::command()?;
        command
            .args(arguments)
            .env("ROOTSTOCK_SERVER", format!("http://{}", self.grpc));
        Ok(command)
    }

    /// Runs a command for this server to its end.
    pub async fn run(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        run(self.cli(arguments)?).await
    }

    /// Runs a command for this server that is to succeed: what it printed.
    pub async fn ok(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.run(arguments).await?;
        anyhow::ensure!(
            output.status.success(),
            "rootstock {}: {}\n{}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8(output.stdout)?)
    }
}

/// Runs a command to its end.
pub async fn run(command: Command) -> anyhow::Result<Output> {
    let mut command = tokio::process::Command::from(command);
    Ok(command.kill_on_drop(true).output().await?)
}
