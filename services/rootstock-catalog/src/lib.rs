//! The catalog: the one service that owns metadata, in Postgres.
//!
//! Owns: every row, every decision about what is listed, fetched, activated and retired, the log of
//! changes and the queue of work. The only crate that speaks SQL. Refuses to know: bytes of blobs,
//! object stores, HTTP to remotes.
//!
//! Where to start: [`run`]; then `change` (how anything is changed, and what follows from it),
//! `snapshot` (what a remote's offer does), `feed` (how watchers hear of changes) and `work` (what is to be
//! done, when, and by whom). `queries/` has one file per noun.

mod change;
mod config;
mod failure;
mod feed;
mod lookup;
mod metrics;
mod page;
mod plan_message;
mod plan_pages;
mod queries;
mod request;
mod retry;
mod services;
mod snapshot;
mod uses;
mod work;

use std::{convert::Infallible, sync::Arc, time::Duration};

use rootstock_proto::{
    ALL_DESCRIPTORS,
    catalog::v1::{
        alias_service_server::AliasServiceServer, application_service_server::ApplicationServiceServer,
        blob_service_server::BlobServiceServer, image_service_server::ImageServiceServer,
        remote_service_server::RemoteServiceServer, setting_service_server::SettingServiceServer,
        webhook_service_server::WebhookServiceServer,
    },
    sync::v1::{import_service_server::ImportServiceServer, work_service_server::WorkServiceServer},
};
use rootstock_runtime::{
    Readiness, Shutdown, Tasks,
    grpc::{
        Api,
        api::ApiError,
        server::{self, StackOptions},
        with_health_and_reflection,
    },
    http::ListenOptions,
};
use sqlx::{
    Connection as _, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;

pub use config::CatalogConfig;
pub use failure::StartError;

use crate::{
    feed::Feed,
    lookup::Lookup,
    retry::RetryPolicy,
    services::{
        Aliases, Applications, Blobs, Images, Imports, Remotes, Settings, WatchServer, Watches, Webhooks,
        Works,
    },
    uses::Uses,
};

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();

/// A snapshot's chunk is about 1 MiB; journals and pages are smaller.
const MAX_MESSAGE_BYTES: usize = 8 * 1024 * 1024;
/// For callers that name no limit. The longest a call takes is the recording of a large index.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// How long calls may go on once the shutdown began.
const GRACE: Duration = Duration::from_secs(15);
/// Beyond that: for watches to end, and then for what is to be written still.
const LAST_GRACE: Duration = Duration::from_secs(1);

/// A connection that was used so recently is taken to be alive.
const TRUSTED_IDLE: Duration = Duration::from_secs(1);

/// What the services share.
#[derive(Clone)]
struct Catalog {
    pool: PgPool,
    feed: Arc<Feed>,
    uses: Arc<Uses>,
    lookup: Arc<Lookup>,
    lease_duration: Duration,
    /// Changes that the log keeps.
    change_history: i64,
    sweep_interval: Duration,
    sweep_min_age: Duration,
    retry: RetryPolicy,
}

/// Brings the database's schema up to this binary's. A step of its own in production, so that it
/// runs once and before any service; repeating it is harmless.
///
/// # Errors
/// The database cannot be reached, or a migration failed; the ones before it hold.
pub async fn migrate(config: &CatalogConfig) -> Result<(), StartError> {
    let options = connect_options(config)?;
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .connect_with(options)
        .await
        .map_err(StartError::Database)?;
    MIGRATIONS.run(&pool).await.map_err(StartError::Schema)?;
    pool.close().await;
    Ok(())
}

/// Serves the catalog until `shutdown`.
///
/// Starts without the database too: calls are answered with `UNAVAILABLE`, and `readiness` says so,
/// until it is there.
///
/// # Errors
/// The configuration is wrong, or the listener broke.
pub async fn run(
    config: CatalogConfig,
    listener: TcpListener,
    readiness: Readiness,
    shutdown: Shutdown,
) -> Result<(), StartError> {
    metrics::describe();
    let component = readiness.register("catalog");
    component.not_ready("the database is not reachable");
    let pool = pool(&config)?;
    let Some(feed) = shutdown.race(wait_for_database(&pool)).await else {
        return Ok(());
    };
    let feed = Arc::new(feed);
    let catalog = Catalog {
        pool: pool.clone(),
        feed: feed.clone(),
        uses: Arc::default(),
        lookup: Arc::new(Lookup::new(pool.clone())),
        lease_duration: config.lease_duration,
        change_history: config.change_history.into(),
        sweep_interval: config.sweep_interval,
        sweep_min_age: config.sweep_min_age,
        retry: RetryPolicy::new(config.retry_initial, config.retry_max, config.transfer_attempts),
    };
    let mut tasks = Tasks::new(shutdown.child());
    let word = tasks.shutdown_handle().clone();
    let streams = TaskTracker::new();
    let api =
        api(&catalog, &streams, &word, readiness).map_err(|error| StartError::Serve(error.to_string()))?;
    let listening = word.clone();
    tasks.spawn("catalog feed", {
        let word = word.clone();
        async move {
            feed.run(component, word).await;
            Ok::<_, Infallible>(())
        }
    });
    tasks.spawn("catalog uses", {
        let (uses, pool, word) = (catalog.uses.clone(), pool.clone(), word.clone());
        async move {
            uses.run(&pool, &word).await;
            Ok::<_, Infallible>(())
        }
    });
    for (kind, rules) in work::kinds::of_catalog() {
        let (catalog, word) = (catalog.clone(), word.clone());
        tasks.spawn(kind.label(), async move {
            work::runner::run(catalog, kind, rules, word).await;
            Ok::<_, Infallible>(())
        });
    }
    let stack = StackOptions {
        default_timeout: CALL_TIMEOUT,
        ..StackOptions::default()
    };
    tasks.spawn("catalog listener", async move {
        server::serve(listener, api, &stack, ListenOptions::default(), listening).await
    });
    let outcome = tasks.wait().await;
    let ended = tasks.shutdown(GRACE).await;
    // Their tasks hear the same word; what a client does not take within the grace is dropped.
    streams.close();
    if tokio::time::timeout(LAST_GRACE, streams.wait()).await.is_err() {
        tracing::warn!(watches = streams.len(), "watches did not end in time");
    }
    if tokio::time::timeout(LAST_GRACE, catalog.uses.flush(&catalog.pool))
        .await
        .is_err()
    {
        tracing::warn!("the last uses of images could not be written in time");
    }
    let first = outcome.err().or_else(|| ended.failed.into_iter().next());
    first.map_or(Ok(()), |failure| Err(StartError::Serve(failure.to_string())))
}

fn api(
    catalog: &Catalog,
    streams: &TaskTracker,
    shutdown: &Shutdown,
    readiness: Readiness,
) -> Result<Api, ApiError> {
    let watches = Watches {
        catalog: catalog.clone(),
        tasks: streams.clone(),
        shutdown: shutdown.clone(),
    };
    let works = Works {
        catalog: catalog.clone(),
        shutdown: shutdown.clone(),
    };
    let works = WorkServiceServer::new(works).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let routes = Routes::new(ImageServiceServer::new(Images(catalog.clone())))
        .add_service(AliasServiceServer::new(Aliases(catalog.clone())))
        .add_service(BlobServiceServer::new(Blobs(catalog.clone())))
        .add_service(ApplicationServiceServer::new(Applications(catalog.clone())))
        .add_service(RemoteServiceServer::new(Remotes(catalog.clone())))
        .add_service(SettingServiceServer::new(Settings(catalog.clone())))
        .add_service(WatchServer::new(watches))
        .add_service(WebhookServiceServer::new(Webhooks(catalog.clone())))
        .add_service(ImportServiceServer::new(Imports(catalog.clone())))
        .add_service(works);
    with_health_and_reflection(routes, &[ALL_DESCRIPTORS], readiness)
}

fn connect_options(config: &CatalogConfig) -> Result<PgConnectOptions, StartError> {
    let options: PgConnectOptions = config
        .database_url
        .expose()
        .parse()
        .map_err(StartError::DatabaseUrl)?;
    Ok(options
        .application_name("rootstock")
        // Bounds on what a lost client or a lost race can hold up.
        .options([
            ("statement_timeout", "60s"),
            ("lock_timeout", "20s"),
            ("idle_in_transaction_session_timeout", "60s"),
        ]))
}

fn pool(config: &CatalogConfig) -> Result<PgPool, StartError> {
    Ok(PgPoolOptions::new()
        .max_connections(config.database_connections)
        .acquire_timeout(Duration::from_secs(10))
        // A round trip before each use would double the latency of a resolve; what was idle for longer
        // may have lost its server.
        .test_before_acquire(false)
        .before_acquire(|connection, about| {
            Box::pin(async move {
                if about.idle_for > TRUSTED_IDLE {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .connect_lazy_with(connect_options(config)?))
}

/// Waits until the database answers and its schema is there: production starts services and
/// database at once, and migrates in a step of its own.
async fn wait_for_database(pool: &PgPool) -> Feed {
    let begin = async || {
        let mut connection = pool.acquire().await?;
        work::schedule::ensure_recurring(&mut connection).await?;
        drop(connection);
        Feed::new(pool.clone()).await
    };
    loop {
        match begin().await {
            Ok(feed) => return feed,
            Err(failure) => tracing::warn!(?failure, "waiting for the database"),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
