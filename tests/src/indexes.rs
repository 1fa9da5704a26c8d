//! Indexes that are made up: a good one, one document for each way in which indexes of image servers go
//! wrong, and a large one.
//!
//! What a mutation costs is said by the tests that use it, by its name.

use rootstock_model::Digest;
use serde_json::{Map, Value, json};

/// The only product of the good document.
pub const PRODUCT: &str = "alpine:3.17:amd64:default";
/// Its versions. The newest is the one that is mutated.
const SERIALS: [&str; 3] = ["20230421_13:00", "20230424_09:42", NEWEST];
const NEWEST: &str = "20230424_13:01";
const ROOT: &str = "root.squashfs";
const METADATA: &str = "lxd.tar.xz";
const DELTA: &str = "root.20230424_09:42.vcdiff";

/// The name of each mutation. Those that begin with `80_index` take the place of `index.json`, the
/// others of the products file.
pub const NAMES: [&str; 58] = [
    "00_good_base",
    "10_path_mid_dotdot",
    "10_path_absolute",
    "10_path_pct_dotdot",
    "10_path_newline",
    "10_path_dot",
    "10_path_trailing_slash",
    "10_path_double_slash",
    "10_path_query",
    "10_path_streams_overwrite",
    "10_path_file_url",
    "10_path_lone_surrogate",
    "20_sha_md5_only",
    "20_sha_upper",
    "20_sha_suffix_invalid",
    "20_sha_null",
    "30_size_string_bad",
    "30_size_negative",
    "30_size_huge",
    "30_size_bool",
    "30_size_plus1",
    "30_size_minus1",
    "40_shape_product_list",
    "40_shape_products_list",
    "40_shape_versions_missing",
    "40_shape_items_list",
    "40_shape_item_null",
    "40_shape_format_2",
    "40_shape_aliases_list",
    "40_shape_aliases_spaces",
    "40_shape_req_string",
    "40_shape_req_bool",
    "40_shape_arch_unknown",
    "40_shape_ftype_missing",
    "41_inherit_ftype_product_level",
    "50_version_dotdot",
    "50_version_latest",
    "50_version_semver_9",
    "50_version_prefix",
    "51_product_dotdot",
    "60_same_path_same_hash",
    "60_case_collision",
    "61_delta_base_dotdot",
    "62_combined_missing",
    "70_truncated",
    "70_empty",
    "70_whitespace",
    "70_html_200",
    "70_bom",
    "70_trailing_comma",
    "70_nan",
    "70_deep",
    "80_index_path_dotdot",
    "80_index_path_self",
    "80_index_lists_missing_product",
    "80_index_omits_product",
    "80_index_format_inside",
    "80_index_string",
];

/// Whether the mutation is one of `index.json`.
pub fn is_of_index(name: &str) -> bool {
    name.starts_with("80_index")
}

/// The document of a mutation.
///
/// # Panics
/// The name is not one of [`NAMES`].
pub fn mutation(name: &str) -> Vec<u8> {
    let (group, _) = name.split_once('_').unwrap_or((name, ""));
    match group {
        "70" => broken_text(name),
        "80" => text(&index(name)),
        _ => {
            let mut document = good();
            mutate(name, &mut document);
            // What no writer of JSON writes.
            String::from_utf8(text(&document))
                .unwrap_or_default()
                .replace("LONE SURROGATE", "\\ud800")
                .into_bytes()
        }
    }
}

/// A products file that has nothing wrong with it, except that it is for LXD alone and that the base of
/// one of its deltas is gone: both are common.
fn good() -> Value {
    document(&[product("3.17")])
}

/// A products file of as many products. Each has three versions, and each of these is a container, with
/// two roots to choose from, and a virtual machine.
pub fn large(products: usize) -> Vec<u8> {
    let products: Vec<_> = (0..products).map(|number| product(&number.to_string())).collect();
    text(&document(&products))
}

fn document(products: &[(String, Value)]) -> Value {
    json!({
        "content_id": "images",
        "datatype": "image-downloads",
        "format": "products:1.0",
        "products": products.iter().cloned().collect::<Map<_, _>>(),
    })
}

/// A product of three versions, and its name.
fn product(release: &str) -> (String, Value) {
    let versions: Map<_, _> = SERIALS
        .iter()
        .zip(["20230420_13:00", SERIALS[0], SERIALS[1]])
        .map(|(serial, base)| {
            (
                (*serial).to_owned(),
                json!({"items": items(release, serial, base)}),
            )
        })
        .collect();
    let product = json!({
        "aliases": format!("alpine/{release}/default,alpine/{release}"),
        "arch": "amd64",
        "lxd_requirements": {"secureboot": "false"},
        "os": "Alpine",
        "release": release,
        "release_title": release,
        "variant": "default",
        "versions": versions,
    });
    (format!("alpine:{release}:amd64:default"), product)
}

