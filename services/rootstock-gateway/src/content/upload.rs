//! Receiving a blob: from a client's stream through the hashes into the store, under a lease.

use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, stream};
use rootstock_blobs::{BlobError, Upload};
use rootstock_ingest::{Ingest, LeaseGuard, Partial, Stopped, Stored, remove};
use rootstock_model::Digest;
use rootstock_proto::{
    Error,
    catalog::v1::{
        UploadBlobRequest, UploadBlobResponse, UploadHeader, UploadState, upload_blob_request::Part,
    },
    convert,
    sync::v1::{Lease, OpenedUpload, open_upload_response::Outcome},
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};
use tonic::{Status, Streaming};

use super::{
    Content,
    catalog::{CatalogClient, is_lease_lost},
    ending, of_store,
};
use crate::metrics;

/// A client may send more in a message than it takes from a file at once, but not much more.
const MAX_CHUNK_BYTES: usize = 2 << 20;
/// Between two looks at an upload that is someone else's.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// The longest that a client is let wait for someone else, in a place that others could have.
const MAX_WAIT: Duration = Duration::from_secs(10 * 60);
/// For making durable what came of an upload that is cut. What takes longer is sent again.
const SUSPEND_TIMEOUT: Duration = Duration::from_secs(15);

type Answers = mpsc::Sender<Result<UploadBlobResponse, Status>>;

/// What a header asks for.
struct Wanted {
    digest: Digest,
    size_bytes: u64,
    metadata: Vec<Digest>,
}

impl Wanted {
    fn of(header: &UploadHeader, max_bytes: u64) -> Result<Self, Error> {
        let digest = |field: &str, text: &str| -> Result<Digest, Error> {
            text.parse().map_err(|error| Error::invalid(field, error))
        };
        let size_bytes = convert::size_bytes("header.size_bytes", header.size_bytes)?;
        if size_bytes > max_bytes {
            let problem = format!("is {size_bytes}; this server takes at most {max_bytes}");
            return Err(Error::invalid("header.size_bytes", problem));
        }
        Ok(Self {
            digest: digest("header.sha256", &header.sha256)?,
            size_bytes,
            metadata: match header.metadata_sha256.as_str() {
                "" => vec![],
                text => vec![digest("header.metadata_sha256", text)?],
            },
        })
    }
}

/// Receives a blob, until it is stored or the client is gone. What came is kept for the next stream.
pub(super) async fn receive(
    content: &Content,
    mut messages: Streaming<UploadBlobRequest>,
    answers: &Answers,
) -> Result<(), Status> {
    let Ok(_place) = content.uploads.try_acquire() else {
        let text = "this gateway receives as many files as it can at a time; try again in a moment";
        return Err(Error::Unavailable(text.to_owned()).into());
    };
    let first = timeout(content.upload_idle_timeout, messages.message());
    let header = match first.await.map_err(|_elapsed| idle())?? {
        Some(UploadBlobRequest {
            part: Some(Part::Header(header)),
        }) => header,
        _ => return Err(Error::invalid("header", "must come first").into()),
    };
    let wanted = Wanted::of(&header, content.max_upload_bytes)?;
    let worker = CatalogClient::worker();
    let Some(opened) = open(content, &wanted, &worker, answers).await? else {
        return Ok(());
    };
    let OpenedUpload {
        lease,
        lease_duration,
        journal,
    } = opened;
    let receiving = Receiving {
        content,
        wanted: &wanted,
        worker: &worker,
        answers,
        lease: &content.leases.hold(lease.unwrap_or_default(), lease_duration),
    };
    receiving.run(&journal, messages).await
}

