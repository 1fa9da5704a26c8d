//! A backend that does what another does, except where a test wants it to fail.

use std::{
    collections::HashMap,
    fmt,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{
    TryStreamExt as _,
    stream::{self, BoxStream, StreamExt as _},
};
use rootstock_model::Digest;
use url::Url;

use crate::{
    backend::{Backend, PartSink},
    blob::{BlobInfo, OpenUpload, PresignOptions, StoredBlob},
    error::{BlobError, Operation, Source},
    journal::{Place, UploadJournal},
    read::BlobReader,
    telemetry::StoreKind,
};

/// The faults of a store; see [`BlobStore::with_faults`](crate::BlobStore::with_faults). Clones share one
/// plan.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    plan: Arc<Mutex<Plan>>,
}

#[derive(Debug, Default)]
struct Plan {
    /// How often each point was passed.
    passed: HashMap<FaultPoint, u64>,
    faults: HashMap<(FaultPoint, u64), Fault>,
}

/// Where a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultPoint {
    /// At an operation of the backend. [`Operation::Write`] is a whole part.
    At(Operation),
    /// At a piece of a blob that is being read.
    ReadPiece,
}

impl From<Operation> for FaultPoint {
    fn from(operation: Operation) -> Self {
        Self::At(operation)
    }
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The store cannot be reached: nothing is done.
    Unavailable,
    /// The store says no: nothing is done.
    Refused,
    /// It is done, and the answer is lost. A read ends there, without an error.
    AnswerLost,
    /// It is done after this long.
    Delay(Duration),
}

impl Faults {
    /// Has `fault` strike when `point` is passed for the `nth` time from now; 1 is the next time.
    pub fn inject(&self, point: impl Into<FaultPoint>, nth: u64, fault: Fault) {
        let point = point.into();
        let mut plan = self.lock();
        let passed = plan.passed.get(&point).copied().unwrap_or_default();
        plan.faults.insert((point, passed + nth), fault);
    }

    /// How many faults have not struck yet.
    pub fn pending(&self) -> usize {
        self.lock().faults.len()
    }

    fn next(&self, point: FaultPoint) -> Option<Fault> {
        let mut plan = self.lock();
        let passed = plan.passed.entry(point).or_default();
        *passed += 1;
        let now = (point, *passed);
        plan.faults.remove(&now)
    }

