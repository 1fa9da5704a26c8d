//! Sending a file, from where the server wants it on, again while the connection breaks.

use std::{io::SeekFrom, time::Duration};

use bytes::Bytes;
use rootstock_model::Digest;
use rootstock_proto::{
    Error,
    catalog::v1::{
        UploadBlobRequest, UploadBlobResponse, UploadHeader, UploadState, upload_blob_request::Part,
    },
};
use tokio::{
    fs::File,
    io::{AsyncReadExt as _, AsyncSeekExt as _},
    sync::mpsc,
    time::{Instant, sleep},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use super::files::{LocalFile, Source};
use crate::{bar::Bar, client::Client, failure::Failure};

const CHUNK_BYTES: usize = 1 << 20;
/// How long a server is tried that takes nothing.
const PATIENCE: Duration = Duration::from_secs(60);
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// Brings a file into the store. One that is there already costs one question.
pub(super) async fn upload(
    client: &Client,
    file: &LocalFile,
    metadata: Option<&Digest>,
) -> Result<(), Failure> {
    let bar = Bar::new("sending", &file.name(), file.size_bytes);
    let mut attempts = Attempts {
        until: Instant::now() + PATIENCE,
        kept_bytes: 0,
    };
    loop {
        let Err(status) = attempt(client, file, metadata, &bar, &mut attempts).await else {
            bar.done();
            return Ok(());
        };
        if !is_worth_repeating(&status) || Instant::now() > attempts.until {
            return Err(client.content_failure(&status));
        }
        bar.say(&format!("{}: connecting again", file.name()));
        sleep(TRY_AGAIN).await;
    }
}

/// Whether, and until when, it is tried again.
struct Attempts {
    until: Instant,
    kept_bytes: u64,
}

impl Attempts {
    /// What gets on may go on.
    fn kept(&mut self, bytes: u64) {
        if bytes > self.kept_bytes {
            self.kept_bytes = bytes;
            self.until = Instant::now() + PATIENCE;
        }
    }
}

/// Nothing that our server decided: its own words on a request are final, a broken connection is not.
fn is_worth_repeating(status: &Status) -> bool {
    match Error::from_status(status) {
        Some(Error::Unavailable(_) | Error::LeaseLost) => true,
        Some(_) => false,
        None => !matches!(
            status.code(),
            Code::Unimplemented | Code::Unauthenticated | Code::PermissionDenied | Code::InvalidArgument
        ),
    }
}

async fn attempt(
    client: &Client,
    file: &LocalFile,
    metadata: Option<&Digest>,
    bar: &Bar,
    attempts: &mut Attempts,
) -> Result<(), Status> {
    let (sender, receiver) = mpsc::channel(2);
    let header = UploadHeader {
        sha256: file.digest.to_hex(),
        size_bytes: i64::try_from(file.size_bytes).unwrap_or(i64::MAX),
        metadata_sha256: metadata.map(|digest| digest.to_hex()).unwrap_or_default(),
    };
    // There is room for it.
    let _ = sender.try_send(UploadBlobRequest {
        part: Some(Part::Header(header)),
    });
    let answers = client
        .contents()
        .upload_blob(ReceiverStream::new(receiver))
        .await?;
    let mut answers = answers.into_inner();
    let Some(offset) = begin(&mut answers, file, bar, attempts).await? else {
        return Ok(());
    };
    tokio::select! {
        stored = until_stored(&mut answers, attempts) => stored,
        // Ends only when it cannot go on; otherwise the server has the last word.
        sent = send(file, offset, sender, bar) => Err(sent),
    }
}

/// Where to begin; `None` when nothing is to be sent.
async fn begin(
    answers: &mut Streaming<UploadBlobResponse>,
    file: &LocalFile,
    bar: &Bar,
    attempts: &mut Attempts,
) -> Result<Option<u64>, Status> {
    let mut waits = false;
    loop {
        let answer = next(answers).await?;
        let offset = u64::try_from(answer.offset_bytes).unwrap_or_default();
        match answer.state() {
            UploadState::Stored => return Ok(None),
            UploadState::Receiving => {
                attempts.kept(offset);
                return Ok(Some(offset));
            }
            UploadState::Waiting | UploadState::Unspecified => {
                // Somebody is at it: that is no reason to give up.
                attempts.until = Instant::now() + PATIENCE;
                if !waits {
                    bar.say(&format!(
                        "{}: waiting for someone else who is sending it",
                        file.name()
                    ));
                }
                waits = true;
            }
        }
    }
}

async fn until_stored(
    answers: &mut Streaming<UploadBlobResponse>,
    attempts: &mut Attempts,
) -> Result<(), Status> {
    loop {
        let answer = next(answers).await?;
        if answer.state() == UploadState::Stored {
            return Ok(());
        }
        attempts.kept(u64::try_from(answer.offset_bytes).unwrap_or_default());
    }
}

async fn next(answers: &mut Streaming<UploadBlobResponse>) -> Result<UploadBlobResponse, Status> {
    let ended = || Status::unavailable("the server ended the stream");
    answers.message().await?.ok_or_else(ended)
}

/// Sends all from `offset` on, and then waits: whoever reads the answers ends it.
async fn send(file: &LocalFile, offset: u64, sender: mpsc::Sender<UploadBlobRequest>, bar: &Bar) -> Status {
    let mut reader = match Reader::open(&file.source, offset).await {
        Ok(reader) => reader,
        Err(error) => return unreadable(file, &error),
    };
    let mut sent = offset;
    bar.position(sent);
    loop {
        match reader.next().await {
            Ok(chunk) if chunk.is_empty() => break,
            Ok(chunk) => {
                sent += chunk.len() as u64;
                let part = Some(Part::Chunk(chunk));
                if sender.send(UploadBlobRequest { part }).await.is_err() {
                    break;
                }
                bar.position(sent);
            }
            Err(error) => return unreadable(file, &error),
        }
    }
    std::future::pending().await
}

fn unreadable(file: &LocalFile, error: &std::io::Error) -> Status {
    Status::invalid_argument(format!("{} cannot be read: {error}", file.name()))
}

enum Reader {
    Disk(File),
    Memory(Bytes),
}

impl Reader {
    async fn open(source: &Source, offset: u64) -> std::io::Result<Self> {
        Ok(match source {
            Source::Disk(path) => {
                let mut file = File::open(path).await?;
                file.seek(SeekFrom::Start(offset)).await?;
                Self::Disk(file)
            }
            Source::Memory(bytes) => {
                let offset = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                Self::Memory(Bytes::copy_from_slice(&bytes[offset..]))
            }
        })
    }

    /// The next bytes; none at the end.
    async fn next(&mut self) -> std::io::Result<Bytes> {
        match self {
            Self::Memory(bytes) => Ok(bytes.split_to(bytes.len().min(CHUNK_BYTES))),
            Self::Disk(file) => {
                let mut chunk = Vec::with_capacity(CHUNK_BYTES);
                file.take(CHUNK_BYTES as u64).read_to_end(&mut chunk).await?;
                Ok(chunk.into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_word_is_final_and_a_broken_connection_is_not() {
        assert!(is_worth_repeating(&Status::unknown("h2 protocol error")));
        assert!(is_worth_repeating(&Error::Unavailable("ending".into()).into()));
        assert!(is_worth_repeating(&Error::LeaseLost.into()));
        assert!(!is_worth_repeating(
            &Error::invalid("header.sha256", "wrong").into()
        ));
        assert!(!is_worth_repeating(&Status::unimplemented("")));
    }
}
