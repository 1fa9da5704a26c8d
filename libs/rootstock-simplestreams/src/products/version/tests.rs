use serde_json::json;

use super::*;
use rootstock_model::{LeftOut, snapshot::Snapshot};

fn digest(byte: u8) -> Digest {
    Digest::new([byte; 32])
}

fn item(ftype: &str, byte: u8) -> Value {
    json!({"ftype": ftype, "sha256": digest(byte).to_hex(), "size": 100, "path": format!("images/{byte}")})
}

fn with(mut item: Value, tags: Value) -> Value {
    for (tag, value) in tags.as_object().unwrap() {
        item[tag] = value.clone();
    }
    item
}

fn parse_version(serial: &str, version: Value) -> Snapshot {
    let document = json!({"products": {"p": {"arch": "amd64", "versions": {serial: version}}}});
    crate::parse_products(document.to_string().as_bytes()).unwrap()
}

fn parse(items: Value) -> Snapshot {
    parse_version("20240101", json!({ "items": items }))
}

/// The contents as `metadata+root=fingerprint` or `unified`, by type.
fn contents(snapshot: &Snapshot) -> Vec<(ImageType, Vec<String>)> {
    let short = |digest: Digest| digest.to_hex()[..2].to_owned();
    let text = |content: &Content| match content {
        Content::Split {
            metadata,
            root,
            fingerprint,
        } => format!(
            "{}:{}+{}:{}={}",
            metadata.ftype,
            short(metadata.sha256),
            root.ftype,
            short(root.sha256),
            fingerprint.map_or("?".to_owned(), short)
        ),
        Content::Unified { image } => format!("{}:{}", image.ftype, short(image.sha256)),
    };
    snapshot
        .images
        .iter()
        .map(|image| {
            (
                image.image_type,
                image.versions[0].contents.iter().map(text).collect(),
            )
        })
        .collect()
}

fn reasons(left_out: &[LeftOut]) -> Vec<(&str, &str, Reason)> {
    left_out
        .iter()
        .map(|note| (&*note.serial, &*note.item, note.reason))
        .collect()
}

#[test]
fn metadata_goes_with_every_root_whatever_the_keys() {
    let claims = json!({
        "combined_squashfs_sha256": digest(0x11).to_hex(),
        "combined_sha256": digest(0x12).to_hex(),
        "combined_disk-kvm-img_sha256": digest(0x13).to_hex(),
    });
    let snapshot = parse(json!({
        "a": item("disk-kvm.img", 4),
        "b": item("root.tar.xz", 3),
        "c": item("squashfs", 2),
        "d": with(item("lxd.tar.xz", 1), claims),
        "e": item("uefi1.img", 5),
        "squashfs": item("squashfs.vcdiff", 6),
        "manifest": item("manifest", 7),
    }));
    assert_eq!(
        contents(&snapshot),
        [
            (
                ImageType::Container,
                vec![
                    "lxd.tar.xz:01+squashfs:02=11".to_owned(),
                    "lxd.tar.xz:01+root.tar.xz:03=12".to_owned()
                ]
            ),
            (
                ImageType::VirtualMachine,
                vec![
                    "lxd.tar.xz:01+disk-kvm.img:04=13".to_owned(),
                    "lxd.tar.xz:01+uefi1.img:05=?".to_owned()
                ]
            ),
        ]
    );
    assert_eq!(snapshot.left_out, []);
}

