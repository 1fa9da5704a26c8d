//! What a change costs a gateway, and what its index takes up, in catalogs of two sizes.
//!
//! The catalog is this process: it sends a state and then one change after the other, as the real one
//! does. So what is measured is the gateway alone, as users run it.

use std::{
    fs,
    net::Ipv4Addr,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use flate2::read::GzDecoder;
use futures::{StreamExt as _, stream, stream::BoxStream};
use http::{StatusCode, header};
use prost::Message as _;
use rootstock_model::Digest;
use rootstock_proto::{
    catalog::v1::{
        Alias, Artifact, Change, ChangeOperation, Image, ImageType, Status, Version, VersionChange,
        WatchRequest, WatchResponse,
        change::Resource,
        watch_service_server::{WatchService, WatchServiceServer},
    },
    convert::timestamp,
};
use rootstock_tests::process::Process;
use time::OffsetDateTime;
use tokio::sync::broadcast;
use tonic::{Request, Response, service::Routes};

use crate::{
    Settings, cluster,
    table::{Spread, Table, digits},
    usage::{self, PATIENCE},
};

/// Changes for each run that is asked for.
const CHANGES_PER_RUN: usize = 10;
/// Between two changes: longer than the gateway waits between two renderings.
const PAUSE: Duration = Duration::from_millis(300);
/// Between two looks at the index.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// Of resources in a message.
const MESSAGE_BYTES: usize = 1 << 20;
const PRODUCTS_PATH: &str = "streams/v1/images.json";

/// Measures and prints.
pub(crate) async fn measure(settings: Settings) -> anyhow::Result<()> {
    let changes = settings.runs * CHANGES_PER_RUN;
    println!("## The gateway's index\n");
    println!(
        "{changes} changes, each a new version of one product. From sending the change until a conditional request for \
         `images.json` has a new answer. Start: from starting the process until that file is served.\n"
    );
    let mut table = Table::new(&[
        "products",
        "start s",
        "memory after it MiB",
        "at most MiB",
        "change visible after ms",
        "CPU ms a change",
        "images.json MiB",
        "packed MiB",
    ]);
    for products in [10_000, 100_000] {
        eprintln!("an index of {products} products");
        match index(products, changes).await {
            Ok(row) => table.add(row),
            Err(error) => table.add_not_run(&products.to_string(), &error),
        }
    }
    table.print();
    Ok(())
}

async fn index(products: usize, changes: usize) -> anyhow::Result<Vec<String>> {
    let catalog = Catalog::start(products).await?;
    let directory = tempfile::tempdir()?;
    let tls = directory.path().join("tls");
    let text = |path: &Path| path.display().to_string();
    let variables = [
        (
            "ROOTSTOCK_BLOBS__LOCAL__DIRECTORY",
            text(&directory.path().join("blobs")),
        ),
        ("ROOTSTOCK_GATEWAY__CATALOG_URL", catalog.url.clone()),
        ("ROOTSTOCK_GATEWAY__TLS__SELF_SIGNED", text(&tls)),
        ("ROOTSTOCK_GATEWAY__TLS__NAMES", "[\"127.0.0.1\"]".to_owned()),
    ];
    let arguments = [
        "gateway",
        "--grpc-listen=127.0.0.1:0",
        "--admin-listen=127.0.0.1:0",
        "--http-listen=127.0.0.1:0",
    ];
    let started = Instant::now();
    let mut gateway = Process::start("gateway", cluster::command("serve", &arguments, &variables)?)?;
    let address = gateway.address("https").await?;
    let authority = reqwest::Certificate::from_pem(&fs::read(tls.join("ca.crt"))?)?;
    let client = Client {
        url: format!("https://{address}/{PRODUCTS_PATH}"),
        client: reqwest::Client::builder().tls_certs_only([authority]).build()?,
    };
    let mut etag = client.wait_for_other_than("").await?;
    let start = started.elapsed();
    tokio::time::sleep(PAUSE).await;
    let pid = gateway.pid();
    let memory = usage::resident_bytes(pid)?;
    let cpu_before = usage::cpu_time(pid)?;
    let mut times = Vec::new();
    for number in 0..changes {
        tokio::time::sleep(PAUSE).await;
        // From all over the index.
        let product = (number * 7919) % products;
        let sent = Instant::now();
        catalog.change(product, number)?;
        etag = client.wait_for_other_than(&etag).await?;
        times.push(sent.elapsed());
    }
    let cpu = usage::cpu_time(pid)?.saturating_sub(cpu_before);
    let (plain, packed) = client.whole().await?;
    let parsed = rootstock_simplestreams::parse_products(&plain)?;
    ensure!(
        parsed.images.len() == products,
        "{} products are served",
        parsed.images.len()
    );
    let mib = |bytes: u64| digits(bytes as f64 / f64::from(1 << 20));
    Ok(vec![
        products.to_string(),
        digits(start.as_secs_f64()),
        mib(memory),
        mib(usage::peak_bytes(pid)?),
        Spread::milliseconds(times).long(),
        digits(cpu.as_secs_f64() * 1000.0 / changes as f64),
        mib(plain.len() as u64),
        mib(packed),
    ])
}

struct Client {
    client: reqwest::Client,
    url: String,
}

impl Client {
    /// Waits until the products file has another tag, and gives it.
    async fn wait_for_other_than(&self, etag: &str) -> anyhow::Result<String> {
        let begun = Instant::now();
        loop {
            let request = self
                .client
                .head(&self.url)
                .header(header::ACCEPT_ENCODING, "gzip")
                .header(header::IF_NONE_MATCH, etag);
            let response = request.send().await?;
            if response.status() == StatusCode::OK {
                let etag = response.headers().get(header::ETAG).context("an ETag")?;
                return Ok(etag.to_str()?.to_owned());
            }
            ensure!(begun.elapsed() < PATIENCE, "the index stays as it is");
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// The products file, and how many bytes it has packed.
    async fn whole(&self) -> anyhow::Result<(Vec<u8>, u64)> {
        let request = self.client.get(&self.url);
        let response = request.header(header::ACCEPT_ENCODING, "gzip").send().await?;
        let packed = response.error_for_status()?.bytes().await?;
        let mut plain = Vec::new();
        std::io::copy(&mut GzDecoder::new(&*packed), &mut plain)?;
        Ok((plain, packed.len() as u64))
    }
}

/// A catalog of products that look like those of public servers, each with a version and an alias.
struct Catalog {
    url: String,
    changes: broadcast::Sender<WatchResponse>,
}

impl Catalog {
    async fn start(products: usize) -> anyhow::Result<Self> {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let (changes, _) = broadcast::channel(16);
        let service = Watched {
            products,
            changes: changes.clone(),
        };
        let router = Routes::new(WatchServiceServer::new(service))
            .prepare()
            .into_axum_router();
        // Ends with the process, which has nothing else to do.
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { url, changes })
    }

    /// Gives a product its newest version.
    fn change(&self, product: usize, number: usize) -> anyhow::Result<()> {
        let revision = i64::try_from(number)? + 2;
        let version = version(product, i32::try_from(number)? + 1);
        let response = WatchResponse {
            changes: vec![change(ChangeOperation::Created, revision, version)],
            revision,
        };
        self.changes.send(response).context("the gateway watches")?;
        Ok(())
    }
}

struct Watched {
    products: usize,
    changes: broadcast::Sender<WatchResponse>,
}

#[tonic::async_trait]
impl WatchService for Watched {
    type WatchStream = BoxStream<'static, Result<WatchResponse, tonic::Status>>;

    async fn watch(&self, _: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, tonic::Status> {
        let live = stream::unfold(self.changes.subscribe(), |mut changes| async {
            let change = changes.recv().await.ok()?;
            Some((Ok(change), changes))
        });
        let state = stream::iter(state(self.products)).map(Ok);
        Ok(Response::new(state.chain(live).boxed()))
    }
}

/// The first messages of a watch, made while they are sent.
fn state(products: usize) -> impl Iterator<Item = WatchResponse> + Send {
    let images = (0..products).map(image);
    let versions = (0..products).map(|product| version(product, 0));
    let mut resources = images.chain(versions).chain((0..products).map(alias));
    let mut is_over = false;
    std::iter::from_fn(move || {
        if is_over {
            return None;
        }
        let (mut changes, mut bytes) = (Vec::new(), 0);
        while bytes < MESSAGE_BYTES {
            let Some(resource) = resources.next() else {
                is_over = true;
                break;
            };
            let change = change(ChangeOperation::State, 1, resource);
            bytes += change.encoded_len();
            changes.push(change);
        }
        Some(WatchResponse {
            changes,
            revision: i64::from(is_over),
        })
    })
}

fn change(operation: ChangeOperation, revision: i64, resource: Resource) -> Change {
    Change {
        revision,
        operation: operation.into(),
        changed_at: Some(timestamp(OffsetDateTime::now_utc())),
        resource: Some(resource),
    }
}

fn id(product: usize) -> String {
    format!("{product:020}")
}

fn name(product: usize) -> String {
    format!("distribution{product}:release:amd64:default")
}

fn image(product: usize) -> Resource {
    let properties = [
        ("os", format!("Distribution{product}")),
        ("release", "release".to_owned()),
        ("release_title", "Release".to_owned()),
        ("variant", "default".to_owned()),
        ("architecture", "amd64".to_owned()),
        ("requirements.secureboot", "false".to_owned()),
    ];
    Resource::Image(Image {
        id: id(product),
        name: name(product),
        r#type: ImageType::Container.into(),
        architecture: "x86_64".to_owned(),
        variant: "default".to_owned(),
        public: true,
        properties: properties.map(|(key, value)| (key.to_owned(), value)).into(),
        etag: format!("{product:016x}"),
        ..Image::default()
    })
}

fn version(product: usize, number: i32) -> Resource {
    let digest = |what: &str| Digest::of(format!("{what} {product} {number}").as_bytes()).to_hex();
    let artifact = |ftype: &str, size_bytes: i64| Artifact {
        ftype: ftype.to_owned(),
        sha256: digest(ftype),
        size_bytes,
    };
    let version = Version {
        number,
        serial: format!("202611{:02}_0524", 1 + number % 28),
        fingerprint: digest("fingerprint"),
        size_bytes: 100_000_880,
        created_at: Some(timestamp(OffsetDateTime::now_utc())),
        status: Status::Active.into(),
        artifacts: vec![artifact("incus.tar.xz", 880), artifact("squashfs", 100_000_000)],
        ..Version::default()
    };
    Resource::Version(VersionChange {
        image_id: id(product),
        image: name(product),
        version: Some(version),
    })
}

fn alias(product: usize) -> Resource {
    Resource::Alias(Alias {
        name: format!("distribution{product}/release"),
        r#type: ImageType::Container.into(),
        architecture: "x86_64".to_owned(),
        image_id: id(product),
        ..Alias::default()
    })
}
