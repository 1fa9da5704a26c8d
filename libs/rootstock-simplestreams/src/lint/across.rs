//! What only the whole tells: names, fingerprints and paths that more than one thing has.

use std::collections::{BTreeMap, BTreeSet};

use rootstock_model::ImageType;

use super::{Code, Family, Finding, Linter, Minds, Place, ProductNames};
use crate::notes::quoted;

/// How many of many names are said.
const SHOWN: usize = 3;

/// Compares everything that was read.
pub(super) fn check(linter: &mut Linter<'_>) {
    fingerprints(linter);
    aliases(linter);
    files(linter);
    linter.fingerprints.sort_by(|a, b| key(a).cmp(&key(b)));
    linter.fingerprints.dedup_by(|a, b| key(a) == key(b));
}

fn key(claim: &super::FingerprintClaim) -> (&str, &str, rootstock_model::Digest) {
    (&claim.metadata, &claim.root, claim.fingerprint)
}

/// Clients look for an image by its fingerprint, whatever it was asked for by, and refuse two.
fn fingerprints(linter: &mut Linter<'_>) {
    let mut first = BTreeMap::<(Family, &str), &Place>::new();
    let mut twice = BTreeMap::<(&Place, &Place), BTreeSet<Family>>::new();
    for image in &linter.images {
        let seen = first
            .entry((image.family, &image.fingerprint))
            .or_insert(&image.place);
        if !std::ptr::eq(*seen, &image.place) {
            twice
                .entry((&image.place, *seen))
                .or_default()
                .insert(image.family);
        }
    }
    let findings: Vec<Finding> = twice
        .into_iter()
        .map(|((place, seen), families)| {
            let detail = format!("{seen} claims the same fingerprint");
            Finding {
                minds: families.into_iter().map(Family::minds).collect(),
                ..Finding::new(Code::DuplicateFingerprint, place.clone(), detail)
            }
        })
        .collect();
    linter.findings.extend(findings);
}

/// A name of a type and an architecture is the first product's, in the order that clients sort by.
fn aliases(linter: &mut Linter<'_>) {
    type Name = (Family, ImageType, String, String);
    let mut products: Vec<&ProductNames> = linter.products.iter().collect();
    products.sort_by_key(|product| (&product.order, &product.product, &product.document));
    let mut holders = BTreeMap::<Name, usize>::new();
    let mut lost = BTreeMap::<(usize, usize), (BTreeSet<Family>, BTreeSet<String>)>::new();
    for (at, product) in products.iter().enumerate() {
        for alias in names(product) {
            for (family, image_type) in &product.listed {
                let name = (*family, *image_type, product.architecture.clone(), alias.clone());
                let holder = *holders.entry(name).or_insert(at);
                if holder != at {
                    let (families, aliases) = lost.entry((at, holder)).or_default();
                    families.insert(*family);
                    aliases.insert(alias.clone());
                }
            }
        }
    }
    let mut findings = Vec::new();
    for ((at, holder), (families, aliases)) in lost {
        let (product, holder) = (products[at], products[holder]);
        let place = Place::document(&product.document)
            .product(&product.product)
            .item("aliases");
        let detail = format!(
            "{} is the name of {} already",
            some(&aliases),
            quoted(&holder.product)
        );
        let mut minds: Vec<Minds> = families.into_iter().map(Family::minds).collect();
        minds.push(Minds::Rootstock);
        findings.push(Finding {
            minds,
            ..Finding::new(Code::DuplicateAlias, place, detail)
        });
    }
    linter.findings.extend(findings);
}

/// The aliases of a product, and those that clients derive from them.
fn names(product: &ProductNames) -> BTreeSet<String> {
    let derived = |alias: &String| [alias.clone(), format!("{alias}/{}", product.architecture)];
    product.aliases.iter().flat_map(derived).collect()
}

fn some(names: &BTreeSet<String>) -> String {
    let mut shown: Vec<String> = names.iter().take(SHOWN).map(|name| quoted(name)).collect();
    if names.len() > SHOWN {
        shown.push(format!("{} more", names.len() - SHOWN));
    }
    shown.join(", ")
}

/// One claim per path, and what is said when there are two that differ.
fn files(linter: &mut Linter<'_>) {
    let mut all = std::mem::take(&mut linter.files);
    all.sort_by(|a, b| (&a.path, &a.place).cmp(&(&b.path, &b.place)));
    let mut kept = Vec::<super::FileClaim>::with_capacity(all.len());
    for file in all {
        let Some(first) = kept.last_mut().filter(|first| first.path == file.path) else {
            kept.push(file);
            continue;
        };
        let differ = first.sha256.zip(file.sha256).is_some_and(|(a, b)| a != b)
            || first.size_bytes.zip(file.size_bytes).is_some_and(|(a, b)| a != b);
        if differ {
            let detail = format!(
                "{} says otherwise of the same path {}",
                first.place,
                quoted(&file.path)
            );
            linter
                .findings
                .push(Finding::new(Code::ConflictingFile, file.place, detail));
        }
        first.sha256 = first.sha256.or(file.sha256);
        first.size_bytes = first.size_bytes.or(file.size_bytes);
    }
    let mut folded = BTreeMap::<String, &super::FileClaim>::new();
    for file in &kept {
        if let Some(first) = folded.insert(file.path.to_lowercase(), file) {
            let detail = format!(
                "{} and {} differ in case alone",
                quoted(&first.path),
                quoted(&file.path)
            );
            linter
                .findings
                .push(Finding::new(Code::CaseCollision, file.place.clone(), detail));
        }
    }
    linter.files = kept;
}
