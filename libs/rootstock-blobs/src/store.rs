//! The store: one type for every backend.

use std::{ops::Range, sync::Arc, time::Duration};

use futures::{TryStreamExt as _, stream::BoxStream};
use rootstock_model::Digest;
use url::Url;

#[cfg(feature = "test-support")]
use crate::backends::{
    faulty::{Faults, FaultyBackend},
    memory::MemoryStore,
};
use crate::{
    backend::Backend,
    backends,
    blob::{BlobInfo, OpenUpload, PresignOptions, StoredBlob},
    config::StoreConfig,
    error::{BlobError, JournalProblem, Operation},
    hash::{HashStage, Hashes, PrefixHash},
    journal::UploadJournal,
    read::{self, BlobReader},
    upload::Upload,
};

/// A larger metadata blob is not read for the sake of its fingerprint: it is verified later.
const MAX_PREFIX_BYTES: u64 = 16 << 20;
/// Each costs a further hash of the whole blob; those beyond are verified later.
const MAX_PREFIXES: usize = 8;

/// Blobs named by their SHA-256. Cheap to clone; every clone is the same store.
#[derive(Debug, Clone)]
pub struct BlobStore {
    backend: Arc<dyn Backend>,
}

impl BlobStore {
    /// Opens the store. Local: creates the directories, for this user only. S3: makes no request, so a
    /// service that is down does not keep a process from starting; see [`BlobStore::check`].
    ///
    /// # Errors
    ///
    /// [`BlobError::Config`] with everything that is wrong with the configuration;
    /// [`BlobError::Refused`] when the directories cannot be made.
    pub async fn open(config: &StoreConfig) -> Result<Self, BlobError> {
        let problems = config.problems();
        if !problems.is_empty() {
            return Err(BlobError::Config(problems.join("; ")));
        }
        Ok(Self {
            backend: backends::open(config).await?,
        })
    }

    /// An empty store in memory, for tests: it cannot be configured.
    #[cfg(feature = "test-support")]
    pub fn in_memory(part_size_bytes: u64) -> Self {
        Self {
            backend: Arc::new(MemoryStore::new(part_size_bytes)),
        }
    }

    /// The same store, seen through `faults`.
    #[cfg(feature = "test-support")]
    pub fn with_faults(&self, faults: &Faults) -> Self {
        Self {
            backend: Arc::new(FaultyBackend {
                inner: Arc::clone(&self.backend),
                faults: faults.clone(),
            }),
        }
    }

    /// Asks whether the store can be used. Local: makes and removes a file. S3: lists one key, within
    /// five seconds; that writing is allowed shows when something is written.
    ///
    /// # Errors
    ///
    /// [`BlobError::Refused`], [`BlobError::Unavailable`].
    pub async fn check(&self) -> Result<(), BlobError> {
        self.observe(Operation::Check, self.backend.check()).await
    }

    /// What the store knows of a blob; `None` when it is not there. (S3 gives the same answer when the
    /// whole bucket is not there; [`BlobStore::check`] tells them apart.)
    ///
    /// # Errors
    ///
    /// [`BlobError::Refused`], [`BlobError::Unavailable`].
    pub async fn head(&self, digest: &Digest) -> Result<Option<BlobInfo>, BlobError> {
        self.observe(Operation::Head, self.backend.head(digest)).await
    }

    /// Reads a blob, or the bytes in `range` of it. An end beyond the blob's end is moved there, so
    /// `n..u64::MAX` reads all from `n`.
    ///
    /// # Errors
    ///
    /// [`BlobError::NotFound`]; [`BlobError::RangeNotSatisfiable`] when the range holds no byte of the
    /// blob; [`BlobError::Refused`], [`BlobError::Unavailable`]. The stream has errors of its own:
    /// see [`BlobReader`].
    pub async fn read(&self, digest: &Digest, range: Option<Range<u64>>) -> Result<BlobReader, BlobError> {
        let reader = self
            .observe(Operation::Read, self.backend.read(digest, range))
            .await?;
        Ok(reader.guarded(self.backend.kind()))
    }

