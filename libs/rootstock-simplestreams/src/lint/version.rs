//! One version: which files it has, and which images clients make of them.

use std::collections::{BTreeMap, BTreeSet};

use rootstock_model::{Digest, ImageType, RootFtype};
use serde_json::Value;

use super::{Code, Family, FileClaim, Finding, FingerprintClaim, Linter, ListedImage, Place, path, schema};
use crate::{document::Object, notes::quoted};

const DELTA: &str = ".vcdiff";
const MACHINE_DELTA: &str = "disk-kvm.img.vcdiff";

/// What clients see of a version.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// For which families there is an image, be it that its fingerprint is missing.
    pub(super) offered: BTreeSet<Family>,
    /// What is listed.
    pub(super) listed: BTreeSet<(Family, ImageType)>,
}

impl Family {
    const fn metadata(self) -> &'static str {
        match self {
            Self::Incus => "incus.tar.xz",
            Self::Lxd => "lxd.tar.xz",
        }
    }

    const fn unified(self) -> &'static str {
        match self {
            Self::Incus => "incus_combined.tar.gz",
            Self::Lxd => "lxd_combined.tar.gz",
        }
    }
}

/// An item, and where it is.
#[derive(Debug)]
struct Item<'a> {
    place: Place,
    tags: &'a Object,
    ftype: &'a str,
    /// To be asked for, when it can be.
    path: Option<String>,
}

impl Item<'_> {
    fn text(&self, tag: &str) -> &str {
        schema::text(self.tags, tag)
    }

    fn root(&self) -> Option<RootFtype> {
        self.ftype.parse().ok()
    }

    fn is_for(&self, name: fn(Family) -> &'static str) -> bool {
        Family::ALL.into_iter().any(|family| name(family) == self.ftype)
    }

    /// Whether it is of a kind that clients fetch.
    fn is_fetched(&self) -> bool {
        self.root().is_some() || self.is_for(Family::metadata) || self.is_for(Family::unified)
    }

    /// The fingerprint that it claims for itself and such a root, and the field that does or should.
    fn combined(&self, root: RootFtype) -> (&'static str, &str) {
        let fields = root.combined_fields();
        let claimed = fields.iter().map(|field| (*field, self.text(field)));
        let mut claimed = claimed.filter(|(_, text)| !text.is_empty());
        claimed.next().unwrap_or((fields[0], ""))
    }
}

/// Checks a version; `families` are those that read it at all.
pub(super) fn check(
    linter: &mut Linter<'_>,
    place: &Place,
    version: &Object,
    versions: &Object,
    families: &[Family],
) -> Seen {
    let items = items(linter, place, version);
    let roots: Vec<&Item<'_>> = items.iter().filter(|item| item.root().is_some()).collect();
    what_is_there(linter, place, &items, &roots);
    twins(linter, &items, &roots);
    deltas(linter, &items, versions);

    let mut seen = Seen::default();
    for family in families.iter().copied() {
        for item in items.iter().filter(|item| item.ftype == family.unified()) {
            seen.offered.insert(family);
            unified(linter, family, item, &mut seen);
        }
        for metadata in items.iter().filter(|item| item.ftype == family.metadata()) {
            for root in &roots {
                seen.offered.insert(family);
                split(linter, family, metadata, root, &mut seen);
            }
        }
    }
    seen
}

/// The items, each checked by itself.
fn items<'a>(linter: &mut Linter<'_>, place: &Place, version: &'a Object) -> Vec<Item<'a>> {
    let mut items = Vec::new();
    let mut without = Vec::new();
    for (key, item) in schema::object(version, "items").into_iter().flatten() {
        let Some(tags) = item.as_object() else { continue };
        let mut item = Item {
            place: place.item(key),
            tags,
            ftype: schema::text(tags, "ftype"),
            path: None,
        };
        if item.ftype.is_empty() {
            without.push(quoted(key));
            continue;
        }
        file(linter, &mut item);
        items.push(item);
    }
    if !without.is_empty() {
        let detail = format!("{} has no ftype", without.join(", "));
        linter.add(Finding::new(Code::MissingFtype, place.clone(), detail));
    }
    items
}