#[test]
fn incus_metadata_is_preferred_and_twins_share_their_claims() {
    let claim = |byte: u8| json!({"combined_squashfs_sha256": digest(byte).to_hex()});
    let root = item("squashfs", 2);
    for (items, expected) in [
        (
            json!({"i": with(item("incus.tar.xz", 1), claim(0x11)), "l": with(item("lxd.tar.xz", 3), claim(0x12)), "r": root}),
            "incus.tar.xz:01+squashfs:02=11",
        ),
        // The twin's claim counts for the same bytes,
        (
            json!({"i": item("incus.tar.xz", 1), "l": with(item("lxd.tar.xz", 1), claim(0x12)), "r": root}),
            "incus.tar.xz:01+squashfs:02=12",
        ),
        // and for others the metadata with a claim is the one that clients list.
        (
            json!({"i": item("incus.tar.xz", 1), "l": with(item("lxd.tar.xz", 3), claim(0x12)), "r": root}),
            "lxd.tar.xz:03+squashfs:02=12",
        ),
        (
            json!({"i": item("incus.tar.xz", 1), "l": item("lxd.tar.xz", 3), "r": root}),
            "incus.tar.xz:01+squashfs:02=?",
        ),
        // An unusable one is no candidate.
        (
            json!({"i": with(item("incus.tar.xz", 1), json!({"size": 0})), "l": item("lxd.tar.xz", 3), "r": root}),
            "lxd.tar.xz:03+squashfs:02=?",
        ),
    ] {
        let snapshot = parse(items.clone());
        assert_eq!(
            contents(&snapshot),
            [(ImageType::Container, vec![expected.to_owned()])],
            "{items}"
        );
    }
}

#[test]
fn root_tar_xz_has_two_names_for_its_claim() {
    let (one, two) = (digest(0x11).to_hex(), digest(0x12).to_hex());
    for (claims, expected, notes) in [
        (
            json!({"combined_rootxz_sha256": one, "combined_sha256": two}),
            "11",
            0,
        ),
        (json!({"combined_sha256": two}), "12", 0),
        (
            json!({"combined_rootxz_sha256": null, "combined_sha256": two}),
            "12",
            0,
        ),
        (
            json!({"combined_rootxz_sha256": "junk", "combined_sha256": two}),
            "12",
            1,
        ),
        (json!({"combined_rootxz_sha256": one.to_uppercase()}), "11", 0),
        (
            json!({"combined_rootxz_sha256": 1, "combined_sha256": ""}),
            "?",
            2,
        ),
        (json!({}), "?", 0),
    ] {
        let snapshot = parse(json!({
            "m": with(item("lxd.tar.xz", 1), claims.clone()), "r": item("root.tar.xz", 2),
        }));
        assert_eq!(
            contents(&snapshot)[0].1,
            [format!("lxd.tar.xz:01+root.tar.xz:02={expected}")],
            "{claims}"
        );
        assert_eq!(snapshot.left_out.len(), notes, "{claims}");
        assert!(snapshot.left_out.iter().all(|note| note.item == "m"));
    }
}

#[test]
fn unified_images_say_what_they_are() {
    let container = Some(ImageType::Container);
    for (tags, expected) in [
        (json!({}), container),
        (json!({"combined_type": null}), container),
        (json!({"combined_type": ""}), container),
        (json!({"combined_type": "container"}), container),
        (
            json!({"combined_type": "virtual-machine"}),
            Some(ImageType::VirtualMachine),
        ),
        (json!({"combined_type": "vm"}), None),
        (json!({"combined_type": 1}), None),
    ] {
        let snapshot = parse(json!({"u": with(item("lxd_combined.tar.gz", 1), tags.clone())}));
        assert_eq!(
            snapshot.images.first().map(|image| image.image_type),
            expected,
            "{tags}"
        );
        assert_eq!(
            snapshot.left_out.len(),
            if expected.is_some() { 0 } else { 2 },
            "{tags}"
        );
    }
}

#[test]
fn a_unified_image_stands_beside_a_split_one_and_alone() {
    let snapshot = parse(json!({
        "a": item("lxd_combined.tar.gz", 1), "b": item("incus_combined.tar.gz", 2),
        "m": item("lxd.tar.xz", 3), "r": item("squashfs", 4),
    }));
    assert_eq!(
        contents(&snapshot)[0].1,
        ["lxd.tar.xz:03+squashfs:04=?", "incus_combined.tar.gz:02"]
    );
    let snapshot = parse(json!({"a": item("lxd_combined.tar.gz", 1), "r": item("squashfs", 4)}));
    assert_eq!(contents(&snapshot)[0].1, ["lxd_combined.tar.gz:01"]);
    assert_eq!(
        reasons(&snapshot.left_out),
        [("20240101", "r", Reason::NotAnInstanceImage)]
    );
}

