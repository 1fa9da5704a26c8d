//! The index made of small catalogs.

use rootstock_model::{Digest, RootFtype};
use rootstock_proto::convert::timestamp;
use time::macros::{date, datetime};
use wire::{Alias, ChangeOperation, VersionChange, change::Resource};

use super::*;
use crate::{
    listing::audience,
    read_model::ReadModel,
    test_catalog::{change, image, version},
};

const CONTAINER: i32 = wire::ImageType::Container as i32;
const MACHINE: i32 = wire::ImageType::VirtualMachine as i32;

fn products(resources: Vec<Resource>) -> Products {
    let changes = resources
        .into_iter()
        .map(|resource| change(1, ChangeOperation::State, resource))
        .collect();
    let model = ReadModel::from_state(changes, 1, datetime!(2026-11-22 05:24 UTC));
    FamilyEntries::all(&model, audience::public()).products()
}

fn machine(id: &str, name: &str) -> wire::Image {
    wire::Image {
        r#type: MACHINE,
        ..image(id, name)
    }
}

fn with_root(mut change: VersionChange, ftype: &str) -> VersionChange {
    change.version.as_mut().unwrap().artifacts[1].ftype = ftype.to_owned();
    change
}

fn unified(mut change: VersionChange) -> VersionChange {
    let version = change.version.as_mut().unwrap();
    version.artifacts.truncate(1);
    version.artifacts[0].ftype = "lxd_combined.tar.gz".to_owned();
    change
}

fn alias(name: &str, image_type: i32, image_id: &str) -> Resource {
    Resource::Alias(Alias {
        name: name.to_owned(),
        r#type: image_type,
        architecture: "x86_64".to_owned(),
        image_id: image_id.to_owned(),
        ..Alias::default()
    })
}

fn pinned(name: &str, image_type: i32, image_id: &str, number: i32) -> Resource {
    match alias(name, image_type, image_id) {
        Resource::Alias(alias) => Resource::Alias(Alias {
            version: Some(number),
            ..alias
        }),
        other => other,
    }
}

/// What clients make of products (incus-protocol §1.3): images from the newest serial on, and each
/// alias leads to the first that claims it. They refuse a fingerprint that is there twice.
fn client_view(products: &Products) -> BTreeMap<(String, ImageType), Digest> {
    let mut images = Vec::new();
    for entry in products.products.values() {
        for (serial, version) in &entry.versions {
            for (root, split) in &version.split {
                images.push((serial, root.image_type(), split.fingerprint, &entry.aliases));
            }
        }
    }
    let fingerprints: BTreeSet<_> = images.iter().map(|(.., fingerprint, _)| *fingerprint).collect();
    assert_eq!(fingerprints.len(), images.len(), "a fingerprint is there twice");
    images.sort_by(|a, b| b.0.cmp(a.0));
    let mut view = BTreeMap::new();
    for (_, image_type, fingerprint, aliases) in images {
        for alias in aliases {
            view.entry((alias.to_string(), image_type)).or_insert(fingerprint);
        }
    }
    view
}

/// What an alias of a container leads to.
fn leads_to(products: &Products, alias: &str) -> Option<Digest> {
    client_view(products)
        .get(&(alias.to_owned(), ImageType::Container))
        .copied()
}

fn names(products: &Products) -> Vec<&str> {
    products.products.keys().map(ImageName::as_str).collect()
}

fn serials(entry: &ProductEntry) -> Vec<&str> {
    entry.versions.keys().map(String::as_str).collect()
}

fn aliases(entry: &ProductEntry) -> Vec<&str> {
    entry.aliases.iter().map(AliasName::as_str).collect()
}

