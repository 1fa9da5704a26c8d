//! One gzip file of pieces that were compressed apart.
//!
//! A piece is a run of deflate blocks that ends on a byte's border and refers to nothing before it
//! (`Z_FULL_FLUSH`). Joined, pieces are one deflate stream in one gzip member, which every client reads;
//! a file of several members is not read whole by all of them.

use std::io;

use bytes::Bytes;
use crc32fast::Hasher;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// The head of a gzip file: deflate, no name, no time, an unknown system. The same bytes packed twice
/// are the same.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// Bytes, and the same bytes as a piece of a gzip file. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    /// `None` when they are unpacked whenever they are wanted.
    plain: Option<Bytes>,
    pub(super) plain_len: usize,
    pub(super) packed: Bytes,
    checksum: Hasher,
}

impl Piece {
    /// A short piece that is not worth packing; `is_last` when it ends the file.
    pub(super) fn stored(plain: &'static [u8], is_last: bool) -> Self {
        Self {
            packed: stored(plain, is_last).into(),
            checksum: checksum(plain),
            plain_len: plain.len(),
            plain: Some(Bytes::from_static(plain)),
        }
    }

    /// This piece behind another; `keeps_plain` to have its bytes at hand.
    pub(super) fn after(&self, before: &Self, keeps_plain: bool) -> Self {
        Self {
            plain: keeps_plain.then(|| [&*before.plain(), &*self.plain()].concat().into()),
            plain_len: before.plain_len + self.plain_len,
            packed: [&*before.packed, &*self.packed].concat().into(),
            checksum: joined(before.checksum.clone(), &self.checksum),
        }
    }

    /// This piece with `before` behind which it was put taken away again; shares its bytes.
    pub(super) fn without(&self, before: &Self, alone: &Hasher) -> Self {
        Self {
            plain: self.plain.as_ref().map(|plain| plain.slice(before.plain_len..)),
            plain_len: self.plain_len - before.plain_len,
            packed: self.packed.slice(before.packed.len()..),
            checksum: alone.clone(),
        }
    }

    /// Its bytes.
    pub(super) fn plain(&self) -> Bytes {
        match &self.plain {
            Some(plain) => plain.clone(),
            None => inflate(&self.packed, self.plain_len),
        }
    }

    /// How many bytes are kept that could be unpacked.
    pub(super) fn kept_plain_bytes(&self) -> usize {
        self.plain.as_ref().map_or(0, Bytes::len)
    }

    pub(super) fn checksum(&self) -> Hasher {
        self.checksum.clone()
    }
}

/// What stands around the pieces of a gzip file whose length and checksum are these.
pub(super) struct Envelope {
    pub(super) header: [u8; 10],
    pub(super) trailer: [u8; 8],
}

impl Envelope {
    pub(super) fn of<'a>(pieces: impl IntoIterator<Item = &'a Piece>) -> Self {
        let (mut checksum, mut len_bytes) = (Hasher::new(), 0_u64);
        for piece in pieces {
            checksum.combine(&piece.checksum);
            len_bytes += piece.plain_len as u64;
        }
        // The format holds the length modulo 2^32.
        let len_bytes = (len_bytes & u64::from(u32::MAX)) as u32;
        let mut trailer = [0; 8];
        trailer[..4].copy_from_slice(&checksum.finalize().to_le_bytes());
        trailer[4..].copy_from_slice(&len_bytes.to_le_bytes());
        Self {
            header: HEADER,
            trailer,
        }
    }
}

/// Makes pieces, one after the other: a compressor is too large to have a new one for each.
#[derive(Debug)]
pub(super) struct Packer(Compress);

impl Packer {
    pub(super) fn new() -> Self {
        Self(Compress::new(Compression::default(), false))
    }

    /// Packs bytes.
    ///
    /// # Errors
    /// The compressor broke.
    pub(super) fn pack(&mut self, plain: Vec<u8>) -> io::Result<Piece> {
        Ok(Piece {
            packed: self.deflate(&plain)?.into(),
            checksum: checksum(&plain),
            plain_len: plain.len(),
            plain: Some(plain.into_boxed_slice().into()),
        })
    }

