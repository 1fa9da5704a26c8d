//! Looking into an archive that is in the store: on a thread of its own, a few pieces ahead.

use std::io::{self, Read};

use bytes::Bytes;
use futures::StreamExt as _;
use rootstock_archive::{ArchiveError, Contents, FileKind, HEAD_BYTES, Limits};
use rootstock_blobs::{BlobError, BlobStore};
use rootstock_model::Digest;
use tokio::{sync::mpsc, task::spawn_blocking};

/// What came of looking into an archive.
pub(super) type Inspected = Result<Contents, ArchiveError>;

/// What a blob is, by its first bytes.
pub(super) async fn kind(blobs: &BlobStore, digest: &Digest) -> Result<Option<FileKind>, BlobError> {
    let reader = match blobs.read(digest, Some(0..HEAD_BYTES as u64)).await {
        Ok(reader) => reader,
        // An empty blob.
        Err(BlobError::RangeNotSatisfiable { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut stream = reader.stream;
    let mut head = Vec::with_capacity(HEAD_BYTES);
    while let Some(piece) = stream.next().await {
        head.extend_from_slice(&piece?);
    }
    Ok(FileKind::detect(&head))
}

/// Looks into a blob as far as `limits` allow.
pub(super) async fn inspect(
    blobs: &BlobStore,
    digest: &Digest,
    limits: Limits,
) -> Result<Inspected, BlobError> {
    let mut stream = blobs.read(digest, None).await?.stream;
    let (sender, receiver) = mpsc::channel(2);
    let work = spawn_blocking(move || {
        let pieces = Pieces {
            receiver,
            current: Bytes::new(),
        };
        rootstock_archive::inspect(pieces, &limits)
    });
    let pump = async move {
        while let Some(piece) = stream.next().await {
            // The work ends as soon as it has found what it looks for.
            if sender.send(piece?).await.is_err() {
                break;
            }
        }
        Ok::<_, BlobError>(())
    };
    let (pumped, inspected) = tokio::join!(pump, work);
    pumped?;
    Ok(inspected.unwrap_or_else(|error| Err(io::Error::other(error).into())))
}

/// What comes from the store, for a thread that may wait.
struct Pieces {
    receiver: mpsc::Receiver<Bytes>,
    current: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.receiver.blocking_recv() {
                Some(piece) => self.current = piece,
                None => return Ok(0),
            }
        }
        let length = self.current.len().min(buffer.len());
        buffer[..length].copy_from_slice(&self.current.split_to(length));
        Ok(length)
    }
}
