//! The built `rootstock` executable as a child process.

use std::{
    env,
    io::{BufRead as _, BufReader, Read},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use nix::sys::signal::{Signal, kill};

use crate::{guard::Guard, tools};

/// How often a waiting test looks again.
const POLL: Duration = Duration::from_millis(20);
/// What is shown of a process when its test fails.
const TAIL_LINES: usize = 200;

/// A running `rootstock`. Killed when dropped; what it printed is shown when the test fails.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    exited: Option<ExitStatus>,
    output: Arc<Mutex<Vec<String>>>,
    readers: Vec<thread::JoinHandle<()>>,
    guard: Option<Guard>,
}

/// The last lines of what a process printed: enough to see what went wrong, for a log that others have
/// to find their way in too.
pub(crate) fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let left_out = lines.len().saturating_sub(TAIL_LINES);
    let tail = lines[left_out..].join("\n");
    match left_out {
        0 => tail,
        _ => format!("({left_out} lines before)\n{tail}"),
    }
}

/// The executable, built beside the one that runs.
pub fn executable() -> anyhow::Result<PathBuf> {
    let own = env::current_exe()?;
    // target/debug/deps/integration-… → target/debug/rootstock; target/release/bench → its neighbour.
    let directory = own
        .ancestors()
        .skip(1)
        .find(|directory| !directory.ends_with("deps"))
        .context("an executable in a directory")?;
    let executable = directory.join("rootstock");
    ensure!(
        executable.is_file(),
        "{} is missing: cargo build --workspace",
        executable.display()
    );
    Ok(executable)
}

/// A command for the executable, that no configuration of this shell reaches, and with the Postgres
/// that tests use.
pub fn command() -> anyhow::Result<Command> {
    let mut command = Command::new(executable()?);
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("ROOTSTOCK_")) {
            command.env_remove(name);
        }
    }
    command.env("ROOTSTOCK_PG_BIN", tools::postgres_binaries()?);
    command.stdin(Stdio::null());
    Ok(command)
}

impl Process {
    /// Starts a command made by [`command`]; `name` marks its lines.
    pub fn start(name: &str, mut command: Command) -> anyhow::Result<Self> {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let pid = child.id().to_string();
        let output = Arc::default();
        let mut readers = Vec::new();
        readers.extend(child.stdout.take().map(|stream| read_lines(stream, &output)));
        readers.extend(child.stderr.take().map(|stream| read_lines(stream, &output)));
        let guard = Some(Guard::new("kill -KILL \"$1\"", &[&pid])?);
        Ok(Self {
            name: name.to_owned(),
            child,
            exited: None,
            output,
            readers,
            guard,
        })
    }

    /// Waits for the first line, of standard output or error, that `find` makes something of; an
    /// error when there is none within a minute or the process ends.
    pub async fn wait_for_line<T>(
        &mut self,
        what: &str,
        find: impl Fn(&str) -> Option<T>,
    ) -> anyhow::Result<T> {
        let start = Instant::now();
        loop {
            // In this order: what was printed before the end counts.
            let exited = self.exit_status()?;
            if exited.is_some() {
                self.read_to_the_end().await;
            }
            if let Some(found) = self.lines().iter().find_map(|line| find(line)) {
                return Ok(found);
            }
            if let Some(status) = exited {
                bail!(
                    "{} ended ({status}) before it printed {what}:\n{}",
                    self.name,
                    self.output()
                );
            }
            if start.elapsed() > Duration::from_secs(60) {
                bail!("{} has not printed {what}:\n{}", self.name, self.output());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits for the line that names an address, such as `gateway  https://127.0.0.1:8443`.
    pub async fn address(&mut self, word: &str) -> anyhow::Result<SocketAddr> {
        self.wait_for_line(&format!("the address of {word}"), |line| address_in(line, word))
            .await
    }

    /// Everything printed so far, standard output and error as they came.
    pub fn output(&self) -> String {
        self.lines().join("\n")
    }

    /// What is to be known of it when a test fails.
    pub fn report(&self) -> String {
        let (name, pid) = (&self.name, self.child.id());
        let status = match self.exited {
            None => "not seen to end".to_owned(),
            Some(status) => status.to_string(),
        };
        format!(
            "--- {name} (pid {pid}, {status}) printed:\n{}\n---",
            tail(&self.output())
        )
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks the process to end: SIGTERM.
    pub fn terminate(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::SIGTERM)
    }

    /// Ends the process at once, as `kill -9` does, and waits for it to be gone.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::SIGKILL)?;
        self.exited = Some(self.child.wait()?);
        Ok(())
    }

    /// Sends a signal; SIGSTOP and SIGCONT freeze and thaw.
    pub fn signal(&mut self, signal: Signal) -> anyhow::Result<()> {
        // Not a process that was waited for: its id may be another's by now.
        if self.exit_status()?.is_none() {
            kill(nix::unistd::Pid::from_raw(self.child.id().try_into()?), signal)?;
        }
        Ok(())
    }

    /// Waits until the process has ended by itself; an error after a minute.
    pub async fn wait(&mut self) -> anyhow::Result<ExitStatus> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.exit_status()? {
                self.read_to_the_end().await;
                return Ok(status);
            }
            if start.elapsed() > Duration::from_secs(60) {
                bail!("{} does not end:\n{}", self.name, self.output());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// How the process ended, if it has.
    pub fn exit_status(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        if self.exited.is_none() {
            self.exited = self.child.try_wait()?;
        }
        Ok(self.exited)
    }

    /// After the end, waits for what was printed last; not for long, since a grandchild may hold
    /// the pipe open.
    async fn read_to_the_end(&self) {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(1)
            && !self.readers.iter().all(|reader| reader.is_finished())
        {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn lines(&self) -> MutexGuard<'_, Vec<String>> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill();
        if let Some(guard) = self.guard.take() {
            guard.disarm();
        }
        if thread::panicking() {
            eprintln!("{}", self.report());
        }
        // The readers are not waited for: they end when the last holder of the pipe does.
    }
}

fn read_lines(
    stream: impl Read + Send + 'static,
    output: &Arc<Mutex<Vec<String>>>,
) -> thread::JoinHandle<()> {
    let output = Arc::clone(output);
    thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            output.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    })
}

/// The first `HOST:PORT`, alone or in a URL, of a line that holds the word.
fn address_in(line: &str, word: &str) -> Option<SocketAddr> {
    let mut words = line.split(|c: char| c.is_whitespace() || "\"'`,;=()".contains(c));
    if !words.clone().any(|found| found.trim_end_matches(':') == word) {
        return None;
    }
    words.find_map(|word| {
        let address = word.split_once("://").map_or(word, |(_, rest)| rest);
        address.trim_end_matches('/').parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_in_ready_lines() {
        let address = |line| address_in(line, "gateway").map(|address| address.to_string());
        assert_eq!(
            address("gateway: https://127.0.0.1:8443/").as_deref(),
            Some("127.0.0.1:8443")
        );
        assert_eq!(
            address("ready gateway=127.0.0.1:1 (TLS)").as_deref(),
            Some("127.0.0.1:1")
        );
        assert_eq!(address("catalog 127.0.0.1:7443"), None);
        assert_eq!(address("gateway is not ready"), None);
    }
}
