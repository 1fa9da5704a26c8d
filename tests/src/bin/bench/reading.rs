//! Reading catalogs of a thousand to a million images, beside what Postgres itself can do.
//!
//! The catalogs are made by SQL: offering a million images would take longer than all the rest, and
//! this measures reads. What is compared to is `pgbench` on the same database in the same run: the
//! row of one image by its key, by a prepared statement. No service over Postgres is faster.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use rand::Rng as _;
use rootstock_model::{
    Digest, ImageType, MetadataFtype, RootFtype,
    snapshot::{Artifact, Content, OfferedImage, OfferedVersion, Snapshot},
};
use rootstock_proto::{
    catalog::v1::{
        ListImagesRequest, Remote, ResolveImageRequest, SyncRemoteRequest,
        image_service_client::ImageServiceClient,
    },
    convert::digest_bytes,
    sync::v1::{Combination, TransferOutcome, WorkKind, finish_request::Outcome},
};
use rootstock_tests::{
    catalog::{TestCatalog, transfer_task},
    postgres::{Postgres, TestDatabase},
    process::Process,
};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tonic::transport::Channel;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::{
    Settings,
    cluster::command,
    table::{Spread, Table, digits},
};

/// How many call at once.
const CALLERS: [usize; 2] = [1, 32];
/// How long each row is measured for each run that is asked for.
const SECONDS_PER_RUN: usize = 5;
/// Versions that are turned active at each size.
const ACTIVATIONS: usize = 20;

/// A catalog process over a database of its own.
pub(crate) struct Served<'a> {
    _process: Process,
    pub(crate) address: SocketAddr,
    pub(crate) database: TestDatabase<'a>,
}

impl<'a> Served<'a> {
    pub(crate) async fn start(postgres: &'a Postgres) -> anyhow::Result<Self> {
        let database = postgres.database().await?;
        let variables = [("ROOTSTOCK_CATALOG__DATABASE_URL", database.url.clone())];
        let migrated = command("migrate", &[], &variables)?.output()?;
        ensure!(
            migrated.status.success(),
            "rootstock migrate: {}",
            String::from_utf8_lossy(&migrated.stderr)
        );
        let arguments = [
            "catalog",
            "--grpc-listen=127.0.0.1:0",
            "--admin-listen=127.0.0.1:0",
        ];
        let mut process = Process::start("catalog", command("serve", &arguments, &variables)?)?;
        let address = process.address("grpc").await?;
        Ok(Self {
            _process: process,
            address,
            database,
        })
    }
}

/// Calls of one kind: each one's time, and how many there were in a second.
#[derive(Debug)]
struct Calls {
    milliseconds: Spread,
    per_second: f64,
}

/// Measures and prints.
pub(crate) async fn measure(postgres: &Postgres, settings: Settings) -> anyhow::Result<()> {
    println!("## Reading a catalog\n");
    println!(
        "Each row for {} s. The floor is pgbench: one row by its key, prepared, on the same database just before. \
         Catalog, Postgres and whoever calls share the machine. Ratios are of means: pgbench's one thread \
         makes half of its calls wait for the other half.\n",
        settings.runs * SECONDS_PER_RUN
    );
    let served = Served::start(postgres).await?;
    let mut table = Table::new(&[
        "images",
        "callers",
        "what",
        "mean ms",
        "p50 ms",
        "p99 ms",
        "calls/s",
        "÷ floor",
        "÷ smallest",
    ]);
    let mut activations = Table::new(&["images", "call that turns a version active, ms", "÷ smallest"]);
    let mut filled = 0;
    let (mut smallest, mut smallest_activation) = (BTreeMap::new(), None);
    let sizes = [1000, 100_000, 1_000_000]
        .into_iter()
        .filter(|size| *size <= settings.images);
    for images in sizes {
        eprintln!("reading {images} images");
        fill(&served.database.url, filled + 1, images).await?;
        filled = images;
        for callers in CALLERS {
            let seconds = settings.runs * SECONDS_PER_RUN;
            let load = Load {
                address: served.address,
                callers,
                length: Duration::from_secs(seconds as u64),
            };
            let floor = pgbench(postgres, &served.database.url, images, callers, seconds)?;
            let floor_ms = floor.milliseconds.mean();
            let rows = [
                ("floor: pgbench", floor),
                ("a call that asks nothing: health", health(&load).await?),
                ("**ResolveImage** by alias", resolve(&load, images).await?),
                ("**ListImages**, first page of 100", list(&load).await?),
            ];
            for (what, calls) in rows {
                let mean = calls.milliseconds.mean();
                table.add(vec![
                    images.to_string(),
                    callers.to_string(),
                    what.to_owned(),
                    digits(mean),
                    digits(calls.milliseconds.median()),
                    digits(calls.milliseconds.quantile(0.99)),
                    format!("{:.0}", calls.per_second),
                    digits(mean / floor_ms),
                    digits(mean / *smallest.entry((callers, what)).or_insert(mean)),
                ]);
            }
        }
        let times = Spread::milliseconds(activate(served.address, images).await?);
        let first = *smallest_activation.get_or_insert(times.median());
        activations.add(vec![
            images.to_string(),
            times.long(),
            digits(times.median() / first),
        ]);
    }
    table.print();
    println!("Turning a version active: the worker's last word, its transaction and its flush to disk.\n");
    activations.print();
    Ok(())
}

