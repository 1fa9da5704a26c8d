//! What may be deleted, and what follows (semantics §5).

use rootstock_proto::{
    Error, Refusal,
    catalog::v1::{DeleteImageRequest, DeleteVersionRequest, Remote, Status},
    sync::v1::WorkKind,
};
use rootstock_tests::catalog::TestCatalog;
use tonic::Code;

use super::{
    calls::{delete, delete_version, offer_and_store, refusal, store, switch, versions},
    offers::{image, snapshot},
    remote, start,
};

const A: &str = "debian:12:amd64:default";
const B: &str = "debian:13:amd64:default";

#[tokio::test]
async fn immutable_images_go_with_force_and_the_default_goes_last() {
    let (_database, catalog) = start().await;
    catalog.add_remote(remote("images")).await.unwrap();
    offer_and_store(&catalog, &[A, B], &["20260101"]).await;
    let default = if catalog.image(A).await.unwrap().default {
        A
    } else {
        B
    };
    let other = if default == A { B } else { A };

    let (reason, message) = refusal(delete(&catalog, other, false).await);
    assert_eq!(reason, Refusal::Immutable);
    assert!(message.contains("--force"), "{message}");
    for force in [false, true] {
        let (reason, message) = refusal(delete(&catalog, default, force).await);
        assert_eq!(reason, Refusal::IsDefault);
        assert!(message.contains("rootstock image switch"), "{message}");
    }

    let switched = switch(&catalog, other).await.unwrap();
    assert!(switched.default && !catalog.image(default).await.unwrap().default);
    // Switching again changes nothing.
    assert_eq!(switch(&catalog, other).await.unwrap().etag, switched.etag);
    let deleted = delete(&catalog, default, true).await.unwrap();
    assert_eq!(
        (deleted.name.as_str(), deleted.status()),
        (default, Status::Active)
    );
    assert_eq!(
        delete(&catalog, default, true).await.unwrap_err().code(),
        Code::NotFound
    );
    assert_eq!(catalog.image(default).await.unwrap_err().code(), Code::NotFound);

    // The last of its type may go though it is the default, and the next that turns active is it.
    delete(&catalog, other, true).await.unwrap();
    sync(&catalog).await;
    offer_and_store(&catalog, &["debian:14:amd64:default"], &["20260101"]).await;
    assert!(catalog.image("debian:14:amd64:default").await.unwrap().default);
}

async fn sync(catalog: &TestCatalog) {
    let request = rootstock_proto::catalog::v1::SyncRemoteRequest {
        name: "images".to_owned(),
        plan_only: false,
        force: true,
    };
    catalog.remotes().sync_remote(request).await.unwrap();
}

#[tokio::test]
async fn one_version_always_remains() {
    let (_database, catalog) = start().await;
    catalog.add_remote(remote("images")).await.unwrap();
    offer_and_store(&catalog, &[A], &["20260101", "20260102"]).await;
    assert_eq!(
        delete_version(&catalog, A, 7).await.unwrap_err().code(),
        Code::NotFound
    );
    let left = delete_version(&catalog, A, 1).await.unwrap();
    assert_eq!((left.version_count, left.current_version), (1, Some(0)));
    assert_eq!(
        delete_version(&catalog, A, 1).await.unwrap_err().code(),
        Code::NotFound
    );
    let (reason, message) = refusal(delete_version(&catalog, A, 0).await);
    assert_eq!(reason, Refusal::LastVersion);
    assert!(message.contains("delete the image instead"), "{message}");

    // Of a synced image, it stays deleted, and the next has a number of its own.
    sync(&catalog).await;
    let offered = image(A, &[], &["20260101", "20260102", "20260103"]);
    let recorded = catalog.offer(&snapshot(vec![offered])).await.unwrap();
    store(&catalog, recorded.queued_transfers).await;
    let image = catalog.image(A).await.unwrap();
    let numbers: Vec<_> = image.versions.iter().map(|version| version.number).collect();
    assert_eq!(numbers, [2, 0]);
}

