//! The data directory of standalone: made when missing, and used by one process at a time.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use nix::unistd::geteuid;

/// A data directory that nobody else uses.
#[derive(Debug)]
pub struct DataDirectory {
    path: PathBuf,
    /// Held as long as this lives, and released by the system when the process is killed.
    _lock: File,
}

/// Why the directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another process uses it.
    #[error(
        "another rootstock standalone{} uses the data in {}: stop it, or choose another --data-dir",
        of_process(owner), path.display()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The id of the process that says so.
        owner: String,
    },
    /// It cannot be made or written to.
    #[error("cannot use the data directory {}: {cause} (--data-dir chooses another)", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// Part of the message, hence not the error's source.
        cause: io::Error,
    },
}

impl DataDirectory {
    /// Makes the directory when it is missing, and takes it.
    ///
    /// # Errors
    /// It cannot be written to, or another process uses it.
    pub fn take(path: &Path) -> Result<Self, Error> {
        let failed = |cause| Error::Io {
            path: path.to_owned(),
            cause,
        };
        make(path).map_err(failed)?;
        let path = path.canonicalize().map_err(failed)?;
        let failed = |cause| Error::Io {
            path: path.clone(),
            cause,
        };
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path.join("lock"))
            .map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut owner = String::new();
                lock.read_to_string(&mut owner).map_err(failed)?;
                return Err(Error::InUse {
                    path,
                    owner: owner.trim().to_owned(),
                });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let say_who = |lock: &mut File| {
            lock.set_len(0)?;
            lock.rewind()?;
            writeln!(lock, "{}", std::process::id())
        };
        say_who(&mut lock).map_err(failed)?;
        Ok(Self { path, _lock: lock })
    }

    /// Its absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Everything in it has permissions of its own. Root lets others pass through, since Postgres,
/// which refuses to be root, must get at its part.
fn make(path: &Path) -> io::Result<()> {
    let mode = if geteuid().is_root() { 0o711 } else { 0o700 };
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    match fs::DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        other => other,
    }
}

fn of_process(owner: &str) -> String {
    if owner.is_empty() {
        String::new()
    } else {
        format!(" (process {owner})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_refused_until_the_first_is_gone() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("some/where");
        let first = DataDirectory::take(&path).unwrap();
        let error = DataDirectory::take(&path).unwrap_err().to_string();
        let expected = format!(
            "(process {}) uses the data in {}",
            std::process::id(),
            first.path().display()
        );
        assert!(error.contains(&expected), "{error}");
        drop(first);
        DataDirectory::take(&path).unwrap();
    }
}