/// Makes images of these numbers, each with an alias and one active version of two files.
async fn fill(url: &str, first: u64, last: u64) -> anyhow::Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    let numbers = format!("generate_series({first}, {last}) AS n");
    let id = "'b' || lpad(n::text, 19, '0')";
    let statements = [
        "INSERT INTO remotes (name, url, protocol, mode, include, exclude, root_preference, keep_versions, ca_pem,
             insecure)
         VALUES ('filled', 'https://filled.invalid', 'simplestreams', 'mirror', '{}', '{}', '{}', 0, '', false)
         ON CONFLICT DO NOTHING"
            .to_owned(),
        format!(
            "INSERT INTO images (id, name, type, architecture, status, immutable, public, remote_id, product,
                 properties, wanted_aliases, next_version, version_count, newest_version)
             SELECT {id}, 'filled:' || lpad(n::text, 8, '0') || ':amd64:default', 'container', 'x86_64', 3, true, true,
                 (SELECT id FROM remotes WHERE name = 'filled'), 'filled:' || n,
                 jsonb_build_object('os', 'Filled', 'release', n::text, 'variant', 'default'), '{{}}', 1, 1, 0
             FROM {numbers}"
        ),
        format!(
            "WITH made AS (
                 INSERT INTO versions (image_id, number, serial, label, status, fingerprint, size_bytes, created_at)
                 SELECT {id}, 0, '20260101_0000', 'release', 3, sha256(n::text::bytea), 300000000, now() FROM {numbers}
                 RETURNING id
             )
             INSERT INTO artifacts (version_id, position, ftype, sha256, size_bytes, path)
             SELECT id, position, CASE position WHEN 0 THEN 'incus.tar.xz' ELSE 'squashfs' END,
                 sha256((id || '/' || position)::bytea), 1000, 'images/' || id || '/' || position
             FROM made, generate_series(0, 1) AS position"
        ),
        format!(
            "INSERT INTO aliases (name, type, architecture, image_id)
             SELECT 'filled/' || n, 'container', 'x86_64', {id} FROM {numbers}"
        ),
        "VACUUM (ANALYZE)".to_owned(),
        "CHECKPOINT".to_owned(),
    ];
    for statement in statements {
        sqlx::query(AssertSqlSafe(statement))
            .execute(&mut connection)
            .await?;
    }
    connection.close().await?;
    Ok(())
}

/// One row by its key, as often as it goes.
fn pgbench(
    postgres: &Postgres,
    url: &str,
    images: u64,
    callers: usize,
    seconds: usize,
) -> anyhow::Result<Calls> {
    let directory = tempfile::tempdir()?;
    let script = directory.path().join("script");
    fs::write(
        &script,
        format!(
            "\\set n random(1, {images})\n\
             SELECT id, name, type, architecture, status, properties FROM images WHERE id = 'b' || lpad(:n::text, 19, '0');\n"
        ),
    )?;
    let output = Command::new(postgres.program("pgbench"))
        .current_dir(directory.path())
        .args([
            "--no-vacuum",
            "--protocol=prepared",
            "--jobs=1",
            "--log",
            "--log-prefix=calls",
        ])
        .arg(format!("--client={callers}"))
        .arg(format!("--time={seconds}"))
        .arg(format!("--file={}", script.display()))
        .arg(url)
        .output()
        .context("pgbench")?;
    ensure!(
        output.status.success(),
        "pgbench: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut times = vec![];
    for file in fs::read_dir(directory.path())? {
        let path = file?.path();
        if path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("calls"))
        {
            // client, number, microseconds, …
            let text = fs::read_to_string(&path)?;
            let third = text
                .lines()
                .filter_map(|line| line.split(' ').nth(2)?.parse::<u64>().ok());
            times.extend(third.map(Duration::from_micros));
        }
    }
    ensure!(!times.is_empty(), "pgbench wrote down no call");
    Ok(Calls {
        per_second: times.len() as f64 / seconds as f64,
        milliseconds: Spread::milliseconds(times),
    })
}

/// What a call costs that asks the database nothing, through all that every call goes through.
async fn health(load: &Load) -> anyhow::Result<Calls> {
    let call = |channel: Channel| async move {
        let request = HealthCheckRequest::default();
        HealthClient::new(channel).check(request).await?;
        Ok(())
    };
    load.run(call).await
}

async fn resolve(load: &Load, images: u64) -> anyhow::Result<Calls> {
    let call = move |channel: Channel| async move {
        let number = rand::rng().random_range(1..=images);
        let request = ResolveImageRequest {
            image: format!("filled/{number}"),
            ..ResolveImageRequest::default()
        };
        let mut client = ImageServiceClient::new(channel);
        let answer = client.resolve_image(request).await?.into_inner();
        ensure!(
            answer.artifacts.len() == 2,
            "filled/{number} has other files: {answer:?}"
        );
        Ok(())
    };
    load.run(call).await
}

