//! Where the programs are that tests need, and what happens when one is missing.

use std::{
    env, fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};

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

/// The directory of Postgres' server programs: `$ROOTSTOCK_PG_BIN`, that of `postgres` on `PATH`,
/// the newest `/usr/lib/postgresql/*/bin`, Homebrew's, `.tools/postgres/bin`.
pub fn postgres_binaries() -> anyhow::Result<PathBuf> {
    if let Some(set) = env::var_os("ROOTSTOCK_PG_BIN") {
        let set = PathBuf::from(set);
        if !holds_postgres(&set) {
            bail!(
                "ROOTSTOCK_PG_BIN is {}, which has no postgres and initdb",
                set.display()
            );
        }
        return Ok(set);
    }
    let on_path = on_path("postgres")
        .and_then(|program| program.canonicalize().ok())
        .and_then(|program| Some(program.parent()?.to_owned()));
    let homebrew = ["/opt/homebrew/opt", "/usr/local/opt"];
    on_path
        .into_iter()
        .chain(newest_first("/usr/lib/postgresql", ""))
        .chain(homebrew.iter().flat_map(|opt| newest_first(opt, "postgresql@")))
        .chain(repository_root().join(".tools/postgres/bin").canonicalize())
        .find(|directory| holds_postgres(directory))
        .context("no Postgres server is installed: run scripts/setup, or set ROOTSTOCK_PG_BIN")
}

fn holds_postgres(directory: &Path) -> bool {
    ["postgres", "initdb", "pg_ctl"]
        .iter()
        .all(|program| directory.join(program).is_file())
}

/// The `bin` of each `<parent>/<prefix><major version>`, highest version first.
fn newest_first(parent: &str, prefix: &str) -> Vec<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    versions.sort();
    versions
        .into_iter()
        .rev()
        .map(|(_, directory)| directory)
        .collect()
}

fn on_path(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
}
