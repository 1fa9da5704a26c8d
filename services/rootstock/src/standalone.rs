//! Everything in one process: the same services, over the same wire, with a database and a store of
//! their own.
//!
//! ```text
//! Postgres (child) ← catalog ← sync → blobs (local disk)
//!                            ← gateway → clients
//! ```
//!
//! The catalog listens on a loopback port that nobody is told: at `grpc_listen` answers the gateway,
//! which passes on the public API and nothing of what workers say to the catalog.

mod trust;

use anyhow::Context as _;
use rootstock_catalog::CatalogConfig;
use rootstock_gateway::Listeners;
use rootstock_runtime::config::Secret;
use rootstock_sync::SyncConfig;
use tokio::net::TcpListener;

use crate::{
    config::Config,
    data_directory::DataDirectory,
    postgres::{Options, Postgres},
    process::{self, Error, Process},
    serve,
};

/// `rootstock standalone`.
///
/// # Errors
/// See [`Error`].
pub async fn run(config: Config, announce: impl FnOnce(&str)) -> Result<(), Error> {
    let data = DataDirectory::take(&config.data_dir).map_err(anyhow::Error::from)?;
    process::run(&config, "rootstock", announce, async |process| {
        begin(process, &config, &data).await
    })
    .await
    // Others may have the data from here on.
}

async fn begin(process: &mut Process, config: &Config, data: &DataDirectory) -> Result<(), Error> {
    // First what is most likely to fail, and takes no time.
    let grpc = process.listen("grpc_listen", config.grpc_listen, "grpc").await?;
    let http = process.listen("http_listen", config.http_listen, "https").await?;
    let internal = TcpListener::bind("127.0.0.1:0")
        .await
        .context("cannot listen on loopback")?;
    let catalog_url = format!(
        "http://{}",
        internal.local_addr().context("cannot listen on loopback")?
    );

    let database_url = match config.catalog.database_url.is_empty() {
        true => start_postgres(process, data).await?,
        false => config.catalog.database_url.clone(),
    };
    let catalog = CatalogConfig {
        database_url,
        ..config.catalog.clone()
    };
    rootstock_catalog::migrate(&catalog)
        .await
        .context("cannot migrate the database")?;
    serve::start_catalog(process, catalog, internal);

    let blobs = serve::open_blobs(config, data.path()).await?;
    let sync = SyncConfig {
        catalog_url: catalog_url.clone(),
        catalog_ca_file: None,
        ..config.sync.clone()
    };
    serve::start_sync(process, sync, blobs.clone())?;

    let gateway = config.standalone_gateway(data.path(), catalog_url);
    process.say(&trust::how_to(&gateway.tls, &http, &grpc).context("cannot listen")?);
    serve::start_gateway(
        process,
        gateway,
        Listeners {
            http,
            grpc: Some(grpc),
        },
        blobs,
    );
    Ok(())
}

async fn start_postgres(process: &mut Process, data: &DataDirectory) -> Result<Secret, Error> {
    let component = process.readiness().register("postgres");
    let postgres = Postgres::start(data.path(), Options::default())
        .await
        .map_err(anyhow::Error::from)?;
    let url = Secret::new(postgres.url());
    process.abandon_at_once(postgres.process());
    process.start("postgres", |until| postgres.run(component, until));
    Ok(url)
}