/// The file of an item: where it lies and what it is checked by.
fn file(linter: &mut Linter<'_>, item: &mut Item<'_>) {
    let place = item.place.clone();
    let matters = item.is_fetched();
    let add =
        |linter: &mut Linter<'_>, code, detail: String| linter.add(Finding::new(code, place.clone(), detail));

    let path = item.text("path");
    if path.is_empty() {
        if matters {
            add(linter, Code::MissingPath, "the item has no path".to_owned());
        }
    } else {
        item.path = path::check(linter, &item.place, path, true);
    }
    let sha256 = hash(linter, item, matters);
    let size = schema::value(item.tags, "size");
    let size_bytes = size
        .and_then(Value::as_u64)
        .filter(|size| *size > 0 && i64::try_from(*size).is_ok());
    // A size of a wrong type was said to be one.
    let is_typed = size.is_none_or(|size| size.as_i64().is_some());
    if matters && size_bytes.is_none() && is_typed {
        let found = size.map_or_else(|| "no size".to_owned(), |size| format!("the size {size}"));
        add(linter, Code::BadSize, format!("the item has {found}"));
    }
    if let Some(path) = item.path.clone() {
        linter.files.push(FileClaim {
            path,
            sha256,
            size_bytes,
            place: item.place.clone(),
        });
    }
}

fn hash(linter: &mut Linter<'_>, item: &Item<'_>, matters: bool) -> Option<Digest> {
    let text = item.text("sha256");
    let digest = text.parse::<Digest>().ok();
    // A hash of a wrong type was said to be one.
    let is_typed = schema::value(item.tags, "sha256").is_none_or(Value::is_string);
    let finding = match digest {
        None if text.is_empty() && !item.text("md5").is_empty() => (
            Code::MissingSha256,
            "the item has an MD5 and no SHA-256".to_owned(),
        ),
        None if text.is_empty() => (Code::MissingSha256, "the item has no SHA-256".to_owned()),
        None => (
            Code::BadSha256,
            format!("sha256 {} is not 64 hex characters", quoted(text)),
        ),
        Some(digest) if digest.to_hex() != text => (Code::UpperCaseHash, format!("sha256 {}", quoted(text))),
        Some(_) => return digest,
    };
    if matters && is_typed {
        linter.add(Finding::new(finding.0, item.place.clone(), finding.1));
    }
    digest
}

fn what_is_there(linter: &mut Linter<'_>, place: &Place, items: &[Item<'_>], roots: &[&Item<'_>]) {
    let has_metadata = items.iter().any(|item| item.is_for(Family::metadata));
    let has_unified = items.iter().any(|item| item.is_for(Family::unified));
    let (code, detail) = match (has_metadata, !roots.is_empty()) {
        (true, true) => return,
        _ if has_unified => return,
        (false, true) => (
            Code::RootWithoutMetadata,
            "it has a root and no metadata tarball".to_owned(),
        ),
        (true, false) => (
            Code::MetadataWithoutRoot,
            "it has a metadata tarball and no root".to_owned(),
        ),
        (false, false) => {
            let ftypes: BTreeSet<&str> = items.iter().map(|item| item.ftype).collect();
            let ftypes: Vec<&str> = ftypes.into_iter().collect();
            let detail = match ftypes.is_empty() {
                true => "it has no items with an ftype".to_owned(),
                false => format!("it holds only {}", crate::notes::readable(&ftypes.join(", "))),
            };
            (Code::NoInstanceFiles, detail)
        }
    };
    linter.add(Finding::new(code, place.clone(), detail));
}

