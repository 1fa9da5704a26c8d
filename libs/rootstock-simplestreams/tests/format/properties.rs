//! Documents that were bent at random: nothing panics, everything taken is sound, everything else
//! has a reason, and neighbours keep what is theirs.

use std::collections::BTreeSet;

use proptest::{prelude::*, sample::Index};
use rootstock_model::snapshot::Snapshot;
use rootstock_simplestreams::{parse_index, parse_products};
use serde_json::{Value, json};

use crate::assert_sound;

const BENT: &str = "alpine:3.17:amd64:default";
const NEIGHBOUR: &str = "debian:bookworm:arm64:cloud";

fn item(ftype: &str, byte: &str) -> Value {
    json!({"ftype": ftype, "sha256": byte.repeat(32), "size": 892, "path": format!("images/{byte}")})
}

fn product(arch: &str) -> Value {
    let mut metadata = item("lxd.tar.xz", "a1");
    metadata["combined_sha256"] = json!("b1".repeat(32));
    metadata["combined_squashfs_sha256"] = json!("b2".repeat(32));
    let items = json!({
        "lxd.tar.xz": metadata,
        "root.tar.xz": item("root.tar.xz", "a2"),
        "root.squashfs": item("squashfs", "a3"),
        "disk.qcow2": item("disk-kvm.img", "a4"),
        "unified": item("incus_combined.tar.gz", "a5"),
        "delta": item("squashfs.vcdiff", "a6"),
    });
    json!({
        "aliases": "one/two,three", "arch": arch, "os": "Os", "release": "1", "support_eol": "2030-01-01",
        "requirements": {"secureboot": "false"},
        "versions": {"20240101_00:00": {"items": items}, "20240102_00:00": {"items": items, "label": "daily"}},
    })
}

fn document() -> Value {
    json!({
        "format": "products:1.0", "content_id": "images",
        "products": {BENT: product("amd64"), NEIGHBOUR: product("arm64")},
    })
}

/// JSON pointers to every value below `root`.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    let escape = |key: &str| key.replace('~', "~0").replace('/', "~1");
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                pointers(member, &format!("{at}/{}", escape(key)), found);
            }
        }
        Value::Array(elements) => {
            for (index, element) in elements.iter().enumerate() {
                pointers(element, &format!("{at}/{index}"), found);
            }
        }
        _ => {}
    }
}

