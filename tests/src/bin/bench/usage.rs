//! What processes have cost, as the kernel counts it: processor time and peak memory.

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};

/// `/proc` counts time in hundredths of a second on every Linux, whatever the kernel's own clock.
const TICKS_PER_SECOND: u64 = 100;
/// How often the memory of a peer is looked at. Its processes keep their own peaks, so that only one
/// that begins and ends in between is missed.
const MEMORY_INTERVAL: Duration = Duration::from_millis(50);
/// No row takes so long on a machine that is in order.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30 * 60);

/// What one run of a row cost.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cost {
    pub(crate) wall: Duration,
    /// User and system time of the processes under test.
    pub(crate) cpu: Duration,
    /// Of other processes that belong to it, by what they are.
    pub(crate) cpu_aside: Vec<(&'static str, Duration)>,
    /// The most that the processes under test held in memory, in bytes.
    pub(crate) peak_bytes: u64,
}

/// Processor time of a process so far, all its threads, without its children.
pub(crate) fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    let [user, system, ..] = times(&pid.to_string())?;
    Ok(user + system)
}

/// Processor time of children of this process that have been waited for, and of theirs.
fn cpu_time_of_children() -> anyhow::Result<Duration> {
    let [.., user, system] = times("self")?;
    Ok(user + system)
}

/// User, system, children's user, children's system.
fn times(pid: &str) -> anyhow::Result<[Duration; 4]> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("only Linux counts so")?;
    // The name comes before, in parentheses, and may hold anything.
    let (_, numbers) = stat.rsplit_once(')').context("a line of /proc/PID/stat")?;
    let ticks: Vec<u64> = numbers
        .split_whitespace()
        .skip(11)
        .take(4)
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    let ticks: [u64; 4] = ticks.try_into().ok().context("four times in /proc/PID/stat")?;
    Ok(ticks.map(|ticks| Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND)))
}

/// The most memory that a process has held so far.
pub(crate) fn peak_bytes(pid: u32) -> anyhow::Result<u64> {
    status_bytes(pid, "VmHWM:")
}

fn status_bytes(pid: u32, field: &str) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kib = line
        .with_context(|| format!("{field} in /proc/PID/status"))?
        .trim();
    Ok(kib.trim_end_matches(" kB").parse::<u64>()? * 1024)
}

/// The memory that a process holds now.
pub(crate) fn resident_bytes(pid: u32) -> anyhow::Result<u64> {
    status_bytes(pid, "VmRSS:")
}

/// Runs a command to its good end; what it and its children cost.
pub(crate) async fn run(mut command: Command) -> anyhow::Result<Cost> {
    command.stdin(std::process::Stdio::null());
    let cpu_before = cpu_time_of_children()?;
    let start = Instant::now();
    let mut command = tokio::process::Command::from(command);
    let child = command
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let pid = child.id().context("it was just started")?;
    let mut peak = 0;
    let ended = tokio::time::timeout(PATIENCE, async {
        let output = child.wait_with_output();
        let mut output = std::pin::pin!(output);
        loop {
            tokio::select! {
                output = &mut output => return output,
                () = tokio::time::sleep(MEMORY_INTERVAL) => peak = peak.max(peak_bytes_of_tree(pid)),
            }
        }
    });
    let output = ended.await.context("it does not end")??;
    let wall = start.elapsed();
    ensure!(
        output.status.success(),
        "{}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(Cost {
        wall,
        cpu: cpu_time_of_children()?.saturating_sub(cpu_before),
        cpu_aside: Vec::new(),
        peak_bytes: peak,
    })
}

/// The peaks of a process and its descendants that are there now, added up.
fn peak_bytes_of_tree(pid: u32) -> u64 {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|pid| pid.parse().ok());
    peak_bytes(pid).unwrap_or(0) + children.map(peak_bytes_of_tree).sum::<u64>()
}
