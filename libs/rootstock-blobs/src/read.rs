//! Reading a blob or a part of it.

use std::{fmt, ops::Range, time::Duration};

use bytes::Bytes;
use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};

use rootstock_model::Digest;

use crate::{
    error::{BlobError, Operation},
    hash::{HashStage, Hashes},
    telemetry::StoreKind,
};

/// How long the store may take for the next piece. The time that the reader takes between two pieces
/// does not count.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// A blob being read. The bytes come in pieces of up to 1 MiB and are not checked against the digest:
/// they were when the blob was stored.
pub struct BlobReader {
    /// The size of the whole blob.
    pub size_bytes: u64,
    /// Which bytes of it follow.
    pub range: Range<u64>,
    /// The bytes. It ends with an error when the store falls silent for 30 seconds or delivers fewer
    /// bytes than `range` has; nothing follows an error.
    pub stream: BoxStream<'static, Result<Bytes, BlobError>>,
}

impl fmt::Debug for BlobReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobReader")
            .field("size_bytes", &self.size_bytes)
            .field("range", &self.range)
            .finish_non_exhaustive()
    }
}

impl BlobReader {
    /// Limits how long the backend may be silent, and checks that as many bytes come as `range` has.
    pub(crate) fn guarded(self, store: StoreKind) -> Self {
        self.guarded_with(IDLE_TIMEOUT, store)
    }

    fn guarded_with(self, idle: Duration, store: StoreKind) -> Self {
        let Self {
            size_bytes,
            range,
            stream: pieces,
        } = self;
        let left = range.end - range.start;
        let stream = stream::unfold(Some((pieces, left)), move |state| async move {
            let (mut pieces, left) = state?;
            match next_piece(idle, &mut pieces, left).await {
                Ok(Some(piece)) => {
                    store.count_read(piece.len());
                    let left = left - piece.len() as u64;
                    Some((Ok(piece), Some((pieces, left))))
                }
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        });
        Self {
            size_bytes,
            range,
            stream: stream.boxed(),
        }
    }
}

async fn next_piece(
    idle: Duration,
    pieces: &mut BoxStream<'static, Result<Bytes, BlobError>>,
    left: u64,
) -> Result<Option<Bytes>, BlobError> {
    let unavailable = |why: &str| BlobError::Unavailable {
        operation: Operation::Read,
        cause: why.into(),
    };
    match tokio::time::timeout(idle, pieces.next()).await {
        Err(_) => Err(unavailable("it fell silent in the middle of the content")),
        Ok(None) if left > 0 => Err(unavailable("the content ended too early")),
        Ok(None) => Ok(None),
        Ok(Some(piece)) => {
            let piece = piece?;
            match piece.len() as u64 <= left {
                true => Ok(Some(piece)),
                false => Err(unavailable("more content came than was asked for")),
            }
        }
    }
}

/// The pieces of a whole blob, the last one held back until all of them were found to be `expected`.
pub(crate) fn verified(
    expected: Digest,
    pieces: BoxStream<'static, Result<Bytes, BlobError>>,
) -> BoxStream<'static, Result<Bytes, BlobError>> {
    let stage = HashStage::new(Hashes::default());
    stream::unfold(Some((pieces, stage, None)), move |state| async move {
        let (mut pieces, mut stage, mut held) = state?;
        match next_verified(expected, &mut pieces, &mut stage, &mut held).await {
            Ok((piece, false)) => Some((Ok(piece), Some((pieces, stage, held)))),
            Ok((piece, true)) => Some((Ok(piece), None)),
            Err(error) => Some((Err(error), None)),
        }
    })
    .boxed()
}

