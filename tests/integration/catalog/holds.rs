//! Holding an image at an older version, and letting it go.

use rootstock_proto::{
    Error, Refusal,
    catalog::v1::{Image, Remote, RollbackImageRequest},
};
use rootstock_tests::catalog::TestCatalog;
use tonic::Code;

use super::{
    calls::{delete_version, offer_and_store, refusal, release, rollback, store},
    offers::{image, snapshot},
    remote, start,
};

const DEBIAN: &str = "debian:12:amd64:default";

/// (number, hidden) of the versions, newest first.
fn shown(image: &Image) -> Vec<(i32, bool)> {
    let versions = image.versions.iter();
    versions.map(|version| (version.number, version.hidden)).collect()
}

async fn sync_and_store(catalog: &TestCatalog, serials: &[&str]) {
    let request = rootstock_proto::catalog::v1::SyncRemoteRequest {
        name: "images".to_owned(),
        ..Default::default()
    };
    catalog.remotes().sync_remote(request).await.unwrap();
    let recorded = catalog
        .offer(&snapshot(vec![image(DEBIAN, &["debian/12"], serials)]))
        .await
        .unwrap();
    store(catalog, recorded.queued_transfers).await;
}

#[tokio::test]
async fn a_held_image_shows_its_version_until_it_is_released() {
    let (_database, catalog) = start().await;
    let keep_two = Remote {
        keep_versions: 2,
        ..remote("images")
    };
    catalog.add_remote(keep_two).await.unwrap();
    offer_and_store(&catalog, &[DEBIAN], &["1.9", "1.10"]).await;
    let before = catalog.image(DEBIAN).await.unwrap();
    assert_eq!(
        (before.current_version, shown(&before)),
        (Some(1), vec![(1, false), (0, false)])
    );

    let held = rollback(&catalog, DEBIAN, None, "1.10 does not boot")
        .await
        .unwrap();
    assert_eq!(
        (held.current_version, shown(&held)),
        (Some(0), vec![(1, true), (0, false)])
    );
    assert_eq!(held.fingerprint, held.versions[1].fingerprint);
    assert!(held.versions[0].delisted_at.is_some() && held.versions[1].delisted_at.is_none());
    let hold = held.hold.clone().unwrap();
    assert_eq!(
        (hold.version, hold.reason.as_str(), hold.until),
        (0, "1.10 does not boot", None)
    );
    // The same again is a retry: it goes no further back, and changes nothing.
    assert_eq!(
        rollback(&catalog, DEBIAN, None, "1.10 does not boot")
            .await
            .unwrap(),
        held
    );

    // Newer versions arrive, and make room among themselves; the held one stays, and is what is shown.
    sync_and_store(&catalog, &["1.9", "1.10", "1.11", "1.12"]).await;
    let later = catalog.image("debian/12").await.unwrap();
    assert_eq!(
        (later.current_version, shown(&later)),
        (Some(0), vec![(3, true), (2, true), (0, false)])
    );
    // What was never shown did not go off the list.
    assert_eq!(later.versions[0].delisted_at, None);

    let (reason, message) = refusal(delete_version(&catalog, DEBIAN, 0).await);
    assert_eq!(reason, Refusal::Held);
    assert!(message.contains("rootstock image release"), "{message}");

    let released = release(&catalog, DEBIAN).await.unwrap();
    assert_eq!(
        (released.current_version, shown(&released)),
        (Some(3), vec![(3, false), (2, false)])
    );
    assert_eq!(released.hold, None);
    assert_eq!(release(&catalog, DEBIAN).await.unwrap(), released);
}

#[tokio::test]
async fn holds_name_a_stored_version_and_a_reason_and_end_in_the_future() {
    let (_database, catalog) = start().await;
    catalog.add_remote(remote("images")).await.unwrap();
    offer_and_store(&catalog, &[DEBIAN], &["1.9"]).await;
    let (reason, _) = refusal(rollback(&catalog, DEBIAN, None, "it does not boot").await);
    assert_eq!(reason, Refusal::NotActive);
    assert_eq!(
        rollback(&catalog, DEBIAN, Some(4), "no")
            .await
            .unwrap_err()
            .code(),
        Code::NotFound
    );
    let invalid = |status: tonic::Status| match Error::from_status(&status) {
        Some(Error::Invalid(violations)) => violations[0].field.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        invalid(rollback(&catalog, DEBIAN, Some(0), " ").await.unwrap_err()),
        "reason"
    );
    let request = |seconds| RollbackImageRequest {
        image: DEBIAN.to_owned(),
        version: Some(0),
        reason: "frozen for the release".to_owned(),
        until: Some(prost_types::Timestamp { seconds, nanos: 1 }),
        ..RollbackImageRequest::default()
    };
    assert_eq!(
        invalid(catalog.images().rollback_image(request(1)).await.unwrap_err()),
        "until"
    );
    // Any stored version will do, the newest too: that freezes it.
    let mut stale = request(4_000_000_000);
    stale.etag = "0".to_owned();
    assert_eq!(
        catalog.images().rollback_image(stale).await.unwrap_err().code(),
        Code::Aborted
    );
    let held = catalog
        .images()
        .rollback_image(request(4_000_000_000))
        .await
        .unwrap()
        .into_inner();
    let again = catalog
        .images()
        .rollback_image(request(4_000_000_000))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(held, again);
}
