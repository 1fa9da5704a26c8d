//! Small but real simplestreams trees, made in code.
//!
//! ```no_run
//! # use rootstock_tests::{remote::FakeRemote, tree::{Product, Tree, Version}};
//! # use rootstock_model::RootFtype;
//! # fn main() -> anyhow::Result<()> {
//! let mut tree = Tree::default();
//! let debian = tree.add_product(Product::new("Debian", "bookworm", "amd64"));
//! tree.add_version(&debian, Version::new("20260101_0524").root(RootFtype::Squashfs))?;
//! let remote = FakeRemote::https()?;
//! tree.publish(&remote)?;
//! # Ok(()) }
//! ```
//!
//! What is made twice from the same input is equal to the byte (on one machine: squashfs needs
//! `mksquashfs`). Sizes and hashes in the index are true; to make them false, put another
//! `streams/v1/images.json` in place after publishing.

mod archive;
mod index;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context as _, ensure};
use rootstock_model::{Digest, MetadataFtype, RootFtype};

use crate::remote::{Content, FakeRemote};

/// Where the index of a tree lies.
pub const INDEX_PATH: &str = "streams/v1/index.json";
/// Where the products file of a tree lies.
pub const PRODUCTS_PATH: &str = "streams/v1/images.json";

/// A line of images, before it is added to a tree.
#[derive(Debug, Clone)]
pub struct Product {
    /// Such as `Debian`.
    pub os: String,
    /// Such as `bookworm`.
    pub release: String,
    /// Such as `default`.
    pub variant: String,
    /// As the server spells it, such as `amd64`.
    pub architecture: String,
    /// At first `debian/bookworm/default` and `debian/bookworm`.
    pub aliases: Vec<String>,
    /// Such as `secureboot` → `false`; at first none.
    pub requirements: BTreeMap<String, String>,
    /// `YYYY-MM-DD`; at first none.
    pub support_eol: Option<String>,
}

/// One version of a product, before it is added to a tree.
#[derive(Debug, Clone)]
pub struct Version {
    /// Such as `20260101_0524`.
    pub serial: String,
    metadata: Vec<MetadataFtype>,
    roots: BTreeMap<RootFtype, RootSize>,
}

#[derive(Debug, Clone, Copy)]
enum RootSize {
    /// A real root file system of a few files.
    Small,
    /// Pseudo-random bytes.
    Exactly(u64),
}

/// A tree of products, versions and files.
#[derive(Debug, Default)]
pub struct Tree {
    products: BTreeMap<String, BuiltProduct>,
    /// Paths that a remote has from an earlier [`Tree::publish`].
    published: BTreeSet<String>,
}

#[derive(Debug)]
struct BuiltProduct {
    product: Product,
    versions: BTreeMap<String, Built>,
}

/// A version with its bytes and what follows from them.
#[derive(Debug)]
struct Built {
    metadata: Vec<(MetadataFtype, TreeFile)>,
    roots: BTreeMap<RootFtype, TreeFile>,
    fingerprints: BTreeMap<RootFtype, Digest>,
}

/// A file of a tree.
#[derive(Debug, Clone)]
pub struct TreeFile {
    /// Relative to the root of the tree.
    pub path: String,
    /// Its bytes.
    pub content: Content,
    /// Their SHA-256.
    pub digest: Digest,
}

impl Product {
    /// The default variant of a release.
    pub fn new(os: &str, release: &str, architecture: &str) -> Self {
        let alias = format!("{}/{release}", os.to_lowercase());
        Self {
            os: os.to_owned(),
            release: release.to_owned(),
            variant: "default".to_owned(),
            architecture: architecture.to_owned(),
            aliases: vec![format!("{alias}/default"), alias],
            requirements: BTreeMap::new(),
            support_eol: None,
        }
    }

    /// With a requirement, such as `secureboot` = `false`.
    pub fn requirement(mut self, key: &str, value: &str) -> Self {
        self.requirements.insert(key.to_owned(), value.to_owned());
        self
    }

