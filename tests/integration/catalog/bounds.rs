//! Bounds in bytes: what the catalog accepts, every reader can take.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use prost::Message as _;
use rootstock_gateway::{GatewayConfig, Listeners, TlsConfig};
use rootstock_model::{
    LeftOut, Reason,
    limits::{
        MAX_ALIASES, MAX_MESSAGE_BYTES, MAX_PEM_BYTES, MAX_PROPERTIES_BYTES, MAX_RULES, MAX_TEXT_BYTES,
    },
    pattern::MAX_PATTERN_BYTES,
    properties::MAX_VALUE_BYTES,
    snapshot::Snapshot,
};
use rootstock_proto::{
    Error, Refusal,
    catalog::v1::{
        AddImageRequest, CollectBlobsRequest, CreateAliasRequest, CreateApplicationRequest,
        CreateWebhookRequest, ExplainImageRequest, GetSyncRunRequest, Image, ListAliasesRequest,
        ListApplicationsRequest, ListBlobsRequest, ListImagesRequest, ListLeftOutRequest, ListRemotesRequest,
        ListSettingsRequest, ListSyncRunPlanRequest, ListTransfersRequest, ListWebhooksRequest, Remote,
        Status, SyncRemoteRequest, SyncRunState, UpdateImageRequest, WatchRequest, Webhook,
        blob_service_client::BlobServiceClient, change::Resource, watch_service_client::WatchServiceClient,
        webhook_service_client::WebhookServiceClient,
    },
    sync::v1::WorkKind,
};
use rootstock_runtime::{Readiness, Shutdown};
use rootstock_tests::catalog::TestCatalog;
use tokio::net::TcpListener;

use super::{
    calls::{delete, refusal},
    offers::{fingerprint, image},
    remote, start,
};

const PRODUCT: &str = "debian:12";
/// More than what a client takes in one message, by resources of 64 KiB.
const IMAGES: usize = 70;
const REMOTES: usize = 25;
const WEBHOOKS: usize = 70;
const APPLICATIONS: usize = 110;
const LEFT_OUT: usize = 4500;
/// What a message has beside its resources.
const SLACK_BYTES: usize = 64 * 1024;

/// Properties of so many bytes.
fn properties(bytes: usize) -> HashMap<String, String> {
    let mut left = bytes;
    let mut properties = HashMap::new();
    while left > 4 {
        let value = (left - 4).min(MAX_VALUE_BYTES);
        properties.insert(format!("k{:03}", properties.len()), "x".repeat(value));
        left -= value + 4;
    }
    properties
}

fn add(name: &str, bytes: usize) -> AddImageRequest {
    AddImageRequest {
        name: name.to_owned(),
        source: PRODUCT.to_owned(),
        properties: properties(bytes),
        ..AddImageRequest::default()
    }
}

/// As long as names may be, and twice as many bytes.
fn long_name(number: usize) -> String {
    format!("{}{number:05}", "ä".repeat(250))
}

/// A remote's offer that leaves out much, with one product.
fn offer() -> Snapshot {
    let left_out = (0..LEFT_OUT).map(|number| LeftOut {
        product: format!("bad:{number:05}"),
        serial: String::new(),
        item: String::new(),
        reason: Reason::Malformed,
        message: "x".repeat(1000),
    });
    Snapshot {
        images: vec![image(PRODUCT, &["debian"], &["1"])],
        left_out: left_out.collect(),
    }
}