/// Waits until the upload is ours. `None` when nothing is to be sent: it is stored, or the client has
/// gone.
async fn open(
    content: &Content,
    wanted: &Wanted,
    worker: &str,
    answers: &Answers,
) -> Result<Option<OpenedUpload>, Status> {
    let until = Instant::now() + MAX_WAIT;
    loop {
        match content.catalog.open_upload(worker, &wanted.digest).await? {
            Outcome::Opened(opened) => return Ok(Some(opened)),
            Outcome::Stored(blob) => {
                let stored = u64::try_from(blob.size_bytes).unwrap_or_default();
                if stored != wanted.size_bytes {
                    let problem = format!("is {}, and this blob has {stored} bytes", wanted.size_bytes);
                    return Err(Error::invalid("header.size_bytes", problem).into());
                }
                answer(answers, UploadState::Stored, stored).await;
                return Ok(None);
            }
            Outcome::Busy(busy) => {
                let done = u64::try_from(busy.done_bytes).unwrap_or_default();
                say(answers, UploadState::Waiting, done);
            }
        }
        if Instant::now() > until {
            let text = "someone else is still uploading this file; try again later";
            return Err(Error::Unavailable(text.to_owned()).into());
        }
        tokio::select! {
            () = answers.closed() => return Ok(None),
            () = content.shutdown.triggered() => return Err(ending()),
            () = sleep(LOOK_AGAIN) => {}
        }
    }
}

struct Receiving<'a> {
    content: &'a Content,
    wanted: &'a Wanted,
    worker: &'a str,
    answers: &'a Answers,
    lease: &'a LeaseGuard,
}

impl Receiving<'_> {
    async fn run(&self, journal: &[u8], messages: Streaming<UploadBlobRequest>) -> Result<(), Status> {
        let _counted = metrics::UploadGauge::begin();
        let ingest = Ingest {
            blobs: &self.content.blobs,
            catalog: self.content.catalog.leases(),
            lease: self.lease,
            shutdown: &self.content.shutdown,
            digest: self.wanted.digest,
            metadata: self.wanted.metadata.clone(),
        };
        let upload = match self.begin(&ingest, journal).await {
            Ok(upload) => upload,
            Err(error) => {
                self.release(self.lease.lease()).await;
                return Err(of_store(&error));
            }
        };
        answer(self.answers, UploadState::Receiving, upload.offset()).await;
        let chunks = self.chunks(messages, upload.size_bytes() - upload.offset());
        let acknowledge = |saved_bytes| say(self.answers, UploadState::Receiving, saved_bytes);
        let received = tokio::select! {
            biased;
            loss = self.lease.lost() => Err(Stopped::LeaseLost(loss)),
            received = ingest.receive(upload, chunks, acknowledge) => received,
        };
        match received {
            Ok(stored) => {
                self.report(&stored).await?;
                answer(self.answers, UploadState::Stored, self.wanted.size_bytes).await;
                Ok(())
            }
            Err(Stopped::Shutdown(partial)) => {
                self.suspend(partial).await;
                Err(ending())
            }
            Err(Stopped::BySource(partial, status)) => {
                self.suspend(partial).await;
                Err(status)
            }
            Err(Stopped::ByStore(error)) => Err(self.refused(error).await),
            Err(Stopped::LeaseLost(loss)) => {
                tracing::warn!(?loss, "stopped receiving: the lease is lost");
                Err(Error::LeaseLost.into())
            }
        }
    }

    /// What an earlier stream has left, or the blob's first byte.
    async fn begin(&self, ingest: &Ingest<'_>, journal: &[u8]) -> Result<Upload, BlobError> {
        match ingest.resume(journal).await? {
            Some(upload) if upload.size_bytes() == self.wanted.size_bytes => return Ok(upload),
            Some(other) => remove(other).await,
            None => {}
        }
        ingest.begin(self.wanted.size_bytes).await
    }

    /// The client's chunks, until they have `missing_bytes`. Fails when the client is gone or too slow.
    fn chunks(
        &self,
        messages: Streaming<UploadBlobRequest>,
        missing_bytes: u64,
    ) -> impl Stream<Item = Result<Bytes, Status>> {
        let idle_timeout = self.content.upload_idle_timeout;
        stream::try_unfold(
            (messages, missing_bytes),
            move |(mut messages, missing_bytes)| async move {
                if missing_bytes == 0 {
                    return Ok(None);
                }
                let message = tokio::select! {
                    biased;
                    () = self.answers.closed() => return Err(gone()),
                    message = timeout(idle_timeout, messages.message()) => message,
                };
                let chunk = chunk(message.unwrap_or_else(|_elapsed| Err(idle())))?;
                metrics::uploaded(chunk.len());
                let missing_bytes = missing_bytes.saturating_sub(chunk.len() as u64);
                Ok(Some((chunk, (messages, missing_bytes))))
            },
        )
    }

    async fn report(&self, stored: &Stored) -> Result<(), Status> {
        let catalog = &self.content.catalog;
        self.lease.reporting();
        let reported = catalog
            .finish_upload(
                self.lease.lease(),
                stored.finished.size_bytes,
                stored.combinations(),
            )
            .await;
        match reported {
            // It may be that the answer to an earlier attempt was lost.
            Err(status) if is_lease_lost(&status) => {
                match catalog.open_upload(self.worker, &self.wanted.digest).await? {
                    Outcome::Stored(_) => Ok(()),
                    Outcome::Opened(opened) => {
                        self.release(opened.lease.unwrap_or_default()).await;
                        Err(status)
                    }
                    Outcome::Busy(_) => Err(status),
                }
            }
            reported => reported,
        }
    }

    /// The store does not take the blob as it is. Of wrong content nothing is left; otherwise the next
    /// stream goes on.
    async fn refused(&self, error: BlobError) -> Status {
        let lease = self.lease.lease();
        match error {
            BlobError::Mismatch { actual, .. } => {
                self.discard(lease).await;
                let problem =
                    format!("the bytes that came have {actual}; nothing of them is kept, send them anew");
                Error::invalid("header.sha256", problem).into()
            }
            BlobError::SizeMismatch { actual_bytes, .. } => {
                self.discard(lease).await;
                let problem = format!("{actual_bytes} came; nothing of them is kept, send them anew");
                Error::invalid("header.size_bytes", problem).into()
            }
            error => {
                self.release(lease).await;
                of_store(&error)
            }
        }
    }

    /// Makes durable what came in whole parts, and gives the lease back for another stream.
    async fn suspend(&self, partial: Partial) {
        match timeout(SUSPEND_TIMEOUT, partial.suspend()).await {
            Ok(Ok(())) => {}
            Ok(Err(_lost)) => return,
            Err(_elapsed) => tracing::warn!("the last part could not be kept in time"),
        }
        self.release(self.lease.lease()).await;
    }

    async fn release(&self, lease: Lease) {
        if let Err(error) = self.content.catalog.leases().release(lease).await {
            tracing::warn!(
                %error,
                "an upload could not be given back; its lease runs out by itself"
            );
        }
    }

    async fn discard(&self, lease: Lease) {
        if let Err(status) = self.content.catalog.discard_upload(lease).await {
            tracing::warn!(
                error = status.message(),
                "an upload could not be ended; its lease runs out by itself"
            );
        }
    }
}

