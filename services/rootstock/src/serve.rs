//! One service per process: the production form. Standalone starts them with the same functions.

use std::{convert::Infallible, path::Path};

use anyhow::Context as _;
use rootstock_blobs::BlobStore;
use rootstock_catalog::CatalogConfig;
use rootstock_gateway::{GatewayConfig, Listeners};
use rootstock_runtime::{
    Telemetry,
    grpc::client::{ClientOptions, connect_lazy},
    telemetry,
};
use rootstock_sync::SyncConfig;
use tokio::net::TcpListener;

use crate::{
    config::Config,
    process::{self, Error, Process},
};

/// `rootstock serve catalog`.
///
/// # Errors
/// See [`Error`].
pub async fn catalog(config: Config, announce: impl FnOnce(&str)) -> Result<(), Error> {
    process::run(&config, "rootstock-catalog", announce, async |process| {
        let listener = process.listen("grpc_listen", config.grpc_listen, "grpc").await?;
        start_catalog(process, config.catalog.clone(), listener);
        Ok(())
    })
    .await
}

/// `rootstock serve sync`.
///
/// # Errors
/// See [`Error`].
pub async fn sync(config: Config, announce: impl FnOnce(&str)) -> Result<(), Error> {
    process::run(&config, "rootstock-sync", announce, async |process| {
        let blobs = open_blobs(&config, &config.data_dir).await?;
        start_sync(process, config.sync.clone(), blobs)
    })
    .await
}

/// `rootstock serve gateway`.
///
/// # Errors
/// See [`Error`].
pub async fn gateway(config: Config, announce: impl FnOnce(&str)) -> Result<(), Error> {
    process::run(&config, "rootstock-gateway", announce, async |process| {
        let grpc = process.listen("grpc_listen", config.grpc_listen, "grpc").await?;
        let http = process.listen("http_listen", config.http_listen, "https").await?;
        let blobs = open_blobs(&config, &config.data_dir).await?;
        start_gateway(
            process,
            config.gateway.clone(),
            Listeners {
                http,
                grpc: Some(grpc),
            },
            blobs,
        );
        Ok(())
    })
    .await
}

/// `rootstock migrate`.
///
/// # Errors
/// The database cannot be reached, or a migration failed.
pub async fn migrate(config: Config) -> Result<(), Error> {
    let telemetry: Telemetry = telemetry::init(&config.telemetry, "rootstock-migrate")?;
    let migrated = rootstock_catalog::migrate(&config.catalog).await;
    telemetry.shutdown().await;
    Ok(migrated.context("cannot migrate the database")?)
}

/// Opens the store. One that is away is no obstacle to starting.
pub(crate) async fn open_blobs(config: &Config, data_directory: &Path) -> anyhow::Result<BlobStore> {
    BlobStore::open(&config.blobs.store(data_directory))
        .await
        .context("cannot open the blob store")
}

pub(crate) fn start_catalog(process: &mut Process, config: CatalogConfig, listener: TcpListener) {
    let readiness = process.readiness();
    process.start("catalog", |until| {
        rootstock_catalog::run(config, listener, readiness, until)
    });
}

pub(crate) fn start_sync(process: &mut Process, config: SyncConfig, blobs: BlobStore) -> Result<(), Error> {
    let ca_pem = match &config.catalog_ca_file {
        None => None,
        Some(path) => Some(
            std::fs::read(path)
                .with_context(|| format!("cannot read sync.catalog_ca_file {}", path.display()))?,
        ),
    };
    let options = rootstock_sync::client_options(ClientOptions {
        ca_pem,
        ..ClientOptions::default()
    });
    let catalog = connect_lazy(&config.catalog_url, options).context("sync.catalog_url cannot be used")?;
    let readiness = process.readiness();
    process.start("sync", |until| async move {
        rootstock_sync::run(config, catalog, blobs, readiness, until).await;
        Ok::<_, Infallible>(())
    });
    Ok(())
}

pub(crate) fn start_gateway(
    process: &mut Process,
    config: GatewayConfig,
    listeners: Listeners,
    blobs: BlobStore,
) {
    let readiness = process.readiness();
    process.start("gateway", |until| {
        rootstock_gateway::run(config, listeners, blobs, readiness, until)
    });
}
