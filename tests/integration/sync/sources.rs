//! What every source of images must do, whatever its protocol: one suite, over real image servers.
//!
//! A protocol joins with a [`Publisher`] and one line below.

use bytes::Bytes;
use rootstock_model::{
    ArtifactLocation, ArtifactRef, Digest, Endpoint, Protocol, RootFtype,
    snapshot::{Document, Snapshot},
};
use rootstock_remote::{
    KnownState, Opened, Polled, RemoteLimits, RemoteSource, RemoteSources, Resume,
    http::{FetchError, FetchErrorKind},
};
use rootstock_tests::{
    remote::{EVERY_PATH, FakeRemote, Fault},
    tree::{Product, Tree, Version},
};

macro_rules! run_on {
    ($protocol:ident: $publisher:ident) => {
        run_on! {
            $protocol: $publisher:
            the_first_poll_offers_everything
            a_poll_without_news_asks_conditionally
            news_are_offered_whole_and_fetched_once
            the_same_documents_under_new_validators_are_no_news
            a_failing_server_offers_nothing
            a_server_without_an_index_has_none
            a_server_that_is_down_is_unreachable
            credentials_are_sent
            a_file_is_read_whole_and_from_an_offset
            other_content_is_read_from_its_start
            a_missing_file_is_gone
            a_body_that_breaks_is_an_error
        }
    };
    ($protocol:ident: $publisher:ident: $($case:ident)*) => {
        mod $protocol { $(
            #[tokio::test]
            async fn $case() { super::$case(super::Subject::<super::$publisher>::new()).await }
        )* }
    };
}

run_on!(simplestreams: SimplestreamsTree);

/// What the suite must know of a protocol: how its servers publish images.
trait Publisher: Default {
    const PROTOCOL: Protocol;
    /// Publishes another version of the one image.
    fn publish(&mut self, server: &FakeRemote, serial: &str);
}

struct SimplestreamsTree {
    tree: Tree,
    product: String,
}

impl Default for SimplestreamsTree {
    fn default() -> Self {
        let mut tree = Tree::default();
        let product = tree.add_product(Product::new("Alpine", "edge", "amd64"));
        Self { tree, product }
    }
}

impl Publisher for SimplestreamsTree {
    const PROTOCOL: Protocol = Protocol::Simplestreams;

    fn publish(&mut self, server: &FakeRemote, serial: &str) {
        let version = Version::new(serial).root(RootFtype::RootTarXz);
        self.tree.add_version(&self.product, version).unwrap();
        self.tree.publish(server).unwrap();
    }
}

/// An image server with one image of one version.
struct Subject<P> {
    server: FakeRemote,
    publisher: P,
}

impl<P: Publisher> Subject<P> {
    fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut subject = Self {
            server: FakeRemote::https().unwrap(),
            publisher: P::default(),
        };
        subject.publish("20260101_0000");
        subject
    }

    fn publish(&mut self, serial: &str) {
        self.publisher.publish(&self.server, serial);
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint {
            protocol: P::PROTOCOL,
            ca_pem: self.server.ca_pem().to_owned(),
            ..Endpoint::new(self.server.url())
        }
    }

    fn source_at(&self, endpoint: &Endpoint) -> Box<dyn RemoteSource> {
        RemoteSources::new(RemoteLimits::default())
            .source(endpoint)
            .unwrap()
    }

    fn source(&self) -> Box<dyn RemoteSource> {
        self.source_at(&self.endpoint())
    }

    /// Polls with nothing known.
    async fn offer(&self) -> (Vec<Document>, Snapshot) {
        match self.source().poll(KnownState::default()).await.unwrap() {
            Polled::Offer { documents, snapshot } => (documents, snapshot),
            Polled::Unchanged(_) => panic!("nothing was known, and nothing is new"),
        }
    }

    async fn poll(&self, documents: &[Document], check_index: bool) -> Result<Polled, FetchError> {
        let known = KnownState {
            documents,
            check_index,
        };
        self.source().poll(known).await
    }

    /// A file of the image.
    async fn file(&self) -> ArtifactLocation {
        let (_, snapshot) = self.offer().await;
        let content = &snapshot.images[0].versions[0].contents[0];
        let file = content.artifacts().remove(0);
        ArtifactLocation {
            artifact: ArtifactRef::Digest(file.sha256),
            path: file.path,
            size_bytes: file.size_bytes,
        }
    }
}

