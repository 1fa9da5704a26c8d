//! Where the server's socket is: the path of a Unix socket has to be short.

use std::{
    collections::hash_map::DefaultHasher,
    env, fs,
    hash::{Hash as _, Hasher as _},
    io,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{DirBuilderExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
};

use super::{Account, Error, NAME};

/// Names the file within its directory, and nothing else: nothing listens on TCP.
pub(super) const PORT: u16 = 5432;
/// Bytes that the path may have on every system that we know (Linux would take 107).
const MAX_PATH_BYTES: usize = 103;

/// A directory that only the user who runs Postgres (and root) can enter, with the socket in it.
#[derive(Debug)]
pub(super) struct SocketDirectory {
    path: PathBuf,
    /// Whether it lies outside the data directory, and is to be removed at the end.
    outside: bool,
}

impl SocketDirectory {
    /// `run` beside the data; when that is too deep, a directory among the temporary ones that
    /// bears a name made from the data's path.
    pub(super) fn make(postgres_directory: &Path, account: &Account) -> Result<Self, Error> {
        let inside = postgres_directory.join("run");
        if fits(&inside) {
            make_private(&inside, account).map_err(Error::io("make", &inside))?;
            return Ok(Self {
                path: inside,
                outside: false,
            });
        }
        let mut hasher = DefaultHasher::new();
        postgres_directory.hash(&mut hasher);
        let name = format!("rootstock-{:016x}", hasher.finish());
        let mut problems = vec![format!("{} is too long", inside.display())];
        for parent in [env::temp_dir(), "/tmp".into()] {
            let path = parent.join(&name);
            if !fits(&path) || account.first_closed(&parent).is_some() {
                continue;
            }
            match make_private(&path, account) {
                Ok(()) => return Ok(Self { path, outside: true }),
                Err(error) => problems.push(format!("{}: {error}", path.display())),
            }
        }
        Err(Error::NoSocketDirectory(problems.join("; ")))
    }

    /// The directory.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The URL of a database behind the socket.
    pub(super) fn url(&self, database: &str) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair("host", &self.path.to_string_lossy());
        query.append_pair("port", &PORT.to_string());
        query.append_pair("sslmode", "disable");
        // Nobody asks for the password; without one, the driver would look for it in ~/.pgpass.
        format!("postgres://{NAME}:none@localhost/{database}?{}", query.finish())
    }

    /// Leaves nothing behind outside the data directory.
    pub(super) fn remove(&self) {
        if self.outside
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            tracing::warn!(%error, path = %self.path.display(), "cannot remove the directory of the socket");
        }
    }
}

fn fits(directory: &Path) -> bool {
    let name = format!("/.s.PGSQL.{PORT}");
    // sqlx takes the path out of a URL, which is UTF-8.
    directory.to_str().is_some() && directory.as_os_str().as_bytes().len() + name.len() <= MAX_PATH_BYTES
}

/// Makes the directory, or takes one that is as it would have made it. Among the temporary
/// directories anybody could have put something else under that name.
fn make_private(path: &Path, account: &Account) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => account.give(path).map_err(io::Error::other),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let found = fs::symlink_metadata(path)?;
            if found.is_dir() && account.owns(&found) && found.permissions().mode() & 0o077 == 0 {
                Ok(())
            } else {
                Err(io::Error::other("is there already, and is not ours"))
            }
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;

    #[test]
    fn a_path_fits_up_to_the_last_byte() {
        let name_bytes = "/.s.PGSQL.5432".len();
        let longest = format!("/{}", "d".repeat(MAX_PATH_BYTES - name_bytes - 1));
        assert!(fits(Path::new(&longest)));
        assert!(!fits(Path::new(&format!("{longest}d"))));
    }

    #[test]
    fn the_url_survives_odd_directories() {
        let sockets = SocketDirectory {
            path: "/tmp/a b&c=d/é".into(),
            outside: false,
        };
        let url = Url::parse(&sockets.url("rootstock")).unwrap();
        let host = url.query_pairs().find(|(key, _)| key == "host").unwrap().1;
        assert_eq!(host, "/tmp/a b&c=d/é");
    }
}
