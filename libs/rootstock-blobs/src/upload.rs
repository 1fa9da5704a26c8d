//! A verified, resumable upload.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use rootstock_model::Digest;

use crate::{
    backend::PartSink,
    batch::Batch,
    error::{BlobError, JournalProblem, Operation},
    hash::{HashStage, Hashes, PrefixHash},
    journal::UploadJournal,
    telemetry::{ActiveUpload, StoreKind},
};

/// Bytes are handed to the hashing and the storing half in batches of this size: large enough that
/// the hand-over costs nothing, small enough that both halves work at the same time.
const BATCH_BYTES: usize = 1024 * 1024;

/// How long one batch or one part may keep an upload waiting. S3 requests end by themselves earlier;
/// this is for a disk that hangs.
const STALL_TIMEOUT: Duration = Duration::from_secs(300);

/// An upload being written. What [`Upload::write`] takes flows through the hashes and into the store at
/// the same time; the blob becomes visible only by [`Upload::finish`], and only when its size and
/// SHA-256 are what the upload was begun with.
///
/// Dropping it leaves an upload that its last journal resumes. A cancelled call leaves the upload
/// [`BlobError::Interrupted`]: drop it and resume.
///
/// # Memory
///
/// At most three batches of 1 MiB on local disk, and at most three parts on S3 (two on their way, one
/// being filled): 48 MiB by default. Pieces of 8 KiB and more are kept as they come, so this counts
/// what they point at: a piece should not be a small window into a large buffer.
#[derive(Debug)]
pub struct Upload {
    digest: Digest,
    size_bytes: u64,
    offset: u64,
    validator: Option<String>,
    batch: Batch,
    hashes: HashStage,
    prefixes: Vec<Digest>,
    sink: Box<dyn PartSink>,
    kind: StoreKind,
    /// The hashes at the end of each part that is not yet durable.
    checkpoints: VecDeque<Checkpoint>,
    condition: Condition,
    _active: ActiveUpload,
}

#[derive(Debug)]
struct Checkpoint {
    offset: u64,
    hashes: Hashes,
}

/// Whether the upload can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    Good,
    /// A call is running, failed, or was cancelled.
    Interrupted,
    /// The content was wrong, and every trace of it is gone.
    Aborted,
}

/// A blob that is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Its SHA-256: the one that the upload was begun with.
    pub digest: Digest,
    /// Its size.
    pub size_bytes: u64,
    /// For each [`Upload::add_prefix_hash`], in that order: the SHA-256 of the prefix and the blob.
    pub combined: Vec<Digest>,
}

impl Upload {
    pub(crate) fn begin(digest: Digest, size_bytes: u64, kind: StoreKind, sink: Box<dyn PartSink>) -> Self {
        Self {
            digest,
            size_bytes,
            offset: 0,
            validator: None,
            batch: Batch::default(),
            hashes: HashStage::new(Hashes::default()),
            prefixes: Vec::new(),
            sink,
            kind,
            checkpoints: VecDeque::new(),
            condition: Condition::Good,
            _active: ActiveUpload::new(kind),
        }
    }

    /// Goes on from `journal`; `hashes` are its own, restored.
    pub(crate) fn resume(
        journal: &UploadJournal,
        hashes: Hashes,
        kind: StoreKind,
        sink: Box<dyn PartSink>,
    ) -> Self {
        Self {
            offset: journal.offset,
            validator: journal.validator.clone(),
            hashes: HashStage::new(hashes),
            prefixes: journal.prefixes(),
            ..Self::begin(journal.digest, journal.size_bytes, kind, sink)
        }
    }

    /// The upload's name for [`BlobStore::abort_upload`](crate::BlobStore::abort_upload).
    pub fn id(&self) -> &str {
        self.sink.id()
    }

    /// The blob being uploaded.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The size of the whole blob.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// How many bytes were taken so far: where the source must go on.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The SHA-256 of each prefix added, also by those who wrote before a resume, in the order of
    /// [`Finished::combined`].
    pub fn prefixes(&self) -> &[Digest] {
        &self.prefixes
    }

    /// What journals carry for the caller: see [`UploadJournal::validator`].
    pub fn validator(&self) -> Option<&str> {
        self.validator.as_deref()
    }

    /// Attaches `validator` to the journals that follow.
    pub fn set_validator(&mut self, validator: Option<String>) {
        self.validator = validator;
    }

