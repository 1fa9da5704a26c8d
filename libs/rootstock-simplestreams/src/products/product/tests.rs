use rootstock_model::{LeftOut, snapshot::Snapshot};
use serde_json::json;
use time::macros::date;

use super::*;

/// A version with one unified container image.
fn version() -> Value {
    json!({"items": {"x": {
        "ftype": "incus_combined.tar.gz", "sha256": "ab".repeat(32), "size": 1, "path": "images/x",
    }}})
}

fn parse(name: &str, product: Value) -> Snapshot {
    let good = json!({"arch": "amd64", "versions": {"20240101": version()}});
    let document = json!({"products": {"a:good:neighbour": good, name: product}});
    let mut snapshot = crate::parse_products(document.to_string().as_bytes()).unwrap();
    assert_eq!(
        snapshot.images.remove(0).product.as_str(),
        "a:good:neighbour",
        "{name}"
    );
    snapshot
}

/// A good product with some tags changed; a `null` removes one.
fn product_with(tags: Value) -> Value {
    let mut product = json!({"arch": "amd64", "versions": {"20240101": version()}});
    for (tag, value) in tags.as_object().unwrap() {
        product[tag] = value.clone();
    }
    product
}

/// The image of a product that is kept, with the notes about it.
fn kept(tags: Value) -> (OfferedImage, Vec<LeftOut>) {
    let mut snapshot = parse("debian:12", product_with(tags));
    assert_eq!(snapshot.images.len(), 1);
    (snapshot.images.remove(0), snapshot.left_out)
}

#[test]
fn a_product_that_cannot_be_used_is_left_out_alone() {
    for (name, product, reason, message) in [
        (
            "../../evil:amd64",
            product_with(json!({})),
            Reason::Malformed,
            "name",
        ),
        ("", product_with(json!({})), Reason::Malformed, "name"),
        ("a b", product_with(json!({})), Reason::Malformed, "name"),
        ("a\0b", product_with(json!({})), Reason::Malformed, "name"),
        ("a\u{fffd}b", product_with(json!({})), Reason::Malformed, "name"),
        ("x", json!([1]), Reason::Malformed, "an object, but is a list"),
        ("x", json!(null), Reason::Malformed, "an object, but is null"),
        (
            "x",
            product_with(json!({"arch": "riscv64+unmatched"})),
            Reason::UnknownArchitecture,
            "riscv64+unmatched",
        ),
        (
            "x",
            product_with(json!({"arch": 64})),
            Reason::Malformed,
            "a number",
        ),
        (
            "x",
            product_with(json!({"arch": null})),
            Reason::Malformed,
            "no architecture",
        ),
        (
            "x",
            product_with(json!({"versions": null})),
            Reason::Malformed,
            "versions",
        ),
        (
            "x",
            product_with(json!({"versions": []})),
            Reason::Malformed,
            "versions",
        ),
        (
            "x",
            product_with(json!({"versions": {}})),
            Reason::NotAnInstanceImage,
            "no versions",
        ),
        (
            "x",
            product_with(json!({"versions": {
                "1": {"items": {"i": {"ftype": "iso"}}}, "2": {"items": {"i": {"ftype": "manifest"}}}}})),
            Reason::NotAnInstanceImage,
            "none of the 2 versions holds an image for instances; \"2\": it holds only manifest",
        ),
    ] {
        let snapshot = parse(name, product);
        assert_eq!(snapshot.images, [], "{name}");
        assert_eq!(snapshot.left_out.len(), 1, "{:?}", snapshot.left_out);
        let left_out = &snapshot.left_out[0];
        assert_eq!(left_out.reason, reason, "{left_out:?}");
        assert!(left_out.message.contains(message), "{left_out:?}");
        assert_eq!(left_out.product, crate::notes::readable(name));
        assert_eq!((&*left_out.serial, &*left_out.item), ("", ""));
    }
}

#[test]
fn versions_without_image_are_named_beside_one_that_has() {
    let snapshot = parse(
        "x",
        product_with(json!({"versions": {
            "20240101": version(), "20240102": {"items": {"i": {"ftype": "iso"}}}, "20240103": []}})),
    );
    assert_eq!(snapshot.images[0].versions.len(), 1);
    let left_out: Vec<_> = snapshot.left_out.iter().map(|l| (&*l.serial, l.reason)).collect();
    assert_eq!(
        left_out,
        [
            ("20240102", Reason::NotAnInstanceImage),
            ("20240103", Reason::Malformed)
        ]
    );
}

