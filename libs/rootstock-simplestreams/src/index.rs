//! The index: which products files there are.

use std::collections::{BTreeMap, BTreeSet};

use rootstock_model::{ImageName, LeftOut, Reason, snapshot::Snapshot};
use serde_json::Value;

use crate::{
    document::{self, DocumentError, kind},
    notes::{Problem, quoted, readable},
    path::plain_path,
    tags::object,
};

/// Where the index lies, relative to the remote's URL.
pub const INDEX_PATH: &str = "streams/v1/index.json";

const FORMAT: &str = "index:1.0";
const DATATYPE: &str = "image-downloads";

/// The entries that lead to images, at least one, in the order of their names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Index {
    /// The products files to read.
    pub entries: Vec<ProductsFile>,
    /// Entries that were not taken, and remarks about those that were. `item` names the entry.
    pub left_out: Vec<LeftOut>,
}

/// One products file of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProductsFile {
    /// The entry's name, e.g. `images`.
    pub name: String,
    /// Where the file lies, relative to the remote's URL. A plain path.
    pub path: String,
    /// The products that the index says the file holds. Only a claim: the file itself is
    /// authoritative. What it holds beyond this list is taken; what it lacks is noted by
    /// [`Index::assemble`].
    pub listed: BTreeSet<String>,
}

/// Reads the index. Entries for other things than image downloads, and those that cannot be used,
/// are left out with a reason. An entry that lists no products is read all the same (clients skip
/// it), and that is noted. Two entries for one file are taken as one.
///
/// # Errors
/// When there is no index in it, or when none of its entries can be used.
pub fn parse_index(bytes: &[u8]) -> Result<Index, DocumentError> {
    let document = document::parse_object(bytes)?;
    document::check_format(&document, FORMAT)?;

    let mut left_out = vec![];
    let mut by_path = BTreeMap::<String, ProductsFile>::new();
    for (name, entry) in document::object_member(&document, "index")? {
        let mut note = |problem: Problem| left_out.push(problem.at("", "", name));
        match read_entry(name, entry, &mut note) {
            Ok(file) => match by_path.get_mut(&file.path) {
                Some(same) => same.listed.extend(file.listed),
                None => {
                    by_path.insert(file.path.clone(), file);
                }
            },
            Err(problem) => note(problem),
        }
    }

    let mut entries: Vec<_> = by_path.into_values().collect();
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    left_out.sort();
    if entries.is_empty() {
        return Err(DocumentError::NoProductsFile {
            reasons: reasons(&left_out),
        });
    }
    Ok(Index { entries, left_out })
}

impl Index {
    /// Puts what the products files hold together to one snapshot of the remote. `files` are the
    /// parsed files in the order of [`Index::entries`].
    ///
    /// A product that two files hold is taken from the first. A product that the index lists and
    /// its file does not hold is noted.
    pub fn assemble(self, files: impl IntoIterator<Item = Snapshot>) -> Snapshot {
        let mut whole = Snapshot {
            images: vec![],
            left_out: self.left_out,
        };
        let mut taken = BTreeMap::<ImageName, String>::new();
        for (entry, file) in self.entries.into_iter().zip(files) {
            whole.left_out.extend(listed_but_missing(&entry, &file));
            let mut of_this_file = BTreeSet::new();
            for image in file.images {
                if let Some(first) = taken.get(&image.product) {
                    let message = format!("{} holds it too, and {first} came first", entry.path);
                    let problem = Problem::new(Reason::NameTaken, message);
                    whole.left_out.push(problem.at(image.product.as_str(), "", ""));
                } else {
                    of_this_file.insert(image.product.clone());
                    whole.images.push(image);
                }
            }
            whole.left_out.extend(file.left_out);
            taken.extend(
                of_this_file
                    .into_iter()
                    .map(|product| (product, entry.path.clone())),
            );
        }
        whole
            .images
            .sort_by(|a, b| (&a.product, a.image_type).cmp(&(&b.product, b.image_type)));
        whole.left_out.sort();
        whole.left_out.dedup();
        whole
    }
}

fn read_entry(name: &str, entry: &Value, note: &mut dyn FnMut(Problem)) -> Result<ProductsFile, Problem> {
    let entry = object("an entry of the index", Some(entry))?;
    match entry.get("datatype") {
        Some(Value::String(datatype)) if datatype == DATATYPE => {}
        Some(Value::String(other)) => {
            let message = format!("its datatype is {}, not {DATATYPE}", quoted(other));
            return Err(Problem::new(Reason::NotAnInstanceImage, message));
        }
        other => {
            let found = other.map_or("missing", kind);
            return Err(Problem::malformed(format!(
                "datatype must be {DATATYPE}, but is {found}"
            )));
        }
    }
    let path = match entry.get("path") {
        Some(Value::String(path)) => {
            plain_path(path).map_err(|error| Problem::new(Reason::UnsafePath, error.to_string()))?
        }
        other => {
            let found = other.map_or("missing", kind);
            return Err(Problem::malformed(format!("path must be a text, but is {found}")));
        }
    };
    if matches!(&*path, INDEX_PATH | "streams/v1/index.sjson") {
        let message = format!("the path {} is that of the index itself", quoted(&path));
        return Err(Problem::new(Reason::UnsafePath, message));
    }
    Ok(ProductsFile {
        name: readable(name),
        path: path.into_owned(),
        listed: listed_products(entry.get("products"), note),
    })
}

