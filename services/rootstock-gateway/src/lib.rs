//! The edge: what unmodified Incus and LXD clients, and gRPC clients, are served by.
//!
//! Owns: a read model of the catalog in memory ([`run`] feeds it from the catalog's watch), the
//! simplestreams index made from it, the way of a blob from the store to a client, the TLS port and
//! its certificate; and the way of a client's blob into the store (`content`). Refuses to know: SQL, the
//! inside of any other service, and who may do what to the catalog. It owns no data: any number of
//! gateways serve the same.
//!
//! What holds:
//! - No request waits for the catalog or its database, except a gRPC call that is passed to it. While
//!   the catalog is down images are served as they were last known.
//! - The read model changes one transaction at a time, and what the index lists can be fetched.
//! - Only blobs that are listed, or were until less than `images.deletion_grace` ago, and only of
//!   images that the client's audience sees, can be read.
//! - A client never takes a part of a blob for the whole.
//!
//! Where to start: `read_model` (what is known, and `read_model/follow.rs` how it is learned), `listing` (who
//! may see what of it), `simplestreams` (what is made of that), `http`, `grpc` and `content` (who asks),
//! `upstream` (calls to the catalog). The metrics are listed in `metrics`.

mod config;
mod content;
mod grpc;
mod http;
mod listen;
mod listing;
mod metrics;
mod read_model;
pub mod self_signed;
mod simplestreams;
#[cfg(test)]
mod test_catalog;
mod upstream;
mod uses;

