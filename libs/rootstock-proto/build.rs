//! Compiles `proto/` without protoc, and keeps the descriptors for reflection.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

const PUBLIC_FILES: [&str; 10] = [
    "rootstock/catalog/v1/alias.proto",
    "rootstock/catalog/v1/application.proto",
    "rootstock/catalog/v1/blob.proto",
    "rootstock/catalog/v1/content.proto",
    "rootstock/catalog/v1/image.proto",
    "rootstock/catalog/v1/image_service.proto",
    "rootstock/catalog/v1/remote.proto",
    "rootstock/catalog/v1/setting.proto",
    "rootstock/catalog/v1/watch.proto",
    "rootstock/catalog/v1/webhook.proto",
];
const INTERNAL_FILES: [&str; 2] = ["rootstock/sync/v1/import.proto", "rootstock/sync/v1/work.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo::rerun-if-changed={}", root.display());
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let public = protox::compile(PUBLIC_FILES, [&root])?;
    fs::write(out.join("public.binpb"), public.encode_to_vec())?;
    let all = protox::compile(PUBLIC_FILES.iter().chain(&INTERNAL_FILES), [&root])?;
    fs::write(out.join("all.binpb"), all.encode_to_vec())?;
    // Digests and journals travel as `Bytes`: no copy between the socket and their use.
    tonic_prost_build::configure()
        .bytes(".")
        // Credentials are not to be printed: `redacted` says how these are.
        .skip_debug(["rootstock.catalog.v1.Remote"])
        .compile_fds(all)?;
    Ok(())
}
