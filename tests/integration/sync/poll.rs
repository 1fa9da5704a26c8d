//! Polling: how many requests it takes, what is submitted, and what failures say.

use std::{collections::BTreeSet, time::Duration};

use rootstock_model::{Digest, RootFtype};
use rootstock_proto::{
    catalog::v1::Remote,
    sync::v1::{Document, PollTask, work::Task},
};
use rootstock_tests::{
    certificates::Authority,
    fake_work::{Call, Outcome, Submitted},
    remote::{FakeRemote, Fault, Request},
    tree::{INDEX_PATH, PRODUCTS_PATH, Product, Tree, Version},
};
use serde_json::json;

use super::{Stage, digest_bytes, error_of, remote};

fn small_tree() -> Tree {
    let mut tree = Tree::default();
    let product = tree.add_product(Product::new("Alpine", "edge", "amd64"));
    tree.add_version(&product, Version::new("20260101_0524").root(RootFtype::RootTarXz))
        .unwrap();
    tree
}

async fn poll(stage: &Stage, task: PollTask) -> Call {
    let lease = stage.catalog.give(Task::Poll(task));
    stage.catalog.outcome(lease).await.unwrap()
}

fn first_poll(stage: &Stage) -> PollTask {
    PollTask {
        remote: Some(remote(&stage.remote)),
        ..PollTask::default()
    }
}

fn submitted(call: Call) -> Submitted {
    match call {
        Call::SubmitSnapshot(submitted) => submitted,
        other => panic!("nothing was submitted: {other:?}"),
    }
}

/// The polls so far as `PATH` or `PATH?`, the latter for conditional requests.
fn asked(stage: &Stage) -> Vec<String> {
    let show = |request: Request| {
        let mark = if request.is_conditional() { "?" } else { "" };
        format!("{}{mark}", request.path)
    };
    let asked = stage.remote.requests().into_iter().map(show).collect();
    stage.remote.forget_requests();
    asked
}

#[tokio::test]
async fn a_poll_without_news_is_one_conditional_request() {
    let stage = Stage::new().await;
    small_tree().publish(&stage.remote).unwrap();
    let worker = stage.worker();

    let snapshot = submitted(poll(&stage, first_poll(&stage)).await);
    assert_eq!(asked(&stage), [INDEX_PATH, PRODUCTS_PATH]);
    let paths: Vec<_> = snapshot
        .documents
        .iter()
        .map(|document| &*document.path)
        .collect();
    assert_eq!(paths, [INDEX_PATH, PRODUCTS_PATH]);
    assert!(
        snapshot
            .documents
            .iter()
            .all(|known| !known.etag.is_empty() && !known.last_modified.is_empty())
    );
    let products: Vec<_> = snapshot.images.iter().map(|image| &*image.product).collect();
    assert_eq!(products, ["alpine:edge:amd64:default"]);

    let again = PollTask {
        documents: snapshot.documents.clone(),
        ..first_poll(&stage)
    };
    let Call::Finish(_, Outcome::Poll(finished)) = poll(&stage, again.clone()).await else {
        panic!("it has news")
    };
    assert_eq!(asked(&stage), [format!("{PRODUCTS_PATH}?")]);
    assert_eq!(finished.documents, []);

    let with_index = PollTask {
        check_index: true,
        ..again.clone()
    };
    assert!(matches!(
        poll(&stage, with_index).await,
        Call::Finish(_, Outcome::Poll(_))
    ));
    assert_eq!(
        asked(&stage),
        [format!("{INDEX_PATH}?"), format!("{PRODUCTS_PATH}?")]
    );

    let plan = PollTask {
        plan_run_id: "run".into(),
        ..again
    };
    assert_eq!(submitted(poll(&stage, plan).await).images, snapshot.images);
    assert_eq!(
        asked(&stage),
        [INDEX_PATH, PRODUCTS_PATH],
        "a plan wants everything, unconditionally"
    );
    worker.stop().await;
}

#[tokio::test]
async fn a_date_is_asked_by_when_there_is_no_etag() {
    let stage = Stage::new().await;
    small_tree().publish(&stage.remote).unwrap();
    let worker = stage.worker();
    let mut documents = submitted(poll(&stage, first_poll(&stage)).await).documents;
    asked(&stage);
    documents.iter_mut().for_each(|document| document.etag.clear());
    let again = PollTask {
        documents,
        ..first_poll(&stage)
    };
    assert!(matches!(
        poll(&stage, again).await,
        Call::Finish(_, Outcome::Poll(_))
    ));
    let requests = stage.remote.requests();
    assert_eq!(requests.len(), 1);
    assert!(requests[0].headers.contains_key("if-modified-since"));
    worker.stop().await;
}