    /// Reads a whole blob and checks it on the way: the last piece comes only when everything was what the
    /// name says. Otherwise the stream ends with [`BlobError::Mismatch`] in its place.
    ///
    /// # Errors
    ///
    /// As for [`BlobStore::read`].
    pub async fn read_verified(&self, digest: &Digest) -> Result<BlobReader, BlobError> {
        let reader = self.read(digest, None).await?;
        Ok(BlobReader {
            stream: read::verified(*digest, reader.stream),
            ..reader
        })
    }

    /// A URL by which anyone can GET the blob until `expires` is over; `None` when the store cannot do
    /// that (local disk). It is not looked up whether there is such a blob, and a HEAD is refused.
    /// `expires` is cut to seven days, the most that the signature allows.
    ///
    /// # Errors
    ///
    /// [`BlobError::Refused`], [`BlobError::Unavailable`]: there are no credentials to sign with.
    pub async fn presign_get(
        &self,
        digest: &Digest,
        expires: Duration,
        response: PresignOptions,
    ) -> Result<Option<Url>, BlobError> {
        let presigned = self.backend.presign_get(digest, expires, response);
        self.observe(Operation::Presign, presigned).await
    }

    /// Deletes a blob; one that is already gone counts as deleted.
    ///
    /// # Errors
    ///
    /// [`BlobError::Refused`], [`BlobError::Unavailable`], [`BlobError::OutcomeUnknown`].
    pub async fn delete(&self, digest: &Digest) -> Result<(), BlobError> {
        self.observe(Operation::Delete, self.backend.delete(digest)).await
    }

    /// Begins to upload the blob `digest` of `size_bytes`. Any number of uploads of the same blob can
    /// be under way; each that is finished well leaves the same blob.
    ///
    /// # Errors
    ///
    /// [`BlobError::TooLarge`] (S3: more than 10 000 parts of 64 MiB); [`BlobError::Refused`],
    /// [`BlobError::Unavailable`], [`BlobError::OutcomeUnknown`].
    pub async fn begin_upload(&self, digest: &Digest, size_bytes: u64) -> Result<Upload, BlobError> {
        let begun = Arc::clone(&self.backend).begin_upload(digest, size_bytes);
        let sink = self.observe(Operation::Begin, begun).await?;
        Ok(Upload::begin(*digest, size_bytes, self.backend.kind(), sink))
    }

    /// Continues the upload that wrote `journal`, possibly in another process, at
    /// [`Upload::offset`].
    ///
    /// # Errors
    ///
    /// [`BlobError::JournalUnusable`]: begin anew. [`BlobError::Refused`], [`BlobError::Unavailable`].
    pub async fn resume_upload(&self, journal: &UploadJournal) -> Result<Upload, BlobError> {
        self.observe(Operation::Resume, async {
            let hashes = journal
                .hashes
                .restore()
                .ok_or(BlobError::JournalUnusable(JournalProblem::OtherFormat))?;
            let sink = Arc::clone(&self.backend).resume_upload(journal).await?;
            Ok(Upload::resume(journal, hashes, self.backend.kind(), sink))
        })
        .await
    }

