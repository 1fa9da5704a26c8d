//! File types of simplestreams items that make an instance image (incus-protocol §1.2).

use std::{fmt, str::FromStr};

use crate::ImageType;

/// The metadata half of a split image, or a unified image. Incus reads the `incus` spellings, LXD
/// the `lxd` ones; the bytes mean the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MetadataFtype {
    /// `incus.tar.xz`
    Incus,
    /// `lxd.tar.xz`
    Lxd,
    /// `incus_combined.tar.gz`
    IncusCombined,
    /// `lxd_combined.tar.gz`
    LxdCombined,
}

impl MetadataFtype {
    /// All of them; where one version offers several, the earlier is taken.
    pub const ALL: [Self; 4] = [Self::Incus, Self::Lxd, Self::IncusCombined, Self::LxdCombined];

    /// The `ftype` of the index.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Incus => "incus.tar.xz",
            Self::Lxd => "lxd.tar.xz",
            Self::IncusCombined => "incus_combined.tar.gz",
            Self::LxdCombined => "lxd_combined.tar.gz",
        }
    }

    /// The extension that the blob's path at the edge bears; clients name exported files by it.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Incus | Self::Lxd => "tar.xz",
            Self::IncusCombined | Self::LxdCombined => "tar.gz",
        }
    }

    /// Whether the file is a whole image rather than the metadata of one.
    pub const fn is_unified(self) -> bool {
        matches!(self, Self::IncusCombined | Self::LxdCombined)
    }
}

/// The root half of a split image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RootFtype {
    /// `squashfs`
    Squashfs,
    /// `root.tar.xz`
    RootTarXz,
    /// `disk-kvm.img`
    DiskKvmImg,
    /// `uefi1.img`
    Uefi1Img,
    /// `disk1.img`
    Disk1Img,
}

impl RootFtype {
    /// All of them, in the default order of preference (semantics §2.3).
    pub const ALL: [Self; 5] = [
        Self::Squashfs,
        Self::RootTarXz,
        Self::DiskKvmImg,
        Self::Uefi1Img,
        Self::Disk1Img,
    ];

    /// The `ftype` of the index.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Squashfs => "squashfs",
            Self::RootTarXz => "root.tar.xz",
            Self::DiskKvmImg => "disk-kvm.img",
            Self::Uefi1Img => "uefi1.img",
            Self::Disk1Img => "disk1.img",
        }
    }

    /// The type of image that such a root makes.
    pub const fn image_type(self) -> ImageType {
        match self {
            Self::Squashfs | Self::RootTarXz => ImageType::Container,
            Self::DiskKvmImg | Self::Uefi1Img | Self::Disk1Img => ImageType::VirtualMachine,
        }
    }

    /// The fields of the metadata item that may hold the fingerprint of metadata and this root,
    /// first found wins.
    pub const fn combined_fields(self) -> &'static [&'static str] {
        match self {
            Self::Squashfs => &["combined_squashfs_sha256"],
            Self::RootTarXz => &["combined_rootxz_sha256", "combined_sha256"],
            Self::DiskKvmImg => &["combined_disk-kvm-img_sha256"],
            Self::Uefi1Img => &["combined_uefi1-img_sha256"],
            Self::Disk1Img => &["combined_disk1-img_sha256"],
        }
    }

    /// The extension that the blob's path at the edge bears; clients name exported files by it.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Squashfs => "squashfs",
            Self::RootTarXz => "tar.xz",
            Self::DiskKvmImg => "qcow2",
            Self::Uefi1Img | Self::Disk1Img => "img",
        }
    }
}

/// The text is no file type of an instance image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown file type {0:?}")]
pub struct UnknownFtype(pub String);

macro_rules! text {
    ($type:ty) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $type {
            type Err = UnknownFtype;

            fn from_str(text: &str) -> Result<Self, UnknownFtype> {
                Self::ALL
                    .into_iter()
                    .find(|ftype| ftype.as_str() == text)
                    .ok_or_else(|| UnknownFtype(text.to_owned()))
            }
        }
    };
}

text!(MetadataFtype);
text!(RootFtype);
