//! What a file is, told by its first bytes: names lie.

use rootstock_model::{ImageType, RootFtype};

/// So many bytes from the beginning of a file tell what it is; fewer when the file is shorter.
pub const HEAD_BYTES: usize = 512;

/// How an archive is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// `.gz`
    Gzip,
    /// `.xz`
    Xz,
    /// `.zst`
    Zstd,
    /// `.bz2`
    Bzip2,
}

/// What a file of an image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A file system: the root of a container.
    Squashfs,
    /// A disk: the root of a virtual machine.
    Qcow2,
    /// An archive: metadata, the root of a container, or both. That a packed file holds a tar archive
    /// shows when it is unpacked.
    Tar(Compression),
}

impl FileKind {
    /// What a file is that begins so; `None` when no image has such a file.
    pub fn detect(head: &[u8]) -> Option<Self> {
        // In a tar archive the first bytes are a name, which can be anything; so these come last.
        let by_magic: [(&[u8], Self); 6] = [
            (b"hsqs", Self::Squashfs),
            (b"QFI\xfb", Self::Qcow2),
            (b"\x1f\x8b", Self::Tar(Compression::Gzip)),
            (b"\xfd7zXZ\0", Self::Tar(Compression::Xz)),
            (b"\x28\xb5\x2f\xfd", Self::Tar(Compression::Zstd)),
            (b"BZh", Self::Tar(Compression::Bzip2)),
        ];
        let is_tar = || head.get(257..262) == Some(b"ustar");
        by_magic
            .into_iter()
            .find(|(magic, _)| head.starts_with(magic))
            .map(|(_, kind)| kind)
            .or_else(|| is_tar().then_some(Self::Tar(Compression::None)))
    }

    /// The simplestreams file type of such a root. Clients look at the bytes to see how an archive is
    /// packed, and know but one name for all of them.
    pub const fn root_ftype(self) -> RootFtype {
        match self {
            Self::Squashfs => RootFtype::Squashfs,
            Self::Qcow2 => RootFtype::DiskKvmImg,
            Self::Tar(_) => RootFtype::RootTarXz,
        }
    }

    /// What such a root makes.
    pub const fn image_type(self) -> ImageType {
        self.root_ftype().image_type()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_by_their_first_bytes() {
        let mut plain = vec![b'x'; HEAD_BYTES];
        plain[257..263].copy_from_slice(b"ustar\0");
        for (head, kind) in [
            (&b"hsqs\x04\0"[..], Some(FileKind::Squashfs)),
            (b"QFI\xfb\0\0\0\x03", Some(FileKind::Qcow2)),
            (b"\x1f\x8b\x08", Some(FileKind::Tar(Compression::Gzip))),
            (b"\xfd7zXZ\0\0", Some(FileKind::Tar(Compression::Xz))),
            (b"\x28\xb5\x2f\xfd\x04", Some(FileKind::Tar(Compression::Zstd))),
            (b"BZh91AY", Some(FileKind::Tar(Compression::Bzip2))),
            (&plain, Some(FileKind::Tar(Compression::None))),
            (&plain[..200], None),
            (b"", None),
            (b"PK\x03\x04", None),
            (b"\x7fELF", None),
        ] {
            assert_eq!(FileKind::detect(head), kind, "{head:?}");
        }
        assert_eq!(FileKind::Qcow2.image_type(), ImageType::VirtualMachine);
        assert_eq!(
            FileKind::Tar(Compression::Gzip).root_ftype(),
            RootFtype::RootTarXz
        );
    }
}