/// Puts `value` in the place of something below `root`; or beside it, under a key that `value` may
/// hold.
fn bend(document: &mut Value, root: &str, place: Index, value: Value) {
    let mut found = vec![];
    if let Some(below) = document.pointer(root) {
        pointers(below, root, &mut found);
    }
    if found.is_empty() {
        return;
    }
    let pointer = place.get(&found);
    match (document.pointer_mut(pointer), value) {
        (Some(Value::Object(members)), Value::Array(mut pair)) if pair.len() == 2 && pair[0].is_string() => {
            let value = pair.pop().unwrap_or_default();
            members.insert(pair[0].as_str().unwrap_or_default().to_owned(), value);
        }
        (Some(target), value) => *target = value,
        (None, _) => {}
    }
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "ftype",
            "sha256",
            "size",
            "path",
            "items",
            "versions",
            "aliases",
            "arch",
            "squashfs",
            "root.tar.xz",
            "incus.tar.xz",
            "lxd.tar.xz",
            "incus_combined.tar.gz",
            "combined_type",
            "virtual-machine",
            "../x",
            "streams/v1/index.json",
            "images//x",
            "%2e%2e",
            "amd64",
            "892",
            "9223372036854775808",
            "a,b",
            "\0",
            "\u{fffd}",
            "2024-02-30",
            "lxd_requirements",
            "combined_rootxz_sha256",
            "20240101",
            "..",
        ])
        .prop_map(str::to_owned),
        Just("c3".repeat(32)),
        ".{0,20}",
        "[a-z0-9/:.]{0,300}",
    ]
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any_text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((any_text(), inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn bends() -> impl Strategy<Value = Vec<(Index, Value)>> {
    let one = prop_oneof![
        any_json(),
        (any_text(), any_json()).prop_map(|(key, value)| json!([key, value])),
    ];
    prop::collection::vec((any::<Index>(), one), 1..6)
}

/// Every product of the document is in the snapshot, as an image or as left out.
fn assert_nothing_is_lost(document: &Value, snapshot: &Snapshot) {
    let told: BTreeSet<&str> = snapshot
        .images
        .iter()
        .map(|image| image.product.as_str())
        .chain(snapshot.left_out.iter().map(|note| &*note.product))
        .collect();
    let products = document["products"].as_object().unwrap();
    let told_of =
        |name: &str| told.contains(name) || name.contains(char::is_control) || name.chars().count() > 255;
    for name in products.keys() {
        assert!(told_of(name), "not a word of {name:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_bent_product_leaves_its_neighbour_whole(bends in bends()) {
        let mut document = document();
        let whole = parse_products(document.to_string().as_bytes()).unwrap();
        for (place, value) in bends {
            bend(&mut document, &format!("/products/{BENT}"), place, value);
        }
        let snapshot = parse_products(document.to_string().as_bytes()).unwrap();
        assert_sound(&snapshot);
        assert_nothing_is_lost(&document, &snapshot);
        let of_neighbour = |snapshot: &Snapshot| {
            snapshot.images.iter().filter(|image| image.product.as_str() == NEIGHBOUR).cloned().collect::<Vec<_>>()
        };
        prop_assert_eq!(of_neighbour(&snapshot), of_neighbour(&whole));
        prop_assert!(snapshot.left_out.iter().all(|note| note.product != NEIGHBOUR));
    }

    #[test]
    fn a_bent_document_is_read_or_refused(bends in bends()) {
        let mut document = document();
        for (place, value) in bends {
            bend(&mut document, "", place, value);
        }
        if let Ok(snapshot) = parse_products(document.to_string().as_bytes()) {
            assert_sound(&snapshot);
            assert_nothing_is_lost(&document, &snapshot);
        }
    }

    #[test]
    fn bent_bytes_are_read_or_refused(
        edits in prop::collection::vec((any::<Index>(), 0..4_usize, prop::collection::vec(any::<u8>(), 0..4)), 1..5),
    ) {
        let mut bytes = document().to_string().into_bytes();
        for (place, removed, inserted) in edits {
            let start = place.index(bytes.len() + 1);
            let end = (start + removed).min(bytes.len());
            bytes.splice(start..end, inserted);
        }
        match parse_products(&bytes) {
            Ok(snapshot) => assert_sound(&snapshot),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
        let _ = parse_index(&bytes);
    }

    #[test]
    fn a_bent_index_is_read_or_refused(bends in bends()) {
        let mut document = json!({"format": "index:1.0", "index": {
            "images": {"datatype": "image-downloads", "path": "streams/v1/images.json", "products": [BENT]},
            "more": {"datatype": "image-downloads", "path": "streams/v1/more.json", "products": [NEIGHBOUR]},
        }});
        for (place, value) in bends {
            bend(&mut document, "", place, value);
        }
        if let Ok(index) = parse_index(document.to_string().as_bytes()) {
            prop_assert!(!index.entries.is_empty());
            for entry in &index.entries {
                prop_assert!(rootstock_simplestreams::plain_path(&entry.path).is_ok());
                prop_assert_ne!(&entry.path, rootstock_simplestreams::INDEX_PATH);
            }
            assert_sound(&index.assemble([Snapshot::default(), Snapshot::default()]));
        }
    }
}

#[test]
fn the_document_that_is_bent_is_good() {
    let snapshot = parse_products(document().to_string().as_bytes()).unwrap();
    assert_eq!(snapshot.left_out, []);
    assert_eq!(snapshot.images.len(), 4);
}
