//! One source of a blob: its bytes, from wherever the upload stands, into the upload.

use std::pin::pin;

use rootstock_blobs::{BlobError, Upload};
use rootstock_model::{ArtifactLocation, RemoteName};
use rootstock_proto::{convert, sync::v1 as wire};
use rootstock_remote::{
    RemoteSource, Resume, Validators,
    http::{Body, FetchError, Problem, Target},
};
use url::Url;

use super::{Stored, Transfer, journal::JournalKeeper};
use crate::{remote, work::WorkError};

/// A place where the blob can be had.
pub(super) struct Source<'a> {
    transfer: &'a Transfer<'a>,
    name: RemoteName,
    server: Box<dyn RemoteSource>,
    url: Url,
    artifact: ArtifactLocation,
}

/// What came of a source that answered to the end.
pub(super) enum Fetched {
    /// The blob.
    Stored(Stored),
    /// Something else; but not all of it came from this source in this answer.
    MixtureWrong(FetchError),
}

/// Why a source did not bring the blob.
pub(super) enum SourceError {
    /// It is the source's fault: another may do better.
    Source(FetchError),
    /// It is not.
    Work(WorkError),
}

impl From<WorkError> for SourceError {
    fn from(error: WorkError) -> Self {
        Self::Work(error)
    }
}

/// What to go on with.
struct Flow {
    upload: Upload,
    /// `None` when the upload has all bytes already.
    body: Option<Body>,
    /// Whether some bytes were in the upload before this answer.
    mixed: bool,
}

/// Why bytes stopped flowing before the end.
enum Stopped {
    Shutdown,
    BySource(FetchError),
    ByStore(BlobError),
    ByLease(WorkError),
}

impl<'a> Source<'a> {
    pub(super) fn new(transfer: &'a Transfer<'a>, source: &wire::TransferSource) -> Result<Self, FetchError> {
        let spec = remote::spec(source.remote.as_ref())?;
        let server = transfer.worker.remotes.source(&spec.endpoint)?;
        let artifact = convert::artifact_location("source", source)
            .map_err(|error| FetchError::bad_remote(&spec.endpoint.url, error))?;
        Ok(Self {
            transfer,
            name: spec.name,
            url: server.url(&artifact)?,
            server,
            artifact,
        })
    }

    pub(super) fn name(&self) -> &str {
        self.name.as_str()
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.artifact.size_bytes
    }

    /// Brings the rest of the blob, or all of it. When the source fails on the way, `kept` holds what
    /// came, for the next one to go on with.
    pub(super) async fn fetch(&self, kept: &mut Option<Upload>) -> Result<Fetched, SourceError> {
        let Flow {
            mut upload,
            body,
            mixed,
        } = self.open(kept).await?;
        self.transfer.held.progress(upload.offset());
        let mut keeper = JournalKeeper::new(self.transfer, upload.id());
        if !mixed {
            keeper.announce();
        }
        if let Some(body) = body
            && let Err(stopped) = self.pour(body, &mut upload, &mut keeper).await
        {
            return match stopped {
                Stopped::Shutdown => {
                    keeper.flush().await?;
                    self.transfer.suspend(upload).await?;
                    Err(WorkError::Stopped.into())
                }
                Stopped::BySource(error) => {
                    keeper.flush().await?;
                    *kept = Some(upload);
                    Err(SourceError::Source(error))
                }
                Stopped::ByStore(error) => {
                    keeper.flush().await?;
                    self.judge(error, mixed)
                }
                Stopped::ByLease(error) => Err(error.into()),
            };
        }
        let prefixes = upload.prefixes().to_vec();
        match upload.finish().await {
            Ok(finished) => Ok(Fetched::Stored((finished, prefixes))),
            Err(error) => self.judge(error, mixed),
        }
    }

    /// Asks the source: for the rest, when there is an upload that can take it. That upload is given
    /// up only when the source answers with the whole.
    async fn open(&self, kept: &mut Option<Upload>) -> Result<Flow, SourceError> {
        let usable = kept
            .as_ref()
            .filter(|upload| upload.size_bytes() == self.size_bytes());
        let offset = usable.map_or(0, Upload::offset);
        let before = usable.and_then(validators);
        if offset == self.size_bytes()
            && let Some(upload) = kept.take_if(|upload| upload.size_bytes() == offset)
        {
            return Ok(Flow {
                upload,
                body: None,
                mixed: true,
            });
        }
        let resume = Resume {
            offset,
            validators: before.as_ref(),
        };
        let answer = self
            .server
            .open(&self.artifact, resume)
            .await
            .map_err(SourceError::Source)?;
        let mixed = answer.offset > 0;
        let mut upload = match kept.take() {
            Some(upload) if mixed => upload,
            left => {
                if let Some(left) = left {
                    abort(left).await;
                }
                self.transfer
                    .begin(self.size_bytes())
                    .await
                    .map_err(WorkError::from)?
            }
        };
        upload.set_validator(serde_json::to_string(&answer.validators).ok());
        Ok(Flow {
            upload,
            body: Some(answer.body),
            mixed,
        })
    }

    /// Moves bytes until the body ends. On shutdown it stops between two pieces.
    async fn pour(
        &self,
        mut body: Body,
        upload: &mut Upload,
        keeper: &mut JournalKeeper<'_>,
    ) -> Result<(), Stopped> {
        let held = self.transfer.held;
        let mut shutdown = pin!(self.transfer.worker.shutdown.triggered());
        let received =
            metrics::counter!("rootstock_sync_received_bytes_total", "remote" => self.name().to_owned());
        loop {
            let piece = tokio::select! {
                biased;
                () = &mut shutdown => return Err(Stopped::Shutdown),
                saved = keeper.saved(), if keeper.is_saving() => {
                    saved.map_err(Stopped::ByLease)?;
                    continue;
                }
                piece = body.next() => piece.map_err(Stopped::BySource)?,
            };
            let Some(piece) = piece else { break };
            received.increment(piece.len() as u64);
            let journal = upload.write(piece).await.map_err(Stopped::ByStore)?;
            held.progress(upload.offset());
            if let Some(journal) = journal {
                keeper.offer(&journal);
            }
        }
        let (received_bytes, expected_bytes) = (upload.offset(), upload.size_bytes());
        match received_bytes < expected_bytes {
            true => Err(Stopped::BySource(body.error(Problem::Short {
                received_bytes,
                expected_bytes,
            }))),
            false => Ok(()),
        }
    }

    /// Whose fault it is that the store did not take the blob.
    fn judge(&self, error: BlobError, mixed: bool) -> Result<Fetched, SourceError> {
        let (BlobError::Mismatch { .. } | BlobError::SizeMismatch { .. }) = error else {
            return Err(WorkError::from(error).into());
        };
        let wrong = FetchError::new(Target::Artifact, &self.url, Problem::Mismatch(error.to_string()));
        match mixed {
            true => Ok(Fetched::MixtureWrong(wrong)),
            false => Err(SourceError::Source(wrong)),
        }
    }
}

/// What the upload knows of the content that its bytes are from.
fn validators(upload: &Upload) -> Option<Validators> {
    serde_json::from_str(upload.validator()?).ok()
}

/// Removes an upload that nothing can go on with. Failing at it leaves it to a sweep.
async fn abort(upload: Upload) {
    let id = upload.id().to_owned();
    if let Err(error) = upload.abort().await {
        tracing::warn!(upload.id = id, %error, "an upload cannot be removed; a sweep will find it");
    }
}
