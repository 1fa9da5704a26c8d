//! Receiving a blob: from a client's stream through the hashes into the store, under a lease.

mod keeper;

use std::{pin::pin, time::Duration};

use rootstock_blobs::{BlobError, Finished, Upload};
use rootstock_model::Digest;
use rootstock_proto::{
    Error,
    catalog::v1::{
        UploadBlobRequest, UploadBlobResponse, UploadHeader, UploadState, upload_blob_request::Part,
    },
    convert,
    sync::v1::{Combination, Lease, OpenedUpload, open_upload_response::Outcome},
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};
use tonic::{Status, Streaming};

use self::keeper::Keeper;
use super::{Content, catalog::Catalog, catalog::is_lease_lost, ending, of_store};
use crate::metrics;

/// A client may send more in a message than it takes from a file at once, but not much more.
const MAX_CHUNK_BYTES: usize = 2 << 20;
/// Between two looks at an upload that is someone else's.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// The longest that a client is let wait for someone else, in a place that others could have.
const MAX_WAIT: Duration = Duration::from_secs(10 * 60);

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
    let worker = Catalog::worker();
    let Some(opened) = open(content, &wanted, &worker, answers).await? else {
        return Ok(());
    };
    let receiving = Receiving {
        content,
        wanted: &wanted,
        worker: &worker,
        answers,
    };
    receiving.run(opened, messages).await
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
}

/// Why bytes stopped flowing before the end.
enum Stopped {
    /// The client is gone, or was too slow, or the process ends: what came is kept.
    Cut(Status),
    /// The store did not take them.
    ByStore(BlobError),
    /// Someone else has the upload.
    LeaseLost(Status),
}