fn chunk(message: Result<Option<UploadBlobRequest>, Status>) -> Result<Bytes, Status> {
    match message?.and_then(|message| message.part) {
        Some(Part::Chunk(chunk)) if chunk.len() <= MAX_CHUNK_BYTES => Ok(chunk),
        Some(Part::Chunk(_)) => {
            let problem = format!("has more than {MAX_CHUNK_BYTES} bytes");
            Err(Error::invalid("chunk", problem).into())
        }
        Some(Part::Header(_)) => Err(Error::invalid("header", "must come once").into()),
        None => Err(gone()),
    }
}

fn gone() -> Status {
    Status::cancelled("the stream ended before the blob did")
}

fn idle() -> Status {
    Error::Unavailable("nothing came for too long; connect again, and go on".to_owned()).into()
}

fn message(state: UploadState, offset_bytes: u64) -> UploadBlobResponse {
    UploadBlobResponse {
        state: state.into(),
        offset_bytes: i64::try_from(offset_bytes).unwrap_or(i64::MAX),
    }
}

/// Tells what the client waits for. One that does not take it is gone, and is noticed where it matters.
async fn answer(answers: &Answers, state: UploadState, offset_bytes: u64) {
    const PATIENCE: Duration = Duration::from_secs(30);
    let _ = timeout(PATIENCE, answers.send(Ok(message(state, offset_bytes)))).await;
}

/// Tells what the client need not know, as far as it takes it.
fn say(answers: &Answers, state: UploadState, offset_bytes: u64) {
    let _ = answers.try_send(Ok(message(state, offset_bytes)));
}
