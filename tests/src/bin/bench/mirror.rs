//! Mirroring a few large images: throughput, processor time and memory.

use std::time::Instant;

use rootstock_proto::catalog::v1::{Remote, RemoteMode};
use rootstock_sync::SyncConfig;
use rootstock_tests::{postgres::Postgres, seaweed::SeaweedFs};

use crate::{
    Settings,
    cluster::{Cluster, Store},
    image_server::ImageServer,
    machine,
    peers::{self, Curl, Hasher},
    table::{Spread, Table},
    usage::Cost,
};

/// How many images what is mirrored is divided among, each with one root and one small metadata file.
pub(crate) const IMAGES: u64 = 4;

/// One way to mirror.
#[derive(Debug, Clone, Copy)]
enum Way {
    Curl(Curl),
    SstreamMirror,
    RootstockLocalDisk,
    RootstockSeaweedFs,
}

/// A way with what came of its runs so far.
struct Row {
    way: Way,
    costs: anyhow::Result<Vec<Cost>>,
}

/// Measures and prints.
pub(crate) async fn measure(postgres: &Postgres, settings: Settings) -> anyhow::Result<()> {
    let Settings {
        runs, mirrored_mib, ..
    } = settings;
    let directory = tempfile::tempdir()?;
    let server = ImageServer::of_large_images(directory.path(), mirrored_mib)?;
    let mut rows: Vec<Row> = ways()
        .into_iter()
        .map(|way| Row {
            way,
            costs: Ok(Vec::new()),
        })
        .collect();
    let served_before = server.cpu_time()?;
    let mut served_times = 0;
    // Round by round, so that what else the machine does is spread over all rows.
    for run in 1..=runs {
        for row in &mut rows {
            let Ok(costs) = &mut row.costs else { continue };
            eprintln!("mirroring, run {run} of {runs}: {}", row.way.name());
            match row.way.mirror(postgres, &server).await {
                Ok(cost) => costs.push(cost),
                Err(error) => row.costs = Err(error),
            }
            served_times += 1;
        }
    }
    print(&rows, settings);
    let served = (server.cpu_time()? - served_before).as_secs_f64() / f64::from(served_times.max(1));
    println!(
        "The image server, which all rows share the processors with, took {:.2} CPU s per GiB.\n",
        served / gib(mirrored_mib)
    );
    Ok(())
}

fn ways() -> Vec<Way> {
    let transfers = SyncConfig::default().concurrent_transfers;
    let curl = |at_a_time, hasher, sync| {
        Way::Curl(Curl {
            at_a_time,
            hasher,
            sync,
        })
    };
    vec![
        curl(1, Hasher::Sha256sum, false),
        curl(transfers, Hasher::Sha256sum, false),
        curl(transfers, Hasher::OpenSsl, false),
        curl(transfers, Hasher::OpenSsl, true),
        Way::SstreamMirror,
        Way::RootstockLocalDisk,
        Way::RootstockSeaweedFs,
    ]
}

fn gib(mib: u64) -> f64 {
    mib as f64 / 1024.0
}

fn print(rows: &[Row], settings: Settings) {
    let Settings {
        runs, mirrored_mib, ..
    } = settings;
    println!(
        "## Mirroring {mirrored_mib} MiB in {IMAGES} large blobs over HTTPS on loopback\n\n\
         Median of {runs} runs (least–most). Only Rootstock and the row that says `sync` wait for the disk; only \
         Rootstock hashes twice, since it checks the image's fingerprint in the same pass.\n"
    );
    let measured = |row: &Row| {
        let costs = row.costs.as_ref().ok().filter(|costs| !costs.is_empty())?;
        Some(Spread::seconds(costs.iter().map(|cost| cost.wall)).median())
    };
    let curls = rows.iter().filter(|row| matches!(row.way, Way::Curl(_)));
    let floor = curls.filter_map(measured).min_by(f64::total_cmp);
    let mut table = Table::new(&[
        "what",
        "wall s",
        "MiB/s",
        "CPU s/GiB",
        "apart, CPU s/GiB",
        "peak MiB",
        "wall ÷ best curl",
    ]);
    for row in rows {
        match &row.costs {
            Ok(costs) => table.add(cells(row.way, costs, floor, mirrored_mib)),
            Err(error) => table.add_not_run(&row.way.name(), error),
        }
    }
    table.print();
}

fn cells(way: Way, costs: &[Cost], floor: Option<f64>, mirrored_mib: u64) -> Vec<String> {
    let wall = Spread::seconds(costs.iter().map(|cost| cost.wall));
    let per_gib = |seconds: f64| seconds / gib(mirrored_mib);
    let names = costs.first().map(|cost| &cost.cpu_aside[..]).unwrap_or_default();
    let apart = names.iter().enumerate().map(|(part, (name, _))| {
        let spent = costs
            .iter()
            .map(|cost| per_gib(cost.cpu_aside[part].1.as_secs_f64()));
        format!("{name} {}", Spread::of(spent).short())
    });
    vec![
        way.name(),
        wall.long(),
        Spread::of(
            costs
                .iter()
                .map(|cost| mirrored_mib as f64 / cost.wall.as_secs_f64()),
        )
        .short(),
        Spread::of(costs.iter().map(|cost| per_gib(cost.cpu.as_secs_f64()))).long(),
        apart.collect::<Vec<_>>().join(", "),
        Spread::of(
            costs
                .iter()
                .map(|cost| cost.peak_bytes as f64 / f64::from(1 << 20)),
        )
        .long(),
        floor.map_or_else(String::new, |floor| format!("{:.2}", wall.median() / floor)),
    ]
}

impl Way {
    fn name(self) -> String {
        match self {
            Self::Curl(curl) => curl.name(),
            Self::SstreamMirror => "sstream-mirror".to_owned(),
            Self::RootstockLocalDisk => "**rootstock, local disk**".to_owned(),
            Self::RootstockSeaweedFs => "**rootstock, SeaweedFS**".to_owned(),
        }
    }

    async fn mirror(self, postgres: &Postgres, server: &ImageServer) -> anyhow::Result<Cost> {
        match self {
            Self::Curl(curl) => curl.mirror(server).await,
            Self::SstreamMirror => peers::sstream_mirror(server).await,
            Self::RootstockLocalDisk => rootstock(postgres, server, Store::LocalDisk).await,
            Self::RootstockSeaweedFs => {
                let store = SeaweedFs::start_own().await?;
                rootstock(postgres, server, Store::SeaweedFs(store)).await
            }
        }
    }
}

/// From adding the remote until every image is active.
async fn rootstock(postgres: &Postgres, server: &ImageServer, store: Store) -> anyhow::Result<Cost> {
    let cluster = Cluster::start(postgres, store).await?;
    machine::settle();
    let before = cluster.spent().await?;
    let start = Instant::now();
    let remote = Remote {
        mode: RemoteMode::Mirror.into(),
        ..Remote::default()
    };
    cluster.add_remote(server, remote).await?;
    cluster
        .wait_for(|status| u64::try_from(status.active_version_count) == Ok(IMAGES))
        .await?;
    let wall = start.elapsed();
    let spent = cluster.spent().await?.since(before);
    let peak_bytes = cluster.peak_bytes_of_sync()?;
    for file in &server.files {
        cluster.check(&file.digest).await?;
    }
    let mut cpu_aside = vec![("catalog + gateway", spent.catalog + spent.gateway)];
    cpu_aside.extend(spent.store.map(|store| ("SeaweedFS", store)));
    Ok(Cost {
        wall,
        cpu: spent.sync,
        cpu_aside,
        peak_bytes,
    })
}
