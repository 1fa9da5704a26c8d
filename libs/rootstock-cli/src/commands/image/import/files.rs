//! The files of an import: what they are, and what they hash to.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use rootstock_archive::{ArchiveError, FileKind, HEAD_BYTES, Limits, Metadata};
use rootstock_model::{Digest, ImageType};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use tokio::task::spawn_blocking;

use super::about::About;
use crate::failure::Failure;

/// What was found out before anything was sent.
#[derive(Debug)]
pub(super) struct Prepared {
    /// Metadata and root, or one unified file.
    pub(super) files: Vec<LocalFile>,
    pub(super) metadata: Metadata,
    pub(super) image_type: ImageType,
    /// Of all files, one after the other.
    pub(super) fingerprint: Digest,
}

/// A file to send.
#[derive(Debug, Clone)]
pub(super) struct LocalFile {
    pub(super) source: Source,
    pub(super) digest: Digest,
    pub(super) size_bytes: u64,
}

/// Where its bytes are.
#[derive(Debug, Clone)]
pub(super) enum Source {
    Disk(PathBuf),
    Memory(Vec<u8>),
}

impl LocalFile {
    /// As people are told of it.
    pub(super) fn name(&self) -> String {
        match &self.source {
            Source::Disk(path) => path.display().to_string(),
            Source::Memory(_) => "metadata".to_owned(),
        }
    }
}

/// Looks into the files, and hashes them.
pub(super) async fn prepare(first: &Path, root: Option<&Path>, about: &About) -> Result<Prepared, Failure> {
    let (sources, metadata, image_type) = match root {
        Some(root) => split(first, root, about)?,
        None => alone(first, about).await?,
    };
    let hashed = spawn_blocking(move || hash(sources)).await;
    let (files, fingerprint) =
        hashed.map_err(|error| Failure::failed(format!("cannot hash the files: {error}")))??;
    Ok(Prepared {
        files,
        metadata,
        image_type,
        fingerprint,
    })
}

type Sources = (Vec<Source>, Metadata, ImageType);

fn split(first: &Path, root: &Path, about: &About) -> Result<Sources, Failure> {
    if about.os.is_some() {
        let message = "--os and its like are for a root alone: here the metadata say it";
        return Err(Failure::usage(message));
    }
    let contents = inspect(first, &Limits::METADATA).map_err(|error| wrong(first, error))?;
    if contents.root.is_some() {
        return Err(wrong(first, "is a unified image: import it by itself"));
    }
    let kind =
        kind(root)?.ok_or_else(|| wrong(root, "is no root: neither squashfs, qcow2 nor an archive"))?;
    let sources = [first, root].map(|path| Source::Disk(path.to_owned()));
    Ok((sources.into(), contents.metadata, kind.image_type()))
}

async fn alone(file: &Path, about: &About) -> Result<Sources, Failure> {
    let kind = kind(file)?.ok_or_else(|| wrong(file, "is neither squashfs, qcow2 nor an archive"))?;
    let metadata = about.metadata(created(file)?)?;
    if let FileKind::Tar(_) = kind {
        let path = file.to_owned();
        let inspected = spawn_blocking(move || inspect(&path, &Limits::UNIFIED)).await;
        let inspected = inspected.map_err(|error| Failure::failed(error.to_string()))?;
        match (inspected, &metadata) {
            (Ok(_), Some(_)) => {
                return Err(wrong(
                    file,
                    "has metadata of its own: leave out --os and its like",
                ));
            }
            (Ok(contents), None) => {
                let image_type = contents.root.ok_or_else(|| {
                    wrong(
                        file,
                        "holds metadata and no root: give the root as the second file",
                    )
                })?;
                return Ok((vec![Source::Disk(file.to_owned())], contents.metadata, image_type));
            }
            // A root alone looks like anything.
            (Err(_), Some(_)) => {}
            (Err(error), None) => {
                let hint = "if it is a root alone, say what it is with --os and --release";
                return Err(wrong(file, format!("{error}; {hint}")));
            }
        }
    }
    let metadata = metadata.ok_or_else(|| {
        wrong(
            file,
            "is a root alone: give its metadata before it, or say --os and --release",
        )
    })?;
    let made = metadata
        .to_tar_xz()
        .map_err(|error| Failure::failed(format!("cannot make metadata: {error}")))?;
    let sources = vec![Source::Memory(made), Source::Disk(file.to_owned())];
    Ok((sources, metadata, kind.image_type()))
}

