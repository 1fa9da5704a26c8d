//! What the edge serves: an index and a products file that every client reads.
//!
//! Clients read the file as a whole into fixed types: one number where a text should be makes all
//! of it unusable (incus-protocol §0.7). So entries are built from values that cannot be wrong, and
//! the shapes below say the rest: keys are sorted, what is absent is left out rather than `null`,
//! and the same entries give the same bytes.

use std::collections::BTreeMap;

use rootstock_model::{AliasName, Architecture, Digest, ImageName, ImageType, MetadataFtype, RootFtype};
use serde::{Serialize, Serializer, ser::SerializeMap as _};
use time::Date;

use crate::{UnsafePath, item_path, products};

/// Where the products file lies, relative to the edge's URL. Web clients expect this very name.
pub const PRODUCTS_PATH: &str = "streams/v1/images.json";

/// One product: a line of images that share a description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProductEntry {
    /// The CPU architecture.
    pub architecture: Architecture,
    /// The names under which users ask for it. Clients find a product by nothing else.
    pub aliases: Vec<AliasName>,
    /// `os`, `release`, `release_title`, `release_codename`, `version`, `variant` and
    /// `requirements.<key>`, as [`OfferedImage`](rootstock_model::snapshot::OfferedImage) holds
    /// them. The format has no place for others; they are not written.
    pub properties: BTreeMap<String, String>,
    /// The day its support ends.
    pub support_eol: Option<Date>,
    /// By serial. Clients take none that does not begin with a date; see
    /// [`served_serials`](crate::served_serials).
    pub versions: BTreeMap<String, VersionEntry>,
}

/// One version of a product. It can hold a container and a virtual machine at once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VersionEntry {
    /// The label, or empty.
    pub label: String,
    /// The images in two files, by what their root is: the format knows one of each.
    pub split: BTreeMap<RootFtype, SplitEntry>,
    /// The images in one file. Only Incus 7.1 and later take one for a virtual machine, all others
    /// take it for a container (incus-protocol §1.2): it is not written under LXD's name.
    pub unified: BTreeMap<ImageType, FileEntry>,
}

/// An image in two files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SplitEntry {
    /// The metadata tarball. Images of one version may share it.
    pub metadata: FileEntry,
    /// The root.
    pub root: FileEntry,
    /// SHA-256 of metadata followed by root.
    pub fingerprint: Digest,
}

/// One file that clients can fetch.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileEntry {
    sha256: Digest,
    size_bytes: u64,
    path: String,
}

/// A file that clients would choke on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotServable {
    /// LXD reads exactly as many bytes as the index says, and both hold it in 63 bits.
    #[error("a file of {0} bytes cannot be served: the size must be from 1 to 2^63 - 1")]
    Size(u64),
    /// Clients join the path to the server's URL.
    #[error(transparent)]
    Path(#[from] UnsafePath),
}

impl FileEntry {
    /// A file by its exact size and its path relative to the edge's URL.
    ///
    /// # Errors
    /// A size that clients cannot hold, or a path that is not plain (see [`item_path`]).
    pub fn new(sha256: Digest, size_bytes: u64, path: &str) -> Result<Self, NotServable> {
        if !(1..=i64::MAX.unsigned_abs()).contains(&size_bytes) {
            return Err(NotServable::Size(size_bytes));
        }
        Ok(Self {
            sha256,
            size_bytes,
            path: item_path(path)?.into_owned(),
        })
    }
}

/// The document could not be written. It does not happen with the types above; but bytes that may
/// be half a document must not pass for a whole one.
#[derive(Debug, thiserror::Error)]
#[error("the document could not be written: {0}")]
pub struct RenderError(#[from] serde_json::Error);

/// Writes the index that leads to the products file at [`PRODUCTS_PATH`].
///
/// # Errors
/// See [`RenderError`].
pub fn render_index<'a>(products: impl IntoIterator<Item = &'a ImageName>) -> Result<Vec<u8>, RenderError> {
    let mut products: Vec<&str> = products.into_iter().map(ImageName::as_str).collect();
    products.sort_unstable();
    let index = IndexDocument {
        format: "index:1.0",
        index: IndexEntries {
            images: IndexEntry {
                datatype: DATATYPE,
                format: products::FORMAT,
                path: PRODUCTS_PATH,
                products,
            },
        },
    };
    Ok(serde_json::to_vec(&index)?)
}