#[tokio::test]
async fn the_same_bytes_under_new_validators_are_no_news() {
    let stage = Stage::new().await;
    small_tree().publish(&stage.remote).unwrap();
    let worker = stage.worker();
    let before = submitted(poll(&stage, first_poll(&stage)).await).documents;
    stage
        .remote
        .fault_times(PRODUCTS_PATH, 1, Fault::ChangeValidators);
    let again = PollTask {
        documents: before.clone(),
        ..first_poll(&stage)
    };
    let Call::Finish(_, Outcome::Poll(finished)) = poll(&stage, again).await else {
        panic!("it has news")
    };
    let [index, products] = &finished.documents[..] else {
        panic!("{:?}", finished.documents)
    };
    assert_eq!(*index, before[0]);
    assert_eq!(products.sha256, before[1].sha256);
    assert_ne!(products.etag, before[1].etag);
    worker.stop().await;
}

#[tokio::test]
async fn news_make_a_whole_snapshot_and_no_request_twice() {
    let stage = Stage::new().await;
    let mut tree = small_tree();
    tree.publish(&stage.remote).unwrap();
    let worker = stage.worker();
    let documents = submitted(poll(&stage, first_poll(&stage)).await).documents;
    asked(&stage);

    let version = Version::new("20260102_0524").root(RootFtype::RootTarXz);
    tree.add_version("alpine:edge:amd64:default", version).unwrap();
    tree.publish(&stage.remote).unwrap();
    let again = PollTask {
        documents,
        ..first_poll(&stage)
    };
    let snapshot = submitted(poll(&stage, again).await);
    assert_eq!(
        asked(&stage),
        [format!("{PRODUCTS_PATH}?"), INDEX_PATH.to_owned()]
    );
    assert_eq!(snapshot.images[0].versions.len(), 2);
    assert_eq!(snapshot.documents.len(), 2);
    worker.stop().await;
}

#[tokio::test]
async fn news_of_the_index_alone_make_a_snapshot_too() {
    let stage = Stage::new().await;
    small_tree().publish(&stage.remote).unwrap();
    let worker = stage.worker();
    let documents = submitted(poll(&stage, first_poll(&stage)).await).documents;
    asked(&stage);
    put_index(&stage.remote, &[PRODUCTS_PATH]);
    let again = PollTask {
        documents,
        check_index: true,
        ..first_poll(&stage)
    };
    let snapshot = submitted(poll(&stage, again).await);
    assert_eq!(snapshot.images.len(), 1);
    let mut asked = asked(&stage);
    asked.retain(|path| !path.ends_with('?'));
    assert_eq!(asked, [PRODUCTS_PATH], "the index is at hand");
    worker.stop().await;
}

/// Puts an index that names these products files.
fn put_index(remote: &FakeRemote, paths: &[&str]) {
    let entries: serde_json::Map<_, _> = paths
        .iter()
        .map(|path| {
            let entry = json!({"datatype": "image-downloads", "path": path, "products": ["x"]});
            ((*path).to_owned(), entry)
        })
        .collect();
    let index = json!({"format": "index:1.0", "index": entries});
    remote.put(INDEX_PATH, index.to_string()).unwrap();
}

/// Puts a products file with one version of each product.
fn put_products(remote: &FakeRemote, path: &str, products: &[&str], serial: &str) {
    let version = |product: &str| {
        let file = |ftype: &str| {
            json!({"ftype": ftype, "path": format!("images/{product}/{ftype}"), "size": 7,
                   "sha256": Digest::of(format!("{product}{ftype}").as_bytes())})
        };
        json!({"arch": "amd64", "os": "Test", "release": "1", "aliases": "",
               "versions": {serial: {"items": {"a": file("incus.tar.xz"), "b": file("squashfs")}}}})
    };
    let products: serde_json::Map<_, _> = products
        .iter()
        .map(|product| ((*product).to_owned(), version(product)))
        .collect();
    let document = json!({"format": "products:1.0", "products": products});
    remote.put(path, document.to_string()).unwrap();
}

