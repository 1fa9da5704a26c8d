//! From a stream into the store.

use std::pin::pin;

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use rootstock_blobs::{BlobError, BlobStore, Finished, Upload};
use rootstock_model::Digest;
use rootstock_proto::{convert, sync::v1::Combination};
use rootstock_runtime::Shutdown;

use crate::{
    catalog::LeaseClient,
    journal::JournalSaver,
    lease::{LeaseGuard, LeaseLoss},
};

/// One blob on its way into the store, under a lease. Streams may take turns: the next one continues
/// what the one before it brought.
///
/// The caller races this work against [`LeaseGuard::lost`], and drops it then. Of a loss, this type only
/// sees what the answer to a journal says.
#[derive(Debug)]
pub struct Ingest<'a> {
    /// Where the blob goes.
    pub blobs: &'a BlobStore,
    /// Saves the journal.
    pub catalog: &'a LeaseClient,
    /// The lease on the blob.
    pub lease: &'a LeaseGuard,
    /// Stops between two pieces.
    pub shutdown: &'a Shutdown,
    /// The blob.
    pub digest: Digest,
    /// Metadata blobs whose fingerprint with this one is computed in the same pass.
    pub metadata: Vec<Digest>,
}

/// A blob that is stored.
#[derive(Debug)]
pub struct Stored {
    /// Its size and digests.
    pub finished: Finished,
    /// The metadata blobs that [`Finished::combined`] is for.
    prefixes: Vec<Digest>,
}

/// Why a stream ended without a stored blob.
#[derive(Debug)]
pub enum Stopped<E> {
    /// The process is shutting down.
    Shutdown(Partial),
    /// The stream failed.
    BySource(Partial, E),
    /// The store did not take the bytes, or they are not the blob. Nothing is left of wrong bytes;
    /// otherwise the last journal resumes the upload.
    ByStore(BlobError),
    /// The lease is lost: nothing may be written or reported any more.
    LeaseLost(LeaseLoss),
}

/// What came of a blob before its stream ended.
pub struct Partial {
    upload: Upload,
    saver: JournalSaver,
}

impl std::fmt::Debug for Partial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Partial").field(&self.upload).finish()
    }
}

impl Ingest<'_> {
    /// The upload that an earlier attempt left with this journal; `None` to start over.
    ///
    /// # Errors
    /// When the store cannot be asked.
    pub async fn resume(&self, journal: &[u8]) -> Result<Option<Upload>, BlobError> {
        let upload = self.blobs.continue_upload(&self.digest, journal).await?;
        if let Some(upload) = &upload {
            self.lease.progress(upload.offset());
        }
        Ok(upload)
    }

    /// A new upload, from the blob's first byte.
    ///
    /// # Errors
    /// As for [`BlobStore::begin_upload_after`].
    pub async fn begin(&self, size_bytes: u64) -> Result<Upload, BlobError> {
        self.blobs
            .begin_upload_after(&self.metadata, &self.digest, size_bytes)
            .await
    }

    /// Moves `pieces`, which begin at the upload's offset, into the upload until they end, and stores the
    /// blob. Journals are saved meanwhile; `on_saved` gets the number of bytes that each covers.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn receive<E>(
        &self,
        mut upload: Upload,
        pieces: impl Stream<Item = Result<Bytes, E>>,
        mut on_saved: impl FnMut(u64),
    ) -> Result<Stored, Stopped<E>> {
        let mut saver = self.saver(&upload);
        if upload.offset() == 0 {
            saver.announce();
        }
        self.lease.progress(upload.offset());
        let mut pieces = pin!(pieces);
        let mut shutdown = pin!(self.shutdown.triggered());
        loop {
            let piece = tokio::select! {
                biased;
                () = &mut shutdown => return Err(Stopped::Shutdown(Partial { upload, saver })),
                saved = saver.poll() => {
                    if let Some(bytes) = saved.map_err(Stopped::LeaseLost)? {
                        on_saved(bytes);
                    }
                    continue;
                }
                piece = pieces.next() => piece,
            };
            let piece = match piece {
                None => break,
                Some(Ok(piece)) => piece,
                Some(Err(error)) => return Err(Stopped::BySource(Partial { upload, saver }, error)),
            };
            let journal = match saving(&mut saver, &mut on_saved, upload.write(piece)).await? {
                Ok(journal) => journal,
                Err(error) => return Err(refused(error, saver).await),
            };
            self.lease.progress(upload.offset());
            if let Some(journal) = journal {
                saver.enqueue(&journal);
            }
        }
        let prefixes = upload.prefixes().to_vec();
        match saving(&mut saver, &mut on_saved, upload.finish()).await? {
            Ok(finished) => Ok(Stored { finished, prefixes }),
            Err(error) => Err(refused(error, saver).await),
        }
    }

    /// Makes every whole part of an upload durable and saves its journal, for another process to continue.
    ///
    /// # Errors
    /// The lease is lost.
    pub async fn suspend(&self, upload: Upload) -> Result<(), LeaseLoss> {
        let saver = self.saver(&upload);
        Partial { upload, saver }.suspend().await
    }

    fn saver(&self, upload: &Upload) -> JournalSaver {
        JournalSaver::new(self.catalog.clone(), self.lease, upload.id())
    }
}

/// Does what may take long, and saves journals meanwhile.
async fn saving<T, E>(
    saver: &mut JournalSaver,
    on_saved: &mut impl FnMut(u64),
    work: impl Future<Output = T>,
) -> Result<T, Stopped<E>> {
    let mut work = pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return Ok(done),
            saved = saver.poll() => {
                if let Some(bytes) = saved.map_err(Stopped::LeaseLost)? {
                    on_saved(bytes);
                }
            }
        }
    }
}

/// No call may be left that could overtake the journal of an upload that begins after this one.
async fn refused<E>(error: BlobError, mut saver: JournalSaver) -> Stopped<E> {
    match saver.flush().await {
        Ok(()) => Stopped::ByStore(error),
        Err(loss) => Stopped::LeaseLost(loss),
    }
}

impl Partial {
    /// The upload, for another stream to continue in this process. Its newest journal is saved.
    ///
    /// # Errors
    /// The lease is lost.
    pub async fn into_upload(mut self) -> Result<Upload, LeaseLoss> {
        self.saver.flush().await?;
        Ok(self.upload)
    }

    /// Makes every whole part durable and saves the journal, for another process to continue. What cannot be
    /// kept is logged: the journal before it stays good.
    ///
    /// # Errors
    /// The lease is lost.
    pub async fn suspend(mut self) -> Result<(), LeaseLoss> {
        match self.upload.suspend().await {
            Ok(Some(journal)) => self.saver.enqueue(&journal),
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "the last part could not be kept"),
        }
        self.saver.flush().await
    }
}

impl Stored {
    /// The fingerprints that were computed in the same pass.
    pub fn combinations(&self) -> Vec<Combination> {
        let root = convert::digest_bytes(&self.finished.digest);
        self.prefixes
            .iter()
            .zip(&self.finished.combined)
            .map(|(metadata, fingerprint)| Combination {
                metadata_sha256: convert::digest_bytes(metadata),
                root_sha256: root.clone(),
                fingerprint: convert::digest_bytes(fingerprint),
            })
            .collect()
    }
}

/// Removes an upload that nothing can continue. A failure leaves it to a sweep.
pub async fn remove(upload: Upload) {
    let id = upload.id().to_owned();
    if let Err(error) = upload.abort().await {
        tracing::warn!(upload.id = id, %error, "an upload cannot be removed; a sweep will find it");
    }
}