fn listed_products(products: Option<&Value>, note: &mut dyn FnMut(Problem)) -> BTreeSet<String> {
    let listed: BTreeSet<String> = match products {
        Some(Value::Array(names)) => names
            .iter()
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect(),
        _ => BTreeSet::new(),
    };
    if listed.is_empty() {
        note(Problem::malformed(
            "it lists no products, so clients skip it; its products file was read all the same",
        ));
    }
    listed
}

/// A product counts as held when the file says anything of it, be it that it was left out.
fn listed_but_missing(entry: &ProductsFile, file: &Snapshot) -> Vec<LeftOut> {
    let held: BTreeSet<&str> = file
        .images
        .iter()
        .map(|image| image.product.as_str())
        .chain(file.left_out.iter().map(|left_out| left_out.product.as_str()))
        .collect();
    let message = format!("the index lists it in {}, which does not hold it", entry.path);
    entry
        .listed
        .iter()
        .filter(|product| !held.contains(&*readable(product)))
        .map(|product| Problem::malformed(message.clone()).at(product, "", ""))
        .collect()
}

fn reasons(left_out: &[LeftOut]) -> String {
    const SHOWN: usize = 5;
    if left_out.is_empty() {
        return "it has no entries".to_owned();
    }
    let mut reasons: Vec<String> = left_out
        .iter()
        .take(SHOWN)
        .map(|left_out| format!("{}: {}", left_out.item, left_out.message))
        .collect();
    if left_out.len() > SHOWN {
        reasons.push(format!("and {} more", left_out.len() - SHOWN));
    }
    reasons.join("; ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(path: &str, products: &[&str]) -> Value {
        json!({"datatype": "image-downloads", "format": "products:1.0", "path": path, "products": products})
    }

    fn parse(index: Value) -> Result<Index, DocumentError> {
        let document = json!({"format": "index:1.0", "index": index});
        parse_index(document.to_string().as_bytes())
    }

    #[test]
    fn entries_for_images_are_taken_and_others_named() {
        let index = parse(json!({
            "images": entry("streams/v1/images.json", &["debian:12"]),
            "again": entry("streams//v1/images.json", &["alpine:3"]),
            "empty": entry("streams/v1/empty.json", &[]),
            "aws": {"datatype": "image-ids", "path": "streams/v1/aws.json", "products": ["x"]},
            "updated": "yesterday",
            "list": [],
            "pathless": {"datatype": "image-downloads"},
            "typeless": {"path": "x.json"},
            "outside": entry("../x.json", &["x"]),
            "self": entry(INDEX_PATH, &["x"]),
        }))
        .unwrap();
        let entries: Vec<_> = index
            .entries
            .iter()
            .map(|file| (&*file.name, &*file.path, file.listed.len()))
            .collect();
        assert_eq!(
            entries,
            [
                ("again", "streams/v1/images.json", 2),
                ("empty", "streams/v1/empty.json", 0)
            ]
        );
        let left_out: Vec<_> = index.left_out.iter().map(|l| (&*l.item, l.reason)).collect();
        assert_eq!(
            left_out,
            [
                ("aws", Reason::NotAnInstanceImage),
                ("empty", Reason::Malformed),
                ("list", Reason::Malformed),
                ("outside", Reason::UnsafePath),
                ("pathless", Reason::Malformed),
                ("self", Reason::UnsafePath),
                ("typeless", Reason::Malformed),
                ("updated", Reason::Malformed),
            ]
        );
    }

    #[test]
    fn an_index_without_a_usable_entry_is_an_error() {
        for (index, expected) in [
            (json!({}), "it has no entries"),
            (
                json!({"images": entry("../../etc/passwd", &["x"])}),
                "images: the path \"../../etc/passwd\" has a part that is . or ..",
            ),
            (
                json!({"images": entry("streams/v1/index.json", &["x"])}),
                "is that of the index itself",
            ),
            (json!("meh"), "index must be an object, but is a text"),
            (json!(null), "index must be an object, but is null"),
        ] {
            let message = parse(index).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
        let message = parse_index(br#"{"format":"products:1.0","products":{}}"#)
            .unwrap_err()
            .to_string();
        assert!(message.contains("only \"index:1.0\""), "{message}");
    }

    #[test]
    fn the_first_file_that_holds_a_product_gives_it() {
        let index = parse(json!({
            "a": entry("streams/v1/a.json", &["debian:12", "ghost:1", "empty:1"]),
            "b": entry("streams/v1/b.json", &["debian:12"]),
        }))
        .unwrap();
        let file = |release: &str| {
            let digest = "ab".repeat(32);
            let document = json!({"products": {
                "debian:12": {"arch": "amd64", "release": release, "versions": {"20240101": {"items": {
                    "x": {"ftype": "lxd_combined.tar.gz", "sha256": digest, "size": 1, "path": "x"}}}}},
                "empty:1": {"arch": "amd64", "versions": {}},
            }});
            crate::parse_products(document.to_string().as_bytes()).unwrap()
        };
        let whole = index.assemble([file("first"), file("second")]);
        assert_eq!(whole.images.len(), 1);
        assert_eq!(whole.images[0].property("release"), "first");
        let left_out: Vec<_> = whole.left_out.iter().map(|l| (&*l.product, l.reason)).collect();
        assert_eq!(
            left_out,
            [
                ("debian:12", Reason::NameTaken),
                ("empty:1", Reason::NotAnInstanceImage),
                ("ghost:1", Reason::Malformed),
            ]
        );
    }
}
