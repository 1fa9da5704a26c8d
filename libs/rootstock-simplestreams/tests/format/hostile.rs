//! Mutations of one good index: the outcome of each.

use std::{collections::BTreeSet, path::PathBuf};

use rootstock_model::{
    ImageType,
    Reason::{self, Malformed, NotAnInstanceImage, UnknownArchitecture, UnsafePath, Unverifiable},
    snapshot::Snapshot,
};
use rootstock_simplestreams::{DocumentError, parse_index, parse_products};

use crate::{assert_sound, corpus, count, indexes, read};

enum Outcome {
    /// The document is refused, with these words in the message.
    Refused(&'static str),
    /// Versions and contents of containers, versions of virtual machines, and what is left out as
    /// (serial, item, reason).
    Taken(
        usize,
        usize,
        usize,
        &'static [(&'static str, &'static str, Reason)],
    ),
}
use Outcome::{Refused, Taken};

/// The newest version of the good product, which most mutations change.
const NEWEST: &str = "20230424_13:01";
const WHOLE: Outcome = Taken(3, 6, 3, &[]);

/// Only the mutated root is gone; the other root of its version stays, and all other versions.
const fn without_squashfs(note: &'static [(&'static str, &'static str, Reason)]) -> Outcome {
    Taken(3, 5, 3, note)
}

const UNSAFE: Outcome = without_squashfs(&[(NEWEST, "root.squashfs", UnsafePath)]);
const MALFORMED: Outcome = without_squashfs(&[(NEWEST, "root.squashfs", Malformed)]);
const UNVERIFIABLE: Outcome = without_squashfs(&[(NEWEST, "root.squashfs", Unverifiable)]);

const OUTCOMES: [(&str, Outcome); 58] = [
    ("00_good_base", WHOLE),
    ("10_path_mid_dotdot", UNSAFE),
    ("10_path_absolute", UNSAFE),
    ("10_path_pct_dotdot", UNSAFE),
    ("10_path_newline", UNSAFE),
    ("10_path_dot", UNSAFE),
    ("10_path_trailing_slash", UNSAFE),
    // Normalised, as clients do.
    ("10_path_double_slash", WHOLE),
    ("10_path_query", UNSAFE),
    ("10_path_streams_overwrite", UNSAFE),
    ("10_path_file_url", UNSAFE),
    ("10_path_lone_surrogate", UNSAFE),
    ("20_sha_md5_only", UNVERIFIABLE),
    ("20_sha_upper", WHOLE),
    ("20_sha_suffix_invalid", MALFORMED),
    ("20_sha_null", UNVERIFIABLE),
    ("30_size_string_bad", MALFORMED),
    ("30_size_negative", MALFORMED),
    ("30_size_huge", MALFORMED),
    ("30_size_bool", MALFORMED),
    // Only the bytes can tell.
    ("30_size_plus1", WHOLE),
    ("30_size_minus1", WHOLE),
    ("40_shape_product_list", Taken(0, 0, 0, &[("", "", Malformed)])),
    (
        "40_shape_products_list",
        Refused("products must be an object, but is a list"),
    ),
    (
        "40_shape_versions_missing",
        Taken(0, 0, 0, &[("", "", Malformed)]),
    ),
    ("40_shape_items_list", Taken(2, 4, 2, &[(NEWEST, "", Malformed)])),
    ("40_shape_item_null", MALFORMED),
    (
        "40_shape_format_2",
        Refused("format is \"products:2.0\"; only \"products:1.0\" is understood"),
    ),
    ("40_shape_aliases_list", WHOLE),
    ("40_shape_aliases_spaces", WHOLE),
    (
        "40_shape_req_string",
        Taken(3, 6, 3, &[("", "lxd_requirements", Malformed)]),
    ),
    ("40_shape_req_bool", WHOLE),
    (
        "40_shape_arch_unknown",
        Taken(0, 0, 0, &[("", "", UnknownArchitecture)]),
    ),
    ("40_shape_ftype_missing", MALFORMED),
    // The newest version's items inherit `squashfs` from the product: five roots, no metadata.
    (
        "41_inherit_ftype_product_level",
        Taken(
            2,
            4,
            2,
            &[
                (NEWEST, "", NotAnInstanceImage),
                (NEWEST, "lxd.tar.xz", Malformed),
                (NEWEST, "root.20230424_09:42.vcdiff", Malformed),
                (NEWEST, "root.squashfs", Malformed),
                (NEWEST, "root.tar.xz", Malformed),
            ],
        ),
    ),
    ("50_version_dotdot", Taken(2, 4, 2, &[("../../x", "", Malformed)])),
    ("50_version_latest", WHOLE),
    ("50_version_semver_9", WHOLE),
    ("50_version_prefix", WHOLE),
    ("51_product_dotdot", Taken(0, 0, 0, &[("", "", Malformed)])),
    ("60_same_path_same_hash", WHOLE),
    // Blobs are stored by their digest: paths that differ in case do not meet.
    ("60_case_collision", WHOLE),
    ("61_delta_base_dotdot", WHOLE),
    ("62_combined_missing", WHOLE),
    ("70_truncated", Refused("it ends too early at line")),
    ("70_empty", Refused("the document is empty")),
    ("70_whitespace", Refused("the document is empty")),
    ("70_html_200", Refused("looks like an HTML or XML page")),
    ("70_bom", WHOLE),
    ("70_trailing_comma", Refused("trailing comma at line")),
    ("70_nan", Refused("expected value at line")),
    ("70_deep", Refused("recursion limit exceeded at line 1")),
    ("80_index_path_dotdot", Refused("has a part that is . or ..")),
    ("80_index_path_self", Refused("is that of the index itself")),
    // The file holds it or not; the index only claims.
    (
        "80_index_lists_missing_product",
        Taken(3, 6, 3, &[("", "", Malformed)]),
    ),
    (
        "80_index_omits_product",
        Taken(3, 6, 3, &[("", "images", Malformed)]),
    ),
    (
        "80_index_format_inside",
        Taken(3, 6, 3, &[("", "format", Malformed), ("", "updated", Malformed)]),
    ),
    (
        "80_index_string",
        Refused("index must be an object, but is a text"),
    ),
];

/// Where the mutations come from.
enum Source {
    Made,
    Corpus(PathBuf),
}

impl Source {
    /// What is made, and what the corpus has where there is one.
    fn all() -> impl Iterator<Item = Self> {
        [Self::Made]
            .into_iter()
            .chain(corpus("hostile").map(Self::Corpus))
    }

