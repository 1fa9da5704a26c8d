//! A catalog that workers take for real: it hands out the work that a test gives it, and writes down
//! what they say.
//!
//! A [`FakeWork`] is a real gRPC server of `rootstock.sync.v1` on loopback, on a thread of its own.
//! It fences as the catalog does (what bears a lease that is not in force is refused), and decides
//! nothing.

use std::{
    collections::{HashMap, VecDeque},
    net::{SocketAddr, TcpListener},
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
pub use rootstock_proto::sync::v1::finish_request::Outcome;
use rootstock_proto::{
    ALL_DESCRIPTORS, Error,
    catalog::v1::LeftOut,
    sync::v1::{
        self as wire, Lease, Work, WorkKind,
        submit_snapshot_request::Part,
        work::Task,
        work_service_server::{WorkService, WorkServiceServer},
    },
};
use tokio::sync::Notify;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming, transport::Server};

use crate::{background::Background, ports::Port};

/// How long a lease holds that a test says nothing else of.
pub const LEASE_DURATION: Duration = Duration::from_secs(30);

/// The catalog's side of the work. Stops when dropped.
#[derive(Debug)]
pub struct FakeWork {
    shared: Arc<Shared>,
    /// `None` while it is stopped.
    server: Option<Background>,
    port: Port,
}

/// What a worker said, claims that came to nothing left out.
#[derive(Debug, Clone, PartialEq)]
pub enum Call {
    /// Took these.
    Claim(Vec<Lease>),
    /// Asked to keep these.
    Heartbeat(Vec<wire::WorkProgress>),
    /// Gave these back.
    Release(Vec<Lease>),
    /// Failed.
    Fail(wire::FailRequest),
    /// Ended work, and how.
    Finish(Lease, Outcome),
    /// Submitted a snapshot, and ended its stream well.
    SubmitSnapshot(Submitted),
    /// Saved a journal.
    SaveJournal(wire::SaveJournalRequest),
    /// Found objects.
    ReportObjects(wire::ReportObjectsRequest),
    /// Asked for blobs to remove.
    TakeRemovals(wire::TakeRemovalsRequest),
    /// Removed blobs.
    ConfirmRemovals(wire::ConfirmRemovalsRequest),
}

/// A snapshot, put together again.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Submitted {
    /// The header's.
    pub lease: Lease,
    /// The header's.
    pub documents: Vec<wire::Document>,
    /// Of all chunks.
    pub images: Vec<wire::OfferedImage>,
    /// Of all chunks.
    pub left_out: Vec<LeftOut>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    last_work_id: i64,
    queue: VecDeque<Work>,
    /// Epochs in force, by piece of work.
    in_force: HashMap<i64, i64>,
    calls: Vec<Call>,
    claims: Vec<wire::ClaimRequest>,
    /// What every call is answered with, when set.
    refusal: Option<Status>,
}

impl FakeWork {
    /// Starts without work.
    pub fn start() -> anyhow::Result<Self> {
        let mut fake = Self {
            shared: Arc::default(),
            server: None,
            port: Port::reserve()?,
        };
        fake.resume()?;
        Ok(fake)
    }

    /// Closes every connection and refuses new ones, until [`resume`](Self::resume).
    pub fn stop(&mut self) {
        self.server = None;
    }

    /// Serves again on the same port, and knows what it knew.
    pub fn resume(&mut self) -> anyhow::Result<()> {
        if self.server.is_some() {
            return Ok(());
        }
        let listener = TcpListener::bind(self.address()).context("the fake catalog cannot listen")?;
        listener.set_nonblocking(true)?;
        let service = WorkServiceServer::new(Service {
            shared: Arc::clone(&self.shared),
        });
        self.server = Some(Background::start("fake-work", async move |stop| {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener of this runtime");
            let serving = Server::builder()
                .add_service(service)
                .serve_with_incoming(TcpListenerStream::new(listener));
            // Connections are tasks of this thread's runtime, and end with it.
            let _ = stop.run_until_cancelled(serving).await;
        }));
        Ok(())
    }

