//! How versions turn active, make room, and fail.

use rootstock_model::{Digest, snapshot::Content};
use rootstock_proto::{
    Error,
    catalog::v1::{
        FetchImageRequest, GetRemoteRequest, ListImagesRequest, ListTransfersRequest, Remote, RemoteMode,
        Status, SyncRemoteRequest, SyncRunState, TransferState,
    },
    sync::v1::{Combination, FailRequest, TransferOutcome, WorkKind, finish_request::Outcome},
};
use rootstock_proto::{catalog::v1::GetSyncRunRequest, convert::digest_bytes};
use rootstock_tests::catalog::{TestCatalog, config, transfer_task};

use super::{
    offers::{fingerprint, image, snapshot, version},
    on_demand, remote, start,
};

const DEBIAN: &str = "debian:12:amd64:default";

/// (serial, status) of an image's versions, newest first.
async fn versions(catalog: &TestCatalog, name: &str) -> Vec<(String, Status)> {
    let image = catalog.image(name).await.unwrap();
    image
        .versions
        .into_iter()
        .map(|version| (version.serial.clone(), version.status()))
        .collect()
}

#[tokio::test]
async fn a_version_turns_active_in_one_step_when_its_bytes_are_verified() {
    let (_database, catalog) = start().await;
    catalog.add_remote(remote("images")).await.unwrap();
    let recorded = catalog
        .offer(&snapshot(vec![image(DEBIAN, &["debian/12"], &["20260101"])]))
        .await
        .unwrap();
    assert_eq!((recorded.changed_versions, recorded.queued_transfers), (1, 2));

    let queued = catalog.image(DEBIAN).await.unwrap();
    assert_eq!(
        (queued.status(), queued.default, queued.aliases.len()),
        (Status::Queued, false, 0)
    );
    assert_eq!(
        catalog.image("debian/12").await.unwrap_err().code(),
        tonic::Code::NotFound
    );

    // The metadata first: the root's transfer waits for it.
    let metadata = catalog.transfer().await.unwrap();
    assert_eq!(
        metadata,
        Digest::of(format!("{DEBIAN} 20260101 metadata").as_bytes())
    );
    let work = catalog.claim(WorkKind::Transfer).await.unwrap();
    let task = transfer_task(&work).unwrap();
    assert_eq!(task.metadata_sha256, [digest_bytes(&metadata)]);
    let root = Digest::from_slice(&task.sha256).unwrap();
    let combinations = vec![Combination {
        metadata_sha256: digest_bytes(&metadata),
        root_sha256: task.sha256.clone(),
        fingerprint: digest_bytes(&fingerprint(metadata, root)),
    }];
    let outcome = Outcome::Transfer(TransferOutcome {
        size_bytes: 10_000,
        combinations,
    });
    let finished = catalog.finish(work.lease, outcome).await.unwrap();
    assert_eq!(finished.activated_versions, 1);

    let active = catalog.image("debian/12").await.unwrap();
    assert_eq!(
        (active.status(), active.default, active.immutable),
        (Status::Active, true, true)
    );
    assert_eq!(active.fingerprint, fingerprint(metadata, root).to_hex());
    assert_eq!(
        catalog.image(&active.fingerprint[..12]).await.unwrap().id,
        active.id
    );
    assert_eq!(catalog.image(&active.id).await.unwrap().name, DEBIAN);
    catalog.stop().await.unwrap();
}

#[tokio::test]
async fn blobs_that_finish_together_are_verified_afterwards_and_overlook_nothing() {
    let (_database, catalog) = start().await;
    catalog.add_remote(remote("images")).await.unwrap();
    let products: Vec<String> = (0..8).map(|number| format!("product:{number}")).collect();
    let offered = products
        .iter()
        .map(|product| image(product, &[], &["20260101"]))
        .collect();
    catalog.offer(&snapshot(offered)).await.unwrap();
    for _ in 0..2 {
        let finish = (0..8).map(|_| catalog.transfer());
        futures::future::try_join_all(finish).await.unwrap();
    }
    let verify = (0..8).map(|_| catalog.verify(fingerprint));
    futures::future::try_join_all(verify).await.unwrap();
    for product in &products {
        assert_eq!(
            catalog.image(product).await.unwrap().status(),
            Status::Active,
            "{product}"
        );
    }
}

