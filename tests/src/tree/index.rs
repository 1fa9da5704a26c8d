//! The two JSON files of a tree, as the Incus and LXD projects' own servers write them.

use rootstock_model::{Digest, MetadataFtype, RootFtype};
use serde_json::{Map, Value, json};

use super::{Built, INDEX_PATH, PRODUCTS_PATH, Product, Tree};

/// `streams/v1/index.json` and `streams/v1/images.json`.
pub(super) fn render(tree: &Tree) -> [(&'static str, Value); 2] {
    let products: Map<String, Value> = tree
        .products
        .iter()
        .map(|(id, product)| (id.clone(), render_product(product)))
        .collect();
    let index = json!({
        "format": "index:1.0",
        "index": {
            "images": {
                "datatype": "image-downloads",
                "path": PRODUCTS_PATH,
                "format": "products:1.0",
                "products": products.keys().collect::<Vec<_>>(),
            },
        },
    });
    let images = json!({
        "content_id": "images",
        "datatype": "image-downloads",
        "format": "products:1.0",
        "products": products,
    });
    [(INDEX_PATH, index), (PRODUCTS_PATH, images)]
}

fn render_product(product: &super::BuiltProduct) -> Value {
    let versions: Map<String, Value> = product
        .versions
        .iter()
        .map(|(serial, built)| (serial.clone(), json!({ "items": render_items(built) })))
        .collect();
    let Product {
        os,
        release,
        variant,
        architecture,
        aliases,
        requirements,
        support_eol,
    } = &product.product;
    let mut value = json!({
        "aliases": aliases.join(","),
        "arch": architecture,
        "os": os,
        "release": release,
        "release_title": release,
        "requirements": requirements,
        "variant": variant,
        "versions": versions,
    });
    if let Some(date) = support_eol {
        value["support_eol"] = json!(date);
    }
    value
}

fn render_items(built: &Built) -> Map<String, Value> {
    let mut items = Map::new();
    for (ftype, file) in &built.metadata {
        let mut item = json!({
            "ftype": ftype.as_str(), "path": file.path, "size": file.content.size(), "sha256": file.digest,
        });
        if !ftype.is_unified() {
            for (root, fingerprint) in &built.fingerprints {
                combined(&mut item, *root, fingerprint);
            }
        }
        items.insert(item_key(*ftype), item);
    }
    for (ftype, file) in &built.roots {
        let item = json!({
            "ftype": ftype.as_str(), "path": file.path, "size": file.content.size(), "sha256": file.digest,
        });
        // Keys are free, and real servers' differ from the ftype.
        items.insert(format!("root.{ftype}"), item);
    }
    items
}

fn item_key(ftype: MetadataFtype) -> String {
    ftype.as_str().to_owned()
}

fn combined(item: &mut Value, root: RootFtype, fingerprint: &Digest) {
    for field in root.combined_fields() {
        item[*field] = json!(fingerprint);
    }
}
