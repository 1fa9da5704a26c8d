//! Watching what is large: every message fits the client, and a transaction is whole all the same.

use std::collections::BTreeMap;

use prost::Message as _;
use rootstock_proto::catalog::v1::{
    Change, ChangeOperation, DeleteImageRequest, Status, SyncRemoteRequest, WatchRequest, WatchResponse,
    change::Resource,
};
use rootstock_tests::catalog::TestCatalog;
use tonic::Streaming;

use super::{
    offers::{image, snapshot},
    on_demand, start,
    watch::apply,
};

/// The revision of the first change of a catalog.
const FIRST: i64 = 2;
/// What a message carries at most, apart from a single larger resource.
const MESSAGE_BYTES: usize = 1024 * 1024;
/// Lengths, tags and the revision.
const OVERHEAD_BYTES: usize = 16 * 1024;
/// Together more than a client takes in one message.
const IMAGES: usize = 120;

/// Offers images with many bytes of properties, in these versions.
async fn offer(catalog: &TestCatalog, serials: &[&str]) {
    let images = (0..IMAGES).map(|number| {
        let mut image = image(&format!("large:{number:03}"), &[], serials);
        for key in ["first", "second", "third"] {
            image
                .properties
                .insert(key.to_owned(), format!("{number:03}").repeat(5_000));
        }
        image
    });
    catalog.offer(&snapshot(images.collect())).await.unwrap();
}

/// A watch whose client takes as much as clients do that say nothing of it: 4 MiB.
async fn watch(catalog: &TestCatalog, from_revision: i64) -> Streaming<WatchResponse> {
    let request = WatchRequest {
        from_revision,
        initial_state: from_revision == 0,
        ..WatchRequest::default()
    };
    catalog.watches().watch(request).await.unwrap().into_inner()
}

/// The messages up to the one that says that everything up to `revision` was sent. `None`: the first
/// that says so of anything.
async fn messages(stream: &mut Streaming<WatchResponse>, revision: Option<i64>) -> Vec<WatchResponse> {
    let mut messages: Vec<WatchResponse> = vec![];
    loop {
        let message = stream.message().await.unwrap().unwrap();
        let one = message.changes.len() == 1;
        assert!(
            one || message.encoded_len() <= MESSAGE_BYTES + OVERHEAD_BYTES,
            "a message of {} bytes with {} changes",
            message.encoded_len(),
            message.changes.len()
        );
        let told = message.revision;
        messages.push(message);
        if told > 0 && told >= revision.unwrap_or(1) {
            return messages;
        }
    }
}

fn changes(messages: Vec<WatchResponse>) -> Vec<Change> {
    messages.into_iter().flat_map(|message| message.changes).collect()
}

fn bytes(changes: &[Change]) -> usize {
    changes.iter().map(Change::encoded_len).sum()
}

#[tokio::test]
async fn a_transaction_and_a_state_of_many_bytes_come_in_parts_and_are_whole_at_their_end() {
    let (_database, catalog) = start().await;
    catalog.add_remote(on_demand("images", 2)).await.unwrap();
    let mut live = watch(&catalog, FIRST).await;
    let known = messages(&mut live, None).await.pop().unwrap().revision;
    offer(&catalog, &["20260101"]).await;
    // All images came in one transaction: nothing of it is said to be whole before its end.
    let mut parts = messages(&mut live, Some(known + 1)).await;
    // Heartbeats may have come before.
    parts.retain(|part| !part.changes.is_empty());
    assert!(parts.len() > 4, "{} messages", parts.len());
    let newest = parts.last().unwrap().revision;
    let transaction = changes(parts);
    assert!(bytes(&transaction) > 4 * MESSAGE_BYTES, "{}", bytes(&transaction));
    assert_eq!(transaction.last().unwrap().revision, newest);
    assert_eq!(transaction.len(), 2 * IMAGES, "images and versions");
    let state = messages(&mut watch(&catalog, 0).await, None).await;
    assert_eq!(state.last().unwrap().revision, newest);
    let state = changes(state);
    assert!(bytes(&state) > 4 * MESSAGE_BYTES, "{}", bytes(&state));
    let (mut whole, mut added_up) = (BTreeMap::new(), BTreeMap::new());
    apply(&mut whole, state);
    let all = messages(&mut watch(&catalog, FIRST).await, Some(newest)).await;
    apply(&mut added_up, changes(all));
    assert_eq!(whole, added_up);
}

/// The feed remembers a few mebibytes of changes: whoever comes from before that reads the log.
#[tokio::test]
async fn a_watcher_from_before_what_is_remembered_misses_nothing() {
    let (_database, catalog) = start().await;
    catalog.add_remote(on_demand("images", 2)).await.unwrap();
    let mut serials = vec!["20260101"];
    for serial in ["20260102", "20260103", "20260104"] {
        offer(&catalog, &serials).await;
        serials.insert(0, serial);
        let request = SyncRemoteRequest {
            name: "images".to_owned(),
            ..SyncRemoteRequest::default()
        };
        catalog.remotes().sync_remote(request).await.unwrap();
    }
    offer(&catalog, &serials).await;
    let state = messages(&mut watch(&catalog, 0).await, None).await;
    let newest = state.last().unwrap().revision;
    let all = changes(messages(&mut watch(&catalog, FIRST).await, Some(newest)).await);
    assert!(
        bytes(&all) > 18 * MESSAGE_BYTES,
        "{} bytes: they would be remembered",
        bytes(&all)
    );
    let revisions: Vec<i64> = all.iter().map(|change| change.revision).collect();
    assert_eq!(revisions, (FIRST..=newest).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_deleted_image_leaves_its_properties_behind() {
    let (_database, catalog) = start().await;
    catalog.add_remote(on_demand("images", 2)).await.unwrap();
    offer(&catalog, &["20260101"]).await;
    let before = messages(&mut watch(&catalog, 0).await, None).await;
    let newest = before.last().unwrap().revision;
    let request = DeleteImageRequest {
        image: "large:007".to_owned(),
        force: true,
        ..DeleteImageRequest::default()
    };
    catalog.images().delete_image(request).await.unwrap();
    let changed = changes(messages(&mut watch(&catalog, newest + 1).await, Some(newest + 1)).await);
    let state = changes(messages(&mut watch(&catalog, 0).await, None).await);
    for (what, changes) in [("the log", changed), ("the state", state)] {
        let mut deleted = 0;
        for change in changes {
            let operation = change.operation();
            let Some(Resource::Image(image)) = change.resource else {
                continue;
            };
            if operation == ChangeOperation::Deleted || image.status() == Status::Deleted {
                assert_eq!(image.name, "large:007");
                assert!(
                    image.properties.is_empty(),
                    "{what}: {:?}",
                    image.properties.keys()
                );
                deleted += 1;
            } else {
                assert_eq!(image.properties.len(), 4, "{what}: {}", image.name);
            }
        }
        assert_eq!(deleted, 1, "{what}");
    }
}