#[tokio::test]
async fn a_fingerprint_that_is_not_what_the_remote_claims_is_an_error_with_its_reason() {
    let (_database, catalog) = start().await;
    catalog.add_remote(remote("images")).await.unwrap();
    catalog
        .offer(&snapshot(vec![image(DEBIAN, &["debian/12"], &["20260101"])]))
        .await
        .unwrap();
    catalog.transfer().await.unwrap();
    catalog.transfer().await.unwrap();
    catalog
        .verify(|_, _| Digest::of(b"something else"))
        .await
        .unwrap();
    let image = catalog.image(DEBIAN).await.unwrap();
    assert_eq!(image.versions[0].status(), Status::Error);
    assert!(
        image.versions[0].error_message.contains("claims the fingerprint"),
        "{image:?}"
    );
    assert!(catalog.image("debian/12").await.is_err());
}

#[tokio::test]
async fn a_fingerprint_that_nobody_claims_is_computed() {
    let (_database, catalog) = start().await;
    catalog.add_remote(remote("images")).await.unwrap();
    let mut offered = image(DEBIAN, &[], &["20260101"]);
    let Content::Split {
        fingerprint: claimed, ..
    } = &mut offered.versions[0].contents[0]
    else {
        panic!()
    };
    let expected = claimed.take().unwrap();
    catalog.offer(&snapshot(vec![offered])).await.unwrap();
    assert_eq!(catalog.image(DEBIAN).await.unwrap().versions[0].fingerprint, "");
    catalog.transfer().await.unwrap();
    catalog.transfer().await.unwrap();
    catalog.verify(fingerprint).await.unwrap();
    assert_eq!(
        catalog.image(DEBIAN).await.unwrap().fingerprint,
        expected.to_hex()
    );
}

#[tokio::test]
async fn older_versions_make_room_only_when_the_new_one_is_here() {
    let (_database, catalog) = start().await;
    catalog
        .add_remote(Remote {
            keep_versions: 1,
            ..remote("images")
        })
        .await
        .unwrap();
    let offer = |serials: &[&str]| snapshot(vec![image(DEBIAN, &["debian/12"], serials)]);
    catalog.offer(&offer(&["1.9.1"])).await.unwrap();
    store_all(&catalog, 2).await;
    sync(&catalog, "images").await;
    catalog.offer(&offer(&["1.9.1", "1.10.0"])).await.unwrap();
    assert_eq!(
        versions(&catalog, DEBIAN).await,
        [
            ("1.10.0".to_owned(), Status::Queued),
            ("1.9.1".to_owned(), Status::Active)
        ]
    );
    store_all(&catalog, 2).await;
    assert_eq!(
        versions(&catalog, "debian/12").await,
        [("1.10.0".to_owned(), Status::Active)]
    );
}

/// Does the transfers that are queued, and the verification after each second one.
async fn store_all(catalog: &TestCatalog, transfers: usize) {
    for _ in 0..transfers {
        catalog.transfer().await.unwrap();
    }
    for _ in 0..transfers / 2 {
        catalog.verify(fingerprint).await.unwrap();
    }
}

async fn sync(catalog: &TestCatalog, name: &str) -> String {
    let request = SyncRemoteRequest {
        name: name.to_owned(),
        ..SyncRemoteRequest::default()
    };
    catalog
        .remotes()
        .sync_remote(request)
        .await
        .unwrap()
        .into_inner()
        .run
        .unwrap()
        .id
}

#[tokio::test]
async fn aliases_move_to_the_product_that_has_them_now_once_it_has_something_to_show() {
    let (_database, catalog) = start().await;
    catalog.add_remote(remote("images")).await.unwrap();
    let twelve = |aliases: &[&str]| image(DEBIAN, aliases, &["20260101"]);
    catalog
        .offer(&snapshot(vec![twelve(&["debian/12", "debian/stable"])]))
        .await
        .unwrap();
    store_all(&catalog, 2).await;
    sync(&catalog, "images").await;
    let thirteen = image(
        "debian:13:amd64:default",
        &["debian/13", "debian/stable"],
        &["20260202"],
    );
    catalog
        .offer(&snapshot(vec![twelve(&["debian/12"]), thirteen]))
        .await
        .unwrap();
    // Nobody has it while the new one is on its way: it would name what the remote no longer means.
    assert_eq!(catalog.image("debian/12").await.unwrap().aliases, ["debian/12"]);
    store_all(&catalog, 2).await;
    assert_eq!(
        catalog.image("debian/stable").await.unwrap().name,
        "debian:13:amd64:default"
    );
}

