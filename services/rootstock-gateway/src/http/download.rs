//! Downloads under way: how many there may be, and what ends one.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt as _, stream::BoxStream};
use http_body::{Body, Frame, SizeHint};
use rootstock_blobs::{BlobError, BlobReader};
use rootstock_model::Digest;
use rootstock_runtime::Shutdown;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep},
};

use crate::{
    metrics::{self, Outcome},
    uses::Uses,
};

/// Places for downloads. Cheap to clone; every clone has the same places.
#[derive(Debug, Clone)]
pub(crate) struct Downloads {
    places: Arc<Semaphore>,
    stall_timeout: Duration,
    open: Arc<Mutex<Vec<Weak<Slot>>>>,
}

/// A place for one download.
pub(super) struct Place {
    permit: OwnedSemaphorePermit,
    downloads: Downloads,
}

/// Empty once the download was ended.
type Slot = Mutex<Option<Open>>;

/// What a download holds until it ends.
struct Open {
    stream: BoxStream<'static, Result<Bytes, BlobError>>,
    /// Since when the client has been due to ask for the next piece; `None` while the store is.
    idle_since: Option<Instant>,
    _permit: OwnedSemaphorePermit,
}

impl Downloads {
    pub(crate) fn new(max: usize, stall_timeout: Duration) -> Self {
        let places = Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS)));
        Self {
            places,
            stall_timeout,
            open: Arc::default(),
        }
    }

    /// A place, when there is one left.
    pub(super) fn place(&self) -> Option<Place> {
        let permit = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Some(Place {
            permit,
            downloads: self.clone(),
        })
    }

    /// Ends downloads whose client takes nothing, until the shutdown. On HTTP/1 their connection
    /// ends them; an HTTP/2 connection may be well while one of its streams is left alone, and what
    /// is never asked for its next piece cannot notice by itself.
    pub(crate) async fn end_stalled(&self, shutdown: &Shutdown) {
        while shutdown.race(sleep(self.stall_timeout / 4)).await.is_some() {
            self.sweep(Instant::now());
        }
    }

    fn sweep(&self, now: Instant) {
        locked(&self.open).retain(|download| {
            let Some(download) = download.upgrade() else {
                return false;
            };
            let mut download = locked(&download);
            let stalled = download
                .as_ref()
                .and_then(|open| open.idle_since)
                .is_some_and(|since| now.duration_since(since) >= self.stall_timeout);
            if stalled {
                *download = None;
            }
            download.is_some()
        });
    }
}

impl Place {
    /// Takes the place with a blob. When it is sent to its end, that is a use of these images.
    pub(super) fn download(
        self,
        reader: BlobReader,
        digest: Digest,
        uses: Uses,
        used: Vec<String>,
    ) -> Download {
        metrics::download_begun();
        let left = reader.range.end - reader.range.start;
        let open = Open {
            stream: reader.stream,
            idle_since: Some(Instant::now()),
            _permit: self.permit,
        };
        let open = Arc::new(Mutex::new(Some(open)));
        locked(&self.downloads.open).push(Arc::downgrade(&open));
        let outcome = if left == 0 {
            Outcome::Complete
        } else {
            Outcome::Abandoned
        };
        Download {
            open,
            digest,
            left,
            outcome,
            uses,
            used,
        }
    }
}

/// Nothing that is locked here can be left half-changed.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why a download was cut off.
#[derive(Debug, thiserror::Error)]
pub(super) enum CutOff {
    #[error(transparent)]
    Store(#[from] BlobError),
    #[error("the client took nothing for too long")]
    Stalled,
}

/// The body of a download. Nothing is read ahead: the next piece is asked of the store when the
/// client has taken the one before. When the store fails the body fails, and the connection (or the
/// HTTP/2 stream) is cut short of its Content-Length, so nobody takes a part for the whole.
pub(super) struct Download {
    open: Arc<Slot>,
    digest: Digest,
    left: u64,
    outcome: Outcome,
    uses: Uses,
    used: Vec<String>,
}

impl Body for Download {
    type Data = Bytes;
    type Error = CutOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CutOff>>> {
        let polled = {
            let mut open = locked(&self.open);
            let Some(open) = open.as_mut() else {
                return Poll::Ready(Some(Err(CutOff::Stalled)));
            };
            open.idle_since = None;
            let piece = ready!(open.stream.poll_next_unpin(context));
            open.idle_since = Some(Instant::now());
            piece
        };
        match polled {
            Some(Ok(piece)) => {
                metrics::blob_bytes(piece.len());
                self.left = self.left.saturating_sub(piece.len() as u64);
                if self.left == 0 {
                    self.outcome = Outcome::Complete;
                }
                Poll::Ready(Some(Ok(Frame::data(piece))))
            }
            Some(Err(error)) => {
                tracing::error!(blob.sha256 = %self.digest, left_bytes = self.left, %error, "download cut off");
                self.outcome = Outcome::Failed;
                Poll::Ready(Some(Err(error.into())))
            }
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        metrics::download_ended(self.outcome);
        let (sha256, left_bytes) = (self.digest, self.left);
        match self.outcome {
            Outcome::Complete => {
                self.uses.note(&self.used);
                tracing::debug!(blob.sha256 = %sha256, "download complete");
            }
            Outcome::Abandoned => {
                tracing::debug!(blob.sha256 = %sha256, left_bytes, "the client left a download");
            }
            // Said where it happened.
            Outcome::Failed | Outcome::Refused => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(60);

    fn begin(downloads: &Downloads, pieces: Vec<&'static [u8]>) -> Download {
        let size_bytes = 100;
        let stream = futures::stream::iter(pieces).map(|piece| Ok(Bytes::from_static(piece)));
        let stream = stream.chain(futures::stream::pending()).boxed();
        let reader = BlobReader {
            size_bytes,
            range: 0..size_bytes,
            stream,
        };
        downloads
            .place()
            .unwrap()
            .download(reader, Digest::of(b""), Uses::default(), vec![])
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_cut_off_and_its_place_is_free() {
        let downloads = Downloads::new(2, TIMEOUT);
        let mut idle = begin(&downloads, vec![b"a", b"b"]);
        let mut waiting = begin(&downloads, vec![b"a"]);
        assert!(downloads.place().is_none());
        for download in [&mut idle, &mut waiting] {
            assert!(download.frame().await.unwrap().is_ok());
        }
        // The one asks for more than the store has at the moment, the other for nothing.
        assert!(futures::poll!(waiting.frame()).is_pending());
        downloads.sweep(Instant::now());
        assert!(downloads.place().is_none(), "not yet");
        downloads.sweep(Instant::now() + TIMEOUT);
        assert!(downloads.place().is_some());
        assert!(matches!(idle.frame().await, Some(Err(CutOff::Stalled))));
        assert!(
            futures::poll!(waiting.frame()).is_pending(),
            "the store's delay is not the client's"
        );
        drop((idle, waiting));
        downloads.sweep(Instant::now());
        assert!(locked(&downloads.open).is_empty());
    }
}