    /// Every blob in the store, in no order that can be relied on. What is stored or deleted meanwhile
    /// may be seen or not. The listing is read as it is taken: S3 a page of 1000 at a time, local disk a
    /// folder (one in 256 of all) at a time.
    ///
    /// The stream fails with [`BlobError::Refused`] or [`BlobError::Unavailable`], and ends with that.
    pub fn list(&self) -> BoxStream<'static, Result<StoredBlob, BlobError>> {
        Arc::clone(&self.backend).list()
    }

    /// Begins to upload a blob, and has the fingerprints computed in the same pass that it makes with
    /// metadata that is stored. Metadata that is not there, or too large to be read for this, is left
    /// out: [`Upload::prefixes`] tells. At most eight are taken, because each costs a further hash of the
    /// whole blob.
    ///
    /// # Errors
    ///
    /// As for [`BlobStore::begin_upload`] and [`BlobStore::head`].
    pub async fn begin_upload_after(
        &self,
        metadata: &[Digest],
        digest: &Digest,
        size_bytes: u64,
    ) -> Result<Upload, BlobError> {
        let mut upload = self.begin_upload(digest, size_bytes).await?;
        for metadata in metadata.iter().take(MAX_PREFIXES) {
            match self.head(metadata).await? {
                Some(info) if info.size_bytes <= MAX_PREFIX_BYTES => {
                    upload.add_prefix_hash(self.prefix_hash(metadata).await?)?;
                }
                found => {
                    tracing::debug!(metadata.sha256 = %metadata, ?found, "its fingerprint is left to be verified")
                }
            }
        }
        Ok(upload)
    }

    /// Continues the upload of `digest` whose last journal was saved as these bytes. `None` when there is
    /// nothing to go on with: no journal, another blob's, or one that cannot be used any more.
    ///
    /// # Errors
    ///
    /// [`BlobError::Refused`], [`BlobError::Unavailable`].
    pub async fn continue_upload(
        &self,
        digest: &Digest,
        journal: &[u8],
    ) -> Result<Option<Upload>, BlobError> {
        if journal.is_empty() {
            return Ok(None);
        }
        let resumed = match UploadJournal::from_bytes(journal) {
            Ok(journal) if journal.digest() != digest => return Ok(None),
            Ok(journal) => self.resume_upload(&journal).await,
            Err(error) => Err(error),
        };
        match resumed {
            Ok(upload) => {
                tracing::info!(done_bytes = upload.offset(), "going on with an earlier upload");
                Ok(Some(upload))
            }
            Err(BlobError::JournalUnusable(problem)) => {
                tracing::info!(%problem, "an earlier upload cannot be continued; beginning anew");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Every upload that was begun and is neither finished nor aborted, those being written now
    /// included: staging files, or multipart uploads below the configured prefix.
    ///
    /// # Errors
    ///
    /// [`BlobError::Refused`], [`BlobError::Unavailable`].
    pub async fn list_uploads(&self) -> Result<Vec<OpenUpload>, BlobError> {
        self.observe(Operation::ListUploads, self.backend.list_uploads())
            .await
    }

    /// Aborts an upload and removes what it stored; one that is already gone counts as aborted. Whoever
    /// is writing it gets [`BlobError::JournalUnusable`], at the latest when it is finished.
    ///
    /// # Errors
    ///
    /// [`BlobError::Refused`], [`BlobError::Unavailable`], [`BlobError::OutcomeUnknown`].
    pub async fn abort_upload(&self, id: &str) -> Result<(), BlobError> {
        self.observe(Operation::Abort, self.backend.abort_upload(id))
            .await
    }

    /// The hash over the whole of a stored blob, to be continued by another's bytes: what
    /// [`PrefixHash::over`] is for bytes at hand.
    ///
    /// # Errors
    ///
    /// As for [`BlobStore::combined_digests`].
    pub async fn prefix_hash(&self, digest: &Digest) -> Result<PrefixHash, BlobError> {
        Ok(self.hash(Vec::new(), digest).await?.into_prefix())
    }

    /// For each of `prefixes` the SHA-256 of it followed by a blob that is already stored, for which
    /// no upload will compute it. The blob is read once.
    ///
    /// # Errors
    ///
    /// As for [`BlobStore::read`]; [`BlobError::Mismatch`] when the stored bytes are not what their
    /// name says.
    pub async fn combined_digests(
        &self,
        prefixes: Vec<PrefixHash>,
        digest: &Digest,
    ) -> Result<Vec<Digest>, BlobError> {
        Ok(self.hash(prefixes, digest).await?.combined())
    }

    /// Reads a blob through the hashes and checks that it is what its name says.
    async fn hash(&self, prefixes: Vec<PrefixHash>, digest: &Digest) -> Result<Hashes, BlobError> {
        let mut stage = HashStage::new(Hashes::with_prefixes(prefixes));
        let mut reader = self.read(digest, None).await?;
        while let Some(piece) = reader.stream.try_next().await? {
            stage.feed(vec![piece]).await?;
        }
        let hashes = stage.join().await?;
        match hashes.blob() {
            actual if actual == *digest => Ok(std::mem::take(hashes)),
            actual => Err(BlobError::Mismatch {
                expected: *digest,
                actual,
            }),
        }
    }

    async fn observe<T>(
        &self,
        operation: Operation,
        work: impl Future<Output = Result<T, BlobError>>,
    ) -> Result<T, BlobError> {
        self.backend.kind().observe(operation, work).await
    }
}