#[tokio::test]
async fn a_transfer_that_gives_up_is_tried_again_when_the_remote_is_synced_by_hand() {
    let database = rootstock_tests::postgres::Postgres::shared()
        .await
        .unwrap()
        .database()
        .await
        .unwrap();
    let mut config = config(&database.url);
    config.transfer_attempts = 2;
    let catalog = TestCatalog::start(config).await.unwrap();
    catalog.add_remote(remote("images")).await.unwrap();
    catalog
        .offer(&snapshot(vec![image(DEBIAN, &[], &["20260101"])]))
        .await
        .unwrap();
    for _ in 0..2 {
        let work = catalog.claim(WorkKind::Transfer).await.unwrap();
        let error = "the remote answers 404".to_owned();
        let request = FailRequest {
            lease: work.lease,
            error,
            retry_after: None,
        };
        catalog.work().fail(request).await.unwrap();
    }
    let image = catalog.image(DEBIAN).await.unwrap();
    assert_eq!(image.versions[0].status(), Status::Error);
    assert_eq!(image.versions[0].error_message, "the remote answers 404");
    let request = ListTransfersRequest {
        remote: "images".to_owned(),
        ..ListTransfersRequest::default()
    };
    let transfers = catalog
        .remotes()
        .list_transfers(request)
        .await
        .unwrap()
        .into_inner()
        .transfers;
    assert_eq!(transfers.len(), 1, "{transfers:?}");
    assert_eq!(
        (transfers[0].state(), transfers[0].failed_attempts),
        (TransferState::Failed, 2)
    );
    let request = GetRemoteRequest {
        name: "images".to_owned(),
    };
    let status = catalog
        .remotes()
        .get_remote(request)
        .await
        .unwrap()
        .into_inner()
        .remote
        .unwrap()
        .status
        .unwrap();
    assert_eq!(
        (status.failed_transfer_count, status.pending_transfer_count),
        (1, 0)
    );

    sync(&catalog, "images").await;
    store_all(&catalog, 2).await;
    assert_eq!(catalog.image(DEBIAN).await.unwrap().status(), Status::Active);
}

#[tokio::test]
async fn what_is_on_demand_is_listed_and_comes_when_it_is_fetched() {
    let (_database, catalog) = start().await;
    catalog.add_remote(on_demand("images", 2)).await.unwrap();
    catalog
        .offer(&snapshot(vec![image(
            DEBIAN,
            &["debian/12"],
            &["20260101", "20260102"],
        )]))
        .await
        .unwrap();
    assert!(
        catalog
            .claim_now(WorkKind::Transfer, std::time::Duration::ZERO)
            .await
            .unwrap()
            .is_none()
    );
    let listed = catalog.image("debian/12").await.unwrap();
    assert_eq!(
        (listed.status(), listed.version_count, listed.cached),
        (Status::Available, 2, false)
    );
    for _ in 0..2 {
        let request = FetchImageRequest {
            image: "debian/12".to_owned(),
            r#type: 0,
            version: None,
            public: None,
        };
        let fetched = catalog.images().fetch_image(request).await.unwrap().into_inner();
        assert_eq!(
            (fetched.version, fetched.image.unwrap().versions[0].status()),
            (1, Status::Queued)
        );
    }
    store_all(&catalog, 2).await;
    let image = catalog.image("debian/12").await.unwrap();
    assert_eq!(
        (image.status(), image.cached, image.default),
        (Status::Active, true, true)
    );
}