/// Fills a catalog to its limits; answers the id of a sync whose plan is large.
async fn fill(catalog: &TestCatalog) -> String {
    catalog.add_remote(remote("images")).await.unwrap();
    catalog.offer(&offer()).await.unwrap();
    catalog.store_all(fingerprint).await.unwrap();
    let request = SyncRemoteRequest {
        name: "images".to_owned(),
        plan_only: true,
        force: false,
    };
    let run = catalog
        .remotes()
        .sync_remote(request)
        .await
        .unwrap()
        .into_inner()
        .run;
    catalog.offer(&offer()).await.unwrap();

    let own = "os".len() + "Debian".len();
    for number in 0..IMAGES {
        let request = add(&format!("large-{number:03}"), MAX_PROPERTIES_BYTES - own);
        catalog.images().add_image(request).await.unwrap();
    }
    for number in 0..MAX_ALIASES {
        let request = CreateAliasRequest {
            name: long_name(number),
            image: PRODUCT.to_owned(),
            description: "x".repeat(MAX_TEXT_BYTES),
            ..CreateAliasRequest::default()
        };
        catalog.aliases().create_alias(request).await.unwrap();
    }
    for number in 0..APPLICATIONS {
        let request = CreateApplicationRequest {
            name: long_name(number),
            image: PRODUCT.to_owned(),
            ..CreateApplicationRequest::default()
        };
        catalog.applications().create_application(request).await.unwrap();
    }
    let rule = format!("os={}", "x".repeat(MAX_PATTERN_BYTES));
    for number in 0..REMOTES {
        let remote = Remote {
            include: vec![rule.clone(); MAX_RULES],
            exclude: vec![rule.clone(); MAX_RULES],
            ca_pem: "x".repeat(MAX_PEM_BYTES),
            disabled: true,
            ..remote(&format!("large-{number}"))
        };
        catalog.add_remote(remote).await.unwrap();
    }
    for number in 0..WEBHOOKS {
        let webhook = Webhook {
            name: format!("large-{number}"),
            url: "https://large.invalid".to_owned(),
            ca_pem: "x".repeat(MAX_PEM_BYTES),
            disabled: true,
            ..Webhook::default()
        };
        let request = CreateWebhookRequest {
            webhook: Some(webhook),
            from_revision: 0,
        };
        webhooks(catalog).create_webhook(request).await.unwrap();
    }
    run.unwrap().id
}

fn webhooks(catalog: &TestCatalog) -> WebhookServiceClient<tonic::transport::Channel> {
    WebhookServiceClient::new(catalog.channel.clone())
}

/// What reading a whole list came to.
#[derive(Debug, Default)]
struct Seen {
    rows: usize,
    messages: usize,
}

impl Seen {
    fn message(&mut self, bytes: usize, rows: usize) {
        assert!(
            bytes <= MAX_MESSAGE_BYTES + SLACK_BYTES,
            "a message of {bytes} bytes"
        );
        self.rows += rows;
        self.messages += 1;
    }
}

/// Reads all pages of a list, as large as they may be.
macro_rules! read_all {
    ($client:expr, $method:ident, $request:expr, |$answer:ident| $rows:expr) => {{
        let (mut client, mut request, mut seen) = ($client, $request, Seen::default());
        request.page_size = 1000;
        loop {
            let $answer = client.$method(request.clone()).await.unwrap().into_inner();
            seen.message($answer.encoded_len(), $rows);
            request.page_token = $answer.next_page_token;
            if request.page_token.is_empty() {
                break seen;
            }
        }
    }};
}

