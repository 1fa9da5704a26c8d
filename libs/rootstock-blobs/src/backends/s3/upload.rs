//! Writing a blob to a bucket.
//!
//! A blob of at most one part is kept until it is known to be right and then sent by one request. A
//! larger one is a multipart upload, with two parts on their way while a third is being filled.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use object_store::{
    ObjectStore as _, PutMultipartOptions, PutOptions, PutPayload,
    multipart::{MultipartStore as _, PartId},
    path::Path,
};
use rootstock_model::Digest;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::{KIND, S3Store, existing};
use crate::{
    backend::{Backend as _, PartSink},
    config::MAX_PART_SIZE_BYTES,
    error::{BlobError, JournalProblem, Operation},
    journal::{Place, UploadJournal},
    key::Key,
};

/// S3 takes no more parts in one upload.
const MAX_PARTS: u64 = 10_000;
const PARTS_IN_FLIGHT: usize = 2;
const MIB: u64 = 1024 * 1024;

/// An upload's key and S3's id for it; as text, what `list_uploads` shows and `abort_upload` takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UploadId {
    pub(super) key: Path,
    pub(super) upload_id: String,
}

const ID_SEPARATOR: &str = "?uploadId=";

impl UploadId {
    pub(super) fn format(key: &str, upload_id: &str) -> String {
        format!("{key}{ID_SEPARATOR}{upload_id}")
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let (key, upload_id) = text.split_once(ID_SEPARATOR)?;
        let key = Path::parse(key).ok().filter(|_| !upload_id.is_empty())?;
        Some(Self {
            key,
            upload_id: upload_id.to_owned(),
        })
    }
}

/// A blob being sent.
#[derive(Debug)]
pub(super) struct S3Upload {
    store: Arc<S3Store>,
    digest: Digest,
    size_bytes: u64,
    part_size_bytes: u64,
    id: String,
    mode: Mode,
    /// The part being filled.
    pieces: Vec<Bytes>,
}

#[derive(Debug)]
enum Mode {
    /// The whole blob is one part, sent when it is known to be right.
    Single,
    Multipart(Multipart),
}

#[derive(Debug)]
struct Multipart {
    id: UploadId,
    /// How many parts were begun.
    begun: usize,
    /// The parts that are stored, by index. They may become so in any order.
    stored: BTreeMap<usize, PartId>,
    /// How many of them follow each other from the first.
    stored_from_start: usize,
    /// The parts on their way; dropping the upload drops them.
    in_flight: JoinSet<object_store::Result<(usize, PartId)>>,
}

/// What a journal keeps of a multipart upload: its id, and the ids of its first parts.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredParts {
    upload_id: String,
    parts: Vec<String>,
}

/// The configured size, or as much more as keeps the number of parts within S3's limit.
fn part_size_for(size_bytes: u64, configured_bytes: u64) -> Result<u64, BlobError> {
    let limit_bytes = MAX_PARTS * MAX_PART_SIZE_BYTES;
    if size_bytes > limit_bytes {
        return Err(BlobError::TooLarge {
            size_bytes,
            limit_bytes,
        });
    }
    let needed_bytes = size_bytes.div_ceil(MAX_PARTS).next_multiple_of(MIB);
    Ok(needed_bytes.max(configured_bytes))
}

impl S3Upload {
    pub(super) async fn begin(
        store: Arc<S3Store>,
        digest: &Digest,
        size_bytes: u64,
    ) -> Result<Self, BlobError> {
        let part_size_bytes = part_size_for(size_bytes, store.part_size_bytes)?;
        let key = store.object(digest);
        if size_bytes <= part_size_bytes {
            return Ok(Self {
                store,
                digest: *digest,
                size_bytes,
                part_size_bytes,
                id: UploadId::format(key.as_ref(), ""),
                mode: Mode::Single,
                pieces: Vec::new(),
            });
        }
        let options = PutMultipartOptions {
            attributes: Key::attributes(),
            ..Default::default()
        };
        let upload_id = store
            .writes
            .create_multipart_opts(&key, options)
            .await
            .map_err(|error| BlobError::from_object_store(Operation::Begin, error))?;
        let id = UploadId { key, upload_id };
        Ok(Self::multipart(
            store,
            digest,
            size_bytes,
            part_size_bytes,
            id,
            Vec::new(),
        ))
    }