#[test]
fn an_item_that_cannot_be_verified_or_fetched_is_left_out_alone() {
    use Reason::{Malformed, UnsafePath, Unverifiable};
    for (tags, reason) in [
        (json!({"sha256": null}), Unverifiable),
        (json!({"sha256": ""}), Unverifiable),
        (
            json!({"sha256": null, "md5": "d41d8cd98f00b204e9800998ecf8427e"}),
            Unverifiable,
        ),
        (json!({"sha256": "ab"}), Malformed),
        (json!({"sha256": format!("{}-invalid", digest(1))}), Malformed),
        (json!({"sha256": 1}), Malformed),
        (json!({"size": null}), Malformed),
        (json!({"size": 0}), Malformed),
        (json!({"size": -1}), Malformed),
        (json!({"size": true}), Malformed),
        (json!({"size": 1.5}), Malformed),
        (json!({"size": 9_223_372_036_854_775_808_u64}), Malformed),
        (json!({"size": "12MB"}), Malformed),
        (json!({"size": "+1"}), Malformed),
        (json!({"size": ""}), Malformed),
        (json!({"size": "99999999999999999999"}), Malformed),
        (json!({"path": null}), Malformed),
        (json!({"path": 1}), Malformed),
        (json!({"path": "../x"}), UnsafePath),
        (json!({"path": "streams/v1/index.json"}), UnsafePath),
        (json!({"ftype": null}), Malformed),
        (json!({"ftype": 1}), Malformed),
    ] {
        let snapshot = parse(json!({
            "m": item("lxd.tar.xz", 1), "good": item("root.tar.xz", 2),
            "bad": with(item("squashfs", 3), tags.clone()),
        }));
        assert_eq!(
            contents(&snapshot)[0].1,
            ["lxd.tar.xz:01+root.tar.xz:02=?"],
            "{tags}"
        );
        assert_eq!(
            reasons(&snapshot.left_out),
            [("20240101", "bad", reason)],
            "{tags}"
        );
    }
    for bad in [json!(null), json!([]), json!("x")] {
        let snapshot = parse(json!({"u": item("lxd_combined.tar.gz", 1), "bad": bad}));
        assert_eq!(
            reasons(&snapshot.left_out),
            [("20240101", "bad", Malformed)],
            "{bad}"
        );
    }
}

#[test]
fn sizes_and_hashes_have_more_than_one_good_form() {
    for (tags, expected) in [
        (json!({"size": "892"}), 892),
        (json!({"size": i64::MAX}), i64::MAX.unsigned_abs()),
        (json!({"sha256": digest(0xab).to_hex().to_uppercase()}), 100),
        (json!({"path": "images//x"}), 100),
    ] {
        let snapshot = parse(json!({"u": with(item("lxd_combined.tar.gz", 0xab), tags)}));
        let Content::Unified { image } = &snapshot.images[0].versions[0].contents[0] else {
            panic!("not unified");
        };
        assert_eq!((image.sha256, image.size_bytes), (digest(0xab), expected));
        assert_eq!(snapshot.left_out, []);
    }
}

#[test]
fn tags_are_inherited_from_every_level() {
    let document = json!({
        "size": 100, "ftype": "squashfs",
        "products": {"p": {
            "arch": "amd64", "label": "daily",
            "versions": {
                "1": {
                    "path": "images/shared", "sha256": digest(9).to_hex(),
                    "items": {"m": {"ftype": "lxd.tar.xz"}, "r": {"sha256": digest(2).to_hex()}},
                },
                "2": {"label": "release", "items": {"m": item("lxd.tar.xz", 1), "r": item("squashfs", 2)}},
            },
        }},
    });
    let snapshot = crate::parse_products(document.to_string().as_bytes()).unwrap();
    assert_eq!(snapshot.left_out, []);
    let versions = &snapshot.images[0].versions;
    assert_eq!(
        contents(&snapshot)[0].1,
        ["lxd.tar.xz:09+squashfs:02=?"],
        "{versions:?}"
    );
    let labels: Vec<_> = versions.iter().map(|version| &*version.label).collect();
    assert_eq!(labels, ["daily", "release"]);
}

