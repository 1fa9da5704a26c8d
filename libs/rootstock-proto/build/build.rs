//! Compiles `proto/` without protoc, keeps the descriptors for reflection, and generates what
//! follows from them: how secrets are blanked, and the kinds of logged resources.

mod changes;
mod names;
mod redact;

use std::{env, error::Error, fs, path::PathBuf};

use protox::Compiler;

const PUBLIC_FILES: [&str; 11] = [
    "rootstock/catalog/v1/alias.proto",
    "rootstock/catalog/v1/application.proto",
    "rootstock/catalog/v1/blob.proto",
    "rootstock/catalog/v1/change_kind.proto",
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
    println!("cargo::rerun-if-changed=build");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let compile = |files: &[&str]| -> Result<Compiler, protox::Error> {
        let mut compiler = Compiler::new([&root])?;
        compiler
            .include_source_info(true)
            .include_imports(true)
            .open_files(files)?;
        Ok(compiler)
    };
    let public = compile(&PUBLIC_FILES)?;
    // Encoded by the compiler: the generated types of descriptors do not know every option.
    fs::write(out.join("public.binpb"), public.encode_file_descriptor_set())?;
    let all = compile(&[&PUBLIC_FILES[..], &INTERNAL_FILES].concat())?;
    fs::write(out.join("all.binpb"), all.encode_file_descriptor_set())?;
    let pool = all.descriptor_pool();
    fs::write(out.join("redact.rs"), redact::generate(&pool)?)?;
    fs::write(out.join("changes.rs"), changes::generate(&pool)?)?;
    // Descriptors are found by the names of the messages' types.
    let mut config = tonic_prost_build::Config::new();
    config.enable_type_names();
    // Digests and journals travel as `Bytes`: no copy between the socket and their use.
    tonic_prost_build::configure()
        .bytes(".")
        .skip_debug(redact::messages_with_secrets(&pool))
        .codec_path("crate::codec::Codec")
        .compile_fds_with_config(all.file_descriptor_set(), config)?;
    Ok(())
}
