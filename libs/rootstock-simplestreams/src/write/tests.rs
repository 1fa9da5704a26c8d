use serde_json::{Value, json};
use time::macros::date;

use super::*;

fn file(byte: u8, size_bytes: u64) -> FileEntry {
    FileEntry::new(
        Digest::new([byte; 32]),
        size_bytes,
        &format!("blobs/{byte:02x}.bin"),
    )
    .unwrap()
}

fn split(metadata: u8, root: u8, fingerprint: u8) -> SplitEntry {
    SplitEntry {
        metadata: file(metadata, 880),
        root: file(root, 3_072_000),
        fingerprint: Digest::new([fingerprint; 32]),
    }
}

fn product(versions: BTreeMap<String, VersionEntry>) -> ProductEntry {
    let properties = [
        ("os", "Debian"),
        ("release", "bookworm"),
        ("release_title", "Debian 12 \"bookworm\""),
        ("requirements.secureboot", "false"),
        ("requirements.empty", ""),
        ("of.our.own", "x"),
    ];
    ProductEntry {
        architecture: "x86_64".parse().unwrap(),
        aliases: vec!["debian/12".parse().unwrap(), "debian/bookworm".parse().unwrap()],
        properties: properties
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        support_eol: Some(date!(2028 - 06 - 30)),
        versions,
    }
}

fn render(version: VersionEntry) -> (Vec<u8>, Value) {
    let products = BTreeMap::from([(
        "debian:bookworm:amd64:default".parse().unwrap(),
        product(BTreeMap::from([("20260508_04:31".to_owned(), version)])),
    )]);
    let bytes = render_products(&products).unwrap();
    assert_eq!(bytes, render_products(&products).unwrap());
    let value = serde_json::from_slice(&bytes).unwrap();
    (bytes, value)
}

fn hex(byte: u8) -> String {
    Digest::new([byte; 32]).to_hex()
}

#[test]
fn a_version_is_written_for_both_families() {
    let (bytes, document) = render(VersionEntry {
        label: "release".to_owned(),
        split: BTreeMap::from([
            (RootFtype::Squashfs, split(1, 2, 3)),
            (RootFtype::RootTarXz, split(1, 4, 5)),
            (RootFtype::DiskKvmImg, split(1, 6, 7)),
        ]),
        unified: BTreeMap::new(),
    });
    let metadata = |ftype: &str| {
        json!({
            "ftype": ftype, "sha256": hex(1), "size": 880, "path": "blobs/01.bin",
            "combined_squashfs_sha256": hex(3),
            "combined_rootxz_sha256": hex(5), "combined_sha256": hex(5),
            "combined_disk-kvm-img_sha256": hex(7),
        })
    };
    let root = |ftype: &str, byte: u8| json!({"ftype": ftype, "sha256": hex(byte), "size": 3_072_000, "path": format!("blobs/{byte:02x}.bin")});
    let expected = json!({
        "content_id": "images", "datatype": "image-downloads", "format": "products:1.0",
        "products": {"debian:bookworm:amd64:default": {
            "aliases": "debian/12,debian/bookworm", "arch": "amd64", "os": "Debian",
            "release": "bookworm", "release_title": "Debian 12 \"bookworm\"",
            "support_eol": "2028-06-30",
            "requirements": {"secureboot": "false"}, "lxd_requirements": {"secureboot": "false"},
            "versions": {"20260508_04:31": {"label": "release", "items": {
                "incus.tar.xz": metadata("incus.tar.xz"), "lxd.tar.xz": metadata("lxd.tar.xz"),
                "root.squashfs": root("squashfs", 2), "root.tar.xz": root("root.tar.xz", 4),
                "disk.qcow2": root("disk-kvm.img", 6),
            }}},
        }},
    });
    assert_eq!(document, expected);
    // `Value` sorts its keys: equal text means that ours are sorted, and that nothing is null.
    assert_eq!(String::from_utf8(bytes).unwrap(), expected.to_string());
}