/// Metadata items of the same bytes that claim different fingerprints for one root.
fn twins(linter: &mut Linter<'_>, items: &[Item<'_>], roots: &[&Item<'_>]) {
    for root in roots.iter().filter_map(|root| root.root()) {
        let mut claims = BTreeMap::<&str, (&Item<'_>, &str)>::new();
        for item in items.iter().filter(|item| item.is_for(Family::metadata)) {
            let (field, claim) = item.combined(root);
            if claim.is_empty() || item.text("sha256").is_empty() {
                continue;
            }
            let (first, claimed) = *claims.entry(item.text("sha256")).or_insert((item, claim));
            if !claimed.eq_ignore_ascii_case(claim) {
                let other = quoted(&first.place.item);
                let detail = format!("{field} is not that of {other}, whose bytes are the same");
                linter.add(Finding::new(Code::TwinDiffers, item.place.clone(), detail));
            }
        }
    }
}

fn deltas(linter: &mut Linter<'_>, items: &[Item<'_>], versions: &Object) {
    let incus_reads = items.iter().any(|item| item.ftype == Family::Incus.metadata());
    for item in items.iter().filter(|item| item.ftype.ends_with(DELTA)) {
        let base = item.text("delta_base");
        if !versions.contains_key(base) {
            let detail = match base {
                "" => "the delta names no base".to_owned(),
                base => format!("its base {} is no version of this product", quoted(base)),
            };
            linter.add(Finding::new(Code::DeltaWithoutBase, item.place.clone(), detail));
        } else if item.ftype == MACHINE_DELTA && incus_reads {
            let detail = "it is the delta of a virtual machine's disk";
            linter.add(Finding::new(Code::VmDelta, item.place.clone(), detail));
        }
    }
}

fn unified(linter: &mut Linter<'_>, family: Family, item: &Item<'_>, seen: &mut Seen) {
    let says_machine = item.text("combined_type") == ImageType::VirtualMachine.as_str();
    if says_machine {
        let detail = "it is a virtual machine in one file";
        linter.add(of_family(
            Code::UnifiedVirtualMachine,
            family,
            &item.place,
            detail,
        ));
    }
    let image_type = match family {
        Family::Incus if says_machine => ImageType::VirtualMachine,
        _ => ImageType::Container,
    };
    // Its hash is the fingerprint; one that is none was said to be.
    list(linter, family, image_type, item, item.text("sha256"), seen);
}

fn split(linter: &mut Linter<'_>, family: Family, metadata: &Item<'_>, root: &Item<'_>, seen: &mut Seen) {
    let Some(ftype) = root.root() else { return };
    let (field, claim) = metadata.combined(ftype);
    if claim.is_empty() {
        // One of a wrong type was said to be.
        if schema::value(metadata.tags, field).is_none() {
            let detail = format!("it has no {field} for {}", quoted(&root.place.item));
            linter.add(of_family(
                Code::MissingCombinedHash,
                family,
                &metadata.place,
                &detail,
            ));
        }
        return;
    }
    match claim.parse::<Digest>() {
        Ok(fingerprint) => {
            if fingerprint.to_hex() != claim {
                let detail = format!("{field} {}", quoted(claim));
                linter.add(of_family(Code::UpperCaseHash, family, &metadata.place, &detail));
            }
            if let (Some(first), Some(second)) = (&metadata.path, &root.path) {
                linter.fingerprints.push(FingerprintClaim {
                    metadata: first.clone(),
                    root: second.clone(),
                    fingerprint,
                    place: metadata.place.clone(),
                });
            }
        }
        Err(_) => {
            let detail = format!("{field} {} is not 64 hex characters", quoted(claim));
            linter.add(of_family(Code::BadCombinedHash, family, &metadata.place, &detail));
        }
    }
    list(linter, family, ftype.image_type(), metadata, claim, seen);
}

/// Clients list an image that has a fingerprint and whose metadata lies somewhere.
fn list(
    linter: &mut Linter<'_>,
    family: Family,
    image_type: ImageType,
    item: &Item<'_>,
    fingerprint: &str,
    seen: &mut Seen,
) {
    if fingerprint.is_empty() || item.text("path").is_empty() {
        return;
    }
    seen.listed.insert((family, image_type));
    linter.images.push(ListedImage {
        family,
        image_type,
        fingerprint: fingerprint.to_owned(),
        place: item.place.clone(),
    });
}

fn of_family(code: Code, family: Family, place: &Place, detail: &str) -> Finding {
    Finding {
        minds: vec![family.minds()],
        ..Finding::new(code, place.clone(), detail)
    }
}
