//! One good tree, bent in one way at a time: what is found, and what clients would list of it.

use serde_json::{Value, json};

use super::*;

const PRODUCT: &str = "debian:12:amd64:default";
const SERIAL: &str = "20260102_0524";
const PRODUCTS: &str = "streams/v1/images.json";

fn sha(of: u8) -> String {
    Digest::of(&[of]).to_hex()
}

fn metadata(ftype: &str) -> Value {
    json!({
        "ftype": ftype, "path": "images/debian/meta.tar.xz", "size": 10, "sha256": sha(1),
        "combined_squashfs_sha256": sha(3), "combined_disk-kvm-img_sha256": sha(5),
    })
}

fn good() -> Value {
    json!({
        "content_id": "images", "datatype": "image-downloads", "format": "products:1.0",
        "products": { PRODUCT: {
            "aliases": "debian/12,debian/bookworm", "arch": "amd64", "os": "Debian", "release": "12",
            "requirements": {"secureboot": "false"}, "support_eol": "2028-06-30", "variant": "default",
            "versions": { SERIAL: { "items": {
                "incus.tar.xz": metadata("incus.tar.xz"),
                "lxd.tar.xz": metadata("lxd.tar.xz"),
                "root": {"ftype": "squashfs", "path": "images/debian/root.squashfs", "size": 20, "sha256": sha(2)},
                "disk": {"ftype": "disk-kvm.img", "path": "images/debian/disk.qcow2", "size": 30, "sha256": sha(4)},
            }}},
        }},
    })
}

fn index_of(products: &[&str]) -> Value {
    json!({"format": "index:1.0", "index": {"images": {
        "datatype": "image-downloads", "path": PRODUCTS, "format": "products:1.0", "products": products,
    }}})
}

fn lint(index: &[u8], products: &[u8]) -> Report {
    let mut linter = Linter::new(&|_| true);
    for path in linter.index(index) {
        linter.products(&path, products);
    }
    linter.finish()
}

fn lint_products(products: &Value) -> Report {
    let names: Vec<&str> = products["products"]
        .as_object()
        .map(|products| products.keys().map(String::as_str).collect())
        .unwrap_or_default();
    lint(
        index_of(&names).to_string().as_bytes(),
        products.to_string().as_bytes(),
    )
}

/// The codes with those who mind.
fn codes(report: &Report) -> Vec<String> {
    let said = |finding: &Finding| {
        let minds: Vec<&str> = finding.minds.iter().map(|minds| minds.as_str()).collect();
        format!("{} {}", finding.code, minds.join("+"))
    };
    report.findings.iter().map(said).collect()
}

const fn listed(containers: usize, virtual_machines: usize) -> Listed {
    Listed {
        containers,
        virtual_machines,
    }
}

#[test]
fn a_good_tree_has_nothing_to_say() {
    let report = lint_products(&good());
    assert_eq!(report.findings, []);
    assert_eq!((report.incus, report.lxd), (listed(1, 1), listed(1, 1)));
    assert_eq!(report.files.len(), 3, "twins are one file");
    assert_eq!(report.fingerprints.len(), 2);
}