fn items(release: &str, serial: &str, base: &str) -> Value {
    let digest = |of: &str| Digest::of(format!("{release} {serial} {of}").as_bytes()).to_hex();
    let file = |ftype: &str, name: &str, size: u64| {
        let path = format!("images/alpine/{release}/amd64/default/{serial}/{name}");
        json!({"ftype": ftype, "sha256": digest(name), "size": size, "path": path})
    };
    let mut metadata = file("lxd.tar.xz", "lxd.tar.xz", 900);
    for (key, root) in [
        ("combined_sha256", "rootfs.tar.xz"),
        ("combined_rootxz_sha256", "rootfs.tar.xz"),
        ("combined_squashfs_sha256", "rootfs.squashfs"),
        ("combined_disk-kvm-img_sha256", "disk.qcow2"),
    ] {
        metadata[key] = digest(&format!("lxd.tar.xz and {root}")).into();
    }
    let mut delta = file("squashfs.vcdiff", &format!("delta-{base}.vcdiff"), 400_000);
    delta["delta_base"] = base.into();
    json!({
        METADATA: metadata,
        "root.tar.xz": file("root.tar.xz", "rootfs.tar.xz", 3_000_000),
        ROOT: file("squashfs", "rootfs.squashfs", 3_100_000),
        "disk.qcow2": file("disk-kvm.img", "disk.qcow2", 110_000_000),
        (format!("root.{base}.vcdiff")): delta,
    })
}

fn text(document: &Value) -> Vec<u8> {
    format!("{document:#}").into_bytes()
}

/// Changes one thing of a good products file.
fn mutate(name: &str, document: &mut Value) {
    let product = &mut document["products"][PRODUCT];
    let newest = &mut product["versions"][NEWEST]["items"];
    let size = newest[ROOT]["size"].as_u64().unwrap_or_default();
    let path = newest[ROOT]["path"].as_str().unwrap_or_default().to_owned();
    match name {
        "00_good_base" => {}
        "10_path_mid_dotdot" => newest[ROOT]["path"] = "images/alpine/../../../../outside".into(),
        "10_path_absolute" => newest[ROOT]["path"] = "/etc/passwd".into(),
        "10_path_pct_dotdot" => newest[ROOT]["path"] = "%2e%2e/%2e%2e/etc/shadow".into(),
        "10_path_newline" => newest[ROOT]["path"] = "images/a\nb".into(),
        "10_path_dot" => newest[ROOT]["path"] = ".".into(),
        "10_path_trailing_slash" => newest[ROOT]["path"] = "images/alpine/".into(),
        "10_path_double_slash" => newest[ROOT]["path"] = "images//alpine///root".into(),
        "10_path_query" => newest[ROOT]["path"] = "images/root?size=1#part".into(),
        "10_path_streams_overwrite" => newest[ROOT]["path"] = "streams/v1/index.json".into(),
        "10_path_file_url" => newest[ROOT]["path"] = "file:///etc/passwd".into(),
        "10_path_lone_surrogate" => newest[ROOT]["path"] = "images/LONE SURROGATE".into(),
        "20_sha_md5_only" => {
            remove(&mut newest[ROOT], "sha256");
            newest[ROOT]["md5"] = "0123456789abcdef0123456789abcdef".into();
        }
        "20_sha_upper" => map(&mut newest[ROOT]["sha256"], str::to_uppercase),
        "20_sha_suffix_invalid" => map(&mut newest[ROOT]["sha256"], |digest| format!("{digest}-invalid")),
        "20_sha_null" => newest[ROOT]["sha256"] = Value::Null,
        "30_size_string_bad" => newest[ROOT]["size"] = "12MB".into(),
        "30_size_negative" => newest[ROOT]["size"] = (-1).into(),
        "30_size_huge" => newest[ROOT]["size"] = (1_u64 << 63).into(),
        "30_size_bool" => newest[ROOT]["size"] = true.into(),
        "30_size_plus1" => newest[ROOT]["size"] = (size + 1).into(),
        "30_size_minus1" => newest[ROOT]["size"] = (size - 1).into(),
        "40_shape_items_list" => *newest = json!([]),
        "40_shape_item_null" => newest[ROOT] = Value::Null,
        "40_shape_ftype_missing" => remove(&mut newest[ROOT], "ftype"),
        "60_case_collision" => newest["root.tar.xz"]["path"] = path.to_uppercase().into(),
        "61_delta_base_dotdot" => newest[DELTA]["delta_base"] = "../../x".into(),
        "60_same_path_same_hash" => {
            let mut twin = newest[METADATA].clone();
            twin["ftype"] = "incus.tar.xz".into();
            newest["incus.tar.xz"] = twin;
        }
        "62_combined_missing" => {
            for key in ["", "_rootxz", "_squashfs", "_disk-kvm-img"] {
                remove(&mut newest[METADATA], &format!("combined{key}_sha256"));
            }
        }
        "41_inherit_ftype_product_level" => {
            for item in newest.as_object_mut().into_iter().flat_map(Map::values_mut) {
                remove(item, "ftype");
            }
            product["ftype"] = "squashfs".into();
        }
        "40_shape_versions_missing" => remove(product, "versions"),
        "40_shape_aliases_list" => product["aliases"] = json!(["alpine/3.17"]),
        "40_shape_aliases_spaces" => product["aliases"] = "alpine/3.17 , ,alpine,,".into(),
        "40_shape_req_string" => product["lxd_requirements"] = "secureboot=false".into(),
        "40_shape_req_bool" => product["requirements"] = json!({"secureboot": false}),
        "40_shape_arch_unknown" => product["arch"] = "riscv64+unmatched".into(),
        "40_shape_product_list" => *product = json!([1]),
        "50_version_dotdot" => rename(&mut product["versions"], NEWEST, "../../x"),
        "50_version_latest" => rename(&mut product["versions"], NEWEST, "latest"),
        "50_version_semver_9" => rename(&mut product["versions"], NEWEST, "1.9.1"),
        "50_version_prefix" => rename(&mut product["versions"], NEWEST, "20230424_13:01.1"),
        "51_product_dotdot" => rename(&mut document["products"], PRODUCT, "../../../evil:amd64"),
        "40_shape_products_list" => document["products"] = json!([document["products"].take()]),
        "40_shape_format_2" => document["format"] = "products:2.0".into(),
        other => panic!("there is no mutation {other}"),
    }
}

