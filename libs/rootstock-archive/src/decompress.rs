//! What is around an archive. Every decoder here is bounded in memory whatever its input says.

use std::io::{self, BufRead, BufReader, Read};

use ruzstd::decoding::StreamingDecoder;

use crate::{Compression, FileKind, HEAD_BYTES};

/// `xz -9` needs 65 MiB to unpack; an archive that needs more is refused.
const XZ_MEMORY_BYTES: u64 = 96 << 20;

/// The plain archive in `reader`, however it is packed.
///
/// # Errors
/// The beginning cannot be read, or is that of no archive.
pub(crate) fn decompressed<'a, R: Read + 'a>(reader: R) -> io::Result<Box<dyn Read + 'a>> {
    let mut reader = BufReader::with_capacity(64 << 10, reader);
    let mut head = Vec::with_capacity(HEAD_BYTES);
    reader.by_ref().take(HEAD_BYTES as u64).read_to_end(&mut head)?;
    let kind = FileKind::detect(&head);
    let whole = BufReader::new(io::Cursor::new(head).chain(reader));
    Ok(match kind {
        Some(FileKind::Tar(Compression::None)) => Box::new(whole),
        Some(FileKind::Tar(Compression::Gzip)) => Box::new(flate2::bufread::MultiGzDecoder::new(whole)),
        Some(FileKind::Tar(Compression::Xz)) => {
            let stream =
                liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY_BYTES, liblzma::stream::CONCATENATED)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(whole, stream))
        }
        Some(FileKind::Tar(Compression::Bzip2)) => Box::new(bzip2::bufread::MultiBzDecoder::new(whole)),
        Some(FileKind::Tar(Compression::Zstd)) => Box::new(Zstd::new(whole)?),
        Some(FileKind::Squashfs | FileKind::Qcow2) | None => {
            let problem = "it does not begin like one (tar, plain or packed with gzip, xz, zstd or bzip2)";
            return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
        }
    })
}

/// Frame after frame: parallel compressors write many. The decoder refuses windows of more than
/// 100 MiB and takes memory as it needs it.
struct Zstd<R: BufRead>(Option<StreamingDecoder<R, ruzstd::decoding::FrameDecoder>>);

impl<R: BufRead> Zstd<R> {
    fn new(reader: R) -> io::Result<Self> {
        Ok(Self(Some(StreamingDecoder::new(reader).map_err(damaged)?)))
    }
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(frame) = &mut self.0 else { return Ok(0) };
            match frame.read(buffer)? {
                0 if !buffer.is_empty() => {}
                length => return Ok(length),
            }
            let Some(mut reader) = self.0.take().map(StreamingDecoder::into_inner) else {
                return Ok(0);
            };
            if reader.fill_buf()?.is_empty() {
                return Ok(0);
            }
            self.0 = Some(StreamingDecoder::new(reader).map_err(damaged)?);
        }
    }
}

fn damaged(error: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}
