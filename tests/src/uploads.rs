//! A client of `ContentService` that does as it is told, and tells what it was told.

use bytes::Bytes;
use rootstock_model::Digest;
use rootstock_proto::catalog::v1::{
    DownloadBlobRequest, ImportFile, UploadBlobRequest, UploadBlobResponse, UploadHeader, UploadState,
    content_service_client::ContentServiceClient, upload_blob_request::Part,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, transport::Channel};

const CHUNK_BYTES: usize = 256 << 10;

/// An upload that a test drives step by step.
#[derive(Debug)]
pub struct Upload {
    messages: mpsc::Sender<UploadBlobRequest>,
    answers: Streaming<UploadBlobResponse>,
}

/// The header for these bytes.
pub fn header(content: &[u8]) -> UploadHeader {
    UploadHeader {
        sha256: Digest::of(content).to_hex(),
        size_bytes: content.len() as i64,
        metadata_sha256: String::new(),
    }
}

/// The file of an import.
pub fn file(content: &[u8]) -> ImportFile {
    ImportFile {
        sha256: Digest::of(content).to_hex(),
        size_bytes: content.len() as i64,
    }
}

impl Upload {
    /// Sends a header.
    pub async fn begin(
        contents: &mut ContentServiceClient<Channel>,
        header: UploadHeader,
    ) -> Result<Self, Status> {
        let (messages, receiver) = mpsc::channel(1);
        let answers = contents.upload_blob(ReceiverStream::new(receiver));
        let part = Some(Part::Header(header));
        let (answers, _) = tokio::join!(answers, messages.send(UploadBlobRequest { part }));
        Ok(Self {
            messages,
            answers: answers?.into_inner(),
        })
    }

    /// The next answer.
    pub async fn answer(&mut self) -> Result<(UploadState, u64), Status> {
        let ended = || Status::unavailable("the stream ended");
        let answer = self.answers.message().await?.ok_or_else(ended)?;
        Ok((answer.state(), answer.offset_bytes as u64))
    }

    /// Waits until the server is ready for bytes, or has them; answers the offset.
    pub async fn ready(&mut self) -> Result<(UploadState, u64), Status> {
        loop {
            match self.answer().await? {
                (UploadState::Waiting, _) => {}
                ready => return Ok(ready),
            }
        }
    }

    /// Sends bytes, as long as the server takes them.
    pub async fn send(&self, mut content: Bytes) {
        while !content.is_empty() {
            let chunk = content.split_to(content.len().min(CHUNK_BYTES));
            let part = Some(Part::Chunk(chunk));
            if self.messages.send(UploadBlobRequest { part }).await.is_err() {
                return;
            }
        }
    }

    /// Sends bytes, and waits until the blob is stored.
    pub async fn finish(&mut self, content: Bytes) -> Result<(), Status> {
        let Self { messages, answers } = self;
        let sending = async {
            let mut content = content;
            while !content.is_empty() {
                let chunk = content.split_to(content.len().min(CHUNK_BYTES));
                let part = Some(Part::Chunk(chunk));
                if messages.send(UploadBlobRequest { part }).await.is_err() {
                    break;
                }
            }
            std::future::pending::<()>().await;
        };
        let stored = async {
            let ended = || Status::unavailable("the stream ended");
            while answers.message().await?.ok_or_else(ended)?.state() != UploadState::Stored {}
            Ok(())
        };
        tokio::select! {
            stored = stored => stored,
            () = sending => Err(Status::internal("never")),
        }
    }
}

/// Uploads bytes as one blob; answers where the server let it begin.
pub async fn upload(
    contents: &mut ContentServiceClient<Channel>,
    header: UploadHeader,
    content: &Bytes,
) -> Result<u64, Status> {
    let mut upload = Upload::begin(contents, header).await?;
    match upload.ready().await? {
        (UploadState::Stored, size_bytes) => Ok(size_bytes),
        (_, offset) => {
            upload.finish(content.slice(offset as usize..)).await?;
            Ok(offset)
        }
    }
}

/// Downloads a blob from an offset on: the bytes that came, and how that ended.
pub async fn download(
    contents: &mut ContentServiceClient<Channel>,
    digest: &Digest,
    offset: u64,
) -> (Vec<u8>, Result<(), Status>) {
    let request = DownloadBlobRequest {
        sha256: digest.to_hex(),
        offset_bytes: offset as i64,
    };
    let mut content = Vec::new();
    let ended = async {
        let mut answers = contents.download_blob(request).await?.into_inner();
        while let Some(answer) = answers.message().await? {
            content.extend_from_slice(&answer.chunk);
        }
        Ok(())
    }
    .await;
    (content, ended)
}
