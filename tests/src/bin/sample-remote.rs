//! Makes a small image server's tree and serves it over HTTPS on loopback, until standard input
//! ends: the remote of `make demo`.
//!
//! Prints three lines: `url URL`, `ca FILE` (the certificate to trust, in the directory that is the
//! only argument) and `fingerprint HEX` (of the container image `debian/bookworm`, whose root is a
//! real one on every machine).

#![allow(clippy::print_stdout, reason = "a program that prints for a script")]

use std::{env, fs, io, path::PathBuf};

use anyhow::Context as _;
use rootstock_model::{Architecture, RootFtype};
use rootstock_tests::{
    remote::FakeRemote,
    tree::{Product, Tree, Version},
};

const SERIAL: &str = "20260101_0524";

fn main() -> anyhow::Result<()> {
    let directory: PathBuf = env::args_os()
        .nth(1)
        .context("usage: sample-remote DIRECTORY")?
        .into();
    // The machine's own, so that its clients take the alias without a suffix.
    let architecture = Architecture::native().map_or("amd64", Architecture::simplestreams_name);
    let mut tree = Tree::default();
    let debian = tree.add_product(Product::new("Debian", "bookworm", architecture));
    tree.add_version(
        &debian,
        Version::new(SERIAL)
            .root(RootFtype::RootTarXz)
            .root(RootFtype::DiskKvmImg),
    )?;
    let alpine = tree.add_product(Product::new("Alpine", "3.24", architecture));
    for serial in ["20260101_1300", "20260102_1300"] {
        tree.add_version(&alpine, Version::new(serial).root(RootFtype::Squashfs))?;
    }

    let remote = FakeRemote::https()?;
    tree.publish(&remote)?;
    let certificate = directory.join("sample-remote.crt");
    fs::write(&certificate, remote.ca_pem())?;
    println!("url {}", remote.url());
    println!("ca {}", certificate.display());
    println!(
        "fingerprint {}",
        tree.fingerprint(&debian, SERIAL, RootFtype::RootTarXz)?
    );

    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}
