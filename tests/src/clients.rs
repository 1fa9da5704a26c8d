//! The unmodified `incus` and `lxc` clients, as their users run them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use rootstock_model::Digest;
use serde::Deserialize;
use tempfile::TempDir;
use tokio::process::Command;

use crate::{remote::Content, tools};

/// A client that takes longer than this hangs.
const TIMEOUT: Duration = Duration::from_secs(120);

/// One of the two command lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// `incus`.
    Incus,
    /// `lxc`, of LXD.
    Lxc,
}

/// A client with a configuration, a cache and a home of its own.
#[derive(Debug)]
pub struct Client {
    flavour: Flavour,
    program: PathBuf,
    home: TempDir,
}

/// An image as `image list --format json` prints it; of its many fields those that tests look at.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct ListedImage {
    /// The full fingerprint.
    pub fingerprint: String,
    /// The kernel's name of the architecture.
    pub architecture: String,
    /// `container` or `virtual-machine`.
    #[serde(rename = "type")]
    pub image_type: String,
    /// In bytes.
    pub size: u64,
    /// What it can be asked for by.
    #[serde(deserialize_with = "null_is_empty")]
    pub aliases: Vec<ListedAlias>,
    /// What the index says of it.
    pub properties: std::collections::BTreeMap<String, String>,
}

/// An alias of a [`ListedImage`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct ListedAlias {
    /// Such as `debian/bookworm`.
    pub name: String,
}

/// What `image export` wrote.
#[derive(Debug, Clone)]
pub struct Exported {
    /// The metadata file (or the only one, of a unified image), then the root.
    pub files: Vec<PathBuf>,
    /// The SHA-256 over the files in that order: to be the image's fingerprint.
    pub fingerprint: Digest,
}

impl Client {
    /// The client, if it is installed. Otherwise `NOT RUN` is said, and the caller returns; see
    /// [`tools::find_or_skip`].
    pub fn find(flavour: Flavour) -> anyhow::Result<Option<Self>> {
        let name = match flavour {
            Flavour::Incus => "incus",
            Flavour::Lxc => "lxc",
        };
        let Some(program) = tools::find_or_skip(name) else {
            return Ok(None);
        };
        let home = tempfile::tempdir()?;
        for directory in ["conf/servercerts", "cache", "export"] {
            fs::create_dir_all(home.path().join(directory))?;
        }
        Ok(Some(Self {
            flavour,
            program,
            home,
        }))
    }

    /// Adds a simplestreams remote whose certificate, or that of its authority, is `certificate_pem`.
    pub async fn add_remote(&self, name: &str, url: &str, certificate_pem: &str) -> anyhow::Result<()> {
        self.run(&["remote", "add", name, url, "--protocol", "simplestreams"])
            .await?;
        let certificate = self.home.path().join(format!("conf/servercerts/{name}.crt"));
        Ok(fs::write(certificate, certificate_pem)?)
    }

    /// `image list REMOTE:`, for all types.
    pub async fn list(&self, remote: &str) -> anyhow::Result<Vec<ListedImage>> {
        let listed = self
            .run(&["image", "list", &format!("{remote}:"), "--format", "json"])
            .await?;
        serde_json::from_str(&listed).with_context(|| format!("{:?} listed {listed}", self.flavour))
    }

    /// `image export REMOTE:IMAGE`; `image` is an alias or a fingerprint.
    pub async fn export(&self, remote: &str, image: &str, virtual_machine: bool) -> anyhow::Result<Exported> {
        let directory = tempfile::tempdir_in(self.home.path().join("export"))?.keep();
        let (image, target) = (format!("{remote}:{image}"), format!("{}/", directory.display()));
        let mut arguments = vec!["image", "export", &image, &target];
        if virtual_machine {
            arguments.push("--vm");
        }
        self.run(&arguments).await?;
        Exported::read(&directory)
    }

    /// Forgets the indexes it has cached, which it would use for minutes.
    pub fn forget_cache(&self) -> anyhow::Result<()> {
        let cache = self.home.path().join("cache");
        fs::remove_dir_all(&cache)?;
        Ok(fs::create_dir(&cache)?)
    }

    /// Runs the client; gives its standard output. An error bears what it printed.
    pub async fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.output(arguments).await?;
        ensure!(
            output.status.success(),
            "{:?} {arguments:?} ended with {}:\n{}{}",
            self.flavour,
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Runs the client, whatever comes of it; an error only when it cannot be run, or hangs.
    pub async fn output(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        let home = self.home.path();
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .current_dir(home)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        // Nothing of this machine's: no daemon, no proxy, no language.
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("LC_ALL", "C.UTF-8")
            .env("HOME", home);
        command.env("XDG_CACHE_HOME", home.join("cache"));
        let prefix = match self.flavour {
            Flavour::Incus => "INCUS",
            Flavour::Lxc => "LXD",
        };
        command.env(format!("{prefix}_CONF"), home.join("conf"));
        command.env(format!("{prefix}_CACHE"), home.join("cache"));
        let finished = tokio::time::timeout(TIMEOUT, command.output()).await;
        finished
            .with_context(|| format!("{:?} {arguments:?} hangs", self.flavour))?
            .with_context(|| format!("cannot run {}", self.program.display()))
    }
}

impl ListedImage {
    /// The names it can be asked for by.
    pub fn alias_names(&self) -> Vec<&str> {
        self.aliases.iter().map(|alias| alias.name.as_str()).collect()
    }
}

impl Exported {
    /// The files have the names that the server gave them, which tell nothing: the metadata is an
    /// archive with a `metadata.yaml`.
    fn read(directory: &Path) -> anyhow::Result<Self> {
        let entries = fs::read_dir(directory)?.map(|entry| Ok(entry?.path()));
        let mut files = entries.collect::<std::io::Result<Vec<_>>>()?;
        ensure!((1..=2).contains(&files.len()), "exported are {files:?}");
        files.sort_by_key(|file| !is_metadata(file));
        let contents = files
            .iter()
            .map(Content::file)
            .collect::<std::io::Result<Vec<_>>>()?;
        let fingerprint = Content::digest_of_all(&contents.iter().collect::<Vec<_>>())?;
        Ok(Self { files, fingerprint })
    }
}

fn is_metadata(file: &Path) -> bool {
    let holds_it = || -> std::io::Result<bool> {
        let mut archive = tar::Archive::new(liblzma::read::XzDecoder::new(fs::File::open(file)?));
        // It is among the first; a root has very many entries.
        for entry in archive.entries()?.take(100) {
            if entry?.path()?.ends_with("metadata.yaml") {
                return Ok(true);
            }
        }
        Ok(false)
    };
    holds_it().unwrap_or(false)
}

/// Go prints an empty list that was never made as `null`.
fn null_is_empty<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<ListedAlias>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
