//! Sending a blob: from the store to a client's stream, verified on the way.

use bytes::Bytes;
use futures::StreamExt as _;
use rootstock_blobs::{BlobError, BlobReader};
use rootstock_model::Digest;
use rootstock_proto::{
    Error, ResourceKind,
    catalog::v1::{DownloadBlobRequest, DownloadBlobResponse},
    convert,
};
use time::OffsetDateTime;
use tokio::{sync::mpsc, time::timeout};
use tonic::Status;

use super::{Content, ending, of_store};

/// At most this much is in a message.
const MAX_CHUNK_BYTES: usize = 1 << 20;

type Answers = mpsc::Sender<Result<DownloadBlobResponse, Status>>;

/// Sends a blob until its end, or the client's.
pub(super) async fn send(
    content: &Content,
    request: DownloadBlobRequest,
    answers: &Answers,
) -> Result<(), Status> {
    let digest: Digest = request
        .sha256
        .parse()
        .map_err(|error| Error::invalid("sha256", error))?;
    let offset = convert::size_bytes("offset_bytes", request.offset_bytes)?;
    let size_bytes = match content.model.borrow().as_ref() {
        Some(model) => content.audience.grants(model, &digest, OffsetDateTime::now_utc()),
        None => {
            let text = "this gateway has not heard from the catalog yet; try again in a moment";
            return Err(Error::Unavailable(text.to_owned()).into());
        }
    };
    let size_bytes = size_bytes.ok_or_else(|| match content.audience.is_unrestricted() {
        true => Error::not_found(ResourceKind::Blob, digest).into(),
        // The same whether the blob exists or not.
        false => Status::permission_denied(
            "no image that is shown here has this blob; those of other images come through the gateway's gRPC \
             listener (grpc_listen) alone",
        ),
    })?;
    if offset > size_bytes {
        let problem = format!("is {offset}, and the blob has {size_bytes} bytes");
        return Err(Error::invalid("offset_bytes", problem).into());
    }
    let Ok(_place) = content.downloads.try_acquire() else {
        let text = "this gateway sends as many files as it can at a time; try again in a moment";
        return Err(Error::Unavailable(text.to_owned()).into());
    };
    let first = DownloadBlobResponse {
        chunk: Bytes::new(),
        size_bytes: i64::try_from(size_bytes).unwrap_or(i64::MAX),
    };
    let sending = Sending { content, answers };
    if !sending.send(first).await? || offset == size_bytes && offset > 0 {
        return Ok(());
    }
    let reader = match offset {
        0 => content.blobs.read_verified(&digest).await,
        offset => content.blobs.read(&digest, Some(offset..size_bytes)).await,
    };
    let reader = reader.map_err(|error| failed(&digest, &error))?;
    if reader.size_bytes != size_bytes {
        tracing::error!(
            blob.sha256 = %digest, expected = size_bytes, actual = reader.size_bytes,
            "a blob has another length in the store"
        );
        return Err(damaged());
    }
    sending.pour(&digest, reader).await
}

struct Sending<'a> {
    content: &'a Content,
    answers: &'a Answers,
}

impl Sending<'_> {
    async fn pour(&self, digest: &Digest, mut reader: BlobReader) -> Result<(), Status> {
        while let Some(piece) = reader.stream.next().await {
            let mut piece = piece.map_err(|error| failed(digest, &error))?;
            while !piece.is_empty() {
                let chunk = piece.split_to(piece.len().min(MAX_CHUNK_BYTES));
                let message = DownloadBlobResponse { chunk, size_bytes: 0 };
                if !self.send(message).await? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Whether the client is still there.
    async fn send(&self, message: DownloadBlobResponse) -> Result<bool, Status> {
        tokio::select! {
            biased;
            sent = timeout(self.content.write_stall_timeout, self.answers.send(Ok(message))) => {
                // One that takes nothing for too long is as good as gone.
                Ok(sent.is_ok_and(|sent| sent.is_ok()))
            }
            () = self.content.shutdown.triggered() => Err(ending()),
        }
    }
}

fn failed(digest: &Digest, error: &BlobError) -> Status {
    match error {
        BlobError::Mismatch { .. } => {
            tracing::error!(blob.sha256 = %digest, %error, "a blob is damaged in the store");
            damaged()
        }
        BlobError::NotFound { .. } => {
            tracing::error!(blob.sha256 = %digest, "a blob that is listed is not in the store");
            damaged()
        }
        error => of_store(error),
    }
}

fn damaged() -> Status {
    Status::data_loss("what the store holds is not this blob any more; the server's log has more")
}