fn serials(snapshot: &Snapshot) -> Vec<&str> {
    let versions = snapshot.images.iter().flat_map(|image| &image.versions);
    versions.map(|version| version.serial.as_str()).collect()
}

async fn read(opened: Opened) -> Result<Bytes, FetchError> {
    let mut body = opened.body;
    let mut whole = Vec::new();
    while let Some(piece) = body.next().await? {
        whole.extend_from_slice(&piece);
    }
    Ok(whole.into())
}

async fn the_first_poll_offers_everything(subject: Subject<impl Publisher>) {
    let (documents, snapshot) = subject.offer().await;
    assert_eq!(snapshot.left_out, []);
    assert_eq!(serials(&snapshot), ["20260101_0000"]);
    assert!(!documents.is_empty());
}

async fn a_poll_without_news_asks_conditionally(subject: Subject<impl Publisher>) {
    let (documents, _) = subject.offer().await;
    for check_index in [false, true] {
        subject.server.forget_requests();
        let polled = subject.poll(&documents, check_index).await.unwrap();
        assert_eq!(polled, Polled::Unchanged(vec![]));
        let requests = subject.server.requests();
        assert!((1..=documents.len()).contains(&requests.len()), "{requests:#?}");
        assert!(
            requests.iter().all(|request| request.is_conditional()),
            "{requests:#?}"
        );
    }
}

async fn news_are_offered_whole_and_fetched_once(mut subject: Subject<impl Publisher>) {
    let (documents, _) = subject.offer().await;
    subject.publish("20260102_0000");
    subject.server.forget_requests();
    let Polled::Offer {
        documents: now,
        snapshot,
    } = subject.poll(&documents, false).await.unwrap()
    else {
        panic!("the news are not seen")
    };
    assert_eq!(serials(&snapshot), ["20260101_0000", "20260102_0000"]);
    assert_ne!(now, documents);
    let mut paths: Vec<_> = subject
        .server
        .requests()
        .into_iter()
        .map(|request| request.path)
        .collect();
    let requests = paths.len();
    paths.sort();
    paths.dedup();
    assert_eq!(paths.len(), requests, "something was asked for twice");
}

async fn the_same_documents_under_new_validators_are_no_news(subject: Subject<impl Publisher>) {
    let (documents, _) = subject.offer().await;
    subject.server.fault(EVERY_PATH, Fault::ChangeValidators);
    let Polled::Unchanged(now) = subject.poll(&documents, true).await.unwrap() else {
        panic!("the same bytes are no news")
    };
    let digests =
        |documents: &[Document]| -> Vec<Digest> { documents.iter().map(|one| one.sha256).collect() };
    assert_eq!(digests(&now), digests(&documents));
    assert_ne!(now, documents);
}

async fn a_failing_server_offers_nothing(subject: Subject<impl Publisher>) {
    let (documents, _) = subject.offer().await;
    let busy = Fault::Status {
        code: 503,
        retry_after: Some("7".to_owned()),
    };
    subject.server.fault(EVERY_PATH, busy);
    for known in [&documents[..], &[]] {
        let error = subject.poll(known, true).await.unwrap_err();
        assert_eq!(error.kind(), FetchErrorKind::Failed);
        assert_eq!(error.retry_after().map(|wait| wait.as_secs()), Some(7));
        let text = error.to_string();
        assert!(
            text.contains(&subject.server.url()) && text.contains("503"),
            "{text}"
        );
    }
}

