//! The gateway, through its sockets: a catalog that follows a script, a real blob store, real
//! clients.

mod blobs;
mod catalog;
mod clients;
mod grpc;
mod index;
mod model;
mod tls;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::Context as _;
use futures::TryStreamExt as _;
use http::{HeaderName, StatusCode};
use reqwest::{Client, Response};
use rootstock_blobs::{BlobStore, StoreConfig};
use rootstock_gateway::{GatewayConfig, Listeners, TlsConfig};
use rootstock_model::{Digest, ImageType, snapshot};
use rootstock_proto::{
    catalog::v1::{
        Alias, Artifact, ChangeOperation, Image, Setting, Status, Version, VersionChange, change::Resource,
    },
    convert::timestamp,
};
use rootstock_runtime::{Readiness, Shutdown};
use rootstock_tests::{
    fake_catalog::FakeCatalog,
    fault_proxy::FaultProxy,
    remote::Content,
    tree::{PRODUCTS_PATH, Tree},
};
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::{net::TcpListener, task::JoinHandle};

/// What takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A catalog, a way to break the connection to it, and a store: what gateways stand before.
struct Site {
    catalog: FakeCatalog,
    proxy: FaultProxy,
    store: BlobStore,
    directory: TempDir,
}

/// A gateway under way.
struct Gateway {
    http: SocketAddr,
    grpc: SocketAddr,
    client: Client,
    ca_pem: String,
    readiness: Readiness,
    shutdown: Shutdown,
    running: JoinHandle<anyhow::Result<()>>,
}

impl Site {
    async fn new() -> anyhow::Result<Self> {
        // One provider per process; whoever is second finds it set.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let directory = tempfile::tempdir()?;
        let store = BlobStore::open(&StoreConfig::local(directory.path().join("blobs"))).await?;
        let catalog = FakeCatalog::start()?;
        let proxy = FaultProxy::start(catalog.address())?;
        Ok(Self {
            catalog,
            proxy,
            store,
            directory,
        })
    }

    fn config(&self) -> GatewayConfig {
        GatewayConfig {
            catalog_url: format!("http://{}", self.proxy.address()),
            tls: TlsConfig {
                self_signed: Some(self.directory.path().join("tls")),
                names: ["localhost", "127.0.0.1"].map(str::to_owned).to_vec(),
                ..TlsConfig::default()
            },
            ..GatewayConfig::default()
        }
    }

    /// A gateway that has received the catalog's state.
    async fn gateway(&self) -> anyhow::Result<Gateway> {
        let gateway = self.start(self.config()).await?;
        gateway.wait_ready().await?;
        Ok(gateway)
    }

    async fn start(&self, config: GatewayConfig) -> anyhow::Result<Gateway> {
        let store = self.store.clone();
        self.start_before(store, config).await
    }

    async fn start_before(&self, store: BlobStore, config: GatewayConfig) -> anyhow::Result<Gateway> {
        let directory = config
            .tls
            .self_signed
            .clone()
            .context("a gateway of its own making")?;
        let made = rootstock_gateway::self_signed::ensure(&directory, &config.tls.names)?;
        let ca_pem = std::fs::read_to_string(made.ca)?;
        let http = TcpListener::bind("127.0.0.1:0").await?;
        let grpc = TcpListener::bind("127.0.0.1:0").await?;
        let (http_address, grpc_address) = (http.local_addr()?, grpc.local_addr()?);
        let listeners = Listeners {
            http,
            grpc: Some(grpc),
        };
        let shutdown = Shutdown::new();
        let readiness = Readiness::new(shutdown.clone());
        let running = rootstock_gateway::run(config, listeners, store, readiness.clone(), shutdown.clone());
        Ok(Gateway {
            http: http_address,
            grpc: grpc_address,
            client: client(&ca_pem, |builder| builder)?,
            ca_pem,
            readiness,
            shutdown,
            running: tokio::spawn(running),
        })
    }

    /// Stores bytes, and gives the blob's name.
    async fn store(&self, content: &Content) -> anyhow::Result<Digest> {
        let digest = content.digest()?;
        let mut upload = self.store.begin_upload(&digest, content.size()).await?;
        let mut pieces = content.stream(0..content.size());
        while let Some(piece) = pieces.try_next().await? {
            upload.write(piece).await?;
        }
        upload.finish().await?;
        Ok(digest)
    }

