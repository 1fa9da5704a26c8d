//! Ingesting a large index on demand: listing everything a server has, fetching nothing.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use rootstock_model::RootFtype;
use rootstock_proto::catalog::v1::{Remote, RemoteMode};
use rootstock_tests::{
    postgres::Postgres,
    tools,
    tree::{PRODUCTS_PATH, Product, Tree, Version},
};

use crate::{
    Settings,
    cluster::{Cluster, Store},
    image_server::ImageServer,
    peers,
    table::{Spread, Table},
    usage,
};

/// A real index, of the Linux Containers project's server.
const REAL: &str = "shared/corpus/indexes/linuxcontainers-2022-11-17.json.gz";
/// What it holds: images (a product is one for each type), and their versions.
const REAL_VERSIONS: i64 = 1203 + 312;
/// The generated one's, of about the same size.
const GENERATED_PRODUCTS: usize = 400;
const GENERATED_VERSIONS: usize = 4;
const KEEP_VERSIONS: i32 = 100;

/// An index to ingest.
struct Index {
    file: PathBuf,
    what: String,
    /// Versions of instance images, as they are to be listed.
    versions: i64,
}

/// What one cluster took.
struct Ingested {
    first: Duration,
    again: Duration,
    cpu_catalog: Duration,
    cpu_sync: Duration,
    peak_catalog: u64,
    peak_sync: u64,
}

/// Measures and prints.
pub(crate) async fn measure(postgres: &Postgres, settings: Settings) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let index = index(directory.path())?;
    let text = fs::read(&index.file)?;
    println!(
        "## Ingesting a large index on demand\n\n{}: {} versions, {:.1} MiB. Median of {} runs (least–most).\n",
        index.what,
        index.versions,
        text.len() as f64 / f64::from(1 << 20),
        settings.runs
    );
    let mut server = ImageServer::of_index(directory.path(), &index.file)?;
    let mut table = Table::new(&["what", "wall s"]);
    let python = python(&server, directory.path(), settings.runs).await;
    add(&mut table, "curl, then python json.loads", python);
    add(
        &mut table,
        "our parser alone",
        parser(&text, &index, settings.runs),
    );
    let mut ingested = Vec::new();
    let mut failed = None;
    for run in 1..=settings.runs {
        eprintln!("ingesting, run {run} of {}", settings.runs);
        match ingest(postgres, &mut server, &index).await {
            Ok(one) => ingested.push(one),
            Err(error) => failed = Some(error),
        }
    }
    let first = "**rootstock: from CreateRemote until everything is listed**";
    let again = "**rootstock: the same again under another ETag**";
    match failed {
        Some(error) => {
            table.add_not_run(first, &error);
            table.add_not_run(again, &error);
        }
        None => {
            add(
                &mut table,
                first,
                Ok(ingested.iter().map(|one| one.first).collect()),
            );
            add(
                &mut table,
                again,
                Ok(ingested.iter().map(|one| one.again).collect()),
            );
        }
    }
    table.print();
    if !ingested.is_empty() {
        print_costs(&ingested);
    }
    Ok(())
}

fn print_costs(ingested: &[Ingested]) {
    let seconds = |of: fn(&Ingested) -> Duration| Spread::seconds(ingested.iter().map(of)).short();
    let mib = |of: fn(&Ingested) -> u64| {
        Spread::of(ingested.iter().map(|one| of(one) as f64 / f64::from(1 << 20))).short()
    };
    println!(
        "Both together: catalog {} CPU s and {} MiB at most, worker {} CPU s and {} MiB at most.\n",
        seconds(|one| one.cpu_catalog),
        mib(|one| one.peak_catalog),
        seconds(|one| one.cpu_sync),
        mib(|one| one.peak_sync),
    );
}

fn add(table: &mut Table, name: &str, times: anyhow::Result<Vec<Duration>>) {
    match times {
        Ok(times) => table.add(vec![name.to_owned(), Spread::seconds(times).long()]),
        Err(error) => table.add_not_run(name, &error),
    }
}