#[tokio::test]
async fn several_products_files_make_one_snapshot() {
    let stage = Stage::new().await;
    let (first, second) = ("streams/v1/a.json", "streams/v1/b.json");
    put_index(&stage.remote, &[first, second]);
    put_products(&stage.remote, first, &["one", "both"], "20260101");
    put_products(&stage.remote, second, &["both", "two"], "20260101");
    let worker = stage.worker();

    let snapshot = submitted(poll(&stage, first_poll(&stage)).await);
    assert_eq!(asked(&stage), [INDEX_PATH, first, second]);
    let products: BTreeSet<_> = snapshot
        .images
        .iter()
        .map(|image| image.product.clone())
        .collect();
    assert_eq!(products, ["one", "both", "two"].map(str::to_owned).into());
    let taken: Vec<_> = snapshot
        .left_out
        .iter()
        .filter(|left_out| left_out.reason == "name-taken")
        .collect();
    assert_eq!(taken.len(), 1, "{:?}", snapshot.left_out);
    assert_eq!(taken[0].product, "both");

    // The second changes: the first, which did not, is fetched whole for the sake of the snapshot.
    put_products(&stage.remote, second, &["both", "two"], "20260102");
    let again = PollTask {
        documents: snapshot.documents.clone(),
        ..first_poll(&stage)
    };
    let news = submitted(poll(&stage, again).await);
    assert_eq!(
        asked(&stage),
        [
            format!("{first}?"),
            format!("{second}?"),
            INDEX_PATH.to_owned(),
            first.to_owned()
        ]
    );
    assert_eq!(news.images.len(), 3);

    // A file that is gone is one that the index may name no longer.
    stage.remote.remove(second);
    put_index(&stage.remote, &[first]);
    let again = PollTask {
        documents: news.documents,
        ..first_poll(&stage)
    };
    let news = submitted(poll(&stage, again).await);
    assert_eq!(news.images.len(), 2);
    let paths: Vec<_> = news.documents.iter().map(|document| &*document.path).collect();
    assert_eq!(paths, [INDEX_PATH, first]);
    worker.stop().await;
}

#[tokio::test]
async fn a_server_that_wants_patience_gets_it() {
    let stage = Stage::new().await;
    small_tree().publish(&stage.remote).unwrap();
    let worker = stage.worker();
    for (code, retry_after, expected) in [
        (503, Some("7"), Some(7)),
        (429, Some("Fri, 31 Dec 2100 00:00:00 GMT"), Some(86_400)),
        (503, None, None),
    ] {
        let fault = Fault::Status {
            code,
            retry_after: retry_after.map(str::to_owned),
        };
        stage.remote.fault_times(INDEX_PATH, 1, fault);
        let Call::Fail(failed) = poll(&stage, first_poll(&stage)).await else {
            panic!("it did not fail")
        };
        let wait = failed.retry_after.map(|wait| Duration::try_from(wait).unwrap());
        assert_eq!(wait, expected.map(Duration::from_secs), "{code} {retry_after:?}");
        assert!(failed.error.contains(&code.to_string()), "{}", failed.error);
    }
    worker.stop().await;
}