    /// Asks for the SHA-256 of `prefix` followed by the blob, computed in the same pass.
    ///
    /// # Errors
    ///
    /// [`BlobError::Interrupted`] when bytes were already taken: they cannot be hashed once more.
    pub fn add_prefix_hash(&mut self, prefix: PrefixHash) -> Result<(), BlobError> {
        if self.offset > 0 || self.condition != Condition::Good {
            return Err(BlobError::Interrupted);
        }
        self.prefixes.push(*prefix.prefix());
        self.hashes.idle().ok_or(BlobError::Interrupted)?.add(prefix);
        Ok(())
    }

    /// Takes the next bytes. The journal returned, if any, says that a further part is durable: save
    /// it, and a later [`BlobStore::resume_upload`](crate::BlobStore::resume_upload) needs only what
    /// follows it.
    ///
    /// # Errors
    ///
    /// [`BlobError::SizeMismatch`] as soon as there are more bytes than announced; the upload is gone
    /// then. [`BlobError::Unavailable`], [`BlobError::OutcomeUnknown`] or [`BlobError::Interrupted`]:
    /// drop the upload and resume from the last journal. [`BlobError::JournalUnusable`]: somebody
    /// aborted it, begin anew.
    pub async fn write(&mut self, mut bytes: Bytes) -> Result<Option<UploadJournal>, BlobError> {
        self.enter()?;
        let actual_bytes = self.offset.saturating_add(bytes.len() as u64);
        if actual_bytes > self.size_bytes {
            self.discard().await;
            return Err(BlobError::SizeMismatch {
                expected_bytes: self.size_bytes,
                actual_bytes,
            });
        }
        let mut flushed = false;
        while !bytes.is_empty() {
            let piece = bytes.split_to(self.room().min(bytes.len()));
            self.offset += piece.len() as u64;
            self.batch.push(piece);
            if self.room() == 0 || self.at_end_of_part() {
                bounded(Operation::Write, self.flush()).await?;
                flushed = true;
            }
        }
        // Sources deliver a few KiB at a time; once per batch is often enough to look.
        let journal = if flushed { self.harvest().await? } else { None };
        self.condition = Condition::Good;
        Ok(journal)
    }

    /// Waits until every whole part taken so far is durable, and gives the upload up. The journal
    /// returned, if any, is the newest there is: for a shutdown that wants to lose little.
    ///
    /// # Errors
    ///
    /// As for [`Upload::write`]; the last journal stays good.
    pub async fn suspend(mut self) -> Result<Option<UploadJournal>, BlobError> {
        self.enter()?;
        bounded(Operation::Write, self.sink.flush()).await?;
        self.harvest().await
    }

    /// Checks size and SHA-256 and makes the blob visible.
    ///
    /// # Errors
    ///
    /// [`BlobError::SizeMismatch`], [`BlobError::Mismatch`]: the content is wrong; the upload is gone
    /// and nothing became visible. [`BlobError::Refused`] likewise when the store does not accept the
    /// parts. [`BlobError::Unavailable`] and [`BlobError::OutcomeUnknown`]: resume from the last
    /// journal, or ask [`BlobStore::head`](crate::BlobStore::head) first.
    pub async fn finish(mut self) -> Result<Finished, BlobError> {
        let kind = self.kind;
        kind.observe(Operation::Publish, async move {
            self.enter()?;
            let combined = match self.verify().await {
                Ok(combined) => combined,
                Err(error @ (BlobError::SizeMismatch { .. } | BlobError::Mismatch { .. })) => {
                    self.discard().await;
                    return Err(error);
                }
                Err(error) => return Err(error),
            };
            self.publish().await?;
            Ok(Finished {
                digest: self.digest,
                size_bytes: self.size_bytes,
                combined,
            })
        })
        .await
    }

    /// Gives the upload up and removes what was stored.
    ///
    /// # Errors
    ///
    /// When the store cannot be reached; the upload is then found by
    /// [`BlobStore::list_uploads`](crate::BlobStore::list_uploads).
    pub async fn abort(mut self) -> Result<(), BlobError> {
        if self.condition == Condition::Aborted {
            return Ok(());
        }
        self.kind.observe(Operation::Abort, self.sink.abort()).await
    }