/// Reads a list or a stream of the public API to its end by a client with tonic's default limits.
async fn read(catalog: &TestCatalog, method: &str, run_id: &str) -> Seen {
    match method {
        "ListImages" => {
            read_all!(
                catalog.images(),
                list_images,
                ListImagesRequest::default(),
                |answer| answer.images.len()
            )
        }
        "ListAliases" => {
            read_all!(
                catalog.aliases(),
                list_aliases,
                ListAliasesRequest::default(),
                |answer| answer.aliases.len()
            )
        }
        "ListApplications" => {
            let request = ListApplicationsRequest::default();
            read_all!(catalog.applications(), list_applications, request, |answer| {
                answer.applications.len()
            })
        }
        "ListRemotes" => {
            read_all!(
                catalog.remotes(),
                list_remotes,
                ListRemotesRequest::default(),
                |answer| answer.remotes.len()
            )
        }
        "ListLeftOut" => {
            let request = ListLeftOutRequest {
                remote: "images".to_owned(),
                ..ListLeftOutRequest::default()
            };
            read_all!(catalog.remotes(), list_left_out, request, |answer| answer
                .left_out
                .len())
        }
        "ListSyncRunPlan" => {
            let request = ListSyncRunPlanRequest {
                id: run_id.to_owned(),
                ..ListSyncRunPlanRequest::default()
            };
            read_all!(catalog.remotes(), list_sync_run_plan, request, |answer| {
                answer.steps.len() + answer.left_out.len()
            })
        }
        "ListTransfers" => {
            let request = ListTransfersRequest::default();
            read_all!(catalog.remotes(), list_transfers, request, |answer| answer
                .transfers
                .len())
        }
        "ListWebhooks" => {
            read_all!(
                webhooks(catalog),
                list_webhooks,
                ListWebhooksRequest::default(),
                |answer| answer.webhooks.len()
            )
        }
        "ListBlobs" => {
            let blobs = BlobServiceClient::new(catalog.channel.clone());
            read_all!(blobs, list_blobs, ListBlobsRequest::default(), |answer| answer
                .blobs
                .len())
        }
        "ListSettings" => {
            let answer = catalog.settings().list_settings(ListSettingsRequest {}).await;
            let answer = answer.unwrap().into_inner();
            let mut seen = Seen::default();
            seen.message(answer.encoded_len(), answer.settings.len());
            seen
        }
        "Watch" => watch(catalog).await,
        other => panic!("{other} is not read by this test"),
    }
}

/// The initial state.
async fn watch(catalog: &TestCatalog) -> Seen {
    let request = WatchRequest {
        initial_state: true,
        ..WatchRequest::default()
    };
    let mut client = WatchServiceClient::new(catalog.channel.clone());
    let mut stream = client.watch(request).await.unwrap().into_inner();
    let mut seen = Seen::default();
    loop {
        let message = stream.message().await.unwrap().unwrap();
        seen.message(message.encoded_len(), message.changes.len());
        if message.revision > 0 {
            return seen;
        }
    }
}

