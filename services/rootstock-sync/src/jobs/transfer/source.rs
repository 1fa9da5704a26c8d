//! One source of a blob: its bytes, from wherever the upload stands, into the upload.

use bytes::Bytes;
use futures::{Stream, stream};
use rootstock_blobs::{BlobError, Upload};
use rootstock_ingest::{Stopped, Stored, remove};
use rootstock_model::{ArtifactLocation, RemoteName};
use rootstock_proto::{convert, sync::v1 as wire};
use rootstock_remote::{
    RemoteSource, Resume, Validators,
    http::{Body, FetchError, Problem, Target},
};
use url::Url;

use super::Transfer;
use crate::{job::JobError, remote};

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
    Work(JobError),
}

impl From<JobError> for SourceError {
    fn from(error: JobError) -> Self {
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
        let Flow { upload, body, mixed } = self.open(kept).await?;
        let pieces = self.pieces(body, upload.offset());
        match self.transfer.ingest.receive(upload, pieces, |_saved| {}).await {
            Ok(stored) => Ok(Fetched::Stored(stored)),
            Err(Stopped::Shutdown(partial)) => {
                partial.suspend().await.map_err(JobError::from)?;
                Err(JobError::Stopped.into())
            }
            Err(Stopped::BySource(partial, error)) => {
                *kept = Some(partial.into_upload().await.map_err(JobError::from)?);
                Err(SourceError::Source(error))
            }
            Err(Stopped::ByStore(error)) => self.judge(error, mixed),
            Err(Stopped::LeaseLost(loss)) => Err(JobError::from(loss).into()),
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
                    remove(left).await;
                }
                self.transfer
                    .ingest
                    .begin(self.size_bytes())
                    .await
                    .map_err(JobError::from)?
            }
        };
        upload.set_validator(serde_json::to_string(&answer.validators).ok());
        Ok(Flow {
            upload,
            body: Some(answer.body),
            mixed,
        })
    }

    /// The pieces of a body that begins at `offset`; it fails when it ends before the blob does.
    fn pieces(&self, body: Option<Body>, offset: u64) -> impl Stream<Item = Result<Bytes, FetchError>> {
        let received =
            metrics::counter!("rootstock_sync_received_bytes_total", "remote" => self.name().to_owned());
        let expected_bytes = self.size_bytes();
        stream::try_unfold((body, offset), move |(body, received_bytes)| {
            let received = received.clone();
            async move {
                let Some(mut body) = body else {
                    return Ok(None);
                };
                let Some(piece) = body.next().await? else {
                    return match received_bytes < expected_bytes {
                        true => Err(body.error(Problem::Short {
                            received_bytes,
                            expected_bytes,
                        })),
                        false => Ok(None),
                    };
                };
                received.increment(piece.len() as u64);
                let received_bytes = received_bytes + piece.len() as u64;
                Ok(Some((piece, (Some(body), received_bytes))))
            }
        })
    }

    /// Whose fault it is that the store did not take the blob.
    fn judge(&self, error: BlobError, mixed: bool) -> Result<Fetched, SourceError> {
        let (BlobError::Mismatch { .. } | BlobError::SizeMismatch { .. }) = error else {
            return Err(JobError::from(error).into());
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
