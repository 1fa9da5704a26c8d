//! Finding Postgres' server programs.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{process::Command, time::timeout};

use super::{Account, Cluster, Error};

/// Names the directory of the programs; then nothing else is looked at.
const VARIABLE: &str = "ROOTSTOCK_PG_BIN";
/// Older ones are not tested, and have left their own support.
const MIN_MAJOR: u32 = 14;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// The directory of Postgres' server programs, and their version.
#[derive(Debug, Clone)]
pub(super) struct Binaries {
    directory: PathBuf,
    major: u32,
}

impl Binaries {
    /// Where they are.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Their major version.
    pub(super) fn major(&self) -> u32 {
        self.major
    }

    /// A command that runs `program` as `account`, out of reach of a Ctrl-C at our terminal, and
    /// with nothing of our environment that is not its business.
    pub(super) fn command(&self, program: &str, account: &Account) -> Command {
        command(&self.directory.join(program), account)
    }
}

fn command(program: &Path, account: &Account) -> Command {
    let mut command = Command::new(program);
    command.env_clear();
    for name in ["PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TZ"] {
        if let Some(value) = env::var_os(name) {
            command.env(name, value);
        }
    }
    command
        .env("LC_ALL", "C")
        .current_dir("/")
        .stdin(Stdio::null())
        .process_group(0);
    account.run(&mut command);
    command
}

/// The directory of the programs: the one that `ROOTSTOCK_PG_BIN` names; else the first that holds
/// them, looking at `further` last.
pub fn programs(further: PathBuf) -> Option<PathBuf> {
    let named = env::var_os(VARIABLE).map(PathBuf::from);
    let mut found = candidates()
        .into_iter()
        .chain([further])
        .filter(|directory| holds_programs(directory));
    named.or_else(|| found.next())
}

/// The programs to use: those in `named`, or that `ROOTSTOCK_PG_BIN` names; else the first found that
/// can be used, of the major version of the data if there are any.
pub(super) async fn find(
    named: Option<PathBuf>,
    account: &Account,
    cluster: &Cluster,
) -> Result<Binaries, Error> {
    let data_major = cluster.major()?;
    let other_major = |binaries: &Binaries, data| Error::OtherMajor {
        path: cluster.data().to_owned(),
        data,
        binaries: binaries.directory.clone(),
        programs: binaries.major,
    };
    let named = named.or_else(|| env::var_os(VARIABLE).map(PathBuf::from));
    let candidates = named.clone().map_or_else(candidates, |directory| vec![directory]);
    let mut first_problem = None;
    for directory in candidates {
        if named.is_none() && !holds_programs(&directory) {
            continue;
        }
        let problem = match inspect(directory, account).await {
            Ok(binaries) => match data_major {
                Some(data) if data != binaries.major => other_major(&binaries, data),
                _ => return Ok(binaries),
            },
            Err(problem) => problem,
        };
        first_problem.get_or_insert(problem);
    }
    Err(first_problem.unwrap_or_else(|| Error::NoBinaries {
        looked: "PATH, /usr/lib/postgresql, Homebrew, ./.tools/postgres/bin".to_owned(),
    }))
}

/// Directories to look at, the best first.
fn candidates() -> Vec<PathBuf> {
    let on_path = env::var_os("PATH")
        .and_then(|path| {
            let mut programs = env::split_paths(&path).map(|directory| directory.join("postgres"));
            programs.find(|program| program.is_file())
        })
        // A link on PATH leads to where the other programs are.
        .and_then(|program| Some(program.canonicalize().ok()?.parent()?.to_owned()));
    let mut candidates = Vec::from_iter(on_path);
    candidates.extend(newest_first(Path::new("/usr/lib/postgresql"), ""));
    for homebrew in ["/opt/homebrew/opt", "/usr/local/opt"] {
        candidates.extend(newest_first(Path::new(homebrew), "postgresql@"));
    }
    candidates.extend(
        env::current_dir()
            .ok()
            .map(|here| here.join(".tools/postgres/bin")),
    );
    candidates
}

