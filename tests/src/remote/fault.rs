//! What can go wrong with an answer of the fake remote.

use std::{io, ops::Range, time::Duration};

use bytes::Bytes;
use futures::{StreamExt as _, stream, stream::BoxStream};

use super::Content;

/// A fault in the answer to one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// This status instead of an answer.
    Status {
        /// The status code.
        code: u16,
        /// The `Retry-After` header: seconds, or a date.
        retry_after: Option<String>,
    },
    /// Redirects there.
    Redirect {
        /// The status code, 302 in most cases.
        code: u16,
        /// The `Location` header.
        location: String,
    },
    /// Never sends a byte of the answer.
    HangBeforeHeaders,
    /// Closes the connection when this many bytes of the body were sent, though more were promised.
    CloseAfter {
        /// Counted in this answer's body.
        bytes: u64,
    },
    /// Keeps the connection open, and sends no more than this many bytes of the body.
    StallAfter {
        /// Counted in this answer's body.
        bytes: u64,
    },
    /// Sends the body no faster than this.
    Slow {
        /// The rate.
        bytes_per_second: u64,
    },
    /// One byte of the file is another one.
    FlipByte {
        /// Counted in the file.
        offset: u64,
    },
    /// The file ends early, and `Content-Length` says so.
    Truncate {
        /// The shorter length.
        bytes: u64,
    },
    /// The file is longer by zeros, and `Content-Length` says so.
    Extra {
        /// How many.
        bytes: u64,
    },
    /// No `Content-Length`: the body comes in chunks.
    Chunked,
    /// Answers a request for a range with the whole file.
    IgnoreRange,
    /// Every answer has another `ETag` and `Last-Modified`, as if the file had just been replaced.
    ChangeValidators,
    /// Neither `ETag` nor `Last-Modified`.
    NoValidators,
}

impl Fault {
    /// A status without further ado.
    pub const fn status(code: u16) -> Self {
        Self::Status {
            code,
            retry_after: None,
        }
    }

    /// The length of the file as this fault has it.
    pub(super) fn size(&self, true_size: u64) -> u64 {
        match self {
            Self::Truncate { bytes } => true_size.min(*bytes),
            Self::Extra { bytes } => true_size + bytes,
            _ => true_size,
        }
    }
}

type Body = BoxStream<'static, io::Result<Bytes>>;

/// The body for `range` of the file, as the fault has it.
pub(super) fn body(content: &Content, range: Range<u64>, fault: Option<&Fault>) -> Body {
    let within = range.start.min(content.size())..range.end.min(content.size());
    let beyond = range.end - range.start - (within.end - within.start);
    let body = content.stream(within);
    match fault {
        Some(Fault::Extra { .. }) => body.chain(zeros(beyond)).boxed(),
        Some(&Fault::FlipByte { offset }) => flip(body, range.start, offset),
        Some(&Fault::CloseAfter { bytes }) => take(body, bytes).chain(stream::once(close())).boxed(),
        Some(&Fault::StallAfter { bytes }) => take(body, bytes).chain(stream::pending()).boxed(),
        Some(&Fault::Slow { bytes_per_second }) => pace(body, bytes_per_second),
        _ => body,
    }
}

fn zeros(bytes: u64) -> Body {
    Content::from(vec![0; bytes as usize]).stream(0..bytes)
}

fn flip(body: Body, start: u64, offset: u64) -> Body {
    body.scan(start, move |position, chunk| {
        let chunk = chunk.map(|chunk| {
            let here = offset.checked_sub(*position).map(|index| index as usize);
            *position += chunk.len() as u64;
            match here {
                Some(index) if index < chunk.len() => {
                    let mut changed = chunk.to_vec();
                    changed[index] ^= 0xff;
                    changed.into()
                }
                _ => chunk,
            }
        });
        std::future::ready(Some(chunk))
    })
    .boxed()
}

fn take(body: Body, bytes: u64) -> Body {
    body.scan(bytes, |left, chunk| {
        let taken = match chunk {
            Ok(_) if *left == 0 => None,
            Ok(chunk) => {
                let taken = chunk.slice(..chunk.len().min(*left as usize));
                *left -= taken.len() as u64;
                Some(Ok(taken))
            }
            failed => Some(failed),
        };
        std::future::ready(taken)
    })
    .boxed()
}

/// An error in the body makes the server drop the connection with what it has not yet written: so
/// give it the time to write.
async fn close() -> io::Result<Bytes> {
    tokio::time::sleep(Duration::from_millis(100)).await;
    Err(io::Error::other("the connection is to be closed here"))
}

fn pace(body: Body, bytes_per_second: u64) -> Body {
    const STEPS_PER_SECOND: u64 = 20;
    let step = (bytes_per_second / STEPS_PER_SECOND).max(1) as usize;
    body.flat_map(move |chunk| {
        let pieces = match chunk {
            Ok(chunk) => (0..chunk.len())
                .step_by(step)
                .map(|at| Ok(chunk.slice(at..chunk.len().min(at + step))))
                .collect(),
            Err(error) => vec![Err(error)],
        };
        stream::iter(pieces)
    })
    .then(move |piece| async move {
        let bytes = piece.as_ref().map_or(0, |piece| piece.len() as u64);
        tokio::time::sleep(Duration::from_secs(1).mul_f64(bytes as f64 / bytes_per_second as f64)).await;
        piece
    })
    .boxed()
}