async fn a_server_without_an_index_has_none(subject: Subject<impl Publisher>) {
    subject.server.fault(EVERY_PATH, Fault::status(404));
    let error = subject.poll(&[], true).await.unwrap_err();
    assert_eq!(error.kind(), FetchErrorKind::Gone);
}

async fn a_server_that_is_down_is_unreachable(mut subject: Subject<impl Publisher>) {
    let (documents, _) = subject.offer().await;
    let file = subject.file().await;
    subject.server.stop();
    let error = subject.poll(&documents, false).await.unwrap_err();
    assert_eq!(error.kind(), FetchErrorKind::Unreachable);
    let error = subject.source().open(&file, Resume::default()).await.unwrap_err();
    assert_eq!(error.kind(), FetchErrorKind::Unreachable);
}

async fn credentials_are_sent(subject: Subject<impl Publisher>) {
    let file = subject.file().await;
    subject.server.require_authorization(Some("Bearer hunter2"));
    let error = subject.poll(&[], true).await.unwrap_err().to_string();
    assert!(error.contains("401"), "{error}");
    let endpoint = Endpoint {
        credentials: Some("bearer:hunter2".parse().unwrap()),
        ..subject.endpoint()
    };
    let source = subject.source_at(&endpoint);
    source.poll(KnownState::default()).await.unwrap();
    source.open(&file, Resume::default()).await.unwrap();
    assert!(!format!("{source:?}").contains("hunter2"));
}

async fn a_file_is_read_whole_and_from_an_offset(subject: Subject<impl Publisher>) {
    let file = subject.file().await;
    let source = subject.source();
    let opened = source.open(&file, Resume::default()).await.unwrap();
    assert_eq!(opened.offset, 0);
    let validators = opened.validators.clone();
    let whole = read(opened).await.unwrap();
    assert_eq!(whole.len() as u64, file.size_bytes);
    if let ArtifactRef::Digest(digest) = file.artifact {
        assert_eq!(Digest::of(&whole), digest);
    }
    for validators in [None, Some(&validators)] {
        let resume = Resume {
            offset: 10,
            validators,
        };
        let opened = source.open(&file, resume).await.unwrap();
        assert_eq!(opened.offset, 10);
        assert_eq!(read(opened).await.unwrap(), whole[10..]);
    }
}

async fn other_content_is_read_from_its_start(subject: Subject<impl Publisher>) {
    let file = subject.file().await;
    let source = subject.source();
    let opened = source.open(&file, Resume::default()).await.unwrap();
    subject.server.fault(EVERY_PATH, Fault::ChangeValidators);
    let resume = Resume {
        offset: 10,
        validators: Some(&opened.validators),
    };
    let again = source.open(&file, resume).await.unwrap();
    assert_eq!(again.offset, 0);
    assert_ne!(again.validators, opened.validators);
}

async fn a_missing_file_is_gone(subject: Subject<impl Publisher>) {
    let file = subject.file().await;
    let source = subject.source();
    subject.server.fault(EVERY_PATH, Fault::status(404));
    let error = source.open(&file, Resume::default()).await.unwrap_err();
    assert_eq!(error.kind(), FetchErrorKind::Gone);
    let address = source.url(&file).unwrap();
    assert!(error.to_string().contains(address.as_str()), "{error}");
}

async fn a_body_that_breaks_is_an_error(subject: Subject<impl Publisher>) {
    let file = subject.file().await;
    subject.server.fault(EVERY_PATH, Fault::CloseAfter { bytes: 5 });
    let opened = subject.source().open(&file, Resume::default()).await.unwrap();
    let error = read(opened).await.unwrap_err();
    assert_eq!(error.kind(), FetchErrorKind::Failed);
    assert!(error.to_string().contains("ended after 5 bytes"), "{error}");
}
