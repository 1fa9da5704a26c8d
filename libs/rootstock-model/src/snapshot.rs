//! What a remote offers, in the catalog's own words and free of any protocol's.

mod fit;

use std::collections::BTreeMap;

use time::{Date, OffsetDateTime};

use crate::{AliasName, Architecture, Digest, ImageName, ImageType, LeftOut, MetadataFtype, RootFtype};

/// Everything that one remote offers at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// One per product and type, in the order of (product, type).
    pub images: Vec<OfferedImage>,
    /// What the index holds and the parser could not take.
    pub left_out: Vec<LeftOut>,
}

/// A document that an offer was made of, and how to ask whether it changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Relative to the remote's URL.
    pub path: String,
    /// ETag of the answer; may be empty.
    pub etag: String,
    /// Last-Modified of the answer; may be empty.
    pub last_modified: String,
    /// SHA-256 of the body.
    pub sha256: Digest,
}

/// One line of images: the containers or the virtual machines of one product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferedImage {
    /// The product's name, which becomes the image's.
    pub product: ImageName,
    /// Container or virtual machine.
    pub image_type: ImageType,
    /// The CPU architecture.
    pub architecture: Architecture,
    /// What the index says of the product: `os`, `release`, `release_title`, `release_codename`,
    /// `version`, `variant`, and `requirements.<key>`. Empty values are absent.
    pub properties: BTreeMap<String, String>,
    /// The names under which users ask for it, in the index's order.
    pub aliases: Vec<AliasName>,
    /// The day its support ends.
    pub support_eol: Option<Date>,
    /// Oldest first, in the order of [`crate::serial::compare`].
    pub versions: Vec<OfferedVersion>,
}

impl OfferedImage {
    /// A property, or the empty string.
    pub fn property(&self, key: &str) -> &str {
        self.properties.get(key).map_or("", String::as_str)
    }
}

/// One version of an offered image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferedVersion {
    /// The remote's name of the version.
    pub serial: String,
    /// The version's label (`release`, `daily`), or empty.
    pub label: String,
    /// The moment the serial names, when it names one.
    pub created_at: Option<OffsetDateTime>,
    /// The contents it can be had as, at least one; which to take is the selection's choice.
    pub contents: Vec<Content>,
}

/// The files that make one image, and its fingerprint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A metadata tarball and a root.
    Split {
        /// The metadata tarball.
        metadata: Artifact<MetadataFtype>,
        /// The root.
        root: Artifact<RootFtype>,
        /// The fingerprint that the index claims; `None` when it claims none, and then it is
        /// computed when the bytes are here.
        fingerprint: Option<Digest>,
    },
    /// One file that is the whole image; its fingerprint is its own SHA-256.
    Unified {
        /// The file.
        image: Artifact<MetadataFtype>,
    },
}

impl Content {
    /// The fingerprint, when it is known before the bytes are.
    pub fn fingerprint(&self) -> Option<Digest> {
        match self {
            Self::Split { fingerprint, .. } => *fingerprint,
            Self::Unified { image } => Some(image.sha256),
        }
    }

    /// Bytes of all files.
    pub fn size_bytes(&self) -> u64 {
        self.artifacts()
            .iter()
            .map(|artifact| artifact.size_bytes)
            .fold(0, u64::saturating_add)
    }

    /// The files, metadata first, with their `ftype` as text.
    pub fn artifacts(&self) -> Vec<Artifact<&'static str>> {
        match self {
            Self::Split { metadata, root, .. } => {
                vec![
                    metadata.map_ftype(|ftype| ftype.as_str()),
                    root.map_ftype(|ftype| ftype.as_str()),
                ]
            }
            Self::Unified { image } => vec![image.map_ftype(|ftype| ftype.as_str())],
        }
    }

    /// Whether both are the same bytes, wherever they lie.
    pub fn same_bytes(&self, other: &Self) -> bool {
        let digests = |content: &Self| {
            content
                .artifacts()
                .into_iter()
                .map(|a| a.sha256)
                .collect::<Vec<_>>()
        };
        digests(self) == digests(other)
    }
}

/// One file of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact<F> {
    /// What the file is.
    pub ftype: F,
    /// SHA-256 of its bytes: the name of its blob.
    pub sha256: Digest,
    /// Its exact length.
    pub size_bytes: u64,
    /// Where it lies, relative to the remote's URL. Checked: plain, relative, inside the tree.
    pub path: String,
}

impl<F: Copy> Artifact<F> {
    fn map_ftype<G>(&self, map: impl FnOnce(F) -> G) -> Artifact<G> {
        Artifact {
            ftype: map(self.ftype),
            sha256: self.sha256,
            size_bytes: self.size_bytes,
            path: self.path.clone(),
        }
    }
}