    async fn run<T>(
        &self,
        operation: Operation,
        work: impl Future<Output = Result<T, BlobError>> + Send,
    ) -> Result<T, BlobError> {
        match self.next(operation.into()) {
            None => work.await,
            Some(Fault::Delay(delay)) => {
                tokio::time::sleep(delay).await;
                work.await
            }
            Some(Fault::AnswerLost) => {
                work.await?;
                Err(BlobError::OutcomeUnknown {
                    operation,
                    cause: injected(),
                })
            }
            Some(Fault::Unavailable) => Err(unavailable(operation)),
            Some(Fault::Refused) => Err(BlobError::Refused {
                operation,
                cause: injected(),
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn injected() -> Source {
    "a fault that a test injected".into()
}

fn unavailable(operation: Operation) -> BlobError {
    BlobError::Unavailable {
        operation,
        cause: injected(),
    }
}

/// `inner`, with faults.
#[derive(Debug)]
pub(crate) struct FaultyBackend {
    pub(crate) inner: Arc<dyn Backend>,
    pub(crate) faults: Faults,
}

impl FaultyBackend {
    fn sink(&self, inner: Box<dyn PartSink>) -> Box<dyn PartSink> {
        Box::new(FaultySink {
            inner,
            faults: self.faults.clone(),
        })
    }
}

#[async_trait]
impl Backend for FaultyBackend {
    fn kind(&self) -> StoreKind {
        self.inner.kind()
    }

    async fn check(&self) -> Result<(), BlobError> {
        self.faults.run(Operation::Check, self.inner.check()).await
    }

    async fn head(&self, digest: &Digest) -> Result<Option<BlobInfo>, BlobError> {
        self.faults.run(Operation::Head, self.inner.head(digest)).await
    }

    async fn read(&self, digest: &Digest, wanted: Option<Range<u64>>) -> Result<BlobReader, BlobError> {
        let reader = self
            .faults
            .run(Operation::Read, self.inner.read(digest, wanted))
            .await?;
        Ok(BlobReader {
            stream: faulty_pieces(self.faults.clone(), reader.stream),
            ..reader
        })
    }

    async fn presign_get(
        &self,
        digest: &Digest,
        expires: Duration,
        response: PresignOptions,
    ) -> Result<Option<Url>, BlobError> {
        let presigned = self.inner.presign_get(digest, expires, response);
        self.faults.run(Operation::Presign, presigned).await
    }

    async fn delete(&self, digest: &Digest) -> Result<(), BlobError> {
        self.faults
            .run(Operation::Delete, self.inner.delete(digest))
            .await
    }

    fn list(self: Arc<Self>) -> BoxStream<'static, Result<StoredBlob, BlobError>> {
        let listed = async move {
            let begun = async { Ok(Arc::clone(&self.inner).list()) };
            self.faults.run(Operation::List, begun).await
        };
        stream::once(listed).try_flatten().boxed()
    }

    async fn list_uploads(&self) -> Result<Vec<OpenUpload>, BlobError> {
        self.faults
            .run(Operation::ListUploads, self.inner.list_uploads())
            .await
    }

    async fn abort_upload(&self, id: &str) -> Result<(), BlobError> {
        self.faults
            .run(Operation::Abort, self.inner.abort_upload(id))
            .await
    }

    async fn begin_upload(
        self: Arc<Self>,
        digest: &Digest,
        size_bytes: u64,
    ) -> Result<Box<dyn PartSink>, BlobError> {
        let begun = Arc::clone(&self.inner).begin_upload(digest, size_bytes);
        Ok(self.sink(self.faults.run(Operation::Begin, begun).await?))
    }

    async fn resume_upload(self: Arc<Self>, journal: &UploadJournal) -> Result<Box<dyn PartSink>, BlobError> {
        let resumed = Arc::clone(&self.inner).resume_upload(journal);
        Ok(self.sink(self.faults.run(Operation::Resume, resumed).await?))
    }
}

fn faulty_pieces(
    faults: Faults,
    pieces: BoxStream<'static, Result<Bytes, BlobError>>,
) -> BoxStream<'static, Result<Bytes, BlobError>> {
    stream::unfold(Some((faults, pieces)), |state| async move {
        let (faults, mut pieces) = state?;
        match faults.next(FaultPoint::ReadPiece) {
            Some(Fault::AnswerLost) => return None,
            Some(Fault::Unavailable | Fault::Refused) => {
                return Some((Err(unavailable(Operation::Read)), None));
            }
            Some(Fault::Delay(delay)) => tokio::time::sleep(delay).await,
            None => {}
        }
        let piece = pieces.next().await?;
        Some((piece, Some((faults, pieces))))
    })
    .boxed()
}

struct FaultySink {
    inner: Box<dyn PartSink>,
    faults: Faults,
}

impl fmt::Debug for FaultySink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl PartSink for FaultySink {
    fn id(&self) -> &str {
        self.inner.id()
    }

    fn part_size_bytes(&self) -> u64 {
        self.inner.part_size_bytes()
    }

    async fn write(&mut self, pieces: Vec<Bytes>) -> Result<(), BlobError> {
        self.inner.write(pieces).await
    }

    async fn end_part(&mut self) -> Result<(), BlobError> {
        self.faults.run(Operation::Write, self.inner.end_part()).await
    }

    async fn durable_bytes(&mut self) -> Result<u64, BlobError> {
        self.inner.durable_bytes().await
    }

    async fn flush(&mut self) -> Result<(), BlobError> {
        self.inner.flush().await
    }

    fn place(&self, durable_bytes: u64) -> Option<Place> {
        self.inner.place(durable_bytes)
    }

    async fn publish(&mut self) -> Result<(), BlobError> {
        self.faults.run(Operation::Publish, self.inner.publish()).await
    }

    async fn abort(&mut self) -> Result<(), BlobError> {
        self.faults.run(Operation::Abort, self.inner.abort()).await
    }
}
