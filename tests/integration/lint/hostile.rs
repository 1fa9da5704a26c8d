//! Mutations of one good index: what lint says of each.

use std::{collections::BTreeSet, fs};

use rootstock_tests::{
    corpus::Mutations,
    indexes,
    tree::{INDEX_PATH, PRODUCTS_PATH},
};

use super::{codes, lint};

/// What the good product has to be told of: it is for LXD alone, and one delta's base is gone.
const GOOD: [&str; 2] = ["lxd-only", "delta-without-base"];

/// The codes that a file yields beyond those of the good product, most telling first. The two whose
/// sizes are wrong by one byte only the bytes can tell.
const EXPECTED: [(&str, &[&str]); 58] = [
    ("00_good_base", &[]),
    ("10_path_absolute", &["path-absolute"]),
    ("10_path_dot", &["path-not-plain"]),
    ("10_path_double_slash", &["path-double-slash"]),
    ("10_path_file_url", &["path-is-url"]),
    ("10_path_lone_surrogate", &["path-not-plain"]),
    ("10_path_mid_dotdot", &["path-leaves-tree"]),
    ("10_path_newline", &["path-not-plain"]),
    ("10_path_pct_dotdot", &["path-leaves-tree"]),
    ("10_path_query", &["path-with-query"]),
    ("10_path_streams_overwrite", &["path-among-indexes"]),
    ("10_path_trailing_slash", &["path-not-plain"]),
    ("20_sha_md5_only", &["missing-sha256"]),
    ("20_sha_null", &["missing-sha256"]),
    ("20_sha_suffix_invalid", &["bad-sha256"]),
    ("20_sha_upper", &["upper-case-hash"]),
    ("30_size_bool", &["wrong-type", "rootstock-leaves-out"]),
    ("30_size_huge", &["wrong-type", "rootstock-leaves-out"]),
    ("30_size_minus1", &[]),
    ("30_size_negative", &["bad-size"]),
    ("30_size_plus1", &[]),
    ("30_size_string_bad", &["wrong-type", "rootstock-leaves-out"]),
    ("40_shape_aliases_list", &["wrong-type"]),
    ("40_shape_aliases_spaces", &["bad-alias"]),
    ("40_shape_arch_unknown", &["unknown-architecture"]),
    ("40_shape_format_2", &["rootstock-refuses-document"]),
    (
        "40_shape_ftype_missing",
        &["missing-ftype", "rootstock-leaves-out"],
    ),
    ("40_shape_item_null", &["rootstock-leaves-out"]),
    ("40_shape_items_list", &["wrong-type", "no-instance-files"]),
    ("40_shape_product_list", &["wrong-type", "rootstock-leaves-out"]),
    (
        "40_shape_products_list",
        &[
            "wrong-type",
            "rootstock-refuses-document",
            "listed-product-missing",
        ],
    ),
    ("40_shape_req_bool", &["wrong-type"]),
    ("40_shape_req_string", &["wrong-type", "rootstock-ignores-tag"]),
    ("40_shape_versions_missing", &["no-versions"]),
    (
        "41_inherit_ftype_product_level",
        &["missing-ftype", "no-instance-files", "rootstock-leaves-out"],
    ),
    (
        "50_version_dotdot",
        &["serial-not-a-date", "rootstock-leaves-out"],
    ),
    ("50_version_latest", &["serial-not-a-date"]),
    ("50_version_prefix", &["mixed-serial-widths"]),
    ("50_version_semver_9", &["serial-not-a-date"]),
    (
        "51_product_dotdot",
        &[
            "rootstock-leaves-out",
            "listed-product-missing",
            "unlisted-product",
        ],
    ),
    ("60_case_collision", &["case-collision"]),
    ("60_same_path_same_hash", &["lxd-requirements-only"]),
    ("61_delta_base_dotdot", &["delta-without-base"]),
    ("62_combined_missing", &["missing-combined-hash"]),
    ("70_bom", &["byte-order-mark"]),
    ("70_deep", &["not-json"]),
    ("70_empty", &["not-json"]),
    ("70_html_200", &["not-json"]),
    ("70_nan", &["not-json"]),
    ("70_trailing_comma", &["not-json"]),
    ("70_truncated", &["not-json"]),
    ("70_whitespace", &["not-json"]),
    ("80_index_format_inside", &["wrong-type"]),
    ("80_index_lists_missing_product", &["listed-product-missing"]),
    (
        "80_index_omits_product",
        &["empty-products-list", "no-products-file"],
    ),
    ("80_index_path_dotdot", &["path-leaves-tree", "no-products-file"]),
    (
        "80_index_path_self",
        &["products-file-is-index", "no-products-file"],
    ),
    ("80_index_string", &["wrong-type", "no-products-file"]),
];

#[tokio::test]
async fn each_mutation_is_found() -> anyhow::Result<()> {
    let (made, corpus) = (Some(Mutations::Made), Mutations::of_corpus());
    for mutations in made.into_iter().chain(corpus) {
        are_found(&mutations).await?;
    }
    Ok(())
}

async fn are_found(mutations: &Mutations) -> anyhow::Result<()> {
    let good = codes(&GOOD);
    for (name, expected) in EXPECTED {
        let document = mutations.document(name)?;
        let directory = tempfile::tempdir()?;
        super::write_documents(directory.path(), &document)?;
        if indexes::is_of_index(name) {
            fs::write(directory.path().join(INDEX_PATH), &document)?;
            fs::write(
                directory.path().join(PRODUCTS_PATH),
                mutations.document("00_good_base")?,
            )?;
        } else {
            let entry = serde_json::json!({"datatype": "image-downloads", "path": PRODUCTS_PATH, "products": [indexes::PRODUCT]});
            let index = serde_json::json!({"index": {"images": entry}});
            fs::write(directory.path().join(INDEX_PATH), index.to_string())?;
        }
        let linted = lint(&[&directory.path().display().to_string(), "--index-only"]).await?;
        let found: BTreeSet<String> = linted.codes();
        let beyond: BTreeSet<String> = found
            .iter()
            .filter(|code| !good.contains(*code))
            .cloned()
            .collect();
        let expected: BTreeSet<String> = codes(expected)
            .into_iter()
            .filter(|code| !good.contains(code))
            .collect();
        assert_eq!(beyond, expected, "{name} of {mutations:?}");
    }
    Ok(())
}

#[test]
fn every_mutation_is_expected() -> anyhow::Result<()> {
    let expected: BTreeSet<String> = EXPECTED.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(Mutations::Made.names()?, expected);
    if let Some(corpus) = Mutations::of_corpus() {
        assert_eq!(corpus.names()?, expected);
    }
    Ok(())
}