    fn deflate(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        // So that the same bytes are packed to the same, whatever came before.
        self.0.reset();
        let mut packed = Vec::with_capacity(bytes.len() / 3 + 64);
        loop {
            let read = usize::try_from(self.0.total_in()).unwrap_or(usize::MAX);
            let left = bytes.get(read..).unwrap_or_default();
            self.0.compress_vec(left, &mut packed, FlushCompress::Full)?;
            // Room that is left over says that everything was written, the flush included.
            if packed.len() < packed.capacity() {
                break;
            }
            packed.reserve(packed.len() / 2 + 64);
        }
        packed.shrink_to_fit();
        Ok(packed)
    }
}

/// The bytes of a piece. What comes of one that does not unpack is shorter, so that no client takes it for
/// whole; but all of them were packed by [`Packer`].
fn inflate(packed: &[u8], plain_len: usize) -> Bytes {
    let mut plain = Vec::with_capacity(plain_len);
    let unpacked = Decompress::new(false).decompress_vec(packed, &mut plain, FlushDecompress::Sync);
    if !matches!(unpacked, Ok(Status::Ok | Status::StreamEnd | Status::BufError)) || plain.len() != plain_len
    {
        tracing::error!(
            plain_len,
            unpacked_len = plain.len(),
            "a block of the index does not unpack"
        );
    }
    plain.into()
}

/// Bytes in a deflate block that is not compressed; at most 65535 of them.
fn stored(bytes: &[u8], is_last: bool) -> Vec<u8> {
    let len = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    let mut block = vec![u8::from(is_last)];
    block.extend(len.to_le_bytes());
    block.extend((!len).to_le_bytes());
    block.extend(&bytes[..usize::from(len)]);
    block
}

/// The CRC-32 of some bytes, to which that of the bytes behind them can be joined.
fn checksum(bytes: &[u8]) -> Hasher {
    let mut checksum = Hasher::new();
    checksum.update(bytes);
    checksum
}

fn joined(mut first: Hasher, second: &Hasher) -> Hasher {
    first.combine(second);
    first
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;
    use proptest::prelude::*;

    use super::*;

    fn unpack(pieces: &[Piece]) -> Vec<u8> {
        let last = Piece::stored(b"}", true);
        let pieces: Vec<&Piece> = pieces.iter().chain([&last]).collect();
        let envelope = Envelope::of(pieces.iter().copied());
        let mut file = envelope.header.to_vec();
        for piece in &pieces {
            file.extend_from_slice(&piece.packed);
        }
        file.extend_from_slice(&envelope.trailer);
        let mut plain = Vec::new();
        // Reads one member, and checks length and checksum.
        let mut decoder = GzDecoder::new(&*file);
        decoder.read_to_end(&mut plain).unwrap();
        assert!(decoder.into_inner().is_empty(), "there is more than one member");
        let alone: Vec<u8> = pieces
            .iter()
            .flat_map(|piece| inflate(&piece.packed, piece.plain_len))
            .collect();
        assert_eq!(alone, plain);
        plain
    }

    #[test]
    fn what_cannot_be_packed_and_what_packs_to_nothing_comes_out_whole() {
        use rand::{RngCore as _, SeedableRng as _};
        let mut noise = vec![0; 300_000];
        rand::rngs::StdRng::seed_from_u64(1).fill_bytes(&mut noise);
        let zeros = vec![0; 3_000_000];
        let mut packer = Packer::new();
        let parts = [noise.clone(), zeros.clone(), Vec::new(), noise.clone()];
        let pieces = parts.map(|part| packer.pack(part).unwrap());
        assert_eq!(unpack(&pieces), [&noise[..], &zeros, &noise, b"}"].concat());
    }

    proptest! {
        #[test]
        fn pieces_make_one_file(parts in prop::collection::vec(".{0,40}", 0..8)) {
            let mut packer = Packer::new();
            let mut pieces: Vec<Piece> = parts.iter().map(|part| packer.pack(part.clone().into_bytes()).unwrap()).collect();
            if let [first, rest @ ..] = &mut *pieces && let [second, ..] = rest {
                *second = second.after(first, parts.len() % 2 == 0);
                pieces.remove(0);
            }
            prop_assert_eq!(unpack(&pieces), format!("{}}}", parts.concat()).into_bytes());
        }
    }
}
