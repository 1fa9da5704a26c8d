//! What real clients make of a tree, as strictly as they do: the checks behind `rootstock lint`.
//!
//! The rest of this crate takes what can be taken; this module tells what Incus and LXD do *not* take.
//! It reads documents as their Go decoders do (one value of a wrong type costs the whole remote), pairs
//! items to images as they do, and names what each mistake costs. There is no I/O here: the caller feeds
//! documents to a [`Linter`] and checks the files of its [`Report`] itself, adding what it finds.
//!
//! Start reading at [`Linter`], then [`Code`] for everything that can be found.

mod across;
mod code;
mod index;
mod path;
mod product;
mod schema;
mod version;

use std::{collections::BTreeSet, fmt};

use rootstock_model::{Digest, ImageType, Reason};

pub use code::{Code, Minds, Severity};

use crate::{
    INDEX_PATH,
    document::{self, DocumentError, Object},
    notes::readable,
};

/// Where something was found. What does not apply is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The document's path, relative to the remote's URL.
    pub document: String,
    /// The product, as the document spells it; of the index, its entry.
    pub product: String,
    /// The version's serial.
    pub serial: String,
    /// The item's key.
    pub item: String,
}

/// One thing that is wrong, or worth knowing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What kind of thing, with its severity.
    pub code: Code,
    /// Whom it costs something, in this case.
    pub minds: Vec<Minds>,
    /// Where.
    pub place: Place,
    /// What exactly, in words that the document's content cannot make unreadable.
    pub detail: String,
}

/// A client family: the two read the same tree, each its own items.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Family {
    Incus,
    Lxd,
}

/// What one family of clients would list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Listed {
    /// Containers.
    pub containers: usize,
    /// Virtual machines.
    pub virtual_machines: usize,
}

/// A file that a document names, and what it says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileClaim {
    /// Relative to the remote's URL. A plain path.
    pub path: String,
    /// Its SHA-256, if it is one.
    pub sha256: Option<Digest>,
    /// Its size, if it is one.
    pub size_bytes: Option<u64>,
    /// Who names it first.
    pub place: Place,
}

/// A fingerprint that a document claims for two files, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FingerprintClaim {
    /// The path of the metadata.
    pub metadata: String,
    /// The path of the root.
    pub root: String,
    /// The SHA-256 of both.
    pub fingerprint: Digest,
    /// The metadata item, which claims it.
    pub place: Place,
}

/// What came out. See [`Linter::finish`].
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Everything found, the gravest first.
    pub findings: Vec<Finding>,
    /// What `incus image list` would list, for all architectures.
    pub incus: Listed,
    /// What `lxc image list` would list, for all architectures.
    pub lxd: Listed,
    /// Every file that was named and can be asked for, once per path, in the order of paths.
    pub files: Vec<FileClaim>,
    /// Every combined fingerprint of two such files, once.
    pub fingerprints: Vec<FingerprintClaim>,
}

/// An image that a family lists.
#[derive(Debug, Clone)]
pub(crate) struct ListedImage {
    pub(crate) family: Family,
    pub(crate) image_type: ImageType,
    pub(crate) fingerprint: String,
    pub(crate) place: Place,
}

/// What is remembered of a product, to compare it with others.
#[derive(Debug, Clone)]
pub(crate) struct ProductNames {
    pub(crate) product: String,
    pub(crate) document: String,
    pub(crate) architecture: String,
    pub(crate) aliases: Vec<String>,
    /// What clients sort by: os, release, variant.
    pub(crate) order: [String; 3],
    /// Which families list which types of it.
    pub(crate) listed: BTreeSet<(Family, ImageType)>,
}

/// Collects findings while documents are read.
pub struct Linter<'a> {
    wanted: &'a dyn Fn(&str) -> bool,
    unusable: BTreeSet<Family>,
    findings: Vec<Finding>,
    images: Vec<ListedImage>,
    products: Vec<ProductNames>,
    files: Vec<FileClaim>,
    fingerprints: Vec<FingerprintClaim>,
    listed: Vec<(String, BTreeSet<String>)>,
}