/// Writes the products file. Each metadata tarball and each unified image appears twice, under
/// Incus's and under LXD's name: each family ignores the other's.
///
/// # Errors
/// See [`RenderError`].
pub fn render_products(products: &BTreeMap<ImageName, ProductEntry>) -> Result<Vec<u8>, RenderError> {
    let document = ProductsDocument {
        content_id: "images",
        datatype: DATATYPE,
        format: products::FORMAT,
        products: ProductObjects(products),
    };
    Ok(serde_json::to_vec(&document)?)
}

/// Writes one product as the products file holds it: a member, its name with what is said of it, of the
/// object within [`PRODUCTS_FRAME`].
///
/// # Errors
/// See [`RenderError`].
pub fn render_product(name: &ImageName, product: &ProductEntry) -> Result<Vec<u8>, RenderError> {
    let mut member = render_product_name(name)?;
    member.push(b':');
    serde_json::to_writer(&mut member, &ProductObject::of(product))?;
    Ok(member)
}

/// Writes a product's name as the index holds it: an item of the list within [`INDEX_FRAME`].
///
/// # Errors
/// See [`RenderError`].
pub fn render_product_name(name: &ImageName) -> Result<Vec<u8>, RenderError> {
    Ok(serde_json::to_vec(name.as_str())?)
}

/// What stands around the items of a document. Between any two of them is a comma.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Before the first item.
    pub head: &'static str,
    /// Behind the last one.
    pub tail: &'static str,
}

/// Around what [`render_product`] writes, in the order of the names: the same bytes as
/// [`render_products`] writes.
pub const PRODUCTS_FRAME: Frame = Frame {
    head: r#"{"content_id":"images","datatype":"image-downloads","format":"products:1.0","products":{"#,
    tail: "}}",
};

/// Around what [`render_product_name`] writes, in the order of the names: the same bytes as
/// [`render_index`] writes.
pub const INDEX_FRAME: Frame = Frame {
    head: concat!(
        r#"{"format":"index:1.0","index":{"images":{"datatype":"image-downloads","format":"products:1.0","#,
        r#""path":"streams/v1/images.json","products":["#
    ),
    tail: "]}}}",
};

const DATATYPE: &str = "image-downloads";

// The objects of the format. Members are declared in the order of their keys.

#[derive(Serialize)]
struct IndexDocument<'a> {
    format: &'static str,
    index: IndexEntries<'a>,
}

#[derive(Serialize)]
struct IndexEntries<'a> {
    images: IndexEntry<'a>,
}

#[derive(Serialize)]
struct IndexEntry<'a> {
    datatype: &'static str,
    format: &'static str,
    path: &'static str,
    products: Vec<&'a str>,
}

#[derive(Serialize)]
struct ProductsDocument<'a> {
    content_id: &'static str,
    datatype: &'static str,
    format: &'static str,
    products: ProductObjects<'a>,
}

/// Made one by one while writing: the document is never in memory twice.
struct ProductObjects<'a>(&'a BTreeMap<ImageName, ProductEntry>);

impl Serialize for ProductObjects<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(
            self.0
                .iter()
                .map(|(name, product)| (name.as_str(), ProductObject::of(product))),
        )
    }
}

#[derive(Serialize)]
struct ProductObject<'a> {
    #[serde(skip_serializing_if = "String::is_empty")]
    aliases: String,
    arch: &'static str,
    lxd_requirements: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    os: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    release: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    release_codename: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    release_title: &'a str,
    requirements: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    support_eol: Option<String>,
    #[serde(skip_serializing_if = "str::is_empty")]
    variant: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    version: &'a str,
    versions: BTreeMap<&'a str, VersionObject<'a>>,
}

impl<'a> ProductObject<'a> {
    fn of(product: &'a ProductEntry) -> Self {
        let property = |key: &str| product.properties.get(key).map_or("", String::as_str);
        let requirements: BTreeMap<&str, &str> = product
            .properties
            .iter()
            .filter_map(|(key, value)| Some((key.strip_prefix("requirements.")?, value.as_str())))
            .filter(|(_, value)| !value.is_empty())
            .collect();
        let aliases: Vec<&str> = product.aliases.iter().map(AliasName::as_str).collect();
        Self {
            // Clients do not trim: no spaces.
            aliases: aliases.join(","),
            arch: product.architecture.simplestreams_name(),
            lxd_requirements: requirements.clone(),
            os: property("os"),
            release: property("release"),
            release_codename: property("release_codename"),
            release_title: property("release_title"),
            requirements,
            support_eol: product.support_eol.map(|date| date.to_string()),
            variant: property("variant"),
            version: property("version"),
            versions: product
                .versions
                .iter()
                .map(|(serial, version)| (serial.as_str(), VersionObject::of(version)))
                .collect(),
        }
    }
}

