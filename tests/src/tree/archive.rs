//! The bytes of small images: archives with a fixed content for a fixed input.

use std::{
    fs, io,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, ensure};
use rootstock_model::RootFtype;

use super::{Product, Version};
use crate::{remote::Content, tools};

/// The dates in all archives: what was made twice is to be equal.
const MODIFIED: u64 = 1_767_225_600; // 2026-01-01

/// What file formats begin with.
const SQUASHFS_MAGIC: &[u8] = b"hsqs";
const QCOW2_MAGIC: &[u8] = b"QFI\xfb\0\0\0\x03";

/// `metadata.yaml` in a `.tar.xz`: the metadata half of a split image.
pub(super) fn metadata(product: &Product, version: &Version) -> io::Result<Vec<u8>> {
    xz(&tar(&metadata_entries(product, version))?)
}

/// Metadata and root in one `.tar.gz`: a unified image.
pub(super) fn unified(product: &Product, version: &Version) -> io::Result<Vec<u8>> {
    let mut entries = metadata_entries(product, version);
    for (path, text) in root_entries(product, version) {
        entries.push((format!("rootfs/{path}"), text));
    }
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    io::Write::write_all(&mut encoder, &tar(&entries)?)?;
    encoder.finish()
}

/// A small root: a true archive or file system where this machine can make one, otherwise
/// pseudo-random bytes behind the magic of the format (no client looks further).
pub(super) fn root(product: &Product, version: &Version, ftype: RootFtype) -> anyhow::Result<Content> {
    match ftype {
        RootFtype::RootTarXz => Ok(xz(&tar(&root_entries(product, version))?)?.into()),
        RootFtype::Squashfs if tools::find("mksquashfs").is_some() => squashfs(product, version),
        _ => Ok(pretended_root(product, version, ftype, 64 << 10)),
    }
}

/// Pseudo-random bytes behind the magic of the format.
pub(super) fn pretended_root(product: &Product, version: &Version, ftype: RootFtype, size: u64) -> Content {
    let magic: &[u8] = match ftype {
        RootFtype::Squashfs => SQUASHFS_MAGIC,
        RootFtype::RootTarXz => b"\xfd7zXZ\0",
        RootFtype::DiskKvmImg | RootFtype::Uefi1Img | RootFtype::Disk1Img => QCOW2_MAGIC,
    };
    let name = format!("{} {} {ftype}", product.id(), version.serial);
    let digest = rootstock_model::Digest::of(name.as_bytes());
    let seed = digest
        .as_bytes()
        .iter()
        .take(8)
        .fold(0, |seed, byte| seed << 8 | u64::from(*byte));
    Content::generated(seed, magic, size)
}

fn metadata_entries(product: &Product, version: &Version) -> Vec<(String, String)> {
    let Product {
        os,
        release,
        variant,
        architecture,
        ..
    } = product;
    let serial = &version.serial;
    let kernel_name = architecture
        .parse()
        .map_or(architecture.as_str(), |known: rootstock_model::Architecture| {
            known.kernel_name()
        });
    let description = format!("{os} {release} {architecture} ({serial})");
    let text = format!(
        "architecture: {kernel_name}\ncreation_date: {MODIFIED}\nproperties:\n  architecture: {architecture}\n  \
         description: {description}\n  os: {os}\n  release: \"{release}\"\n  serial: \"{serial}\"\n  \
         variant: {variant}\n"
    );
    vec![("metadata.yaml".to_owned(), text)]
}

fn root_entries(product: &Product, version: &Version) -> Vec<(String, String)> {
    let Product { os, release, .. } = product;
    let serial = &version.serial;
    vec![
        ("etc/hostname".to_owned(), "rootstock\n".to_owned()),
        (
            "etc/os-release".to_owned(),
            format!("NAME={os:?}\nVERSION_ID={release:?}\nBUILD_ID={serial:?}\n"),
        ),
        (
            "sbin/init".to_owned(),
            "#!/bin/sh\nexec sleep infinity\n".to_owned(),
        ),
    ]
}

fn tar(entries: &[(String, String)]) -> io::Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, text) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(if text.starts_with("#!") { 0o755 } else { 0o644 });
        header.set_mtime(MODIFIED);
        builder.append_data(&mut header, path, text.as_bytes())?;
    }
    builder.into_inner()
}

fn xz(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
    io::Write::write_all(&mut encoder, bytes)?;
    encoder.finish()
}

fn squashfs(product: &Product, version: &Version) -> anyhow::Result<Content> {
    let directory = tempfile::tempdir()?;
    let (root, image) = (directory.path().join("root"), directory.path().join("image"));
    for (path, text) in root_entries(product, version) {
        let file = root.join(path);
        fs::create_dir_all(file.parent().unwrap_or(Path::new("/")))?;
        fs::write(file, text)?;
    }
    let date = MODIFIED.to_string();
    let output = Command::new(tools::require("mksquashfs")?)
        .args([&root, &image])
        .args([
            "-noappend",
            "-no-progress",
            "-quiet",
            "-all-root",
            "-no-xattrs",
            "-processors",
            "1",
        ])
        .args(["-mkfs-time", &date, "-all-time", &date])
        // mksquashfs refuses to be told the time twice.
        .env_remove("SOURCE_DATE_EPOCH")
        .stdin(Stdio::null())
        .output()?;
    ensure!(
        output.status.success(),
        "mksquashfs: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(fs::read(&image).context("mksquashfs wrote nothing")?.into())
}
