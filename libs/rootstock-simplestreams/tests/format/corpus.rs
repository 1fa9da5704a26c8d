//! Whole indexes: a made one, and those of real servers. Their counts were taken from the files by other
//! means.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use rootstock_model::{
    ImageType, MetadataFtype, Reason,
    snapshot::{Content, Snapshot},
};
use rootstock_simplestreams::{parse_index, parse_products};

use crate::{Count, assert_sound, corpus, count, indexes, read, read_raw};

struct Expected {
    file: &'static str,
    containers: Count,
    virtual_machines: Count,
    /// Different aliases of all images.
    aliases: usize,
    /// Products with requirements.
    with_requirements: usize,
    /// Bytes of all contents, files that contents share counted for each.
    bytes: u64,
    left_out: &'static [(Reason, usize)],
}

const NONE: Count = Count {
    images: 0,
    versions: 0,
    contents: 0,
};

const fn counted(images: usize, versions: usize, contents: usize) -> Count {
    Count {
        images,
        versions,
        contents,
    }
}

const INDEXES: [Expected; 6] = [
    Expected {
        file: "linuxcontainers-2022-11-17.json.gz",
        containers: counted(401, 1203, 2406),
        virtual_machines: counted(104, 312, 312),
        aliases: 220,
        with_requirements: 101,
        bytes: 361_933_343_116,
        left_out: &[],
    },
    Expected {
        file: "linuxcontainers-2023-04-24.json.gz",
        containers: counted(423, 1257, 2514),
        virtual_machines: counted(115, 337, 337),
        aliases: 243,
        with_requirements: 100,
        bytes: 400_051_263_596,
        left_out: &[],
    },
    Expected {
        file: "ubuntu-minimal-2023-11-15.json.gz",
        containers: counted(14, 407, 811),
        virtual_machines: counted(14, 407, 471),
        aliases: 42,
        with_requirements: 0,
        bytes: 189_228_125_256,
        left_out: &[],
    },
    Expected {
        file: "ubuntu-iso-server.json.gz",
        containers: NONE,
        virtual_machines: NONE,
        aliases: 0,
        with_requirements: 0,
        bytes: 0,
        left_out: &[
            (Reason::UnknownArchitecture, 21),
            (Reason::NotAnInstanceImage, 25),
        ],
    },
    Expected {
        file: "incus-2026-one-product.json.gz",
        containers: counted(1, 1, 1),
        virtual_machines: NONE,
        aliases: 4,
        with_requirements: 1,
        bytes: 98_549_604,
        left_out: &[],
    },
    Expected {
        file: "lxd-2026-one-product.json.gz",
        containers: counted(1, 1, 1),
        virtual_machines: counted(1, 1, 1),
        aliases: 4,
        with_requirements: 1,
        bytes: 483_336_032,
        left_out: &[],
    },
];

fn parse(folder: &str, file: &str) -> Option<Snapshot> {
    let snapshot = parse_products(&read(&corpus(folder)?.join(file))).unwrap();
    assert_sound(&snapshot);
    Some(snapshot)
}

#[test]
fn every_version_of_a_large_index_is_listed() {
    let snapshot = parse_products(&indexes::large(400)).unwrap();
    assert_sound(&snapshot);
    assert_eq!(count(&snapshot, ImageType::Container), counted(400, 1200, 2400));
    assert_eq!(
        count(&snapshot, ImageType::VirtualMachine),
        counted(400, 1200, 1200)
    );
    assert_eq!(snapshot.left_out, []);
    assert!(contents(&snapshot).all(|content| content.fingerprint().is_some()));
}

