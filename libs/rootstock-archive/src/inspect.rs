//! What an archive says of the image.

use std::io::Read;

use rootstock_model::ImageType;
use tar::EntryType;

use crate::{
    ArchiveError, Metadata,
    decompress::decompressed,
    error::shown,
    walk::{Walk, parts},
};

/// What an archive may hold, and what is spent on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of `metadata.yaml`.
    pub metadata_bytes: u64,
    /// Entries that are looked at.
    pub entries: u64,
    /// Unpacked bytes that are looked at.
    pub unpacked_bytes: u64,
    /// Bytes of a name.
    pub name_bytes: usize,
    /// Directories within each other.
    pub depth: usize,
    /// `unpacked_bytes` and `entries` in words.
    words: &'static str,
}

impl Limits {
    /// For the metadata half of a split image: it and its templates, read to the end.
    pub const METADATA: Self = Self {
        metadata_bytes: 1 << 20,
        entries: 10_000,
        unpacked_bytes: 64 << 20,
        name_bytes: 4096,
        depth: 64,
        words: "10 000 entries or 64 MiB",
    };
    /// For a unified image: as far as `metadata.yaml` and the root begin.
    pub const UNIFIED: Self = Self {
        entries: 200_000,
        unpacked_bytes: 1 << 30,
        depth: 256,
        words: "200 000 entries or 1 GiB",
        ..Self::METADATA
    };
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// Of `metadata.yaml`.
    pub metadata: Metadata,
    /// Of a unified image: what its root makes. `None` when there is no root, so that another file has
    /// to bring it.
    pub root: Option<ImageType>,
}

/// Walks through an archive for its metadata. Ends as soon as metadata and root were found; an archive
/// without a root is walked through to its end, so that nothing in it goes unseen.
///
/// # Errors
/// See [`ArchiveError`].
pub fn inspect(reader: impl Read, limits: &Limits) -> Result<Contents, ArchiveError> {
    let mut walk = Walk::new(decompressed(reader)?, limits.unpacked_bytes, limits.entries);
    let (mut metadata, mut root) = (None, None);
    loop {
        let entry = match walk.next() {
            Ok(Some(entry)) => entry,
            Ok(None) => break,
            Err(ArchiveError::TooLarge { .. }) if root.is_some() && metadata.is_none() => {
                return Err(ArchiveError::NoMetadataWithin(limits.words));
            }
            Err(error) => return Err(error),
        };
        let parts = parts(&entry.name, limits)?;
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        let found = match parts[..] {
            // What is in a root is the instance's business.
            [b"rootfs", _, ..] => Some(ImageType::Container),
            [b"rootfs"] if entry.entry_type.is_dir() => Some(ImageType::Container),
            _ => {
                only_files(&entry.name, entry.entry_type)?;
                (parts[..] == [b"rootfs.img"]).then_some(ImageType::VirtualMachine)
            }
        };
        if let Some(found) = found
            && *root.get_or_insert(found) != found
        {
            return Err(ArchiveError::TwoRoots);
        }
        if parts[..] == [b"metadata.yaml"] {
            if !is_file(entry.entry_type) {
                return Err(not_a_file(&entry.name, entry.entry_type));
            }
            let content = walk.content(&entry, limits.metadata_bytes)?;
            if metadata.replace(Metadata::from_yaml(&content)?).is_some() {
                return Err(ArchiveError::TwoMetadata);
            }
        }
        if metadata.is_some() && root.is_some() {
            break;
        }
    }
    Ok(Contents {
        metadata: metadata.ok_or(ArchiveError::NoMetadata)?,
        root,
    })
}

fn is_file(entry_type: EntryType) -> bool {
    matches!(entry_type, EntryType::Regular | EntryType::Continuous)
}

/// Sparse files are files, and a virtual machine's disk may be one.
fn only_files(name: &[u8], entry_type: EntryType) -> Result<(), ArchiveError> {
    match is_file(entry_type) || entry_type.is_dir() || entry_type == EntryType::GNUSparse {
        true => Ok(()),
        false => Err(not_a_file(name, entry_type)),
    }
}

fn not_a_file(name: &[u8], entry_type: EntryType) -> ArchiveError {
    ArchiveError::NotAFile {
        name: shown(name),
        kind: match entry_type {
            EntryType::Symlink => "a symbolic link",
            EntryType::Link => "a hard link",
            EntryType::Char | EntryType::Block => "a device",
            EntryType::Fifo => "a pipe",
            EntryType::Directory => "a directory",
            EntryType::GNUSparse => "a sparse file",
            _ => "of an unknown kind",
        },
    }
}

#[cfg(test)]
mod tests;
