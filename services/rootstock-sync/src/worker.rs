//! What all jobs of a worker share.

use std::sync::Arc;

use rootstock_blobs::BlobStore;
use rootstock_ingest::Leases;
use rootstock_remote::RemoteSources;
use rootstock_runtime::{Shutdown, grpc::client::ClientStack};
use tokio_util::sync::CancellationToken;

use crate::{catalog::CatalogClient, config::SyncConfig};

/// What all jobs share.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) config: SyncConfig,
    pub(crate) catalog: CatalogClient,
    pub(crate) blobs: BlobStore,
    pub(crate) remotes: RemoteSources,
    pub(crate) leases: Arc<Leases>,
    /// Come to a good place, and stop there.
    pub(crate) shutdown: Shutdown,
    /// The grace is over: stop where you are.
    pub(crate) give_up: CancellationToken,
}

impl Worker {
    pub(crate) fn new(
        config: SyncConfig,
        catalog: ClientStack,
        blobs: BlobStore,
        shutdown: Shutdown,
    ) -> Arc<Self> {
        Arc::new(Self {
            catalog: CatalogClient::new(catalog),
            blobs,
            remotes: RemoteSources::new(config.remote.clone()),
            leases: Arc::default(),
            shutdown,
            give_up: CancellationToken::new(),
            config,
        })
    }
}