    pub(super) async fn resume(store: Arc<S3Store>, journal: &UploadJournal) -> Result<Self, BlobError> {
        let StoredParts { upload_id, parts } = journal.place.read(KIND)?;
        let UploadJournal {
            digest,
            size_bytes,
            part_size_bytes,
            offset,
            ..
        } = journal;
        if (parts.len() as u64).checked_mul(*part_size_bytes) != Some(*offset) {
            return Err(BlobError::JournalUnusable(JournalProblem::Damaged));
        }
        let id = UploadId {
            key: store.object(digest),
            upload_id,
        };
        if !store.upload_exists(&id).await? {
            return Err(BlobError::JournalUnusable(JournalProblem::Gone));
        }
        Ok(Self::multipart(
            store,
            digest,
            *size_bytes,
            *part_size_bytes,
            id,
            parts,
        ))
    }

    fn multipart(
        store: Arc<S3Store>,
        digest: &Digest,
        size_bytes: u64,
        part_size_bytes: u64,
        id: UploadId,
        parts: Vec<String>,
    ) -> Self {
        let text = UploadId::format(id.key.as_ref(), &id.upload_id);
        let stored: BTreeMap<_, _> = parts
            .into_iter()
            .map(|content_id| PartId { content_id })
            .enumerate()
            .collect();
        let mode = Mode::Multipart(Multipart {
            id,
            begun: stored.len(),
            stored_from_start: stored.len(),
            stored,
            in_flight: JoinSet::new(),
        });
        Self {
            store,
            digest: *digest,
            size_bytes,
            part_size_bytes,
            id: text,
            mode,
            pieces: Vec::new(),
        }
    }

    /// An upload that is gone when it is to be completed was aborted, or an earlier attempt whose
    /// answer was lost completed it; only verified content is ever at the key, so its presence decides.
    async fn explain_gone(&self) -> Result<(), BlobError> {
        match self.store.head(&self.digest).await? {
            Some(info) if info.size_bytes == self.size_bytes => Ok(()),
            _ => Err(BlobError::JournalUnusable(JournalProblem::Gone)),
        }
    }
}

#[async_trait]
impl PartSink for S3Upload {
    fn id(&self) -> &str {
        &self.id
    }

    fn part_size_bytes(&self) -> u64 {
        self.part_size_bytes
    }

    async fn write(&mut self, pieces: Vec<Bytes>) -> Result<(), BlobError> {
        self.pieces.extend(pieces);
        Ok(())
    }

    async fn end_part(&mut self) -> Result<(), BlobError> {
        let Mode::Multipart(multipart) = &mut self.mode else {
            return Ok(());
        };
        while multipart.in_flight.len() >= PARTS_IN_FLIGHT {
            multipart.next_stored().await?;
        }
        multipart.send(&self.store, std::mem::take(&mut self.pieces));
        Ok(())
    }

    async fn durable_bytes(&mut self) -> Result<u64, BlobError> {
        let Mode::Multipart(multipart) = &mut self.mode else {
            return Ok(0);
        };
        while let Some(finished) = multipart.in_flight.try_join_next() {
            multipart.note(finished)?;
        }
        while multipart.stored.contains_key(&multipart.stored_from_start) {
            multipart.stored_from_start += 1;
        }
        Ok(multipart.stored_from_start as u64 * self.part_size_bytes)
    }

    async fn flush(&mut self) -> Result<(), BlobError> {
        if let Mode::Multipart(multipart) = &mut self.mode {
            while !multipart.in_flight.is_empty() {
                multipart.next_stored().await?;
            }
        }
        Ok(())
    }

    fn place(&self, durable_bytes: u64) -> Option<Place> {
        let Mode::Multipart(multipart) = &self.mode else {
            return None;
        };
        let count = usize::try_from(durable_bytes / self.part_size_bytes).ok()?;
        let parts = multipart
            .stored
            .values()
            .take(count)
            .map(|part| part.content_id.clone());
        let stored = StoredParts {
            upload_id: multipart.id.upload_id.clone(),
            parts: parts.collect(),
        };
        Some(Place::new(KIND, &stored))
    }