impl Family {
    pub(crate) const ALL: [Self; 2] = [Self::Incus, Self::Lxd];

    pub(crate) const fn minds(self) -> Minds {
        match self {
            Self::Incus => Minds::Incus,
            Self::Lxd => Minds::Lxd,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Incus => "Incus",
            Self::Lxd => "LXD",
        }
    }
}

impl Finding {
    /// One that all whom its code names mind.
    pub fn new(code: Code, place: Place, detail: impl Into<String>) -> Self {
        Self {
            code,
            minds: code.minds().to_vec(),
            place,
            detail: detail.into(),
        }
    }

    /// The whole text for people: what is wrong, what it costs, what to do.
    pub fn message(&self) -> String {
        format!("{}: {}; {}", self.detail, self.code.cost(), self.code.remedy())
    }
}

impl fmt::Display for Place {
    /// What there is, from large to small.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [&self.document, &self.product, &self.serial, &self.item];
        let mut gap = "";
        for part in parts.into_iter().filter(|part| !part.is_empty()) {
            write!(f, "{gap}{part}")?;
            gap = " ";
        }
        Ok(())
    }
}

impl Place {
    /// A whole document.
    pub fn document(path: &str) -> Self {
        Self {
            document: readable(path),
            ..Self::default()
        }
    }

    pub(crate) fn product(&self, product: &str) -> Self {
        Self {
            product: readable(product),
            ..self.clone()
        }
    }

    pub(crate) fn serial(&self, serial: &str) -> Self {
        Self {
            serial: readable(serial),
            ..self.clone()
        }
    }

    pub(crate) fn item(&self, item: &str) -> Self {
        Self {
            item: readable(item),
            ..self.clone()
        }
    }
}

impl fmt::Debug for Linter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Linter")
            .field("findings", &self.findings)
            .finish_non_exhaustive()
    }
}

impl<'a> Linter<'a> {
    /// Begins. Of the products only those that are `wanted` are looked at; that one value of a wrong
    /// type costs the whole remote is said whichever product it belongs to.
    pub fn new(wanted: &'a dyn Fn(&str) -> bool) -> Self {
        Self {
            wanted,
            unusable: BTreeSet::new(),
            findings: Vec::new(),
            images: Vec::new(),
            products: Vec::new(),
            files: Vec::new(),
            fingerprints: Vec::new(),
            listed: Vec::new(),
        }
    }

    /// Adds what the caller found.
    pub fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// A document that clients read cannot be had: the remote is of no use to them.
    pub fn without_document(&mut self, finding: Finding) {
        self.unusable.extend(Family::ALL);
        self.add(finding);
    }

    /// Reads `streams/v1/index.json`. Answers the products files that clients would read, to be fed to
    /// [`Linter::products`].
    pub fn index(&mut self, bytes: &[u8]) -> Vec<String> {
        index::check(self, bytes)
    }

    /// Reads a products file.
    pub fn products(&mut self, path: &str, bytes: &[u8]) {
        let place = Place::document(path);
        let Some(document) = self.document(&place, bytes, schema::PRODUCTS) else {
            return;
        };
        let listed = self.listed_in(path);
        let products = schema::object(&document, "products");
        for (name, product) in products.into_iter().flatten() {
            if (self.wanted)(name) {
                if !listed.contains(name) {
                    let detail = "the index does not list this product";
                    self.add(Finding::new(Code::UnlistedProduct, place.product(name), detail));
                }
                if let Some(product) = product.as_object() {
                    product::check(self, &place, name, product);
                }
            }
        }
        for name in listed.iter().filter(|name| (self.wanted)(name)) {
            if products.is_none_or(|products| !products.contains_key(name)) {
                let detail = "the index lists this product, and the products file does not hold it";
                self.add(Finding::new(
                    Code::ListedProductMissing,
                    place.product(name),
                    detail,
                ));
            }
        }
        self.rootstock(&place, bytes);
    }