use std::{convert::Infallible, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use axum::{Router, extract::Request, middleware::Next, response::Response};
use rootstock_blobs::BlobStore;
use rootstock_runtime::{
    Component, Readiness, Shutdown, Tasks,
    grpc::{
        Api,
        server::{Stack, StackOptions, stack},
    },
    http::{ListenOptions, serve, serve_with},
};
use time::OffsetDateTime;
use tokio::{
    net::TcpListener,
    sync::watch,
    task::spawn_blocking,
    time::{Instant, sleep},
};
use tower::ServiceExt as _;

pub use config::{GatewayConfig, TlsConfig};

use crate::{
    content::Content,
    http::Edge,
    listen::certificate::Certificate,
    listing::audience,
    read_model::{ReadModel, SharedReadModel, state_file},
    simplestreams::{IndexReceiver, SharedIndex},
};

/// Where the gateway is spoken to.
#[derive(Debug)]
pub struct Listeners {
    /// HTTPS: simplestreams, blobs, and gRPC.
    pub http: TcpListener,
    /// gRPC without TLS, for a network that is trusted.
    pub grpc: Option<TcpListener>,
}

/// Least time between two writings of the state file.
const STATE_FILE_INTERVAL: Duration = Duration::from_secs(5);

/// And at least so many times as long as the last writing took: a large state is not written all the time.
const STATE_FILE_PAUSE: u32 = 50;

/// Beyond the grace for downloads: for the tasks that end after them.
const LAST_GRACE: Duration = Duration::from_secs(5);

/// Serves until `shutdown`, then lets downloads end within the configured grace.
///
/// `readiness` gets a component `gateway.images` in the moment of the call, ready as soon as there is
/// something to serve: from then on the catalog may go away. The catalog need not be there at the
/// start.
///
/// # Errors
/// The certificate or the catalog's URL cannot be used, or a part of the gateway broke.
pub fn run(
    config: GatewayConfig,
    listeners: Listeners,
    blobs: BlobStore,
    readiness: Readiness,
    shutdown: Shutdown,
) -> impl Future<Output = anyhow::Result<()>> + Send {
    // Not only when the future is first polled: until then the process would pass for ready.
    let component = readiness.register("gateway.images");
    component.not_ready("waiting for the catalog's state");
    serve_all(config, listeners, blobs, readiness, component, shutdown)
}

async fn serve_all(
    config: GatewayConfig,
    listeners: Listeners,
    blobs: BlobStore,
    readiness: Readiness,
    component: Component,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    metrics::describe();
    let certificate = Certificate::load(config.tls.clone())
        .await
        .context("cannot set up TLS")?;
    let catalog = upstream::client_for_proxy(&config)?;
    let model = Arc::new(SharedReadModel::new(load_state(&config).await));
    let index = Arc::new(SharedIndex::new());

    let content = Content::new(
        &config,
        upstream::client_for_content(&config)?,
        blobs.clone(),
        model.subscribe(),
        shutdown.clone(),
    );
    let api_for = |audience| {
        let (catalog, readiness) = (catalog.clone(), readiness.clone());
        grpc::api(catalog, &content, audience, readiness, shutdown.clone())
    };
    let public_index = index
        .subscribe(audience::public())
        .context("everyone has an image server")?;
    let edge = Edge::new(&config, model.subscribe(), blobs);
    let mut tasks = Tasks::new(shutdown.clone());
    tasks.spawn("gateway.content", content.clone().run());
    tasks.spawn("gateway.downloads", {
        let (downloads, shutdown) = (edge.downloads(), shutdown.clone());
        async move {
            downloads.end_stalled(&shutdown).await;
            Ok::<_, Infallible>(())
        }
    });
    tasks.spawn("gateway.uses", {
        let (uses, catalog, shutdown) = (edge.uses(), catalog.clone(), shutdown.clone());
        async move { uses.report(catalog, &shutdown).await }
    });
    if let Some(listener) = listeners.grpc {
        let audience = audience::by_name(&config.grpc_audience).context("grpc_audience is none")?;
        let Api { router, methods } = api_for(audience)?;
        let service = stack(router, methods, &StackOptions::default());
        tasks.spawn(
            "gateway.grpc",
            serve(listener, service, listen_options(&config), shutdown.clone()),
        );
    }
    tasks.spawn("gateway.http", {
        let (in_force, stall_timeout) = (certificate.in_force(), config.write_stall_timeout);
        let handshake = move |stream| listen::handshake(stream, in_force.clone(), stall_timeout);
        serve_with(
            listeners.http,
            handshake,
            everything(http::router(&edge, &index), api_for(audience::public())?),
            listen_options(&config),
            shutdown.clone(),
        )
    });
    tasks.spawn("gateway.certificate", {
        let shutdown = shutdown.clone();
        async move { certificate.keep_fresh(&shutdown).await }
    });
    tasks.spawn("gateway.index", {
        let (model, shutdown) = (Arc::clone(&model), shutdown.clone());
        async move { simplestreams::keep_rendered(model, index, config.render_interval, &shutdown).await }
    });
    tasks.spawn(
        "gateway.readiness",
        report_ready(component, public_index, shutdown.clone()),
    );
    if let Some(path) = config.state_file.clone() {
        tasks.spawn(
            "gateway.state",
            keep_state(path, model.subscribe(), shutdown.clone()),
        );
    }
    tasks.spawn("gateway.follow", {
        let shutdown = shutdown.clone();
        async move { read_model::follow::follow(catalog, &model, &shutdown).await }
    });

    let outcome = tasks.wait().await;
    let ended = tasks.shutdown(config.shutdown_grace + LAST_GRACE).await;
    outcome.context("the gateway broke")?;
    anyhow::ensure!(
        ended.stuck.is_empty(),
        "the gateway did not end in time: {:?}",
        ended.stuck
    );
    Ok(())
}

/// What the state file holds. A file that cannot be used is as good as none.
async fn load_state(config: &GatewayConfig) -> Option<ReadModel> {
    let path = config.state_file.clone()?;
    let shown = path.display().to_string();
    match spawn_blocking(move || state_file::load(&path, OffsetDateTime::now_utc())).await {
        Ok(Ok(model)) => {
            if let Some(model) = &model {
                tracing::info!(
                    revision = model.revision(),
                    path = shown,
                    "serving the last known state"
                );
            }
            model
        }
        Ok(Err(error)) => {
            tracing::warn!(path = shown, %error, "the state file is passed over");
            None
        }
        Err(error) => {
            tracing::error!(path = shown, %error, "reading the state file broke");
            None
        }
    }
}

/// Writes each state to the file, with a pause between two, and the last one at the shutdown.
async fn keep_state(
    path: PathBuf,
    mut model: watch::Receiver<Option<ReadModel>>,
    shutdown: Shutdown,
) -> Result<(), Infallible> {
    let mut pause = STATE_FILE_INTERVAL;
    loop {
        let changed = shutdown
            .race(model.changed())
            .await
            .is_some_and(|changed| changed.is_ok());
        let is_last = !changed;
        if is_last && !model.has_changed().unwrap_or(false) {
            return Ok(());
        }
        let snapshot = model
            .borrow_and_update()
            .as_ref()
            .map(|model| model.resources().snapshot());
        if let Some(snapshot) = snapshot {
            let target = path.clone();
            let begun = Instant::now();
            let written =
                spawn_blocking(move || state_file::write(&target, &state_file::encode(&snapshot))).await;
            let problem = match written {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(error) => Some(error.to_string()),
            };
            pause = STATE_FILE_INTERVAL.max(begun.elapsed() * STATE_FILE_PAUSE);
            if let Some(problem) = problem {
                tracing::warn!(path = %path.display(), problem, "cannot write the state file");
            }
        }
        if is_last {
            return Ok(());
        }
        // Woken early by the shutdown, the next round writes what changed meanwhile.
        shutdown.race(sleep(pause)).await;
    }
}

/// Ready from the first index on, for good.
async fn report_ready(
    component: Component,
    mut index: IndexReceiver,
    shutdown: Shutdown,
) -> Result<(), Infallible> {
    if let Some(Ok(_)) = shutdown.race(index.wait_for(Option::is_some)).await {
        component.ready();
    }
    // Dropping the component would take its word back.
    shutdown.triggered().await;
    Ok(())
}

/// What the TLS port serves, behind the stack that all requests pass.
fn everything(image_servers: Router, api: Api) -> Stack {
    let services: Router = api.router;
    let router = image_servers.layer(axum::middleware::from_fn(move |request: Request, next: Next| {
        let services = services.clone();
        async move {
            if grpc::is_grpc(&request) {
                return match services.oneshot(request).await {
                    Ok(response) => response,
                    Err(never) => match never {},
                };
            }
            let response: Response = next.run(request).await;
            response
        }
    }));
    stack(router, api.methods, &StackOptions::default())
}

fn listen_options(config: &GatewayConfig) -> ListenOptions {
    ListenOptions {
        max_connections: config.max_connections,
        grace: config.shutdown_grace,
        ..ListenOptions::default()
    }
}
