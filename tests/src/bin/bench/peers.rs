//! What Rootstock is compared with when it mirrors.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, ensure};
use rootstock_model::Digest;
use rootstock_tests::tools;
use sha2::{Digest as _, Sha256};

use crate::{
    image_server::{ImageServer, ServedFile},
    machine,
    usage::{self, Cost},
};

/// One way to fetch everything with curl.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Curl {
    /// How many run at a time.
    pub(crate) at_a_time: usize,
    /// What computes the digests.
    pub(crate) hasher: Hasher,
    /// Whether each file is flushed to disk, as Rootstock does.
    pub(crate) sync: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hasher {
    Sha256sum,
    /// Much faster where the processor has instructions for it and sha256sum does not use them.
    OpenSsl,
}

impl Curl {
    pub(crate) fn name(self) -> String {
        let Self {
            at_a_time,
            hasher,
            sync,
        } = self;
        let hasher = match hasher {
            Hasher::Sha256sum => "sha256sum",
            Hasher::OpenSsl => "openssl",
        };
        let sync = if sync { ", then sync" } else { "" };
        format!("curl × {at_a_time} \\| tee \\| {hasher}{sync}")
    }

    /// Fetches every file of the server, and checks what was computed on the way.
    pub(crate) async fn mirror(self, server: &ImageServer) -> anyhow::Result<Cost> {
        let curl = program("curl")?;
        let hash = match self.hasher {
            Hasher::Sha256sum => format!("'{}'", program("sha256sum")?.display()),
            Hasher::OpenSsl => format!("'{}' dgst -sha256 -r", program("openssl")?.display()),
        };
        let directory = tempfile::tempdir()?;
        // As many sequences as there are to be at a time, each with its share.
        let mut sequences = vec![String::from("set -e\n"); self.at_a_time];
        for (number, file) in server.files.iter().enumerate() {
            let target = directory.path().join(number.to_string()).display().to_string();
            let sync = if self.sync {
                format!("sync '{target}'\n")
            } else {
                String::new()
            };
            let fetch = format!(
                "'{}' -sSf --cacert '{}' '{}/{}' | tee '{target}' | {hash} > '{target}.sha256'\n{sync}",
                curl.display(),
                server.ca_file.display(),
                server.url,
                file.path,
            );
            // A metadata file comes before its root: each sequence has one or the other of all.
            sequences[number / 2 % self.at_a_time] += &fetch;
        }
        let script: String = sequences
            .iter()
            .map(|sequence| format!("({sequence}) &\n"))
            .collect();
        machine::settle();
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{script}wait")]);
        let cost = usage::run(command).await?;
        for (number, file) in server.files.iter().enumerate() {
            let target = directory.path().join(number.to_string());
            let computed = std::fs::read_to_string(target.with_extension("sha256"))?;
            let computed = computed.get(..64).context("curl brought nothing")?;
            ensure!(
                computed == file.digest.to_hex(),
                "curl brought something else as {}",
                file.path
            );
            check_file(&target, file)?;
        }
        Ok(cost)
    }
}

/// Mirrors into a directory, without signatures, which there are none of.
pub(crate) async fn sstream_mirror(server: &ImageServer) -> anyhow::Result<Cost> {
    let directory = tempfile::tempdir()?;
    let mut command = Command::new(program("sstream-mirror")?);
    command
        .arg("--no-verify")
        .arg(format!("{}/streams/v1/index.json", server.url))
        .arg(directory.path())
        // It takes the one or the other, as it finds `requests` or not.
        .env("SSL_CERT_FILE", &server.ca_file)
        .env("REQUESTS_CA_BUNDLE", &server.ca_file);
    machine::settle();
    let cost = usage::run(command).await?;
    for file in &server.files {
        check_file(&directory.path().join(&file.path), file)?;
    }
    Ok(cost)
}

pub(crate) fn program(name: &str) -> anyhow::Result<PathBuf> {
    tools::find(name)
        .with_context(|| format!("{name} is not installed (scripts/setup bench installs what it can)"))
}

fn check_file(path: &Path, served: &ServedFile) -> anyhow::Result<()> {
    let mut hash = HashWriter(Sha256::new());
    io::copy(&mut File::open(path)?, &mut hash)?;
    let found = Digest::new(hash.0.finalize().into());
    ensure!(found == served.digest, "{} was mirrored wrong", served.path);
    Ok(())
}

struct HashWriter(Sha256);

impl io::Write for HashWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