    /// Refuses a call on an upload that is not in good condition, and marks it as not being so until
    /// the call has come to its end.
    fn enter(&mut self) -> Result<(), BlobError> {
        match self.condition {
            Condition::Good => {
                self.condition = Condition::Interrupted;
                Ok(())
            }
            Condition::Interrupted => Err(BlobError::Interrupted),
            Condition::Aborted => Err(BlobError::JournalUnusable(JournalProblem::Gone)),
        }
    }

    /// How many bytes the batch can take before it is full or the part ends.
    fn room(&self) -> usize {
        let part_size = self.sink.part_size_bytes();
        let in_part = part_size - self.offset % part_size;
        let in_batch = BATCH_BYTES.saturating_sub(self.batch.len());
        usize::try_from(in_part).map_or(in_batch, |in_part| in_part.min(in_batch))
    }

    fn at_end_of_part(&self) -> bool {
        self.offset.is_multiple_of(self.sink.part_size_bytes()) && self.batch.len() > 0
    }

    /// Hands the batch to both halves, and notes the state of the hashes when it ends a part.
    async fn flush(&mut self) -> Result<(), BlobError> {
        let ends_part = self.at_end_of_part();
        let bytes = self.batch.len();
        let pieces = self.batch.take();
        self.hashes.feed(pieces.clone()).await?;
        self.sink.write(pieces).await?;
        self.kind.count_written(bytes);
        if ends_part {
            let hashes = self.hashes.join().await?.clone();
            self.checkpoints.push_back(Checkpoint {
                offset: self.offset,
                hashes,
            });
            self.kind.observe(Operation::Write, self.sink.end_part()).await?;
        }
        Ok(())
    }

    /// The journal of the last part that became durable since the last call.
    async fn harvest(&mut self) -> Result<Option<UploadJournal>, BlobError> {
        if self.checkpoints.is_empty() {
            return Ok(None);
        }
        let durable_bytes = self.sink.durable_bytes().await?;
        let mut newest = None;
        while let Some(checkpoint) = self
            .checkpoints
            .pop_front_if(|first| first.offset <= durable_bytes)
        {
            newest = Some(checkpoint);
        }
        Ok(newest.and_then(|checkpoint| self.journal(&checkpoint)))
    }

    fn journal(&self, checkpoint: &Checkpoint) -> Option<UploadJournal> {
        Some(UploadJournal {
            digest: self.digest,
            size_bytes: self.size_bytes,
            part_size_bytes: self.sink.part_size_bytes(),
            offset: checkpoint.offset,
            hashes: checkpoint.hashes.save(),
            place: self.sink.place(checkpoint.offset)?,
            validator: self.validator.clone(),
        })
    }

    /// Checks what was written against what was announced; returns the combined digests.
    async fn verify(&mut self) -> Result<Vec<Digest>, BlobError> {
        if self.offset != self.size_bytes {
            return Err(BlobError::SizeMismatch {
                expected_bytes: self.size_bytes,
                actual_bytes: self.offset,
            });
        }
        if self.batch.len() > 0 {
            bounded(Operation::Write, self.flush()).await?;
        }
        let hashes = self.hashes.join().await?;
        let actual = hashes.blob();
        if actual != self.digest {
            return Err(BlobError::Mismatch {
                expected: self.digest,
                actual,
            });
        }
        Ok(hashes.combined())
    }

    async fn publish(&mut self) -> Result<(), BlobError> {
        let published = bounded(Operation::Publish, async {
            self.sink.flush().await?;
            self.sink.publish().await
        })
        .await;
        if let Err(BlobError::Refused { .. }) = published {
            // Its journal would lead here again and again.
            self.discard().await;
        }
        published
    }

    /// Removes what was stored of wrong content. Failing at it changes nothing for the caller: the
    /// remains are invisible, and whoever lists uploads finds them.
    async fn discard(&mut self) {
        self.condition = Condition::Aborted;
        if let Err(error) = self.kind.observe(Operation::Abort, self.sink.abort()).await {
            tracing::warn!(
                blob.sha256 = %self.digest, upload.id = self.id(), error = %error,
                "could not remove an upload with wrong content"
            );
        }
    }
}

async fn bounded<T>(
    operation: Operation,
    work: impl Future<Output = Result<T, BlobError>>,
) -> Result<T, BlobError> {
    match tokio::time::timeout(STALL_TIMEOUT, work).await {
        Ok(result) => result,
        Err(elapsed) => Err(BlobError::OutcomeUnknown {
            operation,
            cause: elapsed.into(),
        }),
    }
}