    /// With these aliases instead.
    pub fn aliases(mut self, aliases: &[&str]) -> Self {
        self.aliases = aliases.iter().map(|&alias| alias.to_owned()).collect();
        self
    }

    /// What the index calls it: `debian:bookworm:amd64:default`.
    pub fn id(&self) -> String {
        let Self {
            os,
            release,
            variant,
            architecture,
            ..
        } = self;
        format!("{}:{release}:{architecture}:{variant}", os.to_lowercase())
    }
}

impl Version {
    /// A version with twin `incus.tar.xz` and `lxd.tar.xz`, and no root yet.
    pub fn new(serial: &str) -> Self {
        Self {
            serial: serial.to_owned(),
            metadata: vec![MetadataFtype::Incus, MetadataFtype::Lxd],
            roots: BTreeMap::new(),
        }
    }

    /// With these metadata items instead: `[Lxd]` is a server for LXD alone, `[IncusCombined]` a
    /// unified image.
    pub fn metadata(mut self, ftypes: &[MetadataFtype]) -> Self {
        self.metadata = ftypes.to_vec();
        self
    }

    /// With a small real root.
    pub fn root(mut self, ftype: RootFtype) -> Self {
        self.roots.insert(ftype, RootSize::Small);
        self
    }

    /// With a root of this many bytes, made while they are read.
    pub fn root_of_size(mut self, ftype: RootFtype, size_bytes: u64) -> Self {
        self.roots.insert(ftype, RootSize::Exactly(size_bytes));
        self
    }
}

impl Tree {
    /// Adds a product without versions (or replaces one with all its versions); returns its id.
    pub fn add_product(&mut self, product: Product) -> String {
        let id = product.id();
        self.products.insert(
            id.clone(),
            BuiltProduct {
                product,
                versions: BTreeMap::new(),
            },
        );
        id
    }

    /// Makes a version's files and adds it. Hashes big roots: a second per 2 GB.
    pub fn add_version(&mut self, product: &str, version: Version) -> anyhow::Result<()> {
        let added = self.products.get_mut(product).context("add the product first")?;
        let built = build(&added.product, &version)?;
        added.versions.insert(version.serial, built);
        Ok(())
    }

    /// Takes a version away.
    pub fn remove_version(&mut self, product: &str, serial: &str) -> anyhow::Result<()> {
        let product = self.products.get_mut(product).context("no such product")?;
        ensure!(product.versions.remove(serial).is_some(), "no such version");
        Ok(())
    }

    /// Takes a product away, with its versions.
    pub fn remove_product(&mut self, product: &str) -> anyhow::Result<()> {
        self.products
            .remove(product)
            .map(|_| ())
            .context("no such product")
    }

    /// The fingerprint of a split image.
    pub fn fingerprint(&self, product: &str, serial: &str, root: RootFtype) -> anyhow::Result<Digest> {
        self.version(product, serial)?
            .fingerprints
            .get(&root)
            .copied()
            .context("no such root")
    }

    /// A metadata file.
    pub fn metadata(&self, product: &str, serial: &str, ftype: MetadataFtype) -> anyhow::Result<&TreeFile> {
        let files = &self.version(product, serial)?.metadata;
        files
            .iter()
            .find(|(of, _)| *of == ftype)
            .map(|(_, file)| file)
            .context("no such metadata")
    }

    /// A root file.
    pub fn root(&self, product: &str, serial: &str, ftype: RootFtype) -> anyhow::Result<&TreeFile> {
        self.version(product, serial)?
            .roots
            .get(&ftype)
            .context("no such root")
    }

    /// Every file below the root but the two indexes; twins come once.
    pub fn files(&self) -> impl Iterator<Item = &TreeFile> {
        let versions = self
            .products
            .values()
            .flat_map(|product| product.versions.values());
        let files = versions.flat_map(|built| {
            built
                .metadata
                .iter()
                .map(|(_, file)| file)
                .chain(built.roots.values())
        });
        let mut seen = BTreeSet::new();
        files.filter(move |file| seen.insert(&file.path))
    }

