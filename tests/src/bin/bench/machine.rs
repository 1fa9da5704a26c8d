//! What the numbers were measured on, and with.

use std::{
    env, fs,
    io::Write as _,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use rootstock_tests::{postgres::Postgres, process, tools};

/// How much is written to see how fast the disk is.
const PROBE_MIB: u32 = 512;

/// Prints the machine and the versions of everything that takes part.
pub(crate) fn describe(postgres: &Postgres) -> anyhow::Result<()> {
    let cores = std::thread::available_parallelism()?;
    let directory = env::temp_dir();
    println!("- Machine: {}, {cores} cores, {}", processor(), memory());
    println!("- Kernel: {}", read("/proc/sys/kernel/osrelease"));
    println!(
        "- Disk: {} at {}, writes and syncs {:.0} MiB/s",
        file_system(&directory),
        directory.display(),
        disk_mib_per_second(&directory)?
    );
    println!("- Load average before: {}", load_average());
    println!("- {}", version(&process::executable()?, "--version"));
    println!("- {}, with fsync and synchronous_commit on", postgres.version()?);
    for (program, argument) in [
        ("curl", "--version"),
        ("sha256sum", "--version"),
        ("openssl", "version"),
        ("weed", "version"),
        ("python3", "--version"),
    ] {
        match tools::find(program) {
            Some(path) => println!("- {}", version(&path, argument)),
            None => println!("- {program}: not there"),
        }
    }
    println!("- sstream-mirror: {}\n", simplestreams());
    Ok(())
}

/// Over one, five and fifteen minutes.
pub(crate) fn load_average() -> String {
    let text = read("/proc/loadavg");
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

/// Waits until what was written so far is on the disk: an earlier run's debts are not this one's.
pub(crate) fn settle() {
    nix::unistd::sync();
}

/// The first line of what a program says about itself.
fn version(program: &Path, argument: &str) -> String {
    let output = Command::new(program).arg(argument).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let line = text
        .as_deref()
        .unwrap_or_default()
        .lines()
        .next()
        .unwrap_or_default();
    // Of curl's line, its libraries are of no interest.
    line.split_whitespace().take(4).collect::<Vec<_>>().join(" ")
}

/// `scripts/setup bench` puts it into a directory named after its version.
fn simplestreams() -> String {
    let packages = fs::read_dir(tools::repository_root().join(".tools/packages"));
    let names = packages.into_iter().flatten().flatten();
    let mut names = names.filter_map(|entry| entry.file_name().into_string().ok());
    names
        .find(|name| name.starts_with("python-simplestreams"))
        .unwrap_or_else(|| "of unknown version".to_owned())
}

fn processor() -> String {
    let text = read("/proc/cpuinfo");
    let line = text.lines().find_map(|line| line.strip_prefix("model name"));
    let model = line
        .unwrap_or("unknown processor")
        .trim_start_matches([' ', '\t', ':']);
    let hashes = text
        .split_whitespace()
        .any(|flag| flag == "sha_ni" || flag == "sha2");
    format!(
        "{model} ({} SHA-256 instructions)",
        if hashes { "with" } else { "without" }
    )
}

fn memory() -> String {
    let text = read("/proc/meminfo");
    let kib = text
        .split_whitespace()
        .nth(1)
        .and_then(|kib| kib.parse::<u64>().ok());
    format!("{} GiB of memory", kib.unwrap_or(0) >> 20)
}

/// Device and type of what is mounted closest to a directory.
fn file_system(directory: &Path) -> String {
    let mounts = read("/proc/mounts");
    let closest = mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .filter(|mount| mount.len() > 2 && directory.starts_with(mount[1]))
        .max_by_key(|mount| mount[1].len());
    closest.map_or_else(
        || "unknown".to_owned(),
        |mount| format!("{} ({})", mount[0], mount[2]),
    )
}

fn disk_mib_per_second(directory: &Path) -> anyhow::Result<f64> {
    let mut file = tempfile::tempfile_in(directory).context("cannot write there")?;
    let block = vec![0x5a; 1 << 20];
    let start = Instant::now();
    for _ in 0..PROBE_MIB {
        file.write_all(&block)?;
    }
    file.sync_all()?;
    let took = start.elapsed().max(Duration::from_micros(1));
    Ok(f64::from(PROBE_MIB) / took.as_secs_f64())
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim_end().to_owned()
}