#[tokio::test]
async fn a_deleted_synced_image_stays_deleted() {
    let (_database, catalog) = start().await;
    catalog
        .add_remote(Remote {
            keep_versions: 1,
            ..remote("images")
        })
        .await
        .unwrap();
    offer_and_store(&catalog, &[A, B], &["20260101"]).await;
    switch(&catalog, B).await.unwrap();
    delete(&catalog, A, true).await.unwrap();
    sync(&catalog).await;
    let offered = [A, B].map(|product| image(product, &["debian/12"], &["20260101", "20260102"]));
    let recorded = catalog.offer(&snapshot(offered.into())).await.unwrap();
    store(&catalog, recorded.queued_transfers).await;
    assert_eq!(catalog.image(A).await.unwrap_err().code(), Code::NotFound);
    // What is left out takes no alias from those that are there.
    assert_eq!(catalog.image("debian/12").await.unwrap().name, B);
    let request = rootstock_proto::catalog::v1::ListLeftOutRequest {
        remote: "images".to_owned(),
        ..Default::default()
    };
    let left_out = catalog
        .remotes()
        .list_left_out(request)
        .await
        .unwrap()
        .into_inner()
        .left_out;
    let ignored = left_out
        .iter()
        .find(|left_out| left_out.product == A && left_out.serial.is_empty());
    assert_eq!(ignored.unwrap().reason, "ignored", "{left_out:?}");
}

#[tokio::test]
async fn what_is_deleted_is_fetched_no_more() {
    let (_database, catalog) = start().await;
    catalog.add_remote(remote("images")).await.unwrap();
    let offered = image(A, &[], &["20260101"]);
    let recorded = catalog.offer(&snapshot(vec![offered])).await.unwrap();
    assert_eq!(recorded.queued_transfers, 2);
    delete(&catalog, A, true).await.unwrap();
    let claimed = catalog
        .claim_now(WorkKind::Transfer, std::time::Duration::ZERO)
        .await
        .unwrap();
    assert_eq!(claimed, None);
}

#[tokio::test]
async fn a_stale_etag_is_aborted() {
    let (_database, catalog) = start().await;
    catalog.add_remote(remote("images")).await.unwrap();
    offer_and_store(&catalog, &[A], &["20260101", "20260102"]).await;
    let before = catalog.image(A).await.unwrap().etag;
    delete_version(&catalog, A, 1).await.unwrap();
    let request = DeleteVersionRequest {
        image: A.to_owned(),
        version: 0,
        etag: before.clone(),
        ..DeleteVersionRequest::default()
    };
    let status = catalog.images().delete_version(request).await.unwrap_err();
    assert_eq!(status.code(), Code::Aborted);
    assert!(
        matches!(Error::from_status(&status), Some(Error::StaleEtag { .. })),
        "{status:?}"
    );
    let request = |etag| DeleteImageRequest {
        image: A.to_owned(),
        force: true,
        etag,
        ..DeleteImageRequest::default()
    };
    let status = catalog.images().delete_image(request(before)).await.unwrap_err();
    assert_eq!(status.code(), Code::Aborted);
    let now = catalog.image(A).await.unwrap().etag;
    catalog.images().delete_image(request(now)).await.unwrap();
    assert!(versions_of_nothing(&catalog).await);
}

async fn versions_of_nothing(catalog: &TestCatalog) -> bool {
    catalog.image(A).await.is_err()
}

#[tokio::test]
async fn only_what_is_stored_can_be_the_default() {
    let (_database, catalog) = start().await;
    catalog.add_remote(super::on_demand("images", 2)).await.unwrap();
    let offered = vec![image(A, &[], &["20260101"]), image(B, &[], &["20260101"])];
    catalog.offer(&snapshot(offered)).await.unwrap();
    assert_eq!(refusal(switch(&catalog, A).await).0, Refusal::NotActive);
    assert_eq!(
        versions(&catalog, A).await,
        [("20260101".to_owned(), Status::Available)]
    );
    assert_eq!(
        switch(&catalog, "nothing").await.unwrap_err().code(),
        Code::NotFound
    );
}