    fn document(&self, name: &str) -> Vec<u8> {
        match self {
            Self::Made => indexes::mutation(name),
            Self::Corpus(directory) => read(&directory.join(format!("{name}.json"))),
        }
    }

    /// A products file on its own, or an index that leads to the good product.
    fn parse(&self, name: &str) -> Result<Snapshot, DocumentError> {
        let document = self.document(name);
        if !indexes::is_of_index(name) {
            return parse_products(&document);
        }
        let good = parse_products(&self.document("00_good_base")).unwrap();
        parse_index(&document).map(|index| index.assemble([good]))
    }
}

#[test]
fn each_mutation_costs_what_it_must_and_no_more() {
    for source in Source::all() {
        cost(&source);
    }
}

fn cost(source: &Source) {
    for (name, expected) in OUTCOMES {
        match (expected, source.parse(name)) {
            (Refused(words), Err(error)) => {
                assert!(error.to_string().contains(words), "{name}: {error}");
            }
            (Taken(versions, contents, virtual_machines, left_out), Ok(snapshot)) => {
                assert_sound(&snapshot);
                let containers = count(&snapshot, ImageType::Container);
                assert_eq!(
                    (containers.versions, containers.contents),
                    (versions, contents),
                    "{name}"
                );
                assert_eq!(
                    count(&snapshot, ImageType::VirtualMachine).versions,
                    virtual_machines,
                    "{name}"
                );
                let notes: Vec<_> = snapshot
                    .left_out
                    .iter()
                    .map(|note| (&*note.serial, &*note.item, note.reason))
                    .collect();
                assert_eq!(notes, left_out, "{name}: {:?}", snapshot.left_out);
            }
            (_, parsed) => panic!("{name}: {parsed:?}"),
        }
    }
}

#[test]
fn every_mutation_has_an_outcome() {
    let ours: BTreeSet<_> = OUTCOMES.iter().map(|(name, _)| *name).collect();
    assert_eq!(indexes::NAMES.into_iter().collect::<BTreeSet<_>>(), ours);
    let Some(hostile) = corpus("hostile") else { return };
    let manifest = String::from_utf8(read(&hostile.join("MANIFEST.tsv"))).unwrap();
    let listed: BTreeSet<_> = manifest
        .lines()
        .skip(1)
        .filter_map(|line| line.split('\t').next()?.strip_suffix(".json"))
        .collect();
    assert_eq!(listed, ours);
}

#[test]
fn details_of_what_was_taken() {
    for source in Source::all() {
        details(&source);
    }
}

fn details(source: &Source) {
    let snapshot = |name: &str| source.parse(name).unwrap();
    let good = snapshot("00_good_base");
    let newest = |snapshot: &Snapshot| snapshot.images[0].versions.last().unwrap().clone();

    for (name, expected) in [
        ("40_shape_aliases_list", &["alpine/3.17"][..]),
        ("40_shape_aliases_spaces", &["alpine/3.17", "alpine"]),
    ] {
        let bent = snapshot(name);
        let aliases: Vec<_> = bent.images[0]
            .aliases
            .iter()
            .map(|alias| alias.as_str())
            .collect();
        assert_eq!(aliases, expected, "{name}");
    }
    for name in [
        "20_sha_upper",
        "40_shape_req_bool",
        "61_delta_base_dotdot",
        "70_bom",
    ] {
        assert_eq!(snapshot(name), good, "{name}");
    }
    for (name, newest_serial) in [
        ("50_version_latest", "latest"),
        ("50_version_prefix", "20230424_13:01.1"),
        ("50_version_semver_9", "20230424_09:42"),
    ] {
        assert_eq!(newest(&snapshot(name)).serial, newest_serial, "{name}");
    }
    assert!(
        newest(&snapshot("62_combined_missing"))
            .contents
            .iter()
            .all(|content| content.fingerprint().is_none())
    );
    assert_eq!(good.images[0].property("requirements.secureboot"), "false");
    assert_eq!(
        snapshot("40_shape_req_string").images[0].property("requirements.secureboot"),
        ""
    );
    let ghost = snapshot("80_index_lists_missing_product").left_out.remove(0);
    assert_eq!(ghost.product, "ghost:1:amd64:default");
}