    /// Compares what was read across products and puts everything in order.
    pub fn finish(mut self) -> Report {
        across::check(&mut self);
        let count = |family: Family, image_type: ImageType| {
            let usable = !self.unusable.contains(&family);
            let listed = self.images.iter();
            listed
                .filter(|image| usable && image.family == family && image.image_type == image_type)
                .count()
        };
        let listed = |family| Listed {
            containers: count(family, ImageType::Container),
            virtual_machines: count(family, ImageType::VirtualMachine),
        };
        let (incus, lxd) = (listed(Family::Incus), listed(Family::Lxd));
        let mut report = Report {
            findings: self.findings,
            incus,
            lxd,
            files: self.files,
            fingerprints: self.fingerprints,
        };
        report.sort();
        report
    }

    /// A document as a Go decoder would have it; `None`, said, when it is no JSON object.
    fn document(&mut self, place: &Place, bytes: &[u8], schema: schema::Type) -> Option<Object> {
        if bytes.starts_with(b"\xef\xbb\xbf") {
            let detail = "the document begins with a byte order mark";
            self.without_document(Finding::new(Code::ByteOrderMark, place.clone(), detail));
        }
        let document = match document::parse_object(bytes) {
            Ok(document) => document,
            Err(DocumentError::NotAnObject { found, .. }) => {
                let detail = format!("the document must be an object, but is {found}");
                self.without_document(Finding::new(Code::WrongType, place.clone(), detail));
                return None;
            }
            Err(error) => {
                self.without_document(Finding::new(Code::NotJson, place.clone(), error.to_string()));
                return None;
            }
        };
        for wrong in schema::mistakes(&document, schema) {
            let finding = wrong.finding(place);
            let families = Family::ALL.into_iter();
            self.unusable
                .extend(families.filter(|family| finding.minds.contains(&family.minds())));
            self.add(finding);
        }
        Some(document)
    }

    fn listed_in(&self, path: &str) -> BTreeSet<String> {
        let lists = self.listed.iter().filter(|(of, _)| of == path);
        lists.flat_map(|(_, names)| names).cloned().collect()
    }

    /// What Rootstock's own parser leaves out, where nothing else was said that explains it.
    fn rootstock(&mut self, place: &Place, bytes: &[u8]) {
        let snapshot = match crate::parse_products(bytes) {
            Ok(snapshot) => snapshot,
            Err(error) => {
                if !self.is_explained(place) {
                    let finding =
                        Finding::new(Code::RootstockRefusesDocument, place.clone(), error.to_string());
                    self.add(finding);
                }
                return;
            }
        };
        for left_out in snapshot.left_out {
            let at = Place {
                document: place.document.clone(),
                product: left_out.product,
                serial: left_out.serial,
                item: left_out.item,
            };
            let explained = matches!(
                left_out.reason,
                Reason::NotAnInstanceImage | Reason::UnknownArchitecture
            );
            if explained || !(self.wanted)(&at.product) || self.is_explained(&at) {
                continue;
            }
            // Of a product as a whole, an item is the name of a tag.
            let code = match at.serial.is_empty() && !at.item.is_empty() {
                true => Code::RootstockIgnoresTag,
                false => Code::RootstockLeavesOut,
            };
            self.add(Finding::new(code, at, left_out.message));
        }
    }

    fn is_explained(&self, place: &Place) -> bool {
        self.findings
            .iter()
            .any(|finding| finding.place == *place && finding.minds.contains(&Minds::Rootstock))
    }
}

impl Report {
    /// Adds a finding of the caller's; [`Report::sort`] puts it in its place.
    pub fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// Orders the findings: the gravest first, then by code and place.
    pub fn sort(&mut self) {
        let order = |finding: &Finding| (finding.code, finding.place.clone(), finding.detail.clone());
        self.findings.sort_by_cached_key(order);
        self.findings.dedup();
    }

    /// How many findings are of a severity.
    pub fn count(&self, severity: Severity) -> usize {
        let findings = self.findings.iter();
        findings
            .filter(|finding| finding.code.severity() == severity)
            .count()
    }
}

/// Whether the index itself is meant: its path, in the spelling of findings.
pub(crate) fn is_index(path: &str) -> bool {
    path == INDEX_PATH
}

#[cfg(test)]
mod tests;
