//! Reading a blob from a file.

use std::{fs::File, ops::Range, os::unix::fs::FileExt as _, sync::Arc};

use bytes::Bytes;
use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use rootstock_model::Digest;

use super::{LocalStore, existing};
use crate::{
    error::{BlobError, Operation},
    read::{self, BlobReader},
};

/// The size of a piece. Two are in memory: one being sent, one being read ahead.
const PIECE_BYTES: u64 = 512 * 1024;

impl LocalStore {
    pub(super) async fn read_file(
        &self,
        digest: &Digest,
        wanted: Option<Range<u64>>,
    ) -> Result<BlobReader, BlobError> {
        let path = self.blob(digest);
        let opened = self
            .blocking(Operation::Read, move |_| {
                let Some(file) = existing(File::open(path))? else {
                    return Ok(None);
                };
                let size_bytes = file.metadata()?.len();
                Ok(Some((file, size_bytes)))
            })
            .await?;
        let (file, size_bytes) = opened.ok_or(BlobError::NotFound { digest: *digest })?;
        let range = read::select(wanted, size_bytes)?;
        Ok(BlobReader {
            size_bytes,
            range: range.clone(),
            stream: pieces(file, range),
        })
    }
}

/// The bytes of `range`, read one piece ahead so that disk and reader work at the same time.
fn pieces(file: File, range: Range<u64>) -> BoxStream<'static, Result<Bytes, BlobError>> {
    let requests = stream::unfold(range.start, move |start| {
        let end = range.end.min(start.saturating_add(PIECE_BYTES));
        std::future::ready((start < end).then_some((start..end, end)))
    });
    let file = Arc::new(file);
    requests
        .map(move |range| {
            let file = Arc::clone(&file);
            tokio::task::spawn_blocking(move || read_piece(&file, range))
        })
        .buffered(2)
        .map(|piece| {
            piece
                .unwrap_or_else(|error| Err(std::io::Error::other(error)))
                .map_err(|error| BlobError::from_io(Operation::Read, error))
        })
        .boxed()
}

/// Reads without moving the file's position, which concurrent pieces share.
fn read_piece(file: &File, range: Range<u64>) -> std::io::Result<Bytes> {
    let mut buffer = vec![0; usize::try_from(range.end - range.start).map_err(std::io::Error::other)?];
    file.read_exact_at(&mut buffer, range.start)?;
    Ok(buffer.into())
}
