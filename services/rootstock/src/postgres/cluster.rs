//! Postgres' data directory: made once and whole, or not at all.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::{Instant, sleep, timeout};

use super::{Account, Binaries, Error, NAME};

/// Maps the user that this process is to [`NAME`].
const USER_MAP: &str = "standalone";
const INITIALIZE_TIMEOUT: Duration = Duration::from_secs(300);
const STRAGGLER_TIMEOUT: Duration = Duration::from_secs(5);

/// `<data-dir>/postgres` and the data in it.
#[derive(Debug)]
pub(super) struct Cluster {
    directory: PathBuf,
    data: PathBuf,
}

impl Cluster {
    /// Takes `directory`, making it when there is none.
    pub(super) fn open(directory: &Path, account: &Account) -> Result<Self, Error> {
        match fs::DirBuilder::new().mode(0o700).create(directory) {
            Ok(()) => account.give(directory)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Error::io("make", directory)(error)),
        }
        Ok(Self {
            directory: directory.to_owned(),
            data: directory.join("data"),
        })
    }

    /// `<data-dir>/postgres`.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Postgres' own data directory.
    pub(super) fn data(&self) -> &Path {
        &self.data
    }

    /// The major version that the data are of; `None` when there are none yet.
    pub(super) fn major(&self) -> Result<Option<u32>, Error> {
        let path = self.data.join("PG_VERSION");
        match fs::read_to_string(&path) {
            Ok(text) => match text.trim().parse() {
                Ok(major) => Ok(Some(major)),
                Err(error) => Err(Error::io("understand", &path)(io::Error::other(error))),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("read", &path)(error)),
        }
    }

    /// Makes the data if there are none: under another name first, so that what bears the right one
    /// is whole.
    pub(super) async fn initialize(
        &self,
        binaries: &Binaries,
        account: &Account,
        durable: bool,
    ) -> Result<(), Error> {
        if self.major()?.is_some() {
            return Ok(());
        }
        let unfinished = self.directory.join("data.new");
        remove_unfinished(&unfinished).await?;
        let mut initdb = binaries.command("initdb", account);
        initdb.arg("--pgdata").arg(&unfinished);
        initdb.args([
            "--encoding=UTF8",
            "--locale=C",
            "--data-checksums",
            "--no-instructions",
        ]);
        initdb
            .args(["--auth-local=peer", "--auth-host=reject"])
            .arg(format!("--username={NAME}"));
        if !durable {
            initdb.arg("--no-sync");
        }
        initdb.kill_on_drop(true);
        let output = timeout(INITIALIZE_TIMEOUT, initdb.output())
            .await
            .map_err(|_| Error::Initialize(format!("it takes longer than {INITIALIZE_TIMEOUT:?}")))?
            .map_err(|error| Error::Initialize(error.to_string()))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(Error::Initialize(format!(
                "{}: {}",
                output.status,
                one_line(&said)
            )));
        }
        fs::rename(&unfinished, &self.data).map_err(Error::io("rename", &unfinished))?;
        sync_directory(&self.directory)?;
        tracing::info!(postgres.data = %self.data.display(), "made a postgres data directory");
        Ok(())
    }

    /// Writes who may connect: the user that this process is, and nobody else.
    pub(super) fn write_access_rules(&self, account: &Account) -> Result<(), Error> {
        self.write(
            &self.hba_file(),
            &format!("local all all peer map={USER_MAP}\n"),
            account,
        )?;
        let own_name = account.own_name().replace('"', "\"\"");
        self.write(
            &self.ident_file(),
            &format!("{USER_MAP} \"{own_name}\" {NAME}\n"),
            account,
        )
    }

    /// Which connections are taken.
    pub(super) fn hba_file(&self) -> PathBuf {
        self.directory.join("pg_hba.conf")
    }

    /// Who is who.
    pub(super) fn ident_file(&self) -> PathBuf {
        self.directory.join("pg_ident.conf")
    }

    fn write(&self, path: &Path, text: &str, account: &Account) -> Result<(), Error> {
        let unfinished = path.with_extension("new");
        let write = || {
            let mut file = File::create(&unfinished)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()
        };
        write().map_err(Error::io("write", &unfinished))?;
        account.give(&unfinished)?;
        fs::rename(&unfinished, path).map_err(Error::io("write", path))
    }
}

/// Removes what an initdb that was killed has left. A child of its may go on writing for a moment.
async fn remove_unfinished(path: &Path) -> Result<(), Error> {
    let deadline = Instant::now() + STRAGGLER_TIMEOUT;
    loop {
        match fs::remove_dir_all(path) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(Error::io("remove", path)(error)),
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}

fn sync_directory(path: &Path) -> Result<(), Error> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(Error::io("sync", path))
}

/// A program's output as part of a sentence.
pub(super) fn one_line(text: &str) -> String {
    let lines: Vec<_> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    lines.join("; ")
}