#[tokio::test]
async fn failures_say_where_and_what_to_look_at() {
    let mut stage = Stage::new().await;
    // As long as a busy machine may take for what does answer.
    stage.config.remote.header_timeout = Duration::from_secs(2);
    stage.config.remote.idle_timeout = Duration::from_secs(2);
    stage.config.remote.connect_timeout = Duration::from_secs(2);
    stage.config.remote.min_bytes_per_second = 1_000_000;
    stage.config.remote.low_speed_window = Duration::from_secs(3);
    small_tree().publish(&stage.remote).unwrap();
    let worker = stage.worker();
    let redirect = |location: String| Fault::Redirect { code: 302, location };
    let url = stage.remote.url();
    let plain = url.replace("https://", "http://");
    for (path, fault, expected) in [
        (INDEX_PATH, Fault::status(404), "must be the base of the tree"),
        (
            PRODUCTS_PATH,
            Fault::status(404),
            "names a file that is not there",
        ),
        (INDEX_PATH, Fault::status(403), "does not let this worker in"),
        (INDEX_PATH, Fault::HangBeforeHeaders, "did not answer within"),
        (INDEX_PATH, Fault::StallAfter { bytes: 10 }, "no byte came for"),
        (
            PRODUCTS_PATH,
            Fault::CloseAfter { bytes: 10 },
            "the connection ended after 10 bytes",
        ),
        (
            PRODUCTS_PATH,
            Fault::Slow {
                bytes_per_second: 100,
            },
            "bytes per second",
        ),
        (PRODUCTS_PATH, Fault::Truncate { bytes: 100 }, "it ends too early"),
        (
            INDEX_PATH,
            redirect(format!("{plain}/x")),
            "from https:// to http://",
        ),
        (
            INDEX_PATH,
            redirect(format!("{url}/{INDEX_PATH}")),
            "more than 5 times",
        ),
    ] {
        stage.remote.fault(path, fault.clone());
        let failed = poll(&stage, first_poll(&stage)).await;
        let error = error_of(&failed);
        assert!(error.contains(expected), "{fault:?}: {error}");
        assert!(error.starts_with(&format!("GET {url}/{path}: ")), "{error}");
        stage.remote.clear_faults(path);
    }
    stage
        .remote
        .put(INDEX_PATH, "<html>Please log in</html>")
        .unwrap();
    let failed = poll(&stage, first_poll(&stage)).await;
    assert!(
        error_of(&failed).contains("looks like an HTML"),
        "{}",
        error_of(&failed)
    );
    assert!(
        stage
            .remote
            .requests()
            .iter()
            .all(|request| !request.headers.contains_key("cookie"))
    );
    let agent = stage.remote.requests()[0].headers["user-agent"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(agent.starts_with("rootstock/"), "{agent}");
    worker.stop().await;
}

#[tokio::test]
async fn a_remote_that_cannot_be_trusted_or_reached_says_so() {
    let mut stage = Stage::new().await;
    stage.config.remote.connect_timeout = Duration::from_secs(2);
    small_tree().publish(&stage.remote).unwrap();
    let worker = stage.worker();
    let url = stage.remote.url();
    let known = remote(&stage.remote);
    let unreachable = FakeRemote::https().unwrap().url();
    let http = FakeRemote::http().unwrap();
    for (remote, expected) in [
        (
            Remote {
                ca_pem: String::new(),
                ..known.clone()
            },
            "--ca FILE",
        ),
        (
            Remote {
                ca_pem: Authority::new().pem().to_owned(),
                ..known.clone()
            },
            "--ca FILE",
        ),
        (
            Remote {
                url: url.replace("127.0.0.1", "127.0.0.2"),
                ..known.clone()
            },
            "cannot be reached",
        ),
        (
            Remote {
                url: unreachable,
                ..known.clone()
            },
            "cannot be reached",
        ),
        (
            Remote {
                url: http.url().replace("http://", "https://"),
                ..known.clone()
            },
            "does not speak TLS",
        ),
        (
            Remote {
                url: "https://nonesuch.invalid".to_owned(),
                ..known.clone()
            },
            "the host is not found",
        ),
        (
            Remote {
                url: String::new(),
                ..known.clone()
            },
            "remote.url",
        ),
    ] {
        let task = PollTask {
            remote: Some(remote),
            ..PollTask::default()
        };
        let failed = poll(&stage, task).await;
        let error = error_of(&failed);
        assert!(error.contains(expected), "{expected}: {error}");
    }
    let trusting = Remote {
        ca_pem: String::new(),
        insecure: true,
        ..known
    };
    submitted(
        poll(
            &stage,
            PollTask {
                remote: Some(trusting),
                ..PollTask::default()
            },
        )
        .await,
    );
    worker.stop().await;
}

#[tokio::test]
async fn redirects_within_reason_are_followed() {
    let stage = Stage::new().await;
    small_tree().publish(&stage.remote).unwrap();
    let other = FakeRemote::https().unwrap();
    small_tree().publish(&other).unwrap();
    let location = format!("{}/{PRODUCTS_PATH}", other.url());
    stage
        .remote
        .fault(PRODUCTS_PATH, Fault::Redirect { code: 302, location });
    let worker = stage.worker();
    assert_eq!(submitted(poll(&stage, first_poll(&stage)).await).images.len(), 1);
    worker.stop().await;
}

#[tokio::test]
async fn a_document_that_is_none_submits_nothing() {
    let stage = Stage::new().await;
    small_tree().publish(&stage.remote).unwrap();
    let worker = stage.worker();
    for text in [
        "",
        "{",
        "[]",
        "{\"format\": \"products:2.0\", \"products\": {}}",
        "{\"products\": []}",
    ] {
        stage.remote.put(PRODUCTS_PATH, text).unwrap();
        let failed = poll(&stage, first_poll(&stage)).await;
        assert!(
            error_of(&failed).contains(PRODUCTS_PATH),
            "{text}: {}",
            error_of(&failed)
        );
    }
    worker.stop().await;
}

#[tokio::test]
async fn what_is_known_in_part_is_read_anew() {
    let stage = Stage::new().await;
    small_tree().publish(&stage.remote).unwrap();
    let worker = stage.worker();
    // Without the index among what is known, nothing says that the list of products files is whole.
    let stranger = Document {
        path: PRODUCTS_PATH.to_owned(),
        etag: "\"x\"".to_owned(),
        last_modified: String::new(),
        sha256: digest_bytes(&Digest::of(b"x")),
    };
    let task = PollTask {
        documents: vec![stranger],
        ..first_poll(&stage)
    };
    submitted(poll(&stage, task).await);
    assert_eq!(asked(&stage), [INDEX_PATH, PRODUCTS_PATH]);
    worker.stop().await;
}

#[tokio::test]
async fn a_protocol_that_the_worker_does_not_know_fails_with_those_it_knows() {
    let stage = Stage::new().await;
    small_tree().publish(&stage.remote).unwrap();
    let worker = stage.worker();
    let mut task = first_poll(&stage);
    task.remote.as_mut().unwrap().protocol = "oci".to_owned();
    let failed = poll(&stage, task).await;
    let error = error_of(&failed);
    assert!(error.contains(r#""oci" is none of: simplestreams"#), "{error}");
    assert_eq!(asked(&stage), [""; 0]);
    worker.stop().await;
}