/// (pointer within the product or version, its new value; null takes it away), what is found, and how
/// many (containers, virtual machines) Incus and LXD list.
type Case = (&'static str, Value, &'static [&'static str], Listed, Listed);

#[test]
fn each_bend_has_its_code_and_its_price() {
    let whole = listed(1, 1);
    let none = listed(0, 0);
    let item = |name: &str, tag: &str| format!("/versions/{SERIAL}/items/{name}{tag}");
    let cases: Vec<Case> = vec![
        ("/version", json!(12), &["wrong-type incus+lxd"], none, none),
        ("/ARCH", json!(5), &["wrong-type incus+lxd"], none, none),
        ("/version", json!(null), &[], whole, whole),
        ("/unknown", json!({"any": [1]}), &[], whole, whole),
        (
            "/lxd_requirements",
            json!({"secureboot": false}),
            &["wrong-type lxd"],
            whole,
            none,
        ),
        (
            "/requirements",
            json!({"secureboot": "maybe"}),
            &["bad-requirement incus+lxd+rootstock"],
            whole,
            whole,
        ),
        (
            "/requirements",
            json!({"tpm": "true"}),
            &["unknown-requirement incus+lxd+rootstock"],
            whole,
            whole,
        ),
        (
            "/arch",
            json!("amd64v3"),
            &["unknown-architecture incus"],
            none,
            whole,
        ),
        (
            "/arch",
            json!("vax"),
            &["unknown-architecture incus+lxd+rootstock"],
            none,
            none,
        ),
        (
            "/aliases",
            json!("debian/12 ,debian"),
            &["bad-alias incus+lxd"],
            whole,
            whole,
        ),
        ("/aliases", json!(""), &["no-aliases incus+lxd"], whole, whole),
        (
            "/support_eol",
            json!("June"),
            &["bad-support-eol incus+lxd+rootstock"],
            whole,
            whole,
        ),
        (
            "/versions",
            json!({}),
            &["no-versions incus+lxd+rootstock"],
            none,
            none,
        ),
        ("@incus.tar.xz", json!(null), &["lxd-only incus"], none, whole),
        ("@lxd.tar.xz", json!(null), &["incus-only lxd"], whole, none),
        (
            "@lxd.tar.xz/combined_squashfs_sha256",
            json!(null),
            &["missing-combined-hash lxd"],
            whole,
            listed(0, 1),
        ),
        (
            "@lxd.tar.xz/combined_squashfs_sha256",
            json!(sha(9)),
            &["twin-differs incus+lxd+rootstock"],
            whole,
            whole,
        ),
        (
            "@root/sha256",
            json!(null),
            &["missing-sha256 incus+lxd+rootstock"],
            whole,
            whole,
        ),
        (
            "@root/sha256",
            json!("abc"),
            &["bad-sha256 incus+lxd+rootstock"],
            whole,
            whole,
        ),
        (
            "@root/sha256",
            json!(sha(2).to_uppercase()),
            &["upper-case-hash incus+lxd"],
            whole,
            whole,
        ),
        ("@root/size", json!(0), &["bad-size lxd+rootstock"], whole, whole),
        (
            "@root/size",
            json!(20.0),
            &["wrong-type incus+lxd", "rootstock-leaves-out rootstock"],
            none,
            none,
        ),
        (
            "@root/path",
            json!("/x"),
            &["path-absolute rootstock"],
            whole,
            whole,
        ),
        (
            "@root/path",
            json!("a/../x"),
            &["path-leaves-tree incus+lxd+rootstock"],
            whole,
            whole,
        ),
        (
            "@root/path",
            json!("a//x"),
            &["path-double-slash others"],
            whole,
            whole,
        ),
        (
            "@root/path",
            json!("images/debian/DISK.qcow2"),
            &["case-collision others"],
            whole,
            whole,
        ),
        (
            "@root/path",
            json!("images/debian/disk.qcow2"),
            &["conflicting-file incus+lxd+rootstock"],
            whole,
            whole,
        ),
        (
            "@root/ftype",
            json!(null),
            &["missing-ftype incus+lxd", "rootstock-leaves-out rootstock"],
            listed(0, 1),
            listed(0, 1),
        ),
        (
            "@delta",
            json!({"ftype": "disk-kvm.img.vcdiff", "delta_base": SERIAL, "path": "d", "size": 1, "sha256": sha(6)}),
            &["vm-delta incus"],
            whole,
            whole,
        ),
        (
            "@delta",
            json!({"ftype": "squashfs.vcdiff", "delta_base": "20250101_0000", "path": "d", "size": 1, "sha256": sha(6)}),
            &["delta-without-base incus+lxd"],
            whole,
            whole,
        ),
        (
            "@whole",
            json!({"ftype": "incus_combined.tar.gz", "combined_type": "virtual-machine", "path": "w", "size": 1, "sha256": sha(7)}),
            &["unified-virtual-machine incus"],
            listed(1, 2),
            whole,
        ),
    ];
    for (pointer, value, expected, incus, lxd) in cases {
        let mut document = good();
        let pointer = match pointer.strip_prefix('@') {
            Some(rest) => match rest.split_once('/') {
                Some((name, tag)) => item(name, &format!("/{tag}")),
                None => item(rest, ""),
            },
            None => pointer.to_owned(),
        };
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let parent = document["products"][PRODUCT].pointer_mut(parent).unwrap();
        match value {
            Value::Null => drop(parent.as_object_mut().unwrap().remove(key)),
            value => parent[key] = value,
        }
        let report = lint_products(&document);
        assert_eq!(codes(&report), expected, "{pointer}: {:#?}", report.findings);
        assert_eq!((report.incus, report.lxd), (incus, lxd), "{pointer}");
    }
}

#[test]
fn serials_must_be_dates_of_one_width() {
    let mut document = good();
    let versions = &mut document["products"][PRODUCT]["versions"];
    let version = versions[SERIAL].take();
    *versions = json!({"latest": version});
    let report = lint_products(&document);
    assert_eq!(codes(&report), ["serial-not-a-date incus+lxd"]);
    assert_eq!((report.incus, report.lxd), (listed(0, 0), listed(0, 0)));

    let mut document = good();
    document["products"][PRODUCT]["versions"]["20260103"] = json!({"items": {}});
    assert_eq!(
        codes(&lint_products(&document)),
        [
            "mixed-serial-widths incus+lxd",
            "no-instance-files incus+lxd+rootstock"
        ]
    );
}

#[test]
fn names_and_fingerprints_belong_to_one() {
    let mut document = good();
    let mut other = document["products"][PRODUCT].clone();
    other["os"] = json!("Debian GNU");
    document["products"]["other"] = other;
    let report = lint_products(&document);
    assert_eq!(
        codes(&report),
        [
            "duplicate-fingerprint incus",
            "duplicate-fingerprint lxd",
            "duplicate-alias incus+lxd+rootstock"
        ]
    );
    let alias = report.findings.last().unwrap();
    assert_eq!(alias.place.product, "other");
    assert!(alias.detail.contains(PRODUCT), "{}", alias.detail);
}

#[test]
fn documents_that_are_none_cost_the_remote() {
    let index = index_of(&[PRODUCT]).to_string();
    let good_bytes = good().to_string();
    let with_mark = format!("\u{feff}{good_bytes}");
    for (index, products, expected) in [
        (&*index, "", &["not-json incus+lxd+rootstock"][..]),
        (&*index, "[]", &["wrong-type incus+lxd"]),
        (&*index, &*with_mark, &["byte-order-mark incus+lxd"]),
        ("", "", &["not-json incus+lxd+rootstock"]),
        ("{}", "", &["no-products-file incus+lxd+rootstock"]),
    ] {
        let report = lint(index.as_bytes(), products.as_bytes());
        assert_eq!(codes(&report), expected, "{index} {products}");
        assert_eq!((report.incus, report.lxd), (listed(0, 0), listed(0, 0)));
    }
}

#[test]
fn the_index_is_held_against_its_files() {
    let good_bytes = good().to_string();
    for (index, expected) in [
        (
            index_of(&[]),
            &[
                "no-products-file incus+lxd+rootstock",
                "empty-products-list incus+lxd",
            ][..],
        ),
        (
            index_of(&[PRODUCT, "ghost"]),
            &["listed-product-missing rootstock+others"],
        ),
        (
            index_of(&["ghost"]),
            &[
                "listed-product-missing rootstock+others",
                "unlisted-product others",
            ],
        ),
    ] {
        assert_eq!(
            codes(&lint(index.to_string().as_bytes(), good_bytes.as_bytes())),
            expected,
            "{index}"
        );
    }
    let entry =
        |path: &str, datatype: &str| json!({"datatype": datatype, "path": path, "products": [PRODUCT]});
    let mut linter = Linter::new(&|_| true);
    let index = json!({"index": {
        "a": entry("streams/v1/images.json", "image-downloads"),
        "b": entry("streams/v2/images.json", "image-downloads"),
        "c": entry("streams/v1/index.json", "image-downloads"),
        "d": entry("../x.json", "image-downloads"),
        "e": entry("streams/v1/ids.json", "image-ids"),
    }});
    let files = linter.index(index.to_string().as_bytes());
    assert_eq!(files, ["streams/v1/images.json", "streams/v2/images.json"]);
    assert_eq!(
        codes(&linter.finish()),
        [
            "basename-clash incus+lxd",
            "products-file-is-index incus+lxd+rootstock",
            "path-leaves-tree incus+lxd+rootstock",
            "skipped-entry incus+lxd+rootstock",
        ]
    );
}

#[test]
fn only_what_is_wanted_is_looked_at_and_a_wrong_type_is_always_said() {
    let mut document = good();
    document["products"]["other"] = json!({"arch": "vax", "version": 3});
    let mut linter = Linter::new(&|name| name == PRODUCT);
    linter.index(index_of(&[PRODUCT]).to_string().as_bytes());
    linter.products(PRODUCTS, document.to_string().as_bytes());
    let report = linter.finish();
    assert_eq!(codes(&report), ["wrong-type incus+lxd"]);
    let finding = &report.findings[0];
    assert_eq!(finding.place.product, "other");
    assert!(
        finding
            .message()
            .starts_with("version must be a text, but is the number 3: "),
        "{}",
        finding.message()
    );
}
