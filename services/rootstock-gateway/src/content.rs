//! `ContentService`: the bytes of images, in and out. The one part of the public API that is not the
//! catalog's, because the gateway has the store.
//!
//! The catalog decides all the same: whose an upload is (a lease, as for any other work), what an import
//! makes, what may be read. A gateway that dies half-way leaves a journal that any other goes on with.

mod archive;
mod catalog;
mod download;
mod import;
mod upload;

use std::{convert::Infallible, sync::Arc, time::Duration};

use rootstock_blobs::{BlobError, BlobStore};
use rootstock_ingest::Leases;
use rootstock_proto::{
    Error,
    catalog::v1::{
        DownloadBlobRequest, DownloadBlobResponse, ImportImageRequest, ImportImageResponse,
        UploadBlobRequest, UploadBlobResponse, content_service_server::ContentService,
    },
};
use rootstock_runtime::{Shutdown, grpc::client::ClientStack};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Request, Response, Status, Streaming};
use tracing::Instrument as _;

use self::catalog::CatalogClient;
use crate::{
    GatewayConfig,
    listing::audience::{self, Audience},
    read_model::ReadModel,
};

/// Archives that are looked into at a time; further ones wait for their turn.
const INSPECTIONS: usize = 4;

/// The service. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Content {
    catalog: CatalogClient,
    leases: Arc<Leases>,
    blobs: BlobStore,
    model: watch::Receiver<Option<ReadModel>>,
    /// Who calls.
    audience: &'static dyn Audience,
    uploads: Arc<Semaphore>,
    downloads: Arc<Semaphore>,
    inspections: Arc<Semaphore>,
    max_upload_bytes: u64,
    upload_idle_timeout: Duration,
    write_stall_timeout: Duration,
    /// Owns the streams' tasks.
    tasks: TaskTracker,
    shutdown: Shutdown,
}

impl Content {
    /// `catalog` must repeat what [`client_for_content`](crate::upstream::client_for_content) does.
    pub(crate) fn new(
        config: &GatewayConfig,
        catalog: ClientStack,
        blobs: BlobStore,
        model: watch::Receiver<Option<ReadModel>>,
        shutdown: Shutdown,
    ) -> Self {
        let places = |number: usize| Arc::new(Semaphore::new(number.min(Semaphore::MAX_PERMITS)));
        Self {
            catalog: CatalogClient::new(catalog),
            leases: Arc::default(),
            blobs,
            model,
            audience: audience::public(),
            uploads: places(config.max_uploads),
            downloads: places(config.max_downloads),
            inspections: places(INSPECTIONS),
            max_upload_bytes: config.max_upload_bytes,
            upload_idle_timeout: config.upload_idle_timeout,
            write_stall_timeout: config.write_stall_timeout,
            tasks: TaskTracker::new(),
            shutdown,
        }
    }

    /// The same service for callers of another audience than the public.
    pub(crate) fn for_audience(&self, audience: &'static dyn Audience) -> Self {
        Self {
            audience,
            ..self.clone()
        }
    }

    /// Keeps the leases of uploads. Ends after the shutdown, when every stream has stopped at a good place.
    pub(crate) async fn run(self) -> Result<(), Infallible> {
        let ended = CancellationToken::new();
        let streams = async {
            self.shutdown.triggered().await;
            self.tasks.close();
            self.tasks.wait().await;
            ended.cancel();
        };
        tokio::join!(streams, self.leases.keep(self.catalog.leases(), &ended));
        Ok(())
    }

    /// A stream of answers, and the task that makes them, one ahead of what the client has taken.
    fn stream<T, F>(&self, make: impl FnOnce(Self, mpsc::Sender<Result<T, Status>>) -> F) -> Answers<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<(), Status>> + Send + 'static,
    {
        let (sender, receiver) = mpsc::channel(2);
        let made = make(self.clone(), sender.clone());
        let patience = self.write_stall_timeout;
        let task = async move {
            if let Err(status) = made.await {
                // The client may be gone as well.
                let _ = timeout(patience, sender.send(Err(status))).await;
            }
        };
        self.tasks.spawn(task.in_current_span());
        Response::new(ReceiverStream::new(receiver))
    }
}

type Answers<T> = Response<ReceiverStream<Result<T, Status>>>;

#[tonic::async_trait]
impl ContentService for Content {
    type UploadBlobStream = ReceiverStream<Result<UploadBlobResponse, Status>>;
    type DownloadBlobStream = ReceiverStream<Result<DownloadBlobResponse, Status>>;

    async fn upload_blob(
        &self,
        request: Request<Streaming<UploadBlobRequest>>,
    ) -> Result<Answers<UploadBlobResponse>, Status> {
        let messages = request.into_inner();
        Ok(
            self.stream(
                |content, answers| async move { upload::receive(&content, messages, &answers).await },
            ),
        )
    }

    async fn import_image(
        &self,
        request: Request<ImportImageRequest>,
    ) -> Result<Response<ImportImageResponse>, Status> {
        Ok(Response::new(import::import(self, request.into_inner()).await?))
    }

    async fn download_blob(
        &self,
        request: Request<DownloadBlobRequest>,
    ) -> Result<Answers<DownloadBlobResponse>, Status> {
        let request = request.into_inner();
        Ok(self.stream(|content, answers| async move { download::send(&content, request, &answers).await }))
    }
}

/// Said to whoever is cut off by the end of the process.
fn ending() -> Status {
    Error::Unavailable("the gateway is shutting down; connect again, and go on".to_owned()).into()
}

/// What callers are told of the store. Its own words hold addresses and the like: they go to the log.
fn of_store(error: &BlobError) -> Status {
    if let BlobError::TooLarge { limit_bytes, .. } = error {
        let problem = format!("the blob store takes at most {limit_bytes} bytes");
        return Error::invalid("header.size_bytes", problem).into();
    }
    tracing::error!(%error, "the blob store failed");
    Error::Unavailable("the blob store cannot be used at the moment; try again later".to_owned()).into()
}