#[test]
fn two_metadata_tarballs_in_one_version_keep_their_own_hashes() {
    let (_, document) = render(VersionEntry {
        split: BTreeMap::from([
            (RootFtype::Squashfs, split(1, 2, 3)),
            (RootFtype::DiskKvmImg, split(8, 6, 7)),
        ]),
        ..VersionEntry::default()
    });
    let items = &document["products"]["debian:bookworm:amd64:default"]["versions"]["20260508_04:31"]["items"];
    for family in ["incus", "lxd"] {
        let first = &items[format!("{family}.tar.xz")];
        let second = &items[format!("{family}.2.tar.xz")];
        assert_eq!(first["combined_squashfs_sha256"], hex(3));
        assert_eq!(second["combined_disk-kvm-img_sha256"], hex(7));
        assert_eq!(first["combined_disk-kvm-img_sha256"], Value::Null);
        assert_eq!(second["combined_squashfs_sha256"], Value::Null);
        assert_eq!(second["ftype"], format!("{family}.tar.xz"));
    }
}

#[test]
fn unified_images_are_twins_unless_lxd_would_misread_them() {
    let (_, document) = render(VersionEntry {
        unified: BTreeMap::from([
            (ImageType::Container, file(1, 10)),
            (ImageType::VirtualMachine, file(2, 20)),
        ]),
        ..VersionEntry::default()
    });
    let items = &document["products"]["debian:bookworm:amd64:default"]["versions"]["20260508_04:31"]["items"];
    let item = |ftype: &str| json!({"ftype": ftype, "sha256": hex(1), "size": 10, "path": "blobs/01.bin"});
    assert_eq!(
        items,
        &json!({
            "incus_combined.tar.gz": item("incus_combined.tar.gz"),
            "lxd_combined.tar.gz": item("lxd_combined.tar.gz"),
            "incus_combined.vm.tar.gz": {
                "ftype": "incus_combined.tar.gz", "sha256": hex(2), "size": 20, "path": "blobs/02.bin",
                "combined_type": "virtual-machine",
            },
        })
    );
}

#[test]
fn the_index_leads_to_the_products() {
    let names: Vec<ImageName> = ["debian:12", "alpine:3"].map(|name| name.parse().unwrap()).into();
    let index = render_index(&names).unwrap();
    assert_eq!(
        String::from_utf8(index.clone()).unwrap(),
        r#"{"format":"index:1.0","index":{"images":{"datatype":"image-downloads","format":"products:1.0","path":"streams/v1/images.json","products":["alpine:3","debian:12"]}}}"#
    );
    let read = crate::parse_index(&index).unwrap();
    assert_eq!(read.entries[0].path, PRODUCTS_PATH);
    assert_eq!(read.left_out, []);
}

#[test]
fn a_file_that_clients_choke_on_is_no_entry() {
    let new = |size_bytes, path| FileEntry::new(Digest::new([1; 32]), size_bytes, path);
    assert_eq!(new(0, "x"), Err(NotServable::Size(0)));
    assert_eq!(new(1 << 63, "x"), Err(NotServable::Size(1 << 63)));
    for path in ["/x", "../x", "x?token=1", "https://example.org/x", "streams/v1/x"] {
        assert!(matches!(new(1, path), Err(NotServable::Path(_))), "{path}");
    }
    assert!(new(i64::MAX.unsigned_abs(), "blobs/x").is_ok());
}

#[test]
fn an_empty_catalog_is_a_document_too() {
    assert_eq!(
        String::from_utf8(render_products(&BTreeMap::new()).unwrap()).unwrap(),
        r#"{"content_id":"images","datatype":"image-downloads","format":"products:1.0","products":{}}"#
    );
}

#[test]
fn documents_are_their_items_in_their_frames() {
    for count in 0..3_u8 {
        let products: BTreeMap<ImageName, ProductEntry> = (0..count)
            .map(|number| {
                let version = VersionEntry {
                    split: BTreeMap::from([(RootFtype::Squashfs, split(number, 9, number))]),
                    ..VersionEntry::default()
                };
                let name = format!("product{number}:x").parse().unwrap();
                (name, product(BTreeMap::from([("20261122".to_owned(), version)])))
            })
            .collect();
        let join = |frame: Frame, items: Vec<Vec<u8>>| {
            [frame.head.as_bytes(), &items.join(&b','), frame.tail.as_bytes()].concat()
        };
        let names = products.keys().map(|name| render_product_name(name).unwrap());
        let members = products
            .iter()
            .map(|(name, product)| render_product(name, product).unwrap());
        assert_eq!(
            join(PRODUCTS_FRAME, members.collect()),
            render_products(&products).unwrap()
        );
        assert_eq!(
            join(INDEX_FRAME, names.collect()),
            render_index(products.keys()).unwrap()
        );
    }
}
