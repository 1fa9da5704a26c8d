//! The format as a whole: real and hostile documents, and properties that hold for all.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod corpus;
mod hostile;
#[path = "../../../../tests/src/indexes.rs"]
#[expect(unreachable_pub, reason = "a module of the harness, which exports it")]
mod indexes;
mod properties;
mod round_trip;

use std::{
    collections::BTreeSet,
    io::{Read as _, Write as _},
    path::PathBuf,
};

use rootstock_model::{ImageType, snapshot::Snapshot};
use rootstock_simplestreams::item_path;

/// A folder of the corpus of real documents, which is not part of the repository. Without it, tests
/// over real documents say that they did not run, except in CI, where they fail.
fn corpus(folder: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/corpus")
        .join(folder);
    if path.is_dir() {
        return Some(path);
    }
    assert!(
        std::env::var_os("CI").is_none_or(|value| value.is_empty() || value == "0"),
        "the corpus is missing: {} must exist in CI",
        path.display()
    );
    // Not by `eprintln!`: the test framework keeps that to itself when a test passes.
    let _ = writeln!(
        std::io::stderr(),
        "NOT RUN: there is no corpus at {}",
        path.display()
    );
    None
}

/// Reads a file as it is.
fn read_raw(path: &std::path::Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

/// Reads a file, unpacked when it ends in `.gz`.
fn read(path: &std::path::Path) -> Vec<u8> {
    let bytes = read_raw(path);
    if path.extension().is_none_or(|extension| extension != "gz") {
        return bytes;
    }
    let mut unpacked = vec![];
    flate2::read::GzDecoder::new(&*bytes)
        .read_to_end(&mut unpacked)
        .unwrap();
    unpacked
}

/// How much a snapshot holds of one type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Count {
    images: usize,
    versions: usize,
    contents: usize,
}

fn count(snapshot: &Snapshot, image_type: ImageType) -> Count {
    let images: Vec<_> = snapshot
        .images
        .iter()
        .filter(|image| image.image_type == image_type)
        .collect();
    let versions = images.iter().flat_map(|image| &image.versions);
    Count {
        images: images.len(),
        versions: versions.clone().count(),
        contents: versions.map(|version| version.contents.len()).sum(),
    }
}

/// What holds for every snapshot, whatever it was read from.
fn assert_sound(snapshot: &Snapshot) {
    let order: Vec<_> = snapshot
        .images
        .iter()
        .map(|image| (&image.product, image.image_type))
        .collect();
    assert!(
        order.is_sorted_by(|a, b| a < b),
        "images are not in order, or twice"
    );
    assert!(snapshot.left_out.is_sorted());
    for image in &snapshot.images {
        assert!(!image.versions.is_empty());
        assert!(
            image
                .versions
                .is_sorted_by(|a, b| rootstock_model::serial::compare(&a.serial, &b.serial).is_lt()),
            "versions are not in order, or twice"
        );
        assert_eq!(
            image.aliases.iter().collect::<BTreeSet<_>>().len(),
            image.aliases.len(),
            "an alias is there twice"
        );
        for (key, value) in &image.properties {
            assert!(
                !value.is_empty() && !value.contains(char::is_control),
                "{key}={value:?}"
            );
        }
        for version in &image.versions {
            assert!(!version.contents.is_empty());
            assert!(!version.serial.contains(['/', '\0']));
            for artifact in version.contents.iter().flat_map(|content| content.artifacts()) {
                assert_eq!(item_path(&artifact.path).unwrap(), artifact.path);
                assert!((1..=i64::MAX.unsigned_abs()).contains(&artifact.size_bytes));
            }
        }
    }
    for note in &snapshot.left_out {
        for text in [&note.product, &note.serial, &note.item, &note.message] {
            assert!(!text.contains(char::is_control), "{note:?}");
        }
        assert!(!note.message.is_empty());
    }
}
