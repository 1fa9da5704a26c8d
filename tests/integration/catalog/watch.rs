//! Watching: every change once, in order, from wherever a watcher comes.

use std::{collections::BTreeMap, time::Duration};

use rootstock_proto::{
    Error,
    catalog::v1::{Change, ChangeOperation, Status, WatchRequest, WatchResponse, change::Resource},
    sync::v1::WorkKind,
};
use rootstock_tests::catalog::TestCatalog;
use sqlx::{Connection as _, PgConnection};
use tonic::Streaming;

use super::{
    offers::{fingerprint, image, snapshot},
    remote, start,
};

/// The revision of the first change of a catalog: the empty one has the revision before.
const FIRST: i64 = 2;

async fn watch(catalog: &TestCatalog, from_revision: i64, initial_state: bool) -> Streaming<WatchResponse> {
    let request = WatchRequest {
        from_revision,
        initial_state,
        ..WatchRequest::default()
    };
    catalog.watches().watch(request).await.unwrap().into_inner()
}

/// Reads until the stream says that everything up to `revision` was sent.
async fn read_until(stream: &mut Streaming<WatchResponse>, revision: i64) -> Vec<Change> {
    let mut changes = vec![];
    loop {
        let response = stream.message().await.unwrap().unwrap();
        changes.extend(response.changes);
        if response.revision >= revision {
            return changes;
        }
    }
}

async fn newest(catalog: &TestCatalog) -> i64 {
    let mut stream = watch(catalog, 0, true).await;
    loop {
        let response = stream.message().await.unwrap().unwrap();
        if response.revision > 0 {
            return response.revision;
        }
    }
}