    /// The text of `streams/v1/index.json` and of `streams/v1/images.json`, each with its path.
    pub fn indexes(&self) -> [(&'static str, String); 2] {
        index::render(self).map(|(path, value)| (path, format!("{value:#}\n")))
    }

    /// Makes the remote hold this tree: files first, then the indexes, then what an earlier
    /// publication put there and this one lacks is taken away.
    pub fn publish(&mut self, remote: &FakeRemote) -> anyhow::Result<()> {
        let mut published = BTreeSet::new();
        for file in self.files() {
            remote.put(&file.path, file.content.clone())?;
            published.insert(file.path.clone());
        }
        for (path, text) in self.indexes() {
            remote.put(path, text)?;
        }
        for path in self.published.difference(&published) {
            remote.remove(path);
        }
        self.published = published;
        Ok(())
    }

    /// Writes this tree below a directory.
    pub fn write_to(&self, directory: &Path) -> anyhow::Result<()> {
        for file in self.files() {
            let path = directory.join(&file.path);
            fs::create_dir_all(path.parent().context("a path in a directory")?)?;
            file.content.copy_to(&mut fs::File::create(path)?)?;
        }
        for (path, text) in self.indexes() {
            let path = directory.join(path);
            fs::create_dir_all(path.parent().context("a path in a directory")?)?;
            fs::write(path, text)?;
        }
        Ok(())
    }

    fn version(&self, product: &str, serial: &str) -> anyhow::Result<&Built> {
        self.products
            .get(product)
            .and_then(|product| product.versions.get(serial))
            .with_context(|| format!("no version {serial} of {product}"))
    }
}

fn build(product: &Product, version: &Version) -> anyhow::Result<Built> {
    let Product {
        os,
        release,
        variant,
        architecture,
        ..
    } = product;
    let directory = format!(
        "images/{}/{release}/{architecture}/{variant}/{}",
        os.to_lowercase(),
        version.serial
    );
    let file = |name: &str, content: Content| -> anyhow::Result<TreeFile> {
        Ok(TreeFile {
            path: format!("{directory}/{name}"),
            digest: content.digest()?,
            content,
        })
    };
    // Twins are one file under two keys, as on the Incus project's server.
    let split = file("incus.tar.xz", archive::metadata(product, version)?.into())?;
    let mut metadata = Vec::new();
    for &ftype in &version.metadata {
        let file = match ftype {
            MetadataFtype::Incus | MetadataFtype::Lxd => split.clone(),
            MetadataFtype::IncusCombined | MetadataFtype::LxdCombined => {
                file(ftype.as_str(), archive::unified(product, version)?.into())?
            }
        };
        metadata.push((ftype, file));
    }
    let (mut roots, mut fingerprints) = (BTreeMap::new(), BTreeMap::new());
    for (&ftype, &size) in &version.roots {
        let content = match size {
            RootSize::Small => archive::root(product, version, ftype)?,
            RootSize::Exactly(size) => archive::pretended_root(product, version, ftype, size),
        };
        let fingerprint = Content::digest_of_all(&[&split.content, &content])?;
        roots.insert(ftype, file(file_name(ftype), content)?);
        fingerprints.insert(ftype, fingerprint);
    }
    Ok(Built {
        metadata,
        roots,
        fingerprints,
    })
}

fn file_name(ftype: RootFtype) -> &'static str {
    match ftype {
        RootFtype::Squashfs => "rootfs.squashfs",
        RootFtype::RootTarXz => "rootfs.tar.xz",
        RootFtype::DiskKvmImg => "disk.qcow2",
        RootFtype::Uefi1Img => "uefi1.img",
        RootFtype::Disk1Img => "disk1.img",
    }
}
