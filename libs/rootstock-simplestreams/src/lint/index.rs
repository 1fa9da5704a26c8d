//! The index: which products files clients read, and which they skip.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Code, Finding, Linter, Place, is_index, path, schema};
use crate::{INDEX_PATH, document::Object, notes::quoted};

const DATATYPE: &str = "image-downloads";

/// Checks the index; the products files to read, each once.
pub(super) fn check(linter: &mut Linter<'_>, bytes: &[u8]) -> Vec<String> {
    let place = Place::document(INDEX_PATH);
    let Some(document) = linter.document(&place, bytes, schema::INDEX) else {
        return Vec::new();
    };
    let mut files = BTreeSet::new();
    for (name, entry) in schema::object(&document, "index").into_iter().flatten() {
        let place = place.product(name);
        // What is no object is of a wrong type, and was said to be.
        let file = entry.as_object().and_then(|entry| read(linter, &place, entry));
        files.extend(file);
    }
    basenames(linter, &place, &files);
    if files.is_empty() {
        let detail = "the index names no products file that clients read";
        linter.without_document(Finding::new(Code::NoProductsFile, place.clone(), detail));
    } else if let Err(error) = crate::parse_index(bytes) {
        let finding = Finding::new(Code::RootstockRefusesDocument, place, error.to_string());
        linter.add(finding);
    }
    files.into_iter().collect()
}

fn read(linter: &mut Linter<'_>, place: &Place, entry: &Object) -> Option<String> {
    let datatype = schema::text(entry, "datatype");
    if datatype != DATATYPE {
        let detail = format!("its datatype is {}, not {DATATYPE}", quoted(datatype));
        linter.add(Finding::new(Code::SkippedEntry, place.clone(), detail));
        return None;
    }
    let names: BTreeSet<String> = match schema::value(entry, "products") {
        Some(Value::Array(names)) => names
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        _ => BTreeSet::new(),
    };
    let path = schema::text(entry, "path");
    if path.is_empty() {
        let detail = "the entry has no path";
        linter.add(Finding::new(Code::MissingPath, place.clone(), detail));
        return None;
    }
    let path = path::check(linter, place, path, false)?;
    if is_index(&path) {
        let detail = format!("its path {} is that of the index itself", quoted(&path));
        linter.add(Finding::new(Code::ProductsFileIsIndex, place.clone(), detail));
        return None;
    }
    if names.is_empty() {
        let detail = "the entry lists no products";
        linter.add(Finding::new(Code::EmptyProductsList, place.clone(), detail));
        return None;
    }
    linter.listed.push((path.clone(), names));
    Some(path)
}

fn basenames(linter: &mut Linter<'_>, place: &Place, files: &BTreeSet<String>) {
    let mut seen = BTreeMap::new();
    for file in files {
        let name = file.rsplit('/').next().unwrap_or(file);
        if let Some(first) = seen.insert(name, file) {
            let detail = format!("{} and {} have the same file name", quoted(first), quoted(file));
            linter.add(Finding::new(Code::BasenameClash, place.clone(), detail));
        }
    }
}