fn holds_programs(directory: &Path) -> bool {
    ["postgres", "initdb"]
        .iter()
        .all(|program| directory.join(program).is_file())
}

/// The `bin` of each `<parent>/<prefix><major version>`, the highest version first.
fn newest_first(parent: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let mut versions: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| {
            let name = entry.file_name();
            let major = name.to_str()?.strip_prefix(prefix)?.parse().ok()?;
            Some((major, entry.path().join("bin")))
        })
        .collect();
    versions.sort();
    versions
        .into_iter()
        .rev()
        .map(|(_, directory)| directory)
        .collect()
}

/// Whether the programs are all there and run as `account`, and of which version they are.
async fn inspect(directory: PathBuf, account: &Account) -> Result<Binaries, Error> {
    let unusable = |problem: String| Error::UnusableBinaries {
        directory: directory.clone(),
        problem,
    };
    // Where the programs really lie: links may lead there from where only we can go.
    let real = |program: &str| {
        let program = directory.join(program);
        program
            .canonicalize()
            .map_err(|error| unusable(format!("{}: {error}", program.display())))
    };
    let directory = match (real("postgres")?.parent(), real("initdb")?.parent()) {
        (Some(one), Some(other)) if one == other => one.to_owned(),
        _ => return Err(unusable("postgres and initdb do not lie together".to_owned())),
    };
    account.check_can_enter(&directory, "Postgres' programs (ROOTSTOCK_PG_BIN)")?;
    let unusable = |problem: String| Error::UnusableBinaries {
        directory: directory.clone(),
        problem,
    };
    let mut version = command(&directory.join("postgres"), account);
    version.arg("--version").kill_on_drop(true);
    let output = timeout(ANSWER_TIMEOUT, version.output())
        .await
        .map_err(|_| unusable("postgres --version does not answer".to_owned()))?
        .map_err(|error| unusable(format!("postgres does not run: {error}")))?;
    let text = String::from_utf8_lossy(&output.stdout);
    match major_of(&text) {
        Some(major) if major >= MIN_MAJOR => Ok(Binaries {
            directory: directory.clone(),
            major,
        }),
        Some(major) => Err(unusable(format!(
            "it is Postgres {major}; the oldest that will do is {MIN_MAJOR}"
        ))),
        None => Err(unusable(format!(
            "postgres --version says {:?} {:?}",
            text.trim(),
            String::from_utf8_lossy(&output.stderr).trim()
        ))),
    }
}

/// Reads `postgres (PostgreSQL) 15.18 (Debian …)`.
fn major_of(version: &str) -> Option<u32> {
    let number = version.strip_prefix("postgres (PostgreSQL) ")?;
    let digits = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
    number[..digits].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_whatever_stands_behind() {
        for (text, major) in [
            ("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n", Some(15)),
            ("postgres (PostgreSQL) 18.6\n", Some(18)),
            ("postgres (PostgreSQL) 19beta1\n", Some(19)),
            ("postgres (PostgreSQL) 20", Some(20)),
            ("postgres (Something) 1.2", None),
            ("", None),
        ] {
            assert_eq!(major_of(text), major, "{text:?}");
        }
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        let parent = tempfile::tempdir().unwrap();
        for name in ["9", "15", "100", "junk", "prefix-16"] {
            fs::create_dir(parent.path().join(name)).unwrap();
        }
        let found = newest_first(parent.path(), "");
        let expected = ["100/bin", "15/bin", "9/bin"].map(|path| parent.path().join(path));
        assert_eq!(found, expected);
        assert_eq!(
            newest_first(parent.path(), "prefix-"),
            [parent.path().join("prefix-16/bin")]
        );
        assert!(newest_first(&parent.path().join("missing"), "").is_empty());
    }
}
