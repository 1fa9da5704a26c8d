//! A catalog that says what the test wants: the public API, from memory.
//!
//! It keeps the promises of `watch.proto` that a gateway relies on, in the hardest way that is
//! allowed: every change is a message of its own, transactions are only closed by their last, and
//! heartbeats come between any two. And it breaks them on command: history is forgotten, calls fail.

use std::{
    collections::{BTreeMap, VecDeque},
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use axum::{Router, extract::Request, middleware::Next, routing::post};
use futures::{StreamExt as _, stream, stream::BoxStream};
use http::HeaderMap;
use rootstock_proto::{
    Error, ResourceKind,
    catalog::v1::{
        Change, ChangeOperation, GetImageRequest, GetImageResponse, ListImagesRequest, ListImagesResponse,
        WatchRequest, WatchResponse,
        change::Resource,
        watch_service_server::{WatchService, WatchServiceServer},
    },
};
use tokio::{net::TcpListener, sync::watch, time::timeout};
use tonic::{Response, Status, service::Routes};

use crate::background::Background;

/// Heartbeats come this often, so that they come in the middle of everything.
const HEARTBEAT: Duration = Duration::from_millis(50);

/// A catalog on loopback, without TLS. Stops when dropped.
#[derive(Debug)]
pub struct FakeCatalog {
    address: SocketAddr,
    shared: Arc<Shared>,
    _server: Background,
}

/// A call that was received.
#[derive(Debug, Clone)]
pub struct Call {
    /// `/package.Service/Method`
    pub path: String,
    /// Its metadata.
    pub headers: HeaderMap,
}

#[derive(Debug)]
struct Shared {
    state: watch::Sender<State>,
    calls: Mutex<Vec<Call>>,
}

#[derive(Debug, Default)]
struct State {
    /// What there is, by what names it.
    resources: BTreeMap<String, Resource>,
    /// What was sent to watchers, in order.
    sent: Vec<WatchResponse>,
    /// Changes of a transaction that was begun and not committed.
    begun: Vec<(ChangeOperation, Resource)>,
    revision: i64,
    /// Watches cannot begin before this revision.
    oldest: i64,
}

impl FakeCatalog {
    /// Starts a catalog that holds nothing, at revision 1.
    pub fn start() -> anyhow::Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let state = watch::Sender::new(State {
            revision: 1,
            oldest: 2,
            ..State::default()
        });
        let shared = Arc::new(Shared {
            state,
            calls: Mutex::default(),
        });
        let service = Service(Arc::clone(&shared));
        let router = router(service, Arc::clone(&shared));
        let server = Background::start("fake-catalog", move |stop| async move {
            let listener = TcpListener::from_std(listener).expect("a listener of this runtime");
            tokio::select! {
                () = stop.cancelled() => {}
                served = async { axum::serve(listener, router).await } => served.expect("serving goes on"),
            }
        });
        Ok(Self {
            address,
            shared,
            _server: server,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes a transaction, along with what was begun; gives its revision.
    pub fn commit(&self, changes: impl IntoIterator<Item = (ChangeOperation, Resource)>) -> i64 {
        self.shared.state.send_modify(|state| {
            state.send(changes.into_iter().collect());
            for (operation, resource) in std::mem::take(&mut state.begun) {
                let key = key_of(&resource);
                if operation == ChangeOperation::Deleted {
                    state.resources.remove(&key);
                } else {
                    state.resources.insert(key, resource);
                }
            }
            let revision = state.revision;
            state.sent.push(WatchResponse {
                changes: Vec::new(),
                revision,
            });
        });
        self.revision()
    }

    /// Sends a part of a transaction: watchers are not to act on it before [`FakeCatalog::commit`].
    pub fn begin(&self, changes: impl IntoIterator<Item = (ChangeOperation, Resource)>) {
        self.shared
            .state
            .send_modify(|state| state.send(changes.into_iter().collect()));
    }

    /// Forgets all changes so far: a watch that wants them gets `OUT_OF_RANGE`.
    pub fn forget_history(&self) {
        self.shared
            .state
            .send_modify(|state| state.oldest = state.revision + 1);
    }

    /// The newest revision.
    pub fn revision(&self) -> i64 {
        self.shared.state.borrow().revision
    }

    /// Every call so far.
    pub fn calls(&self) -> Vec<Call> {
        self.shared
            .calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl State {
    fn send(&mut self, changes: Vec<(ChangeOperation, Resource)>) {
        for (operation, resource) in changes {
            self.revision += 1;
            let change = Change {
                revision: self.revision,
                operation: operation.into(),
                changed_at: Some(SystemTime::now().into()),
                resource: Some(resource.clone()),
            };
            self.sent.push(WatchResponse {
                changes: vec![change],
                revision: 0,
            });
            self.begun.push((operation, resource));
        }
    }

    /// The first messages of a watch that begins with the state: one per thing, then the end.
    fn initial(&self) -> VecDeque<WatchResponse> {
        // Of a transaction that is not committed nothing is in the state.
        let revision = self.committed();
        let things = self.resources.values().map(|resource| WatchResponse {
            changes: vec![Change {
                revision,
                operation: ChangeOperation::State.into(),
                changed_at: None,
                resource: Some(resource.clone()),
            }],
            revision: 0,
        });
        let end = WatchResponse {
            changes: Vec::new(),
            revision,
        };
        things.chain([end]).collect()
    }

    fn committed(&self) -> i64 {
        self.sent
            .iter()
            .rev()
            .map(|sent| sent.revision)
            .find(|revision| *revision != 0)
            .unwrap_or(1)
    }

    /// How many messages end at or before this revision.
    fn position_after(&self, revision: i64) -> usize {
        let last = self
            .sent
            .iter()
            .rposition(|sent| (1..=revision).contains(&sent.revision));
        last.map_or(0, |last| last + 1)
    }
}

/// Identifies a resource; in the order of keys, what others belong to comes first.
fn key_of(resource: &Resource) -> String {
    match resource {
        Resource::Image(image) => format!("1 image {}", image.id),
        Resource::Version(version) => {
            let number = version.version.as_ref().map_or(-1, |version| version.number);
            format!("2 version {} {number}", version.image_id)
        }
        Resource::Alias(alias) => format!("3 alias {} {} {}", alias.name, alias.r#type, alias.architecture),
        other => format!("4 {} {}", other.kind().label(), other.name()),
    }
}

fn router(service: Service, shared: Arc<Shared>) -> Router {
    let images = |call: &str| format!("/rootstock.catalog.v1.ImageService/{call}");
    let listed = Arc::clone(&shared);
    let list = move |request: Request| {
        let shared = Arc::clone(&listed);
        unary(request, move |_: ListImagesRequest| {
            Ok(list_images(&shared.state.borrow()))
        })
    };
    Routes::new(WatchServiceServer::new(service))
        .prepare()
        .into_axum_router()
        .route(
            &images("GetImage"),
            post(|request: Request| unary(request, get_image)),
        )
        .route(&images("ListImages"), post(list))
        .layer(axum::middleware::from_fn(move |request: Request, next: Next| {
            let call = Call {
                path: request.uri().path().to_owned(),
                headers: request.headers().clone(),
            };
            shared
                .calls
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(call);
            next.run(request)
        }))
}

#[derive(Debug, Clone)]
struct Service(Arc<Shared>);

/// A watch under way.
struct Watching {
    first: VecDeque<WatchResponse>,
    position: usize,
    state: watch::Receiver<State>,
    sends_heartbeat: bool,
}

impl Watching {
    async fn next(mut self) -> Option<(WatchResponse, Self)> {
        self.sends_heartbeat = !self.sends_heartbeat;
        if self.sends_heartbeat {
            return Some((WatchResponse::default(), self));
        }
        if let Some(response) = self.first.pop_front() {
            return Some((response, self));
        }
        let position = self.position;
        let more = self.state.wait_for(|state| state.sent.len() > position);
        let response = match timeout(HEARTBEAT, more).await {
            Ok(Ok(state)) => Some(state.sent[position].clone()),
            Ok(Err(_)) => return None,
            Err(_elapsed) => None,
        };
        self.position += usize::from(response.is_some());
        Some((response.unwrap_or_default(), self))
    }
}

#[tonic::async_trait]
impl WatchService for Service {
    type WatchStream = BoxStream<'static, Result<WatchResponse, Status>>;

    async fn watch(
        &self,
        request: tonic::Request<WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let request = request.into_inner();
        if request.initial_state && request.from_revision != 0 {
            return Err(Error::invalid("from_revision", "must be 0 with initial_state").into());
        }
        let state = self.0.state.subscribe();
        let (first, position) = {
            let now = state.borrow();
            if request.initial_state {
                (now.initial(), now.position_after(now.committed()))
            } else {
                let (oldest, newest) = (now.oldest, now.revision);
                let from = match request.from_revision {
                    0 => newest + 1,
                    from => from,
                };
                if !(oldest..=newest + 1).contains(&from) {
                    return Err(Error::RevisionOutOfRange { oldest, newest }.into());
                }
                (VecDeque::new(), now.position_after(from - 1))
            }
        };
        let watching = Watching {
            first,
            position,
            state,
            sends_heartbeat: false,
        };
        Ok(Response::new(
            stream::unfold(watching, Watching::next).map(Ok).boxed(),
        ))
    }
}

/// Answers a call of one message. Calls that are not here get tonic's `UNIMPLEMENTED`.
async fn unary<Q, R>(
    request: Request,
    answer: impl Fn(Q) -> Result<R, Status> + Clone,
) -> http::Response<tonic::body::Body>
where
    Q: prost::Message + Default + 'static,
    R: prost::Message + 'static,
{
    let service = tower::service_fn(move |request: tonic::Request<Q>| {
        std::future::ready(answer(request.into_inner()).map(Response::new))
    });
    let codec = tonic_prost::ProstCodec::<R, Q>::default();
    tonic::server::Grpc::new(codec).unary(service, request).await
}

fn get_image(request: GetImageRequest) -> Result<GetImageResponse, Status> {
    Err(Error::not_found(ResourceKind::Image, request.image).into())
}

fn list_images(state: &State) -> ListImagesResponse {
    let images = state.resources.values().filter_map(|resource| match resource {
        Resource::Image(image) => Some(image.clone()),
        _ => None,
    });
    ListImagesResponse {
        images: images.collect(),
        next_page_token: String::new(),
    }
}