impl Receiving<'_> {
    async fn run(&self, opened: OpenedUpload, messages: Streaming<UploadBlobRequest>) -> Result<(), Status> {
        let _counted = metrics::UploadGauge::begin();
        let lease = opened.lease.unwrap_or_default();
        let upload = match self.begin(&opened.journal).await {
            Ok(upload) => upload,
            Err(error) => {
                self.release(lease).await;
                return Err(of_store(&error));
            }
        };
        let duration = opened
            .lease_duration
            .and_then(|duration| Duration::try_from(duration).ok());
        let mut keeper = Keeper::new(self.content.catalog.clone(), lease, duration, &upload);
        if upload.offset() == 0 {
            keeper.announce();
        }
        answer(self.answers, UploadState::Receiving, upload.offset()).await;
        match self.pour(upload, messages, &mut keeper).await {
            Ok(upload) => self.finish(upload, keeper).await,
            Err((upload, Stopped::Cut(status))) => {
                self.suspend(upload, keeper).await;
                Err(status)
            }
            Err((_, Stopped::ByStore(error))) => Err(self.refused(lease, error).await),
            Err((_, Stopped::LeaseLost(status))) => Err(status),
        }
    }

    /// What an earlier stream has left, or the blob's first byte.
    async fn begin(&self, journal: &[u8]) -> Result<Upload, BlobError> {
        let blobs = &self.content.blobs;
        let Wanted {
            digest,
            size_bytes,
            metadata,
        } = self.wanted;
        match blobs.continue_upload(digest, journal).await? {
            Some(upload) if upload.size_bytes() == *size_bytes => return Ok(upload),
            Some(other) => abort(other).await,
            None => {}
        }
        blobs.begin_upload_after(metadata, digest, *size_bytes).await
    }

    /// Moves bytes until the blob has all of them.
    async fn pour(
        &self,
        mut upload: Upload,
        mut messages: Streaming<UploadBlobRequest>,
        keeper: &mut Keeper,
    ) -> Result<Upload, (Upload, Stopped)> {
        let mut shutdown = pin!(self.content.shutdown.triggered());
        while upload.offset() < upload.size_bytes() {
            let chunk = tokio::select! {
                biased;
                () = &mut shutdown => return Err((upload, Stopped::Cut(ending()))),
                () = self.answers.closed() => return Err((upload, Stopped::Cut(gone()))),
                turned = keeper.turn() => match turned {
                    Ok(kept) => {
                        self.acknowledge(kept);
                        continue;
                    }
                    Err(status) => return Err((upload, Stopped::LeaseLost(status))),
                },
                message = timeout(self.content.upload_idle_timeout, messages.message()) => {
                    match chunk(message.unwrap_or_else(|_elapsed| Err(idle()))) {
                        Ok(chunk) => chunk,
                        Err(status) => return Err((upload, Stopped::Cut(status))),
                    }
                }
            };
            metrics::uploaded(chunk.len());
            let written = self.keeping(keeper, upload.write(chunk)).await;
            match written {
                Ok(Ok(journal)) => {
                    keeper.progress(upload.offset());
                    if let Some(journal) = journal {
                        keeper.offer(journal);
                    }
                }
                Ok(Err(error)) => return Err((upload, Stopped::ByStore(error))),
                Err(status) => return Err((upload, Stopped::LeaseLost(status))),
            }
        }
        Ok(upload)
    }

    /// Does something that may take long, and keeps the lease meanwhile.
    async fn keeping<T>(&self, keeper: &mut Keeper, work: impl Future<Output = T>) -> Result<T, Status> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return Ok(done),
                turned = keeper.turn() => self.acknowledge(turned?),
            }
        }
    }

    fn acknowledge(&self, kept_bytes: Option<u64>) {
        if let Some(kept_bytes) = kept_bytes {
            say(self.answers, UploadState::Receiving, kept_bytes);
        }
    }

    async fn finish(&self, upload: Upload, mut keeper: Keeper) -> Result<(), Status> {
        let prefixes = upload.prefixes().to_vec();
        let lease = keeper.lease();
        let finished = match self.keeping(&mut keeper, upload.finish()).await? {
            Ok(finished) => finished,
            Err(error) => return Err(self.refused(lease, error).await),
        };
        self.report(lease, finished, &prefixes).await?;
        answer(self.answers, UploadState::Stored, self.wanted.size_bytes).await;
        Ok(())
    }

    async fn report(&self, lease: Lease, finished: Finished, prefixes: &[Digest]) -> Result<(), Status> {
        let combinations = prefixes
            .iter()
            .zip(&finished.combined)
            .map(|(metadata, fingerprint)| Combination {
                metadata_sha256: convert::digest_bytes(metadata),
                root_sha256: convert::digest_bytes(&self.wanted.digest),
                fingerprint: convert::digest_bytes(fingerprint),
            });
        let catalog = &self.content.catalog;
        let told = catalog
            .finish_upload(lease, finished.size_bytes, combinations.collect())
            .await;
        match told {
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
            told => told,
        }
    }

    /// The store does not take the blob as it is. Of wrong content nothing is left; otherwise the next
    /// stream goes on.
    async fn refused(&self, lease: Lease, error: BlobError) -> Status {
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

    /// Makes durable what came in whole parts, and lets another stream go on.
    async fn suspend(&self, upload: Upload, mut keeper: Keeper) {
        let lease = keeper.lease();
        match self.keeping(&mut keeper, upload.suspend()).await {
            Ok(Ok(journal)) => {
                if let Some(journal) = journal {
                    keeper.offer(journal);
                }
                keeper.flush().await;
            }
            Ok(Err(error)) => tracing::warn!(%error, "the last part could not be kept"),
            Err(_lost) => return,
        }
        self.release(lease).await;
    }

    async fn release(&self, lease: Lease) {
        if let Err(status) = self.content.catalog.release(lease).await {
            tracing::warn!(
                error = status.message(),
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

fn chunk(message: Result<Option<UploadBlobRequest>, Status>) -> Result<bytes::Bytes, Status> {
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

/// Removes an upload that nothing can go on with. Failing at it leaves it to a sweep.
async fn abort(upload: Upload) {
    let id = upload.id().to_owned();
    if let Err(error) = upload.abort().await {
        tracing::warn!(upload.id = id, %error, "an upload cannot be removed; a sweep will find it");
    }
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