#[test]
fn every_version_with_an_image_is_listed() {
    for expected in INDEXES {
        let Some(snapshot) = parse("indexes", expected.file) else {
            return;
        };
        let file = expected.file;
        assert_eq!(
            count(&snapshot, ImageType::Container),
            expected.containers,
            "{file}"
        );
        assert_eq!(
            count(&snapshot, ImageType::VirtualMachine),
            expected.virtual_machines,
            "{file}"
        );

        let aliases: BTreeSet<_> = snapshot.images.iter().flat_map(|image| &image.aliases).collect();
        assert_eq!(aliases.len(), expected.aliases, "{file}");

        let with_requirements: BTreeSet<_> = snapshot
            .images
            .iter()
            .filter(|image| {
                image
                    .properties
                    .keys()
                    .any(|key| key.starts_with("requirements."))
            })
            .map(|image| &image.product)
            .collect();
        assert_eq!(with_requirements.len(), expected.with_requirements, "{file}");

        let bytes = contents(&snapshot).map(Content::size_bytes).sum::<u64>();
        assert_eq!(bytes, expected.bytes, "{file}");
        assert!(
            contents(&snapshot).all(|content| content.fingerprint().is_some()),
            "{file}: a fingerprint is missing"
        );

        let mut left_out = BTreeMap::<Reason, usize>::new();
        for note in &snapshot.left_out {
            *left_out.entry(note.reason).or_default() += 1;
        }
        let wanted: BTreeMap<_, _> = expected.left_out.iter().copied().collect();
        assert_eq!(left_out, wanted, "{file}");
    }
}

fn contents(snapshot: &Snapshot) -> impl Iterator<Item = &Content> {
    snapshot
        .images
        .iter()
        .flat_map(|image| &image.versions)
        .flat_map(|version| &version.contents)
}

#[test]
fn linuxcontainers_has_405_products() {
    let Some(snapshot) = parse("indexes", "linuxcontainers-2022-11-17.json.gz") else {
        return;
    };
    let products: BTreeSet<_> = snapshot.images.iter().map(|image| &image.product).collect();
    assert_eq!(products.len(), 405);
    // All are dated, down to the minute.
    assert!(
        snapshot
            .images
            .iter()
            .flat_map(|image| &image.versions)
            .all(|version| version.created_at.is_some())
    );
}

#[test]
fn the_index_of_isos_says_what_it_holds() {
    let Some(snapshot) = parse("indexes", "ubuntu-iso-server.json.gz") else {
        return;
    };
    let note = snapshot
        .left_out
        .iter()
        .find(|note| note.product == "com.ubuntu.cdimage.daily:ubuntu-server:daily-live:20.04:amd64")
        .unwrap();
    assert!(
        note.message
            .contains("it holds only iso, iso.zsync, list, manifest"),
        "{note:?}"
    );
}

#[test]
fn twins_are_taken_as_incus_names_them_and_lxds_alone_as_lxds() {
    for (file, expected) in [
        ("incus-2026-one-product.json.gz", MetadataFtype::Incus),
        ("lxd-2026-one-product.json.gz", MetadataFtype::Lxd),
    ] {
        let Some(snapshot) = parse("indexes", file) else {
            return;
        };
        for content in contents(&snapshot) {
            let Content::Split { metadata, .. } = content else {
                panic!("{file} has unified images")
            };
            assert_eq!(metadata.ftype, expected, "{file}");
        }
    }
}

#[test]
fn the_tree_with_real_bytes_is_read_from_its_index_down() {
    let Some(tree) = corpus("tree") else { return };
    let index = parse_index(&read(&tree.join("streams/v1/index.json"))).unwrap();
    let files: Vec<PathBuf> = index.entries.iter().map(|entry| tree.join(&entry.path)).collect();
    let snapshot = index.assemble(files.iter().map(|file| parse_products(&read(file)).unwrap()));
    assert_sound(&snapshot);
    assert_eq!(snapshot.left_out, []);
    assert_eq!(count(&snapshot, ImageType::Container), counted(2, 2, 4));
    assert_eq!(count(&snapshot, ImageType::VirtualMachine), NONE);
    for artifact in contents(&snapshot).flat_map(Content::artifacts) {
        let bytes = read_raw(&tree.join(&artifact.path));
        assert_eq!(bytes.len() as u64, artifact.size_bytes, "{}", artifact.path);
        assert_eq!(
            rootstock_model::Digest::of(&bytes),
            artifact.sha256,
            "{}",
            artifact.path
        );
    }
}