async fn ingest(postgres: &Postgres, server: &mut ImageServer, index: &Index) -> anyhow::Result<Ingested> {
    let cluster = Cluster::start(postgres, Store::LocalDisk).await?;
    let before = cluster.spent().await?;
    let remote = Remote {
        mode: RemoteMode::OnDemand.into(),
        keep_versions: KEEP_VERSIONS,
        ..Remote::default()
    };
    let start = Instant::now();
    cluster.add_remote(server, remote).await?;
    cluster
        .wait_for(|status| status.last_success_at.is_some())
        .await?;
    let first = start.elapsed();
    let listed = cluster.listed().await?;
    ensure!(
        listed.1 == index.versions,
        "{} versions are listed, and {} are offered",
        listed.1,
        index.versions
    );
    server.touch_products()?;
    let start = Instant::now();
    let run = cluster.sync().await?;
    let again = start.elapsed();
    let steps = run.plan.unwrap_or_default().steps;
    ensure!(
        steps.is_empty(),
        "nothing had changed, and the plan has {} steps",
        steps.len()
    );
    ensure!(
        cluster.listed().await? == listed,
        "something else is listed afterwards"
    );
    let spent = cluster.spent().await?.since(before);
    Ok(Ingested {
        first,
        again,
        cpu_catalog: spent.catalog,
        cpu_sync: spent.sync,
        peak_catalog: cluster.peak_bytes_of_catalog()?,
        peak_sync: cluster.peak_bytes_of_sync()?,
    })
}

async fn python(server: &ImageServer, directory: &Path, runs: usize) -> anyhow::Result<Vec<Duration>> {
    let (curl, python) = (peers::program("curl")?, peers::program("python3")?);
    let file = directory.join("downloaded.json");
    let script = format!(
        "'{}' -sSf --cacert '{}' -o '{file}' '{}/{PRODUCTS_PATH}' && \
         '{}' -c 'import json, sys; json.loads(open(sys.argv[1], \"rb\").read())' '{file}'",
        curl.display(),
        server.ca_file.display(),
        server.url,
        python.display(),
        file = file.display(),
    );
    let mut times = Vec::new();
    for _ in 0..runs {
        let mut command = Command::new("sh");
        command.args(["-c", &script]);
        times.push(usage::run(command).await?.wall);
    }
    Ok(times)
}

fn parser(text: &[u8], index: &Index, runs: usize) -> anyhow::Result<Vec<Duration>> {
    let mut times = Vec::new();
    for _ in 0..runs {
        let start = Instant::now();
        let snapshot = rootstock_simplestreams::parse_products(text)?;
        times.push(start.elapsed());
        let versions: usize = snapshot.images.iter().map(|image| image.versions.len()).sum();
        ensure!(
            i64::try_from(versions)? == index.versions,
            "{versions} versions were parsed"
        );
    }
    Ok(times)
}

/// The real one where it is at hand, otherwise one of the same size.
fn index(directory: &Path) -> anyhow::Result<Index> {
    let file = directory.join("products.json");
    let real = tools::repository_root().parent().map(|parent| parent.join(REAL));
    if let Some(real) = real.filter(|path| path.is_file()) {
        let mut text = Vec::new();
        flate2::read::GzDecoder::new(fs::File::open(real)?).read_to_end(&mut text)?;
        fs::write(&file, text)?;
        return Ok(Index {
            file,
            what: "The index of images.linuxcontainers.org of 2022-11-17".to_owned(),
            versions: REAL_VERSIONS,
        });
    }
    let mut tree = Tree::default();
    for number in 0..GENERATED_PRODUCTS {
        let product = tree.add_product(Product::new("Bench", &format!("release-{number:03}"), "amd64"));
        for day in 1..=GENERATED_VERSIONS {
            let version =
                Version::new(&format!("202601{day:02}_0524")).root_of_size(RootFtype::Squashfs, 1000);
            tree.add_version(&product, version)?;
        }
    }
    let [_, (_, products)] = tree.indexes();
    fs::write(&file, products)?;
    Ok(Index {
        file,
        what: "A generated index (the real one is not at hand)".to_owned(),
        versions: i64::try_from(GENERATED_PRODUCTS * GENERATED_VERSIONS).context("a small number")?,
    })
}
