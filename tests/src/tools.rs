//! Where the programs are that tests need, and what happens when one is missing.

use std::{
    env,
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

/// The root of the repository that this harness was built in.
pub fn repository_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the package lies in the repository")
        .to_owned()
}

/// The program `name`: the file that `ROOTSTOCK_<NAME>` names, else `.tools/bin/<name>`, else the
/// first on `PATH`. (`incus-simplestreams` is looked up as `ROOTSTOCK_INCUS_SIMPLESTREAMS`.)
pub fn find(name: &str) -> Option<PathBuf> {
    let variable = format!("ROOTSTOCK_{}", name.to_uppercase().replace('-', "_"));
    let local = repository_root().join(".tools/bin").join(name);
    env::var_os(variable)
        .map(PathBuf::from)
        .or_else(|| Some(local).filter(|path| path.is_file()))
        .or_else(|| on_path(name))
}

/// Like [`find`], for what no test can do without.
pub fn require(name: &str) -> anyhow::Result<PathBuf> {
    find(name).with_context(|| format!("{name} is not installed: run scripts/setup test"))
}

/// The S3 server SeaweedFS: the file that `ROOTSTOCK_WEED_BIN` names, else as by [`find`]. No test
/// of blobs can do without.
pub fn weed() -> anyhow::Result<PathBuf> {
    env::var_os("ROOTSTOCK_WEED_BIN")
        .map(PathBuf::from)
        .or_else(|| find("weed"))
        .context("SeaweedFS is not installed: run `make setup`, or set ROOTSTOCK_WEED_BIN to its `weed`")
}

/// Like [`find`], for what a test may lack on a developer's machine: says `NOT RUN` on the real
/// standard error (the test runner hides what a passing test prints), and panics where a missing
/// program is a mistake ([`must_run_everything`]).
pub fn find_or_skip(name: &str) -> Option<PathBuf> {
    let found = find(name);
    if found.is_none() {
        not_run(&format!(
            "{name} is not installed (scripts/setup test installs it)"
        ));
    }
    found
}

/// Says that the calling test cannot run, and why. Panics when [`must_run_everything`].
pub fn not_run(why: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    if must_run_everything() {
        panic!("{test} cannot run here, and everything must: {why}");
    }
    // Not `eprintln!`: the test runner captures that one.
    let _ = writeln!(std::io::stderr(), "\nNOT RUN: {test}: {why}\n");
}

/// Whether a test that cannot run is a failure: `CI` or `ROOTSTOCK_REQUIRE_CLIENTS` is set.
pub fn must_run_everything() -> bool {
    ["CI", "ROOTSTOCK_REQUIRE_CLIENTS"]
        .iter()
        .any(|name| env::var_os(name).is_some_and(|value| !value.is_empty() && value != "0"))
}

/// The directory of Postgres' server programs: what standalone finds, and `.tools/postgres/bin` last.
pub fn postgres_binaries() -> anyhow::Result<PathBuf> {
    rootstock::postgres::programs(repository_root().join(".tools/postgres/bin"))
        .context("no Postgres server is installed: run scripts/setup, or set ROOTSTOCK_PG_BIN")
}

fn on_path(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
}