#[test]
fn of_two_roots_of_one_kind_the_first_is_taken() {
    let snapshot = parse(json!({
        "m": item("lxd.tar.xz", 1), "a": item("squashfs", 2), "b": item("squashfs", 3), "c": item("squashfs", 2),
    }));
    assert_eq!(contents(&snapshot)[0].1, ["lxd.tar.xz:01+squashfs:02=?"]);
    assert_eq!(
        reasons(&snapshot.left_out),
        [("20240101", "b", Reason::Malformed)]
    );
}

#[test]
fn a_version_without_image_says_what_it_lacks() {
    for (items, expected) in [
        (
            json!({"r": item("squashfs", 1)}),
            "a root but no metadata tarball",
        ),
        (
            json!({"m": item("lxd.tar.xz", 1)}),
            "a metadata tarball but no root",
        ),
        (json!({}), "no item that can be used"),
        (
            json!({"a": item("iso", 1), "b": item("root.tar.gz", 2)}),
            "it holds only iso, root.tar.gz",
        ),
    ] {
        let snapshot = parse(items);
        assert_eq!(snapshot.images, []);
        assert_eq!(
            reasons(&snapshot.left_out),
            [("", "", Reason::NotAnInstanceImage)]
        );
        assert!(
            snapshot.left_out[0].message.contains(expected),
            "{:?}",
            snapshot.left_out
        );
    }
}

#[test]
fn serials_are_plain() {
    let good = json!({"items": {"u": item("lxd_combined.tar.gz", 1)}});
    for serial in [
        "20230424_13:01",
        "1.9.1",
        "latest",
        "20230424_13:01.1",
        "v 1",
        "é",
        &"x".repeat(128),
    ] {
        let snapshot = parse_version(serial, good.clone());
        assert_eq!(snapshot.images[0].versions[0].serial, serial);
        assert_eq!(snapshot.left_out, [], "{serial}");
    }
    for serial in [
        "../../x",
        "..",
        ".",
        "",
        " ",
        " 1",
        "a\nb",
        "a\0",
        "a/b",
        "a\\b",
        "a\u{fffd}",
        &"x".repeat(129),
    ] {
        let snapshot = parse_version(serial, good.clone());
        assert_eq!(snapshot.images, [], "{serial}");
        let version = snapshot
            .left_out
            .iter()
            .find(|note| note.reason == Reason::Malformed);
        assert!(version.is_some(), "{serial}: {:?}", snapshot.left_out);
    }
}

#[test]
fn a_labels_trouble_is_not_its_versions() {
    let snapshot = parse_version(
        "20240101",
        json!({"label": ["x"], "items": {"u": item("lxd_combined.tar.gz", 1)}}),
    );
    assert_eq!(snapshot.images[0].versions[0].label, "");
    assert_eq!(
        reasons(&snapshot.left_out),
        [("20240101", "label", Reason::Malformed)]
    );
}

#[test]
fn metadata_tarballs_beyond_all_measure_are_left_out() {
    let mut items: serde_json::Map<_, _> = (0..20_u8)
        .map(|number| (format!("m{number:02}"), item("lxd.tar.xz", number)))
        .collect();
    items.insert("r".to_owned(), item("squashfs", 99));
    let snapshot = parse(Value::Object(items));
    assert_eq!(contents(&snapshot)[0].1, ["lxd.tar.xz:00+squashfs:63=?"]);
    assert_eq!(snapshot.left_out.len(), 20 - MAX_METADATA);
}
