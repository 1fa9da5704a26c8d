//! Credentials: shown to the server they are for, with every request, and to no other.

use http::header::AUTHORIZATION;
use rootstock_proto::{
    catalog::v1::Remote,
    sync::v1::{PollTask, work::Task},
};
use rootstock_tests::{
    fake_work::{Call, Outcome},
    remote::{Content, FakeRemote, Fault},
    tree::{INDEX_PATH, PRODUCTS_PATH},
};
use serde_json::json;

use super::{MIB, Stage, error_of, remote};

/// `user:hunter2` and `bearer:hunter2` as servers see them.
const BASIC: &str = "Basic dXNlcjpodW50ZXIy";
const BEARER: &str = "Bearer hunter2";

fn put_index(server: &FakeRemote) {
    let entry = json!({"datatype": "image-downloads", "path": PRODUCTS_PATH, "products": ["x"]});
    let index = json!({"format": "index:1.0", "index": {"images": entry}});
    server.put(INDEX_PATH, index.to_string()).unwrap();
    let products = json!({"format": "products:1.0", "products": {}});
    server.put(PRODUCTS_PATH, products.to_string()).unwrap();
}

fn with(server: &FakeRemote, auth: &str) -> Remote {
    Remote {
        auth: auth.to_owned(),
        ..remote(server)
    }
}

async fn poll(stage: &Stage, remote: Remote) -> Call {
    let task = PollTask {
        remote: Some(remote),
        ..PollTask::default()
    };
    let lease = stage.catalog.give(Task::Poll(task));
    stage.catalog.outcome(lease).await.unwrap()
}

#[tokio::test]
async fn index_and_blobs_are_had_with_credentials_over_https_and_explicit_http() {
    let stage = Stage::new().await;
    let worker = stage.worker();
    let plain = FakeRemote::http().unwrap();
    for server in [&stage.remote, &plain] {
        put_index(server);
        for (auth, expected) in [("user:hunter2", BASIC), ("bearer:hunter2", BEARER)] {
            server.require_authorization(Some(expected));
            let polled = poll(&stage, with(server, auth)).await;
            assert!(matches!(polled, Call::SubmitSnapshot(_)), "{polled:?}");
            let content = Content::generated(MIB + 7, expected.as_bytes(), MIB + 7);
            server.put("blob", content.clone()).unwrap();
            let mut source = super::source(server, "blob", MIB + 7);
            source.remote = Some(with(server, auth));
            let done = stage.transfer(super::transfer_of(&content, vec![source])).await;
            assert!(matches!(done, Call::Finish(_, Outcome::Transfer(_))), "{done:?}");
            assert!(stage.holds(&content).await);
        }
    }
    worker.stop().await;
}

#[tokio::test]
async fn who_is_not_let_in_is_told_what_to_do_and_no_secret() {
    let stage = Stage::new().await;
    let worker = stage.worker();
    put_index(&stage.remote);
    stage.remote.require_authorization(Some(BASIC));
    for auth in ["", "user:swordfish", "bearer:swordfish"] {
        let failed = poll(&stage, with(&stage.remote, auth)).await;
        let error = error_of(&failed);
        for says in ["401 Unauthorized", "rootstock remote update", "bearer:<token>"] {
            assert!(error.contains(says), "{says}: {error}");
        }
        assert!(!error.contains("swordfish"), "{error}");
    }
    worker.stop().await;
}

#[tokio::test]
async fn a_redirect_to_another_server_leaves_them_behind() {
    let stage = Stage::new().await;
    let worker = stage.worker();
    let content = Content::generated(4096, b"elsewhere", 4096);
    let other = FakeRemote::https().unwrap();
    other.put("blob", content.clone()).unwrap();
    stage.remote.put("blob", content.clone()).unwrap();
    stage.remote.put("moved", content.clone()).unwrap();
    stage.remote.require_authorization(Some(BASIC));
    for (location, path) in [
        (format!("{}/blob", other.url()), "blob"),
        ("/moved".to_owned(), "blob"),
    ] {
        stage.remote.clear_faults(path);
        stage.remote.fault(path, Fault::Redirect { code: 302, location });
        let mut source = super::source(&stage.remote, path, 4096);
        source.remote = Some(with(&stage.remote, "user:hunter2"));
        let done = stage.transfer(super::transfer_of(&content, vec![source])).await;
        assert!(matches!(done, Call::Finish(_, Outcome::Transfer(_))), "{done:?}");
        stage.store.delete(&content.digest().unwrap()).await.unwrap();
    }
    let elsewhere = other.requests();
    assert_eq!(elsewhere.len(), 1);
    assert_eq!(elsewhere[0].header(AUTHORIZATION), None);
    // On the same server they go along.
    let moved = stage.remote.requests_for("moved");
    assert_eq!(moved[0].header(AUTHORIZATION), Some(BASIC));
    worker.stop().await;
}