    /// What to connect to.
    pub fn uri(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Where it listens; the same over every stop.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Gives work, under a lease of [`LEASE_DURATION`].
    pub fn give(&self, task: Task) -> Lease {
        self.give_for(task, LEASE_DURATION)
    }

    /// Gives work, under a lease of `duration`.
    pub fn give_for(&self, task: Task, duration: Duration) -> Lease {
        let mut state = self.shared.lock();
        state.last_work_id += 1;
        let lease = Lease {
            work_id: state.last_work_id,
            epoch: 1,
        };
        state.queue.push_back(Work {
            lease: Some(lease),
            lease_duration: prost_types::Duration::try_from(duration).ok(),
            traceparent: String::new(),
            task: Some(task),
        });
        drop(state);
        self.shared.changed.notify_waiters();
        lease
    }

    /// Takes a lease out of force, as if another worker had claimed the work.
    pub fn lose(&self, lease: Lease) {
        self.shared.lock().in_force.remove(&lease.work_id);
    }

    /// Answers every call with this; `None` for ordinary answers again.
    pub fn refuse(&self, status: Option<Status>) {
        self.shared.lock().refusal = status;
    }

    /// Everything said so far, in order of arrival.
    pub fn calls(&self) -> Vec<Call> {
        self.shared.lock().calls.clone()
    }

    /// Every question for work so far.
    pub fn claims(&self) -> Vec<wire::ClaimRequest> {
        self.shared.lock().claims.clone()
    }

    /// The journals saved so far under a lease.
    pub fn journals(&self, lease: Lease) -> Vec<wire::SaveJournalRequest> {
        let saved = self.calls().into_iter().filter_map(|call| match call {
            Call::SaveJournal(request) if request.lease == Some(lease) => Some(request),
            _ => None,
        });
        saved.collect()
    }

    /// Waits for a call that `pick` makes something of; an error after a minute.
    pub async fn wait_for<T>(&self, what: &str, pick: impl Fn(&Call) -> Option<T>) -> anyhow::Result<T> {
        let start = Instant::now();
        loop {
            let calls = self.calls();
            if let Some(picked) = calls.iter().find_map(&pick) {
                return Ok(picked);
            }
            if start.elapsed() > Duration::from_secs(60) {
                bail!("the fake catalog still waits for {what}; it was told {calls:#?}");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits for what ends a piece of work: a finish, a failure or a release.
    pub async fn outcome(&self, lease: Lease) -> anyhow::Result<Call> {
        self.wait_for("an outcome", |call| {
            let of = match call {
                Call::Claim(_)
                | Call::Heartbeat(_)
                | Call::SaveJournal(_)
                | Call::ReportObjects(_)
                | Call::TakeRemovals(_)
                | Call::ConfirmRemovals(_) => None,
                Call::Release(leases) => leases.contains(&lease).then_some(lease),
                Call::Fail(request) => request.lease,
                Call::Finish(lease, _) => Some(*lease),
                Call::SubmitSnapshot(submitted) => Some(submitted.lease),
            };
            (of == Some(lease)).then(|| call.clone())
        })
        .await
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn check(&self) -> Result<(), Status> {
        self.refusal.clone().map_or(Ok(()), Err)
    }

    fn holds(&self, lease: Lease) -> bool {
        self.in_force.get(&lease.work_id) == Some(&lease.epoch)
    }

    /// Takes work of these kinds from the queue, and puts its leases in force.
    fn claim(&mut self, kinds: &[i32], max: usize) -> Vec<Work> {
        let mut claimed = Vec::new();
        let mut rest = VecDeque::new();
        for work in self.queue.drain(..) {
            let wanted = work
                .task
                .as_ref()
                .is_some_and(|task| kinds.contains(&kind_of(task).into()));
            match wanted && claimed.len() < max {
                true => claimed.push(work),
                false => rest.push_back(work),
            }
        }
        self.queue = rest;
        let leases: Vec<_> = claimed.iter().filter_map(|work| work.lease).collect();
        self.in_force
            .extend(leases.iter().map(|lease| (lease.work_id, lease.epoch)));
        if !leases.is_empty() {
            self.calls.push(Call::Claim(leases));
        }
        claimed
    }
}

/// The kind of a task: the protocol names the fields of `Work.task` after the kinds.
fn kind_of(task: &Task) -> WorkKind {
    static WORK: LazyLock<MessageDescriptor> = LazyLock::new(|| {
        let pool = DescriptorPool::decode(ALL_DESCRIPTORS).expect("the descriptors of this build");
        pool.get_message_by_name("rootstock.sync.v1.Work")
            .expect("a message of the protocol")
    });
    let work = Work {
        task: Some(task.clone()),
        ..Work::default()
    };
    let work = DynamicMessage::decode(WORK.clone(), work.encode_to_vec().as_slice()).expect("a message");
    let mut fields = work.fields().map(|(field, _)| field);
    let task = fields.find(|field| field.containing_oneof().is_some());
    let task = task.expect("the task that was set");
    WorkKind::from_str_name(&format!("WORK_KIND_{}", task.name().to_uppercase())).expect("a kind")
}

#[derive(Debug)]
struct Service {
    shared: Arc<Shared>,
}

impl Service {
    /// Notes a call if its lease is in force. One that ends the work takes it out of force.
    fn note(&self, lease: Option<Lease>, ends: bool, call: Call) -> Result<(), Status> {
        let mut state = self.shared.lock();
        state.check()?;
        let lease = lease.unwrap_or_default();
        if !state.holds(lease) {
            return Err(Error::LeaseLost.into());
        }
        if ends {
            state.in_force.remove(&lease.work_id);
        }
        state.calls.push(call);
        Ok(())
    }
}

#[tonic::async_trait]
impl WorkService for Service {
    async fn claim(
        &self,
        request: Request<wire::ClaimRequest>,
    ) -> Result<Response<wire::ClaimResponse>, Status> {
        let request = request.into_inner();
        let wait = request
            .wait
            .and_then(|wait| Duration::try_from(wait).ok())
            .unwrap_or_default();
        let deadline = tokio::time::Instant::now() + wait;
        let max = usize::try_from(request.max).unwrap_or(0);
        self.shared.lock().claims.push(request.clone());
        loop {
            // Registered before looking: nothing given in between is missed.
            let mut changed = std::pin::pin!(self.shared.changed.notified());
            changed.as_mut().enable();
            let work = {
                let mut state = self.shared.lock();
                state.check()?;
                state.claim(&request.kinds, max)
            };
            let late = tokio::time::timeout_at(deadline, changed);
            if !work.is_empty() || late.await.is_err() {
                return Ok(Response::new(wire::ClaimResponse { work }));
            }
        }
    }

    async fn save_delivery(
        &self,
        _request: Request<wire::SaveDeliveryRequest>,
    ) -> Result<Response<wire::SaveDeliveryResponse>, Status> {
        Err(Status::unimplemented("no webhooks here"))
    }

    async fn heartbeat(
        &self,
        request: Request<wire::HeartbeatRequest>,
    ) -> Result<Response<wire::HeartbeatResponse>, Status> {
        let work = request.into_inner().work;
        let mut state = self.shared.lock();
        state.check()?;
        let lost = work
            .iter()
            .filter_map(|progress| progress.lease)
            .filter(|lease| !state.holds(*lease));
        let lost = lost.collect();
        state.calls.push(Call::Heartbeat(work));
        Ok(Response::new(wire::HeartbeatResponse { lost }))
    }

    async fn release(
        &self,
        request: Request<wire::ReleaseRequest>,
    ) -> Result<Response<wire::ReleaseResponse>, Status> {
        let leases = request.into_inner().leases;
        let mut state = self.shared.lock();
        state.check()?;
        for lease in &leases {
            if state.holds(*lease) {
                state.in_force.remove(&lease.work_id);
            }
        }
        state.calls.push(Call::Release(leases));
        Ok(Response::new(wire::ReleaseResponse {}))
    }

    async fn fail(
        &self,
        request: Request<wire::FailRequest>,
    ) -> Result<Response<wire::FailResponse>, Status> {
        let request = request.into_inner();
        self.note(request.lease, true, Call::Fail(request))?;
        Ok(Response::new(wire::FailResponse {}))
    }

    async fn finish(
        &self,
        request: Request<wire::FinishRequest>,
    ) -> Result<Response<wire::FinishResponse>, Status> {
        let wire::FinishRequest { lease, outcome } = request.into_inner();
        let outcome = outcome.ok_or_else(|| Status::from(Error::invalid("outcome", "is required")))?;
        self.note(lease, true, Call::Finish(lease.unwrap_or_default(), outcome))?;
        Ok(Response::new(wire::FinishResponse::default()))
    }

    async fn submit_snapshot(
        &self,
        request: Request<Streaming<wire::SubmitSnapshotRequest>>,
    ) -> Result<Response<wire::SubmitSnapshotResponse>, Status> {
        let mut parts = request.into_inner();
        let Some(Part::Header(header)) = parts.message().await?.and_then(|message| message.part) else {
            return Err(Error::invalid("part", "the first must be a header").into());
        };
        let mut submitted = Submitted {
            documents: header.documents,
            ..Submitted::default()
        };
        while let Some(message) = parts.message().await? {
            let Some(Part::Chunk(chunk)) = message.part else {
                return Err(Error::invalid("part", "only the first may be a header").into());
            };
            submitted.images.extend(chunk.images);
            submitted.left_out.extend(chunk.left_out);
        }
        submitted.lease = header.lease.unwrap_or_default();
        self.note(header.lease, true, Call::SubmitSnapshot(submitted))?;
        Ok(Response::new(wire::SubmitSnapshotResponse::default()))
    }

    async fn save_journal(
        &self,
        request: Request<wire::SaveJournalRequest>,
    ) -> Result<Response<wire::SaveJournalResponse>, Status> {
        let request = request.into_inner();
        self.note(request.lease, false, Call::SaveJournal(request))?;
        Ok(Response::new(wire::SaveJournalResponse {}))
    }

    async fn report_objects(
        &self,
        request: Request<wire::ReportObjectsRequest>,
    ) -> Result<Response<wire::ReportObjectsResponse>, Status> {
        let request = request.into_inner();
        self.note(request.lease, false, Call::ReportObjects(request))?;
        Ok(Response::new(wire::ReportObjectsResponse::default()))
    }

    async fn take_removals(
        &self,
        request: Request<wire::TakeRemovalsRequest>,
    ) -> Result<Response<wire::TakeRemovalsResponse>, Status> {
        let request = request.into_inner();
        self.note(request.lease, false, Call::TakeRemovals(request))?;
        Ok(Response::new(wire::TakeRemovalsResponse::default()))
    }

    async fn confirm_removals(
        &self,
        request: Request<wire::ConfirmRemovalsRequest>,
    ) -> Result<Response<wire::ConfirmRemovalsResponse>, Status> {
        let request = request.into_inner();
        self.note(request.lease, false, Call::ConfirmRemovals(request))?;
        Ok(Response::new(wire::ConfirmRemovalsResponse {}))
    }
}
