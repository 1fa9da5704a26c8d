//! `make bench`: what Rootstock costs, beside peers and floors measured in the same run.
//!
//! Tables, each a part that can be asked for alone: mirroring large blobs (`mirror`), a poll that
//! finds nothing new (`no-change`), ingesting a large index (`ingest`), reading a catalog of up to a
//! million images (`reading`), watching it (`watching`), and the gateway's index (`index`).
//!
//! Rootstock runs as users run it, the release build as separate processes over a Postgres that
//! flushes to disk. The image server is a process too, so that what it costs is nobody's. Every run
//! is checked: what was mirrored has the digests that the server's files have. No time is asserted;
//! what could not run says `NOT RUN`, and why.
//!
//! `BENCH_RUNS` (3) says how often each row is measured, `BENCH_MIB` (2048) how much is mirrored,
//! `BENCH_IMAGES` (1000000) how large the largest catalog is that is read.
//! Start reading at [`mirror`].

#![allow(clippy::print_stdout, reason = "a program that prints for people")]

mod cluster;
mod image_server;
mod index;
mod ingest;
mod machine;
mod mirror;
mod no_change;
mod peers;
mod reading;
mod table;
mod usage;
mod watching;

use std::{env, path::Path};

use anyhow::{Context as _, bail};
use rootstock_tests::postgres::Postgres;

/// What the environment asks for.
#[derive(Debug, Clone, Copy)]
struct Settings {
    /// How often each row is measured.
    runs: usize,
    /// MiB that are mirrored.
    mirrored_mib: u64,
    /// Images of the largest catalog that is read.
    images: u64,
}

/// What can be asked for.
const PARTS: [&str; 6] = ["mirror", "no-change", "ingest", "reading", "watching", "index"];

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ref parts if parts.iter().all(|part| PARTS.contains(part)) => {}
        // Started by ourselves.
        [image_server::COMMAND, directory, what, argument] => {
            return image_server::serve(Path::new(directory), what, argument);
        }
        _ => bail!(
            "usage: [BENCH_RUNS=3] [BENCH_MIB=2048] [BENCH_IMAGES=1000000] bench [{}]...",
            PARTS.join("|")
        ),
    }
    if cfg!(debug_assertions) {
        println!("WARNING: not a release build: these numbers say nothing.\n");
    }
    let settings = Settings {
        runs: number("BENCH_RUNS", 3)?.max(1),
        mirrored_mib: number("BENCH_MIB", 2048)?.max(mirror::IMAGES),
        images: number("BENCH_IMAGES", 1_000_000)?.max(1000),
    };
    // TLS of ours, in this process.
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?
        .block_on(measure(settings, &arguments))
}

fn number<N: std::str::FromStr>(variable: &str, default: N) -> anyhow::Result<N>
where
    N::Err: std::error::Error + Send + Sync + 'static,
{
    match env::var(variable) {
        Ok(text) => text
            .parse()
            .with_context(|| format!("{variable}={text} is no number")),
        Err(_) => Ok(default),
    }
}

async fn measure(settings: Settings, parts: &[String]) -> anyhow::Result<()> {
    let postgres = Postgres::start_durable().await?;
    let Settings {
        runs,
        mirrored_mib,
        images,
    } = settings;
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|wanted| wanted == part);
    println!("# Rootstock beside its peers\n");
    println!(
        "Command: `make bench PARTS=\"{}\" BENCH_RUNS={runs} BENCH_MIB={mirrored_mib} BENCH_IMAGES={images}`\n",
        parts.join(" ")
    );
    machine::describe(&postgres)?;
    if wanted("mirror") {
        mirror::measure(&postgres, settings).await?;
    }
    if wanted("no-change") {
        no_change::measure(&postgres, settings).await?;
    }
    if wanted("ingest") {
        ingest::measure(&postgres, settings).await?;
    }
    if wanted("reading") {
        reading::measure(&postgres, settings).await?;
    }
    if wanted("watching") {
        watching::measure(&postgres, settings).await?;
    }
    if wanted("index") {
        index::measure(settings).await?;
    }
    println!("Load average at the end: {}", machine::load_average());
    Ok(())
}
