//! The user who runs Postgres: we, or somebody without rights when we are root.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, chown},
    path::{Path, PathBuf},
};

use nix::unistd::{Uid, User, geteuid};
use tokio::process::Command;

use super::Error;

/// Who runs Postgres, and who connects to it.
#[derive(Debug, Clone)]
pub(super) struct Account {
    uid: u32,
    gid: u32,
    name: String,
    /// The name of the user that we are, and that may connect.
    own_name: String,
    /// Whether a child has to be told to be this user.
    switch: bool,
}

impl Account {
    /// We, unless we are root: then the owner of the data if there are any, the owner of the data
    /// directory if that is not root, and `nobody` otherwise.
    pub(super) fn choose(data_directory: &Path) -> Result<Self, Error> {
        let own_uid = geteuid();
        let own = user(own_uid)?;
        let owner = owner(&data_directory.join("postgres"));
        if !own_uid.is_root() {
            return match owner {
                Some(owner) if owner != own_uid => Err(Error::OtherOwner {
                    path: data_directory.join("postgres"),
                    owner: user(owner).map_or_else(|_| owner.to_string(), |user| user.name),
                    user: own.name,
                }),
                _ => Ok(Self::new(own.clone(), &own, false)),
            };
        }
        let runner = [owner, self::owner(data_directory)]
            .into_iter()
            .flatten()
            .find(|uid| !uid.is_root())
            .map_or_else(nobody, user)?;
        let account = Self::new(runner, &own, true);
        account.check_can_enter(data_directory, "the data (--data-dir)")?;
        Ok(account)
    }

    fn new(runner: User, own: &User, switch: bool) -> Self {
        Self {
            uid: runner.uid.as_raw(),
            gid: runner.gid.as_raw(),
            name: runner.name,
            own_name: own.name.clone(),
            switch,
        }
    }

    /// The user's name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The name of the user that this process is.
    pub(super) fn own_name(&self) -> &str {
        &self.own_name
    }

    /// Has the command run as this user, with no groups but the user's own.
    pub(super) fn run(&self, command: &mut Command) {
        if self.switch {
            // As root, the standard library clears the supplementary groups when the uid is set.
            command.uid(self.uid).gid(self.gid);
        }
    }

    /// Gives a path to this user.
    pub(super) fn give(&self, path: &Path) -> Result<(), Error> {
        if self.switch {
            chown(path, Some(self.uid), Some(self.gid)).map_err(Error::io("change the owner of", path))?;
        }
        Ok(())
    }

    /// Whether the path belongs to this user.
    pub(super) fn owns(&self, metadata: &fs::Metadata) -> bool {
        metadata.uid() == self.uid
    }

    /// Checks that this user can get at what is in `directory`.
    pub(super) fn check_can_enter(&self, directory: &Path, what: &'static str) -> Result<(), Error> {
        match self.first_closed(directory) {
            Some(directory) => Err(Error::Closed {
                directory,
                user: self.name.clone(),
                what,
            }),
            None => Ok(()),
        }
    }

    /// The first directory on the way to and including `directory` that this user cannot enter, by
    /// its permission bits. When we are this user already, the system says so by itself.
    pub(super) fn first_closed(&self, directory: &Path) -> Option<PathBuf> {
        if !self.switch {
            return None;
        }
        let mut parts: Vec<_> = directory
            .ancestors()
            .filter(|part| !part.as_os_str().is_empty())
            .collect();
        parts.reverse();
        parts
            .into_iter()
            .find(|part| !self.can_enter(part))
            .map(Path::to_owned)
    }

    fn can_enter(&self, directory: &Path) -> bool {
        fs::metadata(directory).is_ok_and(|metadata| {
            let shift = if metadata.uid() == self.uid {
                6
            } else if metadata.gid() == self.gid {
                3
            } else {
                0
            };
            (metadata.mode() >> shift) & 1 != 0
        })
    }
}

fn owner(path: &Path) -> Option<Uid> {
    fs::metadata(path)
        .ok()
        .map(|metadata| Uid::from_raw(metadata.uid()))
}

fn user(uid: Uid) -> Result<User, Error> {
    User::from_uid(uid)
        .ok()
        .flatten()
        .ok_or(Error::Nameless(uid.as_raw()))
}

fn nobody() -> Result<User, Error> {
    User::from_name("nobody")
        .ok()
        .flatten()
        .ok_or(Error::Nameless(65534))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn stranger() -> Account {
        Account {
            uid: 4_000_001,
            gid: 4_000_002,
            name: "stranger".into(),
            own_name: "root".into(),
            switch: true,
        }
    }

    #[test]
    fn the_closed_directory_is_named() {
        let temporary = tempfile::tempdir().unwrap();
        let open = |path: &Path, mode| {
            fs::create_dir_all(path).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        open(temporary.path(), 0o755);
        let closed = temporary.path().join("closed");
        open(&closed, 0o700);
        let inner = closed.join("inner");
        open(&inner, 0o711);
        assert_eq!(stranger().first_closed(&inner), Some(closed.clone()));
        open(&closed, 0o711);
        assert_eq!(stranger().first_closed(&inner), None);
        assert_eq!(
            stranger().first_closed(&inner.join("missing")),
            Some(inner.join("missing")),
            "what is not there cannot be entered"
        );
    }
}