#[tokio::test]
async fn a_plan_is_shown_and_nothing_is_done() {
    let (_database, catalog) = start().await;
    catalog.add_remote(remote("images")).await.unwrap();
    catalog.offer(&snapshot(vec![])).await.unwrap();
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
        .run
        .unwrap();
    assert_eq!(run.state(), SyncRunState::Pending);
    let offered = image(DEBIAN, &[], &["20260101", "20260102", "20260103"]);
    catalog.offer(&snapshot(vec![offered])).await.unwrap();
    let request = GetSyncRunRequest { id: run.id };
    let run = catalog
        .remotes()
        .get_sync_run(request)
        .await
        .unwrap()
        .into_inner()
        .run
        .unwrap();
    assert_eq!(run.state(), SyncRunState::Succeeded);
    let plan = run.plan.unwrap();
    assert_eq!(
        (plan.steps.len(), plan.fetch_blobs, plan.fetch_bytes),
        (2, 4, 21_400)
    );
    assert_eq!(plan.left_out.len(), 1);
    let listed = catalog
        .images()
        .list_images(ListImagesRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert!(listed.images.is_empty());
}

#[tokio::test]
async fn an_index_that_lost_its_products_is_refused_and_forced() {
    let (_database, catalog) = start().await;
    catalog.add_remote(on_demand("images", 2)).await.unwrap();
    let offered = (0..3).map(|number| image(&format!("product:{number}"), &[], &["20260101"]));
    catalog.offer(&snapshot(offered.collect())).await.unwrap();
    let one = snapshot(vec![image("product:0", &[], &["20260101"])]);
    let run = sync(&catalog, "images").await;
    catalog.offer(&one).await.unwrap();
    let request = GetSyncRunRequest { id: run };
    let run = catalog
        .remotes()
        .get_sync_run(request)
        .await
        .unwrap()
        .into_inner()
        .run
        .unwrap();
    assert_eq!(run.state(), SyncRunState::Failed);
    assert!(run.error.contains("2 of 3 known products"), "{}", run.error);
    let list = || async {
        let listed = catalog
            .images()
            .list_images(ListImagesRequest::default())
            .await
            .unwrap()
            .into_inner();
        listed.images.len()
    };
    assert_eq!(list().await, 3);
    let request = SyncRemoteRequest {
        name: "images".to_owned(),
        plan_only: false,
        force: true,
    };
    catalog.remotes().sync_remote(request).await.unwrap();
    catalog.offer(&one).await.unwrap();
    assert_eq!(list().await, 1);
}

#[tokio::test]
async fn a_removed_remote_leaves_what_is_stored_and_finds_it_again() {
    let (_database, catalog) = start().await;
    catalog.add_remote(remote("images")).await.unwrap();
    let offer = snapshot(vec![
        image(DEBIAN, &["debian/12"], &["20260101"]),
        image("other:1", &["other"], &["20260101"]),
    ]);
    catalog.offer(&offer).await.unwrap();
    let first = [
        catalog.claim(WorkKind::Transfer).await.unwrap(),
        catalog.claim(WorkKind::Transfer).await.unwrap(),
    ];
    for work in &first {
        let wanted = Digest::of(format!("{DEBIAN} 20260101 metadata").as_bytes());
        if transfer_task(work).unwrap().sha256 == digest_bytes(&wanted) {
            catalog.finish_transfer(work).await.unwrap();
        }
    }
    catalog.transfer().await.unwrap();
    catalog.verify(fingerprint).await.unwrap();
    let id = catalog.image("debian/12").await.unwrap().id;
    let request = rootstock_proto::catalog::v1::DeleteRemoteRequest {
        name: "images".to_owned(),
    };
    catalog.remotes().delete_remote(request).await.unwrap();
    let left = catalog.image("debian/12").await.unwrap();
    assert_eq!((left.status(), left.source), (Status::Active, None));
    assert!(catalog.image("other:1").await.is_err());

    catalog
        .add_remote(Remote {
            mode: RemoteMode::Mirror.into(),
            ..remote("images")
        })
        .await
        .unwrap();
    catalog.offer(&offer).await.unwrap();
    let again = catalog.image("debian/12").await.unwrap();
    assert_eq!(
        (again.id, again.source.unwrap().remote),
        (id, "images".to_owned())
    );
}

#[tokio::test]
async fn a_remote_that_exists_is_the_answer_to_the_same_and_an_error_to_another() {
    let (_database, catalog) = start().await;
    catalog.add_remote(remote("images")).await.unwrap();
    catalog.add_remote(remote("images")).await.unwrap();
    let other = Remote {
        url: "https://other.example".to_owned(),
        ..remote("images")
    };
    let error = Error::from_status(&catalog.add_remote(other).await.unwrap_err());
    assert!(matches!(error, Some(Error::AlreadyExists { .. })), "{error:?}");
}

#[tokio::test]
async fn the_same_name_on_two_remotes_belongs_to_the_first() {
    let (_database, catalog) = start().await;
    catalog.add_remote(on_demand("first", 2)).await.unwrap();
    catalog
        .offer(&snapshot(vec![image(DEBIAN, &["debian/12"], &["20260101"])]))
        .await
        .unwrap();
    catalog.add_remote(on_demand("second", 2)).await.unwrap();
    let mut other = image("other:1", &["debian/12"], &["20260101"]);
    other.versions = vec![version("other:1", "20260101")];
    catalog
        .offer(&snapshot(vec![image(DEBIAN, &[], &["20260303"]), other]))
        .await
        .unwrap();
    let image = catalog.image("debian/12").await.unwrap();
    assert_eq!(
        (image.name.as_str(), image.source.unwrap().remote.as_str()),
        (DEBIAN, "first")
    );
    let request = rootstock_proto::catalog::v1::ListLeftOutRequest {
        remote: "second".to_owned(),
        ..Default::default()
    };
    let left_out = catalog
        .remotes()
        .list_left_out(request)
        .await
        .unwrap()
        .into_inner()
        .left_out;
    let reasons: Vec<_> = left_out
        .iter()
        .map(|l| (l.product.as_str(), l.reason.as_str()))
        .collect();
    assert_eq!(reasons, [(DEBIAN, "name-taken"), ("other:1", "name-taken")]);
}