/// The lists and streams of what the catalog serves to everybody.
fn lists() -> BTreeSet<String> {
    let descriptors = prost_types::FileDescriptorSet::decode(rootstock_proto::PUBLIC_DESCRIPTORS).unwrap();
    let services = descriptors.file.iter().flat_map(|file| &file.service);
    // Content is the gateways'.
    let services = services.filter(|service| service.name() != "ContentService");
    services
        .flat_map(|service| &service.method)
        .filter(|method| method.name().starts_with("List") || method.server_streaming())
        .map(|method| method.name().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_list_and_stream_of_a_full_catalog_is_read_by_a_client_with_default_limits() {
    let (_database, catalog) = start().await;
    let run_id = fill(&catalog).await;
    for method in lists() {
        let seen = read(&catalog, &method, &run_id).await;
        eprintln!("{method}: {seen:?}");
        let expected = match method.as_str() {
            "ListImages" => Some((IMAGES + 1, 5)),
            "ListAliases" => Some((MAX_ALIASES + 1, 1)),
            "ListApplications" => Some((APPLICATIONS, 1)),
            "ListRemotes" => Some((REMOTES + 1, 5)),
            "ListWebhooks" => Some((WEBHOOKS, 5)),
            "ListLeftOut" | "ListSyncRunPlan" => Some((LEFT_OUT, 5)),
            "ListBlobs" => Some((2, 1)),
            _ => None,
        };
        if let Some((rows, messages)) = expected {
            assert_eq!(seen.rows, rows, "{method}");
            assert!(
                seen.messages >= messages,
                "{method} in {} messages",
                seen.messages
            );
        }
    }
    answers_fit(&catalog, &run_id).await;
    a_gateway_starts_on(&catalog).await;
}

/// Answers that are no lists, and hold some.
async fn answers_fit(catalog: &TestCatalog, run_id: &str) {
    let mut seen = Seen::default();
    let image = catalog.image(PRODUCT).await.unwrap();
    seen.message(image.encoded_len(), 1);
    assert_eq!((image.aliases.len(), image.used_by.len()), (MAX_ALIASES + 1, 100));
    let request = ExplainImageRequest {
        image: PRODUCT.to_owned(),
        ..ExplainImageRequest::default()
    };
    let explained = catalog
        .images()
        .explain_image(request)
        .await
        .unwrap()
        .into_inner();
    seen.message(explained.encoded_len(), 1);
    let request = GetSyncRunRequest {
        id: run_id.to_owned(),
    };
    let run = catalog
        .remotes()
        .get_sync_run(request)
        .await
        .unwrap()
        .into_inner();
    seen.message(run.encoded_len(), 1);
    let run = run.run.unwrap();
    assert_eq!(run.state(), SyncRunState::Succeeded, "{}", run.error);
    // What the plan has no room for is on the pages that its token begins.
    let plan = run.plan.unwrap();
    let request = ListSyncRunPlanRequest {
        id: run_id.to_owned(),
        page_token: plan.next_page_token,
        ..ListSyncRunPlanRequest::default()
    };
    assert_ne!(request.page_token, "");
    let rest = read_all!(catalog.remotes(), list_sync_run_plan, request, |answer| {
        answer.steps.len() + answer.left_out.len()
    });
    assert_eq!(plan.steps.len() + plan.left_out.len() + rest.rows, LEFT_OUT);
    let mut blobs = BlobServiceClient::new(catalog.channel.clone());
    let collected = blobs.collect_blobs(CollectBlobsRequest { dry_run: true }).await;
    seen.message(collected.unwrap().into_inner().encoded_len(), 1);
}

async fn a_gateway_starts_on(catalog: &TestCatalog) {
    // One provider per process; whoever is second finds it set.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let directory = tempfile::tempdir().unwrap();
    let blobs = rootstock_blobs::StoreConfig::local(directory.path().join("blobs"));
    let store = rootstock_blobs::BlobStore::open(&blobs).await.unwrap();
    let config = GatewayConfig {
        catalog_url: format!("http://{}", catalog.address),
        tls: TlsConfig {
            self_signed: Some(directory.path().join("tls")),
            names: vec!["localhost".to_owned()],
            ..TlsConfig::default()
        },
        ..GatewayConfig::default()
    };
    let listeners = Listeners {
        http: TcpListener::bind("127.0.0.1:0").await.unwrap(),
        grpc: None,
    };
    let shutdown = Shutdown::new();
    let readiness = Readiness::new(shutdown.clone());
    let running = rootstock_gateway::run(config, listeners, store, readiness.clone(), shutdown.clone());
    let running = tokio::spawn(running);
    for _ in 0..600 {
        if readiness.is_ready() {
            break;
        }
        assert!(!running.is_finished(), "the gateway ended");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let not_ready = readiness.not_ready();
    shutdown.trigger();
    running.await.unwrap().unwrap();
    assert!(not_ready.is_empty(), "{not_ready:?}");
}

#[tokio::test]
async fn what_is_too_large_is_refused_with_its_field_and_the_limit() {
    let (_database, catalog) = start().await;
    catalog.add_remote(remote("images")).await.unwrap();
    catalog
        .offer(&Snapshot {
            images: vec![image(PRODUCT, &[], &["1"])],
            left_out: vec![],
        })
        .await
        .unwrap();
    catalog.store_all(fingerprint).await.unwrap();
    let violation = |status: tonic::Status| match Error::from_status(&status) {
        Some(Error::Invalid(violations)) => violations[0].clone(),
        other => panic!("{other:?}"),
    };
    // Alone they fit, with those of the product they do not.
    for bytes in [MAX_PROPERTIES_BYTES + 1, MAX_PROPERTIES_BYTES] {
        let refused = catalog.images().add_image(add("large", bytes)).await;
        let violation = violation(refused.unwrap_err());
        assert_eq!(violation.field, "properties");
        assert!(violation.description.contains("at most 65536"), "{violation:?}");
    }
    let added = catalog
        .images()
        .add_image(add("own", 100))
        .await
        .unwrap()
        .into_inner();
    let image = Image {
        properties: properties(MAX_PROPERTIES_BYTES + 1),
        ..added.image.unwrap()
    };
    let request = UpdateImageRequest {
        image: Some(image),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["properties".to_owned()],
        }),
    };
    let refused = catalog.images().update_image(request).await.unwrap_err();
    assert_eq!(violation(refused).field, "image.properties");

    let alias = |name: String, description: String| CreateAliasRequest {
        name,
        image: "own".to_owned(),
        description,
        ..CreateAliasRequest::default()
    };
    let long = alias("long".to_owned(), "x".repeat(MAX_TEXT_BYTES + 1));
    let refused = catalog.aliases().create_alias(long).await.unwrap_err();
    assert_eq!(violation(refused).field, "description");
    for number in 0..MAX_ALIASES {
        let one = alias(format!("a{number}"), String::new());
        catalog.aliases().create_alias(one).await.unwrap();
    }
    let refused = catalog
        .aliases()
        .create_alias(alias("more".to_owned(), String::new()))
        .await;
    let (reason, message) = refusal(refused);
    assert_eq!(reason, Refusal::LimitReached);
    assert!(message.contains("at most 256 aliases"), "{message}");
}

#[tokio::test]
async fn an_offer_that_is_too_large_is_left_out_with_its_reason() {
    let (_database, catalog) = start().await;
    catalog.add_remote(remote("images")).await.unwrap();
    let mut large = image("large", &["large"], &["1"]);
    large.properties = properties(MAX_PROPERTIES_BYTES + 1).into_iter().collect();
    let offer = Snapshot {
        images: vec![image(PRODUCT, &[], &["1"]), large],
        left_out: vec![],
    };
    catalog.offer(&offer).await.unwrap();
    let names = catalog.images().list_images(ListImagesRequest::default()).await;
    let names: Vec<_> = names
        .unwrap()
        .into_inner()
        .images
        .into_iter()
        .map(|image| image.name)
        .collect();
    assert_eq!(names, [PRODUCT]);
    let request = ListLeftOutRequest {
        remote: "images".to_owned(),
        ..ListLeftOutRequest::default()
    };
    let left_out = catalog
        .remotes()
        .list_left_out(request)
        .await
        .unwrap()
        .into_inner()
        .left_out;
    let [left_out] = &left_out[..] else {
        panic!("{left_out:?}")
    };
    assert_eq!(
        (left_out.product.as_str(), left_out.reason.as_str()),
        ("large", "malformed")
    );
    assert!(left_out.message.contains("at most 65536"), "{left_out:?}");
}

#[tokio::test]
async fn the_properties_of_an_image_go_with_it() {
    let (_database, catalog) = start().await;
    catalog.add_remote(remote("images")).await.unwrap();
    let offer = Snapshot {
        images: vec![image(PRODUCT, &[], &["1"])],
        left_out: vec![],
    };
    catalog.offer(&offer).await.unwrap();
    catalog.store_all(fingerprint).await.unwrap();
    catalog.images().add_image(add("own", 1000)).await.unwrap();
    let mut client = WatchServiceClient::new(catalog.channel.clone());
    let mut stream = client.watch(WatchRequest::default()).await.unwrap().into_inner();
    delete(&catalog, "own", false).await.unwrap();
    let deleted = loop {
        let message = stream.message().await.unwrap().unwrap();
        let image = message
            .changes
            .into_iter()
            .find_map(|change| match change.resource {
                Some(Resource::Image(image)) => Some(image),
                _ => None,
            });
        if let Some(image) = image.filter(|image| image.name == "own") {
            break image;
        }
    };
    assert_eq!(deleted.status(), Status::Deleted);
    assert!(deleted.properties.is_empty(), "{deleted:?}");
    // A product that is taken up again has what its remote says of it.
    delete(&catalog, PRODUCT, true).await.unwrap();
    let request = AddImageRequest {
        name: "again".to_owned(),
        source: PRODUCT.to_owned(),
        ..AddImageRequest::default()
    };
    let added = catalog
        .images()
        .add_image(request)
        .await
        .unwrap()
        .into_inner()
        .image
        .unwrap();
    assert_eq!(added.properties["os"], "Debian");
    assert!(
        catalog
            .claim_now(WorkKind::Poll, Duration::ZERO)
            .await
            .unwrap()
            .is_some()
    );
}