#[test]
fn versions_are_in_the_order_of_their_serials() {
    let serials = ["1.10.0", "1.9.1", "20230424_13:01", "20230424_09:42", "latest"];
    let versions: serde_json::Map<_, _> = serials
        .map(|serial| (serial.to_owned(), version()))
        .into_iter()
        .collect();
    let (image, left_out) = kept(json!({ "versions": versions }));
    let read: Vec<_> = image.versions.iter().map(|version| &*version.serial).collect();
    assert_eq!(
        read,
        ["1.9.1", "1.10.0", "20230424_09:42", "20230424_13:01", "latest"]
    );
    assert_eq!(left_out, []);
}

#[test]
fn aliases_are_a_text_or_a_list() {
    for (value, expected, problems) in [
        (
            json!("debian/12,debian/bookworm"),
            &["debian/12", "debian/bookworm"][..],
            0,
        ),
        (json!("alpine/3.17 , ,alpine,,"), &["alpine/3.17", "alpine"], 0),
        (json!(["b", "a", "b", " a "]), &["b", "a"], 0),
        (json!("good,two words,../up,better"), &["good", "better"], 2),
        (json!(["good", 1, null, "x\u{fffd}y"]), &["good"], 3),
        (json!(""), &[], 0),
        (json!(null), &[], 0),
        (json!({"a": "b"}), &[], 1),
        (json!(12), &[], 1),
    ] {
        let (image, left_out) = kept(json!({ "aliases": value }));
        let aliases: Vec<_> = image.aliases.iter().map(AliasName::as_str).collect();
        assert_eq!(aliases, expected, "{value}");
        assert_eq!(left_out.len(), problems, "{left_out:?}");
        for note in left_out {
            assert_eq!(
                (&*note.serial, &*note.item, note.reason),
                ("", "aliases", Reason::Malformed)
            );
        }
    }
}

#[test]
fn requirements_are_lxds_or_else_the_common_ones() {
    for (tags, expected, noted) in [
        (
            json!({"requirements": {"a": "1"}}),
            &[("requirements.a", "1")][..],
            &[][..],
        ),
        (
            json!({"requirements": {"a": "1", "b": "2"}, "lxd_requirements": {"a": "3"}}),
            &[("requirements.a", "3")],
            &[],
        ),
        (
            json!({"requirements": {"a": "1"}, "lxd_requirements": {}}),
            &[],
            &[],
        ),
        (
            json!({"requirements": {"a": "1"}, "lxd_requirements": null}),
            &[("requirements.a", "1")],
            &[],
        ),
        (
            json!({"requirements": {"a": "1"}, "lxd_requirements": "a=1"}),
            &[("requirements.a", "1")],
            &["lxd_requirements"],
        ),
        (
            json!({"requirements": {"a": false, "b": 1.5, "c": 3, "d": null, "e": "", "f": " x "}}),
            &[
                ("requirements.a", "false"),
                ("requirements.b", "1.5"),
                ("requirements.c", "3"),
                ("requirements.f", "x"),
            ],
            &[],
        ),
        (
            json!({"requirements": {"a": {}, "b\n": "1", "c": "x\0", "d": "y"}}),
            &[("requirements.d", "y")],
            &["requirements", "requirements", "requirements"],
        ),
    ] {
        let (image, left_out) = kept(tags.clone());
        let properties: Vec<_> = image.properties.iter().map(|(k, v)| (&**k, &**v)).collect();
        assert_eq!(properties, expected, "{tags}");
        let items: Vec<_> = left_out.iter().map(|note| &*note.item).collect();
        assert_eq!(items, noted, "{tags}");
    }
}

#[test]
fn descriptions_are_kept_as_far_as_they_can_be_read() {
    let (image, left_out) = kept(json!({
        "os": "Debian", "release": "", "release_title": " Debian 12 ", "release_codename": null,
        "version": 12, "variant": ["default"], "support_eol": "2028-06-30", "unknown": "x",
    }));
    let properties: Vec<_> = image.properties.iter().map(|(k, v)| (&**k, &**v)).collect();
    assert_eq!(
        properties,
        [
            ("os", "Debian"),
            ("release_title", "Debian 12"),
            ("version", "12")
        ]
    );
    assert_eq!(image.support_eol, Some(date!(2028 - 06 - 30)));
    assert_eq!(left_out.len(), 1);
    assert_eq!(left_out[0].item, "variant");

    for (value, problems) in [
        (json!("soon"), 1),
        (json!("2028-02-30"), 1),
        (json!(2028), 1),
        (json!(""), 0),
    ] {
        let (image, left_out) = kept(json!({ "support_eol": value }));
        assert_eq!((image.support_eol, left_out.len()), (None, problems), "{value}");
    }
}