#[test]
fn an_image_becomes_a_product_with_all_that_clients_want_to_know() {
    let mut debian = image("i1", "debian:bookworm");
    debian.variant = "default".into();
    debian.expires_at = Some(timestamp(datetime!(2028-06-30 00:00 UTC)));
    debian.properties = [
        ("os", "Debian"),
        ("release", "bookworm"),
        ("requirements.secureboot", "false"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into();
    let products = products(vec![
        Resource::Image(debian),
        Resource::Image(wire::Image {
            public: false,
            ..image("i2", "private")
        }),
        Resource::Image(image("i3", "empty")),
        Resource::Version(version("i1", 0, "20261121_0524", ["m1", "r1"])),
        Resource::Version(version("i1", 1, "20261122_0524", ["m2", "r2"])),
        Resource::Version(version("i2", 0, "20261122", ["m3", "r3"])),
        alias("debian/12", CONTAINER, "i1"),
        alias("debian/bookworm", CONTAINER, "i1"),
        alias("private", CONTAINER, "i2"),
    ]);
    assert_eq!(products.skipped, BTreeSet::new());
    assert_eq!(names(&products), ["debian:bookworm"]);
    let entry = &products.products["debian:bookworm"];
    assert_eq!(aliases(entry), ["debian/12", "debian/bookworm"]);
    assert_eq!(entry.architecture.kernel_name(), "x86_64");
    assert_eq!(entry.properties["variant"], "default");
    assert_eq!(entry.properties["requirements.secureboot"], "false");
    assert_eq!(entry.support_eol, Some(date!(2028 - 06 - 30)));
    assert_eq!(serials(entry), ["20261121_0524", "20261122_0524"]);
    let hex = |text: &str| Digest::of(text.as_bytes());
    let split = &entry.versions["20261122_0524"].split[&RootFtype::Squashfs];
    let file = |text: &str, extension| {
        FileEntry::new(hex(text), 2, &format!("blobs/sha256/{}.{extension}", hex(text))).unwrap()
    };
    assert_eq!(split.metadata, file("m2", "tar.xz"));
    assert_eq!(split.root, file("r2", "squashfs"));
    assert_eq!(split.fingerprint, hex("m2r2"));
}

#[test]
fn serials_that_are_no_dates_are_rewritten_and_the_true_ones_become_labels() {
    let mut labelled = version("i1", 2, "1.10.0", ["m2", "r2"]);
    labelled.version.as_mut().unwrap().label = "release".into();
    let products = products(vec![
        Resource::Image(image("i1", "own")),
        Resource::Version(labelled),
        Resource::Version(version("i1", 1, "1.9.1", ["m1", "r1"])),
    ]);
    let entry = &products.products["own"];
    assert_eq!(serials(entry), ["20261120_100000_0001", "20261120_100000_0002"]);
    let labels: Vec<_> = entry
        .versions
        .values()
        .map(|version| version.label.as_str())
        .collect();
    assert_eq!(labels, ["1.9.1", "1.10.0"]);
}

#[test]
fn a_container_and_a_virtual_machine_of_one_name_share_a_product() {
    let products = products(vec![
        Resource::Image(image("c", "debian")),
        Resource::Image(machine("v", "debian")),
        Resource::Version(version("c", 0, "20261121", ["m0", "r0"])),
        Resource::Version(version("c", 1, "20261122", ["m1", "r1"])),
        Resource::Version(with_root(
            version("v", 0, "20261122", ["m1", "disk"]),
            "disk-kvm.img",
        )),
        alias("debian/12", CONTAINER, "c"),
        alias("debian/12", MACHINE, "v"),
        alias("only/containers", CONTAINER, "c"),
    ]);
    assert_eq!(names(&products), ["debian"]);
    let entry = &products.products["debian"];
    assert_eq!(serials(entry), ["20261121", "20261122"]);
    let roots: Vec<_> = entry.versions["20261122"].split.keys().copied().collect();
    assert_eq!(roots, [RootFtype::Squashfs, RootFtype::DiskKvmImg]);
    assert_eq!(aliases(entry), ["debian/12", "only/containers"], "the union");
}

#[test]
fn what_cannot_share_a_product_has_one_of_its_own() {
    let both = |machine_image: wire::Image, machine_version: VersionChange, more: Vec<Resource>| {
        let mut resources = vec![
            Resource::Image(image("c", "debian")),
            Resource::Image(machine_image),
            Resource::Version(version("c", 0, "20261122", ["m", "r"])),
            Resource::Version(machine_version),
        ];
        resources.extend(more);
        products(resources)
    };
    let disk = |metadata| with_root(version("v", 0, "20261122", [metadata, "disk"]), "disk-kvm.img");
    let described = |key: &str| wire::Image {
        properties: [(key.to_owned(), "false".to_owned())].into(),
        ..machine("v", "debian")
    };
    for (why, products) in [
        (
            "other metadata",
            both(machine("v", "debian"), disk("m2"), Vec::new()),
        ),
        (
            "another description",
            both(described("requirements.secureboot"), disk("m"), Vec::new()),
        ),
        (
            "an alias that belongs to another machine",
            both(
                machine("v", "debian"),
                disk("m"),
                vec![
                    alias("stable", CONTAINER, "c"),
                    alias("stable", MACHINE, "elsewhere"),
                ],
            ),
        ),
        (
            "another architecture",
            both(
                wire::Image {
                    architecture: "aarch64".into(),
                    ..machine("v", "debian")
                },
                disk("m"),
                Vec::new(),
            ),
        ),
    ] {
        assert_eq!(names(&products), ["debian", "debian:virtual-machine"], "{why}");
        assert_eq!(
            products.products["debian"].versions["20261122"].split.len(),
            1,
            "{why}"
        );
        let machine = &products.products["debian:virtual-machine"].versions["20261122"];
        assert!(machine.split.contains_key(&RootFtype::DiskKvmImg), "{why}");
        assert_eq!(products.skipped, BTreeSet::new(), "{why}");
    }
    let taken = both(
        machine("v", "debian"),
        disk("m2"),
        vec![
            Resource::Image(image("t", "debian:virtual-machine")),
            Resource::Version(version("t", 0, "20261122", ["mt", "rt"])),
        ],
    );
    assert_eq!(
        names(&taken),
        ["debian", "debian:virtual-machine", "debian:virtual-machine-2"]
    );
}

#[test]
fn unified_images_are_containers() {
    let products = products(vec![
        Resource::Image(image("c", "anbox")),
        Resource::Image(machine("v", "machine")),
        Resource::Version(unified(version("c", 0, "20261122", ["whole", ""]))),
        Resource::Version(unified(version("v", 0, "20261122", ["whole", ""]))),
    ]);
    assert_eq!(names(&products), ["anbox"]);
    let unified = &products.products["anbox"].versions["20261122"].unified;
    assert!(unified.contains_key(&ImageType::Container));
    assert_eq!(products.skipped, BTreeSet::new());
}

#[test]
fn two_versions_of_one_serial_are_both_shown() {
    let products = products(vec![
        Resource::Image(image("c", "debian")),
        Resource::Version(version("c", 0, "20261122", ["m", "r"])),
        Resource::Version(version("c", 1, "20261122", ["m", "r2"])),
    ]);
    let entry = &products.products["debian"];
    assert_eq!(serials(entry), ["20261120_100000_0000", "20261120_100000_0001"]);
}

#[test]
fn what_clients_would_choke_on_is_skipped_and_named() {
    let mut empty = version("i1", 1, "20261123", ["m", "r"]);
    empty.version.as_mut().unwrap().artifacts[1].size_bytes = 0;
    let products = products(vec![
        Resource::Image(image("i1", "debian")),
        Resource::Image(wire::Image {
            architecture: "pdp11".into(),
            ..image("i2", "unix")
        }),
        Resource::Version(version("i1", 0, "20261122", ["m", "r"])),
        Resource::Version(empty),
        Resource::Version(with_root(version("i1", 2, "20261124", ["m", "x"]), "iso")),
        Resource::Version(version("i2", 0, "20261122", ["m", "r"])),
        alias("two words", CONTAINER, "i1"),
    ]);
    assert_eq!(serials(&products.products["debian"]), ["20261122"]);
    let skipped: Vec<_> = products.skipped.iter().map(String::as_str).collect();
    assert_eq!(skipped.len(), 4, "{skipped:#?}");
    for (text, about) in skipped
        .iter()
        .zip(["two words", "unknown architecture", "20261123", "20261124"])
    {
        assert!(text.contains(about), "{text} is not about {about}");
    }
}

#[test]
fn a_pinned_alias_leads_to_its_version_and_nowhere_else() {
    let resources = |newest: i32| {
        let mut resources = vec![
            Resource::Image(image("i1", "debian")),
            alias("debian/12", CONTAINER, "i1"),
            pinned("stable", CONTAINER, "i1", 1),
            pinned("older", CONTAINER, "i1", 0),
            pinned("gone", CONTAINER, "i1", 7),
        ];
        resources.extend((0..=newest).map(|number| {
            let (serial, root) = (format!("2026112{number}"), format!("r{number}"));
            Resource::Version(version("i1", number, &serial, ["m", &root]))
        }));
        resources
    };
    let fingerprint = |number: i32| Some(Digest::of(format!("mr{number}").as_bytes()));
    for newest in 1..=3 {
        let products = products(resources(newest));
        for (alias, expected) in [
            ("debian/12", fingerprint(newest)),
            ("stable", fingerprint(1)),
            ("older", fingerprint(0)),
            ("gone", None),
        ] {
            assert_eq!(leads_to(&products, alias), expected, "{alias} with {newest}");
        }
        assert_eq!(products.skipped, BTreeSet::new());
    }
    let newest = products(resources(1));
    assert_eq!(names(&newest), ["debian", "debian:version-0"]);
    assert_eq!(aliases(&newest.products["debian"]), ["debian/12", "stable"]);
    let later = products(resources(3));
    assert_eq!(names(&later), ["debian", "debian:version-0", "debian:version-1"]);
    assert_eq!(serials(&later.products["debian"]), ["20261122", "20261123"]);
    assert_eq!(aliases(&later.products["debian:version-1"]), ["stable"]);
}

#[test]
fn an_alias_that_is_pinned_for_one_type_is_not_lent_to_the_other() {
    let machines = with_root(version("v", 0, "20261122", ["m1", "disk"]), "disk-kvm.img");
    let products = products(vec![
        Resource::Image(image("c", "debian")),
        Resource::Image(machine("v", "debian")),
        Resource::Version(version("c", 0, "20261122", ["m1", "r1"])),
        Resource::Version(machines),
        alias("debian/12", CONTAINER, "c"),
        alias("debian/12", MACHINE, "v"),
        pinned("stable", CONTAINER, "c", 0),
    ]);
    let view = client_view(&products);
    let led: Vec<_> = view
        .keys()
        .map(|(alias, image_type)| (alias.as_str(), *image_type))
        .collect();
    assert_eq!(
        led,
        [
            ("debian/12", ImageType::Container),
            ("debian/12", ImageType::VirtualMachine),
            ("stable", ImageType::Container)
        ]
    );
}

#[test]
fn a_content_of_several_images_is_shown_once_with_the_aliases_of_all() {
    let shared = |newest: &str, contents: [&str; 2]| Resource::Version(version("i2", 0, newest, contents));
    let with = |own: Resource| {
        products(vec![
            Resource::Image(image("i1", "debian")),
            Resource::Image(image("i2", "ours")),
            Resource::Version(version("i1", 0, "20261121", ["m", "r0"])),
            Resource::Version(version("i1", 1, "20261122", ["m", "r1"])),
            own,
            alias("debian/12", CONTAINER, "i1"),
            alias("ours", CONTAINER, "i2"),
        ])
    };
    let (older, newest) = (Digest::of(b"mr0"), Digest::of(b"mr1"));
    let following = with(shared("20261122", ["m", "r1"]));
    assert_eq!(names(&following).len(), 1, "{following:?}");
    assert_eq!(leads_to(&following, "debian/12"), Some(newest));
    assert_eq!(leads_to(&following, "ours"), Some(newest));

    let staying = with(shared("20261121", ["m", "r0"]));
    assert_eq!(names(&staying), ["debian", "ours"]);
    assert_eq!(leads_to(&staying, "debian/12"), Some(newest));
    assert_eq!(leads_to(&staying, "ours"), Some(older));
}