#[derive(Serialize)]
struct VersionObject<'a> {
    items: BTreeMap<String, ItemObject<'a>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    label: &'a str,
}

impl<'a> VersionObject<'a> {
    fn of(version: &'a VersionEntry) -> Self {
        let mut items = BTreeMap::new();
        let mut fingerprints = BTreeMap::<&FileEntry, Vec<(RootFtype, Digest)>>::new();
        for (ftype, image) in &version.split {
            items.insert(
                root_key(*ftype).to_owned(),
                ItemObject::of(ftype.as_str(), &image.root),
            );
            fingerprints
                .entry(&image.metadata)
                .or_default()
                .push((*ftype, image.fingerprint));
        }
        // Clients pair every metadata tarball with every root, by the hashes that its item holds:
        // several in one version do not get in each other's way.
        for (number, (metadata, fingerprints)) in (1..).zip(fingerprints) {
            for (ftype, family) in [(MetadataFtype::Incus, "incus"), (MetadataFtype::Lxd, "lxd")] {
                let key = match number {
                    1 => format!("{family}.tar.xz"),
                    _ => format!("{family}.{number}.tar.xz"),
                };
                let item = ItemObject::of(ftype.as_str(), metadata).with_fingerprints(&fingerprints);
                items.insert(key, item);
            }
        }
        for (image_type, image) in &version.unified {
            let item = |ftype: MetadataFtype| ItemObject::of(ftype.as_str(), image);
            match image_type {
                ImageType::Container => {
                    for ftype in [MetadataFtype::IncusCombined, MetadataFtype::LxdCombined] {
                        items.insert(ftype.as_str().to_owned(), item(ftype));
                    }
                }
                ImageType::VirtualMachine => {
                    let item = item(MetadataFtype::IncusCombined).with_type(*image_type);
                    items.insert("incus_combined.vm.tar.gz".to_owned(), item);
                }
            }
        }
        Self {
            items,
            label: &version.label,
        }
    }
}

/// The key under which servers list a root. Clients do not look at it.
const fn root_key(ftype: RootFtype) -> &'static str {
    match ftype {
        RootFtype::Squashfs => "root.squashfs",
        RootFtype::RootTarXz => "root.tar.xz",
        RootFtype::DiskKvmImg => "disk.qcow2",
        RootFtype::Uefi1Img => "uefi1.img",
        RootFtype::Disk1Img => "disk1.img",
    }
}

/// The fields of an item, sorted when written.
struct ItemObject<'a>(Vec<(&'static str, Field<'a>)>);

#[derive(Serialize)]
#[serde(untagged)]
enum Field<'a> {
    Text(&'a str),
    Digest(Digest),
    Number(u64),
}

impl<'a> ItemObject<'a> {
    fn of(ftype: &'static str, file: &'a FileEntry) -> Self {
        Self(vec![
            ("ftype", Field::Text(ftype)),
            ("path", Field::Text(&file.path)),
            ("sha256", Field::Digest(file.sha256)),
            ("size", Field::Number(file.size_bytes)),
        ])
    }

    /// Under every name that some client looks for.
    fn with_fingerprints(mut self, fingerprints: &[(RootFtype, Digest)]) -> Self {
        for (root, fingerprint) in fingerprints {
            let fields = root.combined_fields().iter();
            self.0
                .extend(fields.map(|field| (*field, Field::Digest(*fingerprint))));
        }
        self
    }

    fn with_type(mut self, image_type: ImageType) -> Self {
        self.0.push(("combined_type", Field::Text(image_type.as_str())));
        self
    }
}

impl Serialize for ItemObject<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields: Vec<_> = self.0.iter().collect();
        fields.sort_by_key(|(name, _)| *name);
        let mut map = serializer.serialize_map(Some(fields.len()))?;
        for (name, value) in fields {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests;