/// The next piece that may be seen, and whether it is the last.
async fn next_verified(
    expected: Digest,
    pieces: &mut BoxStream<'static, Result<Bytes, BlobError>>,
    stage: &mut HashStage,
    held: &mut Option<Bytes>,
) -> Result<(Bytes, bool), BlobError> {
    while let Some(piece) = pieces.next().await {
        let piece = piece?;
        stage.feed(vec![piece.clone()]).await?;
        if let Some(before) = held.replace(piece) {
            return Ok((before, false));
        }
    }
    match stage.join().await?.blob() {
        actual if actual == expected => Ok((held.take().unwrap_or_default(), true)),
        actual => Err(BlobError::Mismatch { expected, actual }),
    }
}

/// The bytes that `wanted` selects of a blob of `size_bytes`: an end beyond the blob's end is moved
/// there, and a range that then holds nothing is refused.
pub(crate) fn select(wanted: Option<Range<u64>>, size_bytes: u64) -> Result<Range<u64>, BlobError> {
    let Some(wanted) = wanted else {
        return Ok(0..size_bytes);
    };
    let range = wanted.start..wanted.end.min(size_bytes);
    match range.is_empty() {
        true => Err(BlobError::RangeNotSatisfiable { size_bytes }),
        false => Ok(range),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_to_the_blob_and_never_empty() {
        let selected = |wanted: Range<u64>, size| select(Some(wanted), size).ok();
        assert_eq!(select(None, 0).unwrap(), 0..0);
        assert_eq!(selected(0..10, 10), Some(0..10));
        assert_eq!(selected(9..u64::MAX, 10), Some(9..10));
        assert_eq!(selected(10..11, 10), None);
        assert_eq!(selected(3..3, 10), None);
        assert_eq!(selected(0..1, 0), None);
    }

    const KIND: StoreKind = StoreKind::new("local");

    fn raw(range: Range<u64>, stream: BoxStream<'static, Result<Bytes, BlobError>>) -> BlobReader {
        BlobReader {
            size_bytes: 100,
            range,
            stream,
        }
    }

    fn reader(pieces: Vec<&'static [u8]>, range: Range<u64>) -> BlobReader {
        let pieces = stream::iter(pieces)
            .map(|piece| Ok(Bytes::from_static(piece)))
            .boxed();
        raw(range, pieces).guarded(KIND)
    }

    #[tokio::test]
    async fn a_stream_of_another_length_ends_with_an_error() {
        for (pieces, good) in [
            (vec![b"abc".as_slice(), b"de"], true),
            (vec![b"abc"], false),
            (vec![b"abcdef"], false),
        ] {
            let results: Vec<_> = reader(pieces, 10..15).stream.collect().await;
            assert_eq!(results.iter().all(Result::is_ok), good, "{results:?}");
        }
    }

    #[tokio::test]
    async fn the_last_piece_of_what_is_verified_comes_only_when_all_is_right() {
        let pieces = |pieces: &[&'static [u8]]| {
            let pieces: Vec<_> = pieces.iter().map(|piece| Ok(Bytes::from_static(piece))).collect();
            stream::iter(pieces).boxed()
        };
        let expected = Digest::of(b"abcde");
        let right: Vec<_> = verified(expected, pieces(&[b"abc", b"d", b"e"])).collect().await;
        let right: Vec<_> = right.into_iter().map(Result::unwrap).collect();
        assert_eq!(right, ["abc", "d", "e"]);
        let wrong: Vec<_> = verified(expected, pieces(&[b"abc", b"d", b"E"])).collect().await;
        assert!(
            matches!(&wrong[..], [Ok(_), Ok(_), Err(BlobError::Mismatch { .. })]),
            "{wrong:?}"
        );
        let empty: Vec<_> = verified(Digest::of(b""), pieces(&[])).collect().await;
        assert!(matches!(&empty[..], [Ok(piece)] if piece.is_empty()), "{empty:?}");
    }

    #[tokio::test]
    async fn a_silent_store_ends_with_an_error() {
        let silent = raw(0..1, stream::pending().boxed());
        let mut reader = silent.guarded_with(Duration::from_millis(1), KIND);
        assert!(matches!(
            reader.stream.next().await,
            Some(Err(BlobError::Unavailable { .. }))
        ));
        assert!(reader.stream.next().await.is_none());
    }
}