/// What is hardly JSON, or not at all.
fn broken_text(name: &str) -> Vec<u8> {
    let mut document = good();
    document["products"][PRODUCT]["versions"][SERIALS[0]]["items"][METADATA]["size"] = "SIZE".into();
    let nan = format!("{document:#}").replace("\"SIZE\"", "NaN");
    let good = format!("{:#}", good());
    let broken = match name {
        "70_truncated" => good[..good.len() / 2].to_owned(),
        "70_empty" => String::new(),
        "70_whitespace" => " \n".to_owned(),
        "70_html_200" => "<!DOCTYPE html><html><body>Please try again later</body></html>".to_owned(),
        "70_bom" => format!("\u{feff}{good}"),
        "70_trailing_comma" => format!("{},}}", good.trim_end_matches('}')),
        "70_nan" => nan,
        "70_deep" => {
            let (open, close) = (r#"{"a":"#.repeat(20_000), "}".repeat(20_000));
            format!(r#"{{"format":"products:1.0","products":{open}1{close}}}"#)
        }
        other => panic!("there is no mutation {other}"),
    };
    broken.into_bytes()
}

/// An `index.json` before the good products file.
fn index(name: &str) -> Value {
    let products = "streams/v1/images.json";
    let entry = |path: &str, listed: Value| json!({"datatype": "image-downloads", "path": path, "format": "products:1.0", "products": listed});
    let whole = |entries: Value| json!({"format": "index:1.0", "index": entries});
    match name {
        "80_index_path_dotdot" => whole(json!({"images": entry("../../../../etc/passwd", json!([PRODUCT]))})),
        "80_index_path_self" => whole(json!({"images": entry("streams/v1/index.json", json!([PRODUCT]))})),
        "80_index_lists_missing_product" => {
            whole(json!({"images": entry(products, json!([PRODUCT, "ghost:1:amd64:default"]))}))
        }
        "80_index_omits_product" => whole(json!({"images": entry(products, json!([]))})),
        "80_index_format_inside" => json!({"index": {
            "images": entry(products, json!([PRODUCT])), "format": "index:1.0", "updated": "yesterday",
        }}),
        "80_index_string" => whole("none".into()),
        other => panic!("there is no mutation {other}"),
    }
}

fn remove(object: &mut Value, key: &str) {
    if let Some(object) = object.as_object_mut() {
        object.remove(key);
    }
}

fn rename(object: &mut Value, from: &str, to: &str) {
    let value = object[from].take();
    remove(object, from);
    object[to] = value;
}

fn map(text: &mut Value, change: impl FnOnce(&str) -> String) {
    *text = change(text.as_str().unwrap_or_default()).into();
}
