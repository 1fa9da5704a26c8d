//! Gathers the pieces that a source delivers into batches that are worth handing to another thread.

use bytes::{Bytes, BytesMut};

/// A piece below this size is copied: a source that delivers single bytes would otherwise make the
/// bookkeeping many times larger than the content, and the memory bound would not hold.
const COPY_BELOW_BYTES: usize = 8 * 1024;

/// Pieces in the order in which they arrived.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pieces: Vec<Bytes>,
    small: BytesMut,
    len: usize,
}

impl Batch {
    /// Appends `bytes`; large pieces are kept as they are.
    pub(crate) fn push(&mut self, bytes: Bytes) {
        self.len += bytes.len();
        if bytes.len() < COPY_BELOW_BYTES {
            self.small.extend_from_slice(&bytes);
        } else {
            self.close_small();
            self.pieces.push(bytes);
        }
    }

    /// How many bytes there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Takes everything out.
    pub(crate) fn take(&mut self) -> Vec<Bytes> {
        self.close_small();
        self.len = 0;
        std::mem::take(&mut self.pieces)
    }

    fn close_small(&mut self) {
        if !self.small.is_empty() {
            self.pieces.push(self.small.split().freeze());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_kept_and_small_pieces_are_joined() {
        let mut batch = Batch::default();
        let large = Bytes::from(vec![7; COPY_BELOW_BYTES]);
        for piece in [
            Bytes::from_static(b"a"),
            Bytes::from_static(b"b"),
            large.clone(),
            Bytes::from_static(b"c"),
        ] {
            batch.push(piece);
        }
        assert_eq!(batch.len(), 3 + large.len());
        assert_eq!(
            batch.take(),
            vec![Bytes::from_static(b"ab"), large, Bytes::from_static(b"c")]
        );
        assert_eq!(batch.len(), 0);
        assert!(batch.take().is_empty());
    }
}