/// What a watcher has when it applies changes one after the other.
pub(crate) fn apply(state: &mut BTreeMap<String, Resource>, changes: Vec<Change>) {
    for change in changes {
        let operation = change.operation();
        let resource = change.resource.unwrap();
        let key = match &resource {
            Resource::Image(image) => format!("image {}", image.id),
            Resource::Version(version) => {
                format!(
                    "version {} {}",
                    version.image_id,
                    version.version.as_ref().unwrap().number
                )
            }
            Resource::Alias(alias) => format!("alias {} {} {}", alias.name, alias.r#type, alias.architecture),
            Resource::Setting(_) => continue,
            other => format!("{} {}", other.kind().label(), other.name()),
        };
        match operation {
            ChangeOperation::Deleted => state.remove(&key),
            _ => state.insert(key, resource),
        };
    }
}

#[tokio::test]
async fn watchers_see_every_change_of_concurrent_writers_once_and_in_order() {
    let (_database, catalog) = start().await;
    catalog.add_remote(remote("images")).await.unwrap();
    let live = watch(&catalog, FIRST, false).await;
    let products: Vec<_> = (0..12)
        .map(|number| image(&format!("product:{number}"), &[], &["20260101"]))
        .collect();
    catalog.offer(&snapshot(products)).await.unwrap();
    let writers = (0..6).map(|writer| {
        let catalog = &catalog;
        async move {
            for number in 0..4 {
                if writer % 2 == 0 {
                    catalog
                        .add_remote(remote(&format!("remote-{writer}-{number}")))
                        .await
                        .unwrap();
                } else {
                    catalog.transfer().await.unwrap();
                }
            }
        }
    });
    futures::future::join_all(writers).await;
    let newest = newest(&catalog).await;
    let watchers = [
        live,
        watch(&catalog, FIRST, false).await,
        watch(&catalog, 5, false).await,
    ];
    for (mut watcher, from) in watchers.into_iter().zip([FIRST, FIRST, 5]) {
        let revisions: Vec<i64> = read_until(&mut watcher, newest)
            .await
            .iter()
            .map(|change| change.revision)
            .collect();
        assert_eq!(revisions, (from..=newest).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn the_initial_state_is_what_the_changes_add_up_to() {
    let (_database, catalog) = start().await;
    catalog.add_remote(remote("images")).await.unwrap();
    let product = |serials: &[&str]| snapshot(vec![image("debian:12", &["debian/12"], serials)]);
    catalog.offer(&product(&["20260101"])).await.unwrap();
    catalog.transfer().await.unwrap();
    catalog.transfer().await.unwrap();
    catalog.verify(fingerprint).await.unwrap();
    let newest = newest(&catalog).await;
    let (mut whole, mut added_up) = (BTreeMap::new(), BTreeMap::new());
    apply(
        &mut whole,
        read_until(&mut watch(&catalog, 0, true).await, newest).await,
    );
    apply(
        &mut added_up,
        read_until(&mut watch(&catalog, FIRST, false).await, newest).await,
    );
    assert_eq!(whole, added_up);
    assert_eq!(
        whole.len(),
        4,
        "a remote, an image, a version and an alias: {whole:?}"
    );
}

#[tokio::test]
async fn an_activation_is_one_transaction_to_a_watcher() {
    let (_database, catalog) = start().await;
    catalog.add_remote(remote("images")).await.unwrap();
    catalog
        .offer(&snapshot(vec![image("debian:12", &["debian/12"], &["20260101"])]))
        .await
        .unwrap();
    catalog.transfer().await.unwrap();
    catalog.transfer().await.unwrap();
    let mut live = watch(&catalog, 0, false).await;
    catalog.verify(fingerprint).await.unwrap();
    let response = live.message().await.unwrap().unwrap();
    let kinds: Vec<_> = response
        .changes
        .iter()
        .map(|change| match change.resource.as_ref().unwrap() {
            Resource::Image(image) => ("image", image.status()),
            Resource::Version(version) => ("version", version.version.as_ref().unwrap().status()),
            Resource::Alias(_) => ("alias", Status::Unspecified),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        kinds,
        [
            ("image", Status::Active),
            ("version", Status::Active),
            ("alias", Status::Unspecified)
        ]
    );
    assert_eq!(response.revision, response.changes.last().unwrap().revision);
}

#[tokio::test]
async fn a_revision_that_is_not_kept_or_yet_to_come_is_out_of_range() {
    let (_database, catalog) = start().await;
    let request = WatchRequest {
        from_revision: 1_000,
        initial_state: false,
        ..WatchRequest::default()
    };
    let status = catalog.watches().watch(request).await.unwrap_err();
    assert_eq!(
        Error::from_status(&status),
        Some(Error::RevisionOutOfRange {
            oldest: FIRST,
            newest: FIRST - 1
        })
    );
}

#[tokio::test]
async fn a_poll_that_finds_nothing_new_takes_no_revision() {
    let (_database, catalog) = start().await;
    catalog.add_remote(remote("images")).await.unwrap();
    let offer = snapshot(vec![image("debian:12", &["debian/12"], &["20260101"])]);
    catalog.offer(&offer).await.unwrap();
    let before = newest(&catalog).await;
    let request = rootstock_proto::catalog::v1::SyncRemoteRequest {
        name: "images".to_owned(),
        ..Default::default()
    };
    catalog.remotes().sync_remote(request).await.unwrap();
    let again = catalog.claim(WorkKind::Poll).await.unwrap();
    let recorded = catalog.submit(again.lease, &offer).await.unwrap();
    assert_eq!((recorded.changed_versions, recorded.queued_transfers), (0, 0));
    assert_eq!(newest(&catalog).await, before);
}

/// What is announced while nobody listens is lost, so the catalog looks anew once it listens again.
#[tokio::test]
async fn a_catalog_that_hears_nothing_any_more_says_so_and_listens_again() {
    let (database, catalog) = start().await;
    // It has begun, and so has something to be ready for.
    newest(&catalog).await;
    assert!(catalog.readiness.wait_ready().await);
    let mut changes = catalog.readiness.watch();
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
        WHERE datname = current_database() AND query LIKE 'LISTEN %'";
    let ended: i64 = sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap();
    assert_eq!(ended, 1);
    tokio::time::timeout(Duration::from_secs(60), changes.changed())
        .await
        .expect("it says that it is not ready");
    assert!(catalog.readiness.wait_ready().await);
}