async fn list(load: &Load) -> anyhow::Result<Calls> {
    let call = |channel: Channel| async move {
        let answer = ImageServiceClient::new(channel)
            .list_images(ListImagesRequest::default())
            .await?
            .into_inner();
        ensure!(answer.images.len() == 100, "a page of {}", answer.images.len());
        Ok(())
    };
    load.run(call).await
}

/// So many callers that do one call after the other.
struct Load {
    address: SocketAddr,
    callers: usize,
    length: Duration,
}

impl Load {
    async fn run<F>(
        &self,
        call: impl Fn(Channel) -> F + Clone + Send + Sync + 'static,
    ) -> anyhow::Result<Calls>
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let channel = Channel::from_shared(format!("http://{}", self.address))?
            .connect()
            .await?;
        // Connections are opened and statements prepared before anything counts.
        self.call(&channel, &call, Duration::from_secs(1)).await?;
        let begun = Instant::now();
        let times = self.call(&channel, &call, self.length).await?;
        Ok(Calls {
            per_second: times.len() as f64 / begun.elapsed().as_secs_f64(),
            milliseconds: Spread::milliseconds(times),
        })
    }

    async fn call<F>(
        &self,
        channel: &Channel,
        call: &(impl Fn(Channel) -> F + Clone + Send + Sync + 'static),
        length: Duration,
    ) -> anyhow::Result<Vec<Duration>>
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let begun = Instant::now();
        let mut callers = tokio::task::JoinSet::new();
        for _ in 0..self.callers {
            let (channel, call) = (channel.clone(), call.clone());
            callers.spawn(async move {
                let mut times = vec![];
                while begun.elapsed() < length {
                    let start = Instant::now();
                    call(channel.clone()).await?;
                    times.push(start.elapsed());
                }
                anyhow::Ok(times)
            });
        }
        let mut times = vec![];
        while let Some(ended) = callers.join_next().await {
            times.extend(ended??);
        }
        Ok(times)
    }
}

/// Plays a remote with one product and the worker that fetches its versions; how long each took that
/// turned one active.
async fn activate(address: SocketAddr, images: u64) -> anyhow::Result<Vec<Duration>> {
    let catalog = TestCatalog::at(address)?;
    let name = format!("active-{images}");
    let remote = Remote {
        name: name.clone(),
        url: "https://active.invalid".to_owned(),
        // Not due again by itself while larger catalogs are measured.
        update_interval: Some(prost_types::Duration {
            seconds: 24 * 60 * 60,
            nanos: 0,
        }),
        ..Remote::default()
    };
    catalog.add_remote(remote).await?;
    let mut times = vec![];
    for number in 0..ACTIVATIONS {
        if number > 0 {
            let request = SyncRemoteRequest {
                name: name.clone(),
                ..SyncRemoteRequest::default()
            };
            catalog.remotes().sync_remote(request).await?;
        }
        let serial = format!("20260101_{:04}", number);
        catalog.offer(&offer(&name, &serial)?).await?;
        catalog.transfer().await?;
        let work = catalog.claim(WorkKind::Transfer).await?;
        let task = transfer_task(&work)?;
        let metadata = task.metadata_sha256.first().context("the metadata is stored")?;
        let fingerprint = Digest::of(format!("{name} {serial}").as_bytes());
        let outcome = TransferOutcome {
            size_bytes: task.sources.first().context("a source")?.size_bytes,
            combinations: vec![Combination {
                metadata_sha256: metadata.clone(),
                root_sha256: task.sha256.clone(),
                fingerprint: digest_bytes(&fingerprint),
            }],
        };
        let start = Instant::now();
        let finished = catalog.finish(work.lease, Outcome::Transfer(outcome)).await?;
        times.push(start.elapsed());
        ensure!(
            finished.activated_versions == 1,
            "{serial} is not active: {finished:?}"
        );
    }
    Ok(times)
}

/// One product with one version.
fn offer(product: &str, serial: &str) -> anyhow::Result<Snapshot> {
    let artifact = |what: &str| format!("{product} {serial} {what}");
    let content = Content::Split {
        metadata: Artifact {
            ftype: MetadataFtype::Incus,
            sha256: Digest::of(artifact("metadata").as_bytes()),
            size_bytes: 700,
            path: "metadata".to_owned(),
        },
        root: Artifact {
            ftype: RootFtype::Squashfs,
            sha256: Digest::of(artifact("root").as_bytes()),
            size_bytes: 10_000,
            path: "root".to_owned(),
        },
        fingerprint: None,
    };
    let image = OfferedImage {
        product: product.parse()?,
        image_type: ImageType::Container,
        architecture: "x86_64".parse()?,
        properties: [("os".to_owned(), "Active".to_owned())].into(),
        aliases: vec![product.parse()?],
        support_eol: None,
        versions: vec![OfferedVersion {
            serial: serial.to_owned(),
            label: String::new(),
            created_at: None,
            contents: vec![content],
        }],
    };
    Ok(Snapshot {
        images: vec![image],
        left_out: vec![],
    })
}