    async fn publish(&mut self) -> Result<(), BlobError> {
        let rest = std::mem::take(&mut self.pieces);
        match &mut self.mode {
            Mode::Single => {
                let options = PutOptions {
                    attributes: Key::attributes(),
                    ..Default::default()
                };
                self.store
                    .writes
                    .put_opts(
                        &self.store.object(&self.digest),
                        PutPayload::from_iter(rest),
                        options,
                    )
                    .await
                    .map(drop)
                    .map_err(|error| BlobError::from_object_store(Operation::Publish, error))
            }
            Mode::Multipart(multipart) => {
                if !rest.is_empty() {
                    multipart.send(&self.store, rest);
                }
                while !multipart.in_flight.is_empty() {
                    multipart.next_stored().await?;
                }
                let parts = multipart.stored.values().cloned().collect();
                let UploadId { key, upload_id } = &multipart.id;
                let completed = existing(self.store.writes.complete_multipart(key, upload_id, parts).await)
                    .map_err(|error| BlobError::from_object_store(Operation::Publish, error))?;
                match completed {
                    Some(_) => Ok(()),
                    None => self.explain_gone().await,
                }
            }
        }
    }

    async fn abort(&mut self) -> Result<(), BlobError> {
        self.pieces.clear();
        match &mut self.mode {
            Mode::Single => Ok(()),
            Mode::Multipart(multipart) => {
                // A part that arrives after the abort would stay behind.
                multipart.in_flight.shutdown().await;
                self.store.abort_upload(&self.id).await
            }
        }
    }
}

impl Multipart {
    fn send(&mut self, store: &Arc<S3Store>, pieces: Vec<Bytes>) {
        let index = self.begun;
        self.begun += 1;
        let store = Arc::clone(store);
        let UploadId { key, upload_id } = self.id.clone();
        self.in_flight.spawn(async move {
            let payload = PutPayload::from_iter(pieces);
            let part = store.writes.put_part(&key, &upload_id, index, payload).await?;
            Ok((index, part))
        });
    }

    /// Waits for one of the parts on their way.
    async fn next_stored(&mut self) -> Result<(), BlobError> {
        match self.in_flight.join_next().await {
            Some(finished) => self.note(finished),
            None => Ok(()),
        }
    }

    fn note(
        &mut self,
        finished: Result<object_store::Result<(usize, PartId)>, tokio::task::JoinError>,
    ) -> Result<(), BlobError> {
        let stored = existing(finished.map_err(|_| BlobError::Interrupted)?)
            .map_err(|error| BlobError::from_object_store(Operation::Write, error))?;
        let (index, part) = stored.ok_or(BlobError::JournalUnusable(JournalProblem::Gone))?;
        self.stored.insert(index, part);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_grow_so_that_ten_thousand_suffice() {
        let configured = 16 * MIB;
        for (size_bytes, expected) in [
            (0, configured),
            (MAX_PARTS * configured, configured),
            (MAX_PARTS * configured + 1, 17 * MIB),
            (MAX_PARTS * MAX_PART_SIZE_BYTES, MAX_PART_SIZE_BYTES),
        ] {
            let part_size = part_size_for(size_bytes, configured).unwrap();
            assert_eq!(part_size, expected, "{size_bytes}");
            assert!(size_bytes.div_ceil(part_size) <= MAX_PARTS);
        }
        let error = part_size_for(MAX_PARTS * MAX_PART_SIZE_BYTES + 1, configured).unwrap_err();
        assert!(matches!(error, BlobError::TooLarge { .. }), "{error}");
    }

    #[test]
    fn an_upload_id_goes_to_text_and_back() {
        let text = UploadId::format("site/blobs/sha256/ab/cd", "id?uploadId=x");
        let id = UploadId::parse(&text).unwrap();
        assert_eq!(
            (id.key.as_ref(), &*id.upload_id),
            ("site/blobs/sha256/ab/cd", "id?uploadId=x")
        );
        for text in ["", "key", "key?uploadId=", "/../x?uploadId=y"] {
            assert_eq!(UploadId::parse(text), None, "{text}");
        }
    }
}
