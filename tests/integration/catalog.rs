//! The catalog over a real socket and a real Postgres; the test plays the worker.

mod activation;
mod adding;
mod aliases;
mod applications;
mod bounds;
mod calls;
mod deleting;
mod explaining;
mod holds;
mod ingest;
mod leases;
mod listing;
pub(crate) mod offers;
mod patterns;
mod remotes;
mod resolving;
mod secrets;
mod settings;
mod statements;
pub(crate) mod watch;
mod watch_bounds;
mod watch_filters;

use rootstock_proto::catalog::v1::{Remote, RemoteMode};
use rootstock_tests::{
    catalog::{TestCatalog, config},
    postgres::{Postgres, TestDatabase},
};

async fn start() -> (TestDatabase<'static>, TestCatalog) {
    let database = Postgres::shared().await.unwrap().database().await.unwrap();
    let catalog = TestCatalog::start(config(&database.url)).await.unwrap();
    (database, catalog)
}

fn remote(name: &str) -> Remote {
    Remote {
        name: name.to_owned(),
        url: format!("https://{name}.example"),
        ..Remote::default()
    }
}

fn on_demand(name: &str, keep_versions: i32) -> Remote {
    Remote {
        mode: RemoteMode::OnDemand.into(),
        keep_versions,
        ..remote(name)
    }
}