/// When a file was made, as far as it tells: the same file makes the same metadata.
fn created(file: &Path) -> Result<OffsetDateTime, Failure> {
    let modified = file.metadata().and_then(|metadata| metadata.modified());
    let modified = modified.map_err(|error| wrong(file, error))?;
    let seconds = OffsetDateTime::from(modified).unix_timestamp().max(1);
    OffsetDateTime::from_unix_timestamp(seconds).map_err(|error| wrong(file, error))
}

fn kind(file: &Path) -> Result<Option<FileKind>, Failure> {
    let mut head = Vec::with_capacity(HEAD_BYTES);
    let read = File::open(file).and_then(|file| file.take(HEAD_BYTES as u64).read_to_end(&mut head));
    read.map_err(|error| wrong(file, error))?;
    Ok(FileKind::detect(&head))
}

fn inspect(file: &Path, limits: &Limits) -> Result<rootstock_archive::Contents, ArchiveError> {
    rootstock_archive::inspect(File::open(file)?, limits)
}

fn wrong(file: &Path, problem: impl std::fmt::Display) -> Failure {
    Failure::usage(format!("{}: {problem}", file.display()))
}

/// The files with their digests, and the fingerprint of all of them, in one pass.
fn hash(sources: Vec<Source>) -> Result<(Vec<LocalFile>, Digest), Failure> {
    let mut fingerprint = Sha256::new();
    let mut files = Vec::new();
    for source in sources {
        let mut own = Sha256::new();
        let mut take = |bytes: &[u8]| {
            own.update(bytes);
            fingerprint.update(bytes);
        };
        let size_bytes = match &source {
            Source::Memory(bytes) => {
                take(bytes);
                bytes.len() as u64
            }
            Source::Disk(path) => feed(path, take).map_err(|error| wrong(path, error))?,
        };
        files.push(LocalFile {
            source,
            digest: Digest::new(own.finalize().into()),
            size_bytes,
        });
    }
    Ok((files, Digest::new(fingerprint.finalize().into())))
}

/// Reads a file to its end; answers how long it is.
pub(crate) fn feed(path: &Path, mut take: impl FnMut(&[u8])) -> io::Result<u64> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 1 << 20];
    let mut size_bytes = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(size_bytes),
            length => {
                take(&buffer[..length]);
                size_bytes += length as u64;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(os: Option<&str>) -> About {
        About {
            os: os.map(str::to_owned),
            release: os.map(|_| "12".to_owned()),
            variant: None,
            architecture: Some("arm64".parse().unwrap()),
            description: None,
        }
    }

    #[tokio::test]
    async fn a_root_alone_gets_the_same_metadata_each_time() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root.squashfs");
        std::fs::write(&root, b"hsqs and more").unwrap();
        let one = prepare(&root, None, &about(Some("Debian"))).await.unwrap();
        let two = prepare(&root, None, &about(Some("Debian"))).await.unwrap();
        assert_eq!(one.fingerprint, two.fingerprint);
        assert_eq!(one.image_type, ImageType::Container);
        assert_eq!(
            one.metadata.product_name().as_deref(),
            Some("debian:12:arm64:default")
        );
        let Source::Memory(metadata) = &one.files[0].source else {
            panic!("{:?}", one.files)
        };
        let image = [metadata.as_slice(), b"hsqs and more"].concat();
        assert_eq!(one.fingerprint, Digest::of(&image));
        assert_eq!(one.files[1].digest, Digest::of(b"hsqs and more"));
    }

    #[tokio::test]
    async fn files_that_make_no_image_are_refused_with_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &[u8]| {
            let path = directory.path().join(name);
            std::fs::write(&path, content).unwrap();
            path
        };
        let metadata = about(Some("Debian"))
            .metadata(OffsetDateTime::now_utc())
            .unwrap()
            .unwrap();
        let metadata = file("meta.tar.xz", &metadata.to_tar_xz().unwrap());
        let root = file("root.squashfs", b"hsqs");
        let other = file("other", b"MZ");
        let missing = directory.path().join("missing");
        for (first, second, os, says) in [
            (&root, None, None, "--os and --release"),
            (&metadata, None, None, "second file"),
            (&metadata, None, Some("Debian"), "metadata of its own"),
            (&other, None, None, "neither squashfs"),
            (&missing, None, None, "No such file"),
            (&metadata, Some(&other), None, "is no root"),
            (&root, Some(&root), None, "cannot be read as an archive"),
            (&metadata, Some(&root), Some("Debian"), "for a root alone"),
        ] {
            let second = second.map(|path: &std::path::PathBuf| path.as_path());
            let failure = prepare(first, second, &about(os)).await.expect_err(says);
            assert!(failure.to_string().contains(says), "{says}: {failure}");
            assert_eq!(failure.kind(), crate::failure::Kind::Usage, "{says}");
        }
    }
}