    /// Stores the files of a version, and gives the change that makes it active.
    async fn version(
        &self,
        image_id: &str,
        number: i32,
        serial: &str,
        files: &[(&str, Content)],
    ) -> anyhow::Result<Resource> {
        let mut artifacts = Vec::new();
        for (ftype, content) in files {
            artifacts.push(Artifact {
                ftype: (*ftype).to_owned(),
                sha256: self.store(content).await?.to_hex(),
                size_bytes: i64::try_from(content.size())?,
            });
        }
        let contents: Vec<_> = files.iter().map(|(_, content)| content).collect();
        let version = Version {
            number,
            serial: serial.to_owned(),
            fingerprint: Content::digest_of_all(&contents)?.to_hex(),
            created_at: Some(timestamp(OffsetDateTime::now_utc())),
            status: Status::Active.into(),
            artifacts,
            ..Version::default()
        };
        Ok(Resource::Version(VersionChange {
            image_id: image_id.to_owned(),
            version: Some(version),
            ..VersionChange::default()
        }))
    }

    /// One public image "debian" with one version, whose root is `root`.
    async fn with_root(root: impl Into<Content>) -> anyhow::Result<(Self, Digest)> {
        let site = Self::new().await?;
        let root = root.into();
        let digest = root.digest()?;
        let files = [("incus.tar.xz", "metadata".into()), ("squashfs", root)];
        let version = site.version("i1", 0, "20261122", &files).await?;
        site.catalog.commit(created([image("i1", "debian"), version]));
        Ok((site, digest))
    }

    /// Puts a whole tree into the catalog and the store.
    async fn add_tree(&self, tree: &Tree) -> anyhow::Result<()> {
        for file in tree.files() {
            self.store(&file.content).await?;
        }
        let indexes = tree.indexes();
        let (_, products) = indexes
            .iter()
            .find(|(path, _)| *path == PRODUCTS_PATH)
            .context("a tree has products")?;
        let offered = rootstock_simplestreams::parse_products(products.as_bytes())?;
        anyhow::ensure!(offered.left_out.is_empty(), "{:?}", offered.left_out);
        let images = offered.images.iter().enumerate();
        self.catalog.commit(created(
            images.flat_map(|(index, image)| offered_image(index, image)),
        ));
        Ok(())
    }
}

impl Gateway {
    async fn wait_ready(&self) -> anyhow::Result<()> {
        let ready = tokio::time::timeout(PATIENCE, self.readiness.wait_ready()).await;
        anyhow::ensure!(ready.context("the gateway is not ready")?, "the gateway ended");
        Ok(())
    }

    fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.http.port())
    }

    async fn get(&self, path: &str, headers: &[(HeaderName, &str)]) -> anyhow::Result<Response> {
        let mut request = self.client.get(self.url(path));
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        Ok(request.send().await?)
    }

    async fn blob(&self, digest: &Digest, headers: &[(HeaderName, &str)]) -> anyhow::Result<Response> {
        self.get(&format!("/blobs/sha256/{digest}.squashfs"), headers)
            .await
    }

    async fn products(&self) -> anyhow::Result<serde_json::Value> {
        let response = self
            .get("/streams/v1/images.json", &[])
            .await?
            .error_for_status()?;
        let bytes = response.bytes().await?;
        Ok(serde_json::from_slice::<serde_json::Value>(&bytes)?["products"].take())
    }

    /// Waits until the products are as wanted.
    async fn wait_for_products(&self, wanted: impl Fn(&serde_json::Value) -> bool) -> anyhow::Result<()> {
        let mut last = serde_json::Value::Null;
        let seen = async {
            loop {
                last = self.products().await?;
                if wanted(&last) {
                    return anyhow::Ok(());
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, seen).await {
            Ok(seen) => seen,
            Err(_elapsed) => anyhow::bail!("the products stay {last:#}"),
        }
    }

    /// Ends it in an orderly way.
    async fn stop(self) -> anyhow::Result<()> {
        self.shutdown.trigger();
        tokio::time::timeout(PATIENCE, self.running)
            .await
            .context("the gateway does not end")??
    }
}

fn client(
    ca_pem: &str,
    more: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
) -> anyhow::Result<Client> {
    let ca = reqwest::Certificate::from_pem(ca_pem.as_bytes())?;
    let builder = Client::builder()
        .tls_certs_only([ca])
        .redirect(reqwest::redirect::Policy::none());
    Ok(more(builder).build()?)
}

fn created(resources: impl IntoIterator<Item = Resource>) -> Vec<(ChangeOperation, Resource)> {
    let with_operation = |resource| (ChangeOperation::Created, resource);
    resources.into_iter().map(with_operation).collect()
}

fn updated(resource: Resource) -> [(ChangeOperation, Resource); 1] {
    [(ChangeOperation::Updated, resource)]
}

fn image(id: &str, name: &str) -> Resource {
    Resource::Image(Image {
        id: id.to_owned(),
        name: name.to_owned(),
        r#type: rootstock_proto::catalog::v1::ImageType::Container.into(),
        architecture: "x86_64".to_owned(),
        public: true,
        ..Image::default()
    })
}

fn alias(name: &str, image_type: ImageType, architecture: &str, image_id: &str) -> Resource {
    Resource::Alias(Alias {
        name: name.to_owned(),
        r#type: rootstock_proto::catalog::v1::ImageType::from(image_type).into(),
        architecture: architecture.to_owned(),
        image_id: image_id.to_owned(),
        ..Alias::default()
    })
}

fn setting(key: &str, value: &str) -> Resource {
    Resource::Setting(Setting {
        key: key.to_owned(),
        value: value.to_owned(),
        ..Setting::default()
    })
}

/// The same version, retired at this moment.
fn retired(version: &Resource, at: OffsetDateTime) -> Resource {
    let Resource::Version(mut change) = version.clone() else {
        panic!("{version:?} is no version");
    };
    if let Some(version) = &mut change.version {
        version.set_status(Status::Deleted);
        version.deleted_at = Some(timestamp(at));
    }
    Resource::Version(change)
}

/// What the catalog would make of an offered image, with every version active.
fn offered_image(index: usize, offered: &snapshot::OfferedImage) -> Vec<Resource> {
    let id = format!("image{index}");
    let mut resources = vec![Resource::Image(Image {
        id: id.clone(),
        name: offered.product.to_string(),
        r#type: rootstock_proto::catalog::v1::ImageType::from(offered.image_type).into(),
        architecture: offered.architecture.to_string(),
        variant: offered.property("variant").to_owned(),
        public: true,
        properties: offered.properties.clone().into_iter().collect(),
        ..Image::default()
    })];
    let architecture = offered.architecture.to_string();
    for name in &offered.aliases {
        resources.push(alias(name.as_str(), offered.image_type, &architecture, &id));
    }
    for (number, version) in (0..).zip(&offered.versions) {
        let content = &version.contents[0];
        let artifacts = content.artifacts().into_iter().map(|artifact| Artifact {
            ftype: artifact.ftype.to_owned(),
            sha256: artifact.sha256.to_hex(),
            size_bytes: i64::try_from(artifact.size_bytes).unwrap(),
        });
        let version = Version {
            number,
            serial: version.serial.clone(),
            fingerprint: content.fingerprint().map(Digest::to_hex).unwrap_or_default(),
            created_at: version.created_at.map(timestamp),
            status: Status::Active.into(),
            artifacts: artifacts.collect(),
            ..Version::default()
        };
        resources.push(Resource::Version(VersionChange {
            image_id: id.clone(),
            version: Some(version),
            ..VersionChange::default()
        }));
    }
    resources
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response
        .headers()
        .get(name)
        .map_or("", |value| value.to_str().unwrap())
}

/// Bytes that say where they are.
const ALPHABET: &str = "abcdefghijklmnopqrstuvwxyz";

async fn text_of(response: Response, status: StatusCode) -> anyhow::Result<String> {
    assert_eq!(response.status(), status, "{response:?}");
    Ok(response.text().await?)
}

/// The file of a blob in the local store.
fn blob_file(site: &Site, digest: &Digest) -> PathBuf {
    let hex = digest.to_hex();
    site.directory
        .path()
        .join("blobs/blobs/sha256")
        .join(&hex[..2])
        .join(hex)
}
