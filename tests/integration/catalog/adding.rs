//! Images that users add, change, and get back (semantics §3, §5, §6).

use rootstock_proto::{
    Error, Refusal,
    catalog::v1::{
        AddImageRequest, CreateAliasRequest, DeleteRemoteRequest, FetchImageRequest, Image, Status,
        SyncRemoteRequest, UpdateImageRequest,
    },
    sync::v1::WorkKind,
};
use rootstock_tests::catalog::TestCatalog;
use sqlx::Connection as _;
use tonic::Code;

use super::{
    calls::{delete, offer_and_store, refusal, store, switch, versions},
    offers::{image, snapshot},
    on_demand, remote, start,
};

const DEBIAN: &str = "debian:12:amd64:default";

fn wanted(name: &str, source: &str) -> AddImageRequest {
    AddImageRequest {
        name: name.to_owned(),
        source: source.to_owned(),
        ..AddImageRequest::default()
    }
}

async fn add(catalog: &TestCatalog, request: AddImageRequest) -> Result<Image, tonic::Status> {
    Ok(catalog
        .images()
        .add_image(request)
        .await?
        .into_inner()
        .image
        .unwrap())
}

async fn update(catalog: &TestCatalog, image: Image, paths: &[&str]) -> Result<Image, tonic::Status> {
    let paths = paths.iter().map(|path| (*path).to_owned()).collect();
    let request = UpdateImageRequest {
        image: Some(image),
        update_mask: Some(prost_types::FieldMask { paths }),
    };
    Ok(catalog
        .images()
        .update_image(request)
        .await?
        .into_inner()
        .image
        .unwrap())
}

async fn offer_again(catalog: &TestCatalog, serials: &[&str]) {
    let request = SyncRemoteRequest {
        name: "images".to_owned(),
        ..SyncRemoteRequest::default()
    };
    catalog.remotes().sync_remote(request).await.unwrap();
    let offered = image(DEBIAN, &["debian/12"], serials);
    let recorded = catalog.offer(&snapshot(vec![offered])).await.unwrap();
    store(catalog, recorded.queued_transfers).await;
}

fn field(status: &tonic::Status) -> String {
    match Error::from_status(status) {
        Some(Error::Invalid(violations)) => violations[0].field.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_added_image_shares_its_blobs_and_follows_in_the_same_step() {
    let (_database, catalog) = start().await;
    catalog.add_remote(remote("images")).await.unwrap();
    offer_and_store(&catalog, &[DEBIAN], &["1.9"]).await;
    let request = AddImageRequest {
        properties: [("owner".to_owned(), "me".to_owned())].into(),
        aliases: vec!["mine".to_owned()],
        default: true,
        ..wanted("foobar", DEBIAN)
    };
    let added = add(&catalog, request.clone()).await.unwrap();
    assert_eq!(
        (added.status(), added.immutable, added.default, added.auto_update),
        (Status::Active, false, true, true)
    );
    assert_eq!(
        (
            added.properties["os"].as_str(),
            added.properties["owner"].as_str()
        ),
        ("Debian", "me")
    );
    assert_eq!(added.aliases, ["mine"]);
    let synced = catalog.image(DEBIAN).await.unwrap();
    assert_eq!(
        (added.fingerprint.as_str(), synced.default),
        (synced.fingerprint.as_str(), false)
    );
    let source = added.source.clone().unwrap();
    assert_eq!(
        (
            source.remote.as_str(),
            source.product.as_str(),
            source.image_id.as_str()
        ),
        ("images", DEBIAN, synced.id.as_str())
    );
    // The same again is answered as it is; another under the name is refused in AMS's words.
    assert_eq!(add(&catalog, request).await.unwrap(), added);
    let status = add(
        &catalog,
        AddImageRequest {
            release: "1.9".to_owned(),
            ..wanted("foobar", DEBIAN)
        },
    )
    .await
    .unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::AlreadyExists, "image \"foobar\" already exists")
    );

    let pinned = add(
        &catalog,
        AddImageRequest {
            release: "1.9".to_owned(),
            ..wanted("pinned", DEBIAN)
        },
    )
    .await
    .unwrap();
    assert_eq!(
        (pinned.auto_update, pinned.source.unwrap().release.as_str()),
        (false, "1.9")
    );
    offer_again(&catalog, &["1.9", "1.10"]).await;
    assert_eq!(
        versions(&catalog, "mine").await[0],
        ("1.10".to_owned(), Status::Active)
    );
    assert_eq!(
        versions(&catalog, "pinned").await,
        [("1.9".to_owned(), Status::Active)]
    );
    // It is its own: it stays when the synced image goes.
    delete(&catalog, DEBIAN, true).await.unwrap();
    assert_eq!(catalog.image("foobar").await.unwrap().status(), Status::Active);
    switch(&catalog, "pinned").await.unwrap();
    delete(&catalog, "foobar", false).await.unwrap();
}

#[tokio::test]
async fn requests_are_checked_before_anything_is_fetched() {
    let (_database, catalog) = start().await;
    catalog.add_remote(on_demand("images", 3)).await.unwrap();
    catalog
        .offer(&snapshot(vec![image(
            DEBIAN,
            &["debian/12"],
            &["1.9", "1.10", "1.11"],
        )]))
        .await
        .unwrap();
    for (request, expected) in [
        (wanted("", DEBIAN), "name"),
        (wanted("a b", DEBIAN), "name"),
        (wanted("foobar", ""), "source"),
        (
            AddImageRequest {
                aliases: vec!["a,b".to_owned()],
                ..wanted("foobar", DEBIAN)
            },
            "aliases[0]",
        ),
        (
            AddImageRequest {
                properties: [("a b".to_owned(), String::new())].into(),
                ..wanted("foobar", DEBIAN)
            },
            "properties[\"a b\"]",
        ),
    ] {
        assert_eq!(field(&add(&catalog, request).await.unwrap_err()), expected);
    }
    assert_eq!(
        add(&catalog, wanted("foobar", "nothing"))
            .await
            .unwrap_err()
            .code(),
        Code::NotFound
    );
    let elsewhere = AddImageRequest {
        remote: "elsewhere".to_owned(),
        ..wanted("foobar", DEBIAN)
    };
    assert_eq!(add(&catalog, elsewhere).await.unwrap_err().code(), Code::NotFound);
    let unknown = AddImageRequest {
        release: "1.12".to_owned(),
        ..wanted("foobar", DEBIAN)
    };
    let status = add(&catalog, unknown).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert!(
        status.message().contains("1.11, 1.10, 1.9"),
        "{}",
        status.message()
    );
    assert_eq!(
        catalog
            .claim_now(WorkKind::Transfer, std::time::Duration::ZERO)
            .await
            .unwrap(),
        None
    );
}

#[tokio::test]
async fn what_is_only_listed_is_fetched_for_the_added_image() {
    let (_database, catalog) = start().await;
    catalog.add_remote(on_demand("images", 3)).await.unwrap();
    catalog
        .offer(&snapshot(vec![image(DEBIAN, &["debian/12"], &["1.9", "1.10"])]))
        .await
        .unwrap();
    let added = add(
        &catalog,
        AddImageRequest {
            release: "1.9".to_owned(),
            ..wanted("foobar", "debian/12")
        },
    )
    .await
    .unwrap();
    assert_eq!(added.status(), Status::Queued);
    store(&catalog, 2).await;
    assert_eq!(
        versions(&catalog, "foobar").await,
        [("1.9".to_owned(), Status::Active)]
    );
    assert_eq!(catalog.image(DEBIAN).await.unwrap().status(), Status::Available);

    // A remote that goes takes what nobody can bring any more, and leaves what is stored.
    add(&catalog, wanted("never", DEBIAN)).await.unwrap();
    let request = DeleteRemoteRequest {
        name: "images".to_owned(),
    };
    catalog.remotes().delete_remote(request).await.unwrap();
    assert_eq!(catalog.image("foobar").await.unwrap().status(), Status::Active);
    assert_eq!(catalog.image("never").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(
        catalog
            .claim_now(WorkKind::Transfer, std::time::Duration::ZERO)
            .await
            .unwrap(),
        None
    );
}

#[tokio::test]
async fn a_product_that_was_deleted_long_ago_comes_with_the_next_poll() {
    let (database, catalog) = start().await;
    catalog.add_remote(remote("images")).await.unwrap();
    offer_and_store(&catalog, &[DEBIAN], &["1.9"]).await;
    delete(&catalog, DEBIAN, true).await.unwrap();
    // What the end of the grace does to versions; the mark on the image stays.
    let mut connection = sqlx::PgConnection::connect(&database.url).await.unwrap();
    sqlx::query("DELETE FROM versions")
        .execute(&mut connection)
        .await
        .unwrap();
    let too_early = add(&catalog, wanted(DEBIAN, DEBIAN)).await.unwrap_err();
    assert_eq!(too_early.code(), Code::Unavailable);
    assert!(too_early.message().contains("taken up again"), "{too_early:?}");
    let work = catalog.claim(WorkKind::Poll).await.unwrap();
    let offered = snapshot(vec![image(DEBIAN, &["debian/12"], &["1.9"])]);
    catalog.submit(work.lease, &offered).await.unwrap();
    let added = add(&catalog, wanted(DEBIAN, DEBIAN)).await.unwrap();
    assert_eq!((added.name.as_str(), added.immutable), (DEBIAN, true));
    assert_eq!(
        versions(&catalog, "debian/12").await,
        [("1.9".to_owned(), Status::Active)]
    );
}

#[tokio::test]
async fn adding_a_deleted_product_takes_it_up_again() {
    let (_database, catalog) = start().await;
    catalog.add_remote(remote("images")).await.unwrap();
    offer_and_store(&catalog, &[DEBIAN], &["1.9"]).await;
    delete(&catalog, DEBIAN, true).await.unwrap();
    let added = add(&catalog, wanted(DEBIAN, DEBIAN)).await.unwrap();
    assert_eq!((added.name.as_str(), added.immutable), (DEBIAN, true));
    // Polled at once, from the start, and its bytes are here still.
    let work = catalog.claim(WorkKind::Poll).await.unwrap();
    let offered = snapshot(vec![image(DEBIAN, &["debian/12"], &["1.9"])]);
    assert_eq!(
        catalog
            .submit(work.lease, &offered)
            .await
            .unwrap()
            .queued_transfers,
        0
    );
    assert_eq!(
        versions(&catalog, "debian/12").await,
        [("1.9".to_owned(), Status::Active)]
    );
}

#[tokio::test]
async fn fields_are_changed_by_mask_and_properties_of_mutable_images_only() {
    let (_database, catalog) = start().await;
    catalog.add_remote(remote("images")).await.unwrap();
    offer_and_store(&catalog, &[DEBIAN], &["1.9"]).await;
    let synced = catalog.image(DEBIAN).await.unwrap();
    let (reason, _) = refusal(update(&catalog, synced.clone(), &["properties"]).await);
    assert_eq!(reason, Refusal::Immutable);
    let private = Image {
        public: false,
        expires_at: Some(prost_types::Timestamp {
            seconds: 4_000_000_000,
            nanos: 0,
        }),
        ..synced.clone()
    };
    let private = update(&catalog, private, &["public", "expires_at"])
        .await
        .unwrap();
    assert_eq!(
        (private.public, private.expires_at.unwrap().seconds),
        (false, 4_000_000_000)
    );
    assert_ne!(private.etag, synced.etag);
    assert_eq!(
        update(&catalog, private.clone(), &["public"]).await.unwrap(),
        private
    );
    assert_eq!(
        update(&catalog, synced.clone(), &["public"])
            .await
            .unwrap_err()
            .code(),
        Code::Aborted
    );
    // The remote's next word about it leaves the user's as it is.
    offer_again(&catalog, &["1.9"]).await;
    assert_eq!(
        catalog.image(DEBIAN).await.unwrap().expires_at.unwrap().seconds,
        4_000_000_000
    );
    for paths in [&["default"][..], &["public", "name"], &[]] {
        let current = catalog.image(DEBIAN).await.unwrap();
        assert!(field(&update(&catalog, current, paths).await.unwrap_err()).starts_with("update_mask"));
    }
    let mut added = add(&catalog, wanted("foobar", DEBIAN)).await.unwrap();
    added.properties = [("requirements.secureboot".to_owned(), "false".to_owned())].into();
    let changed = update(&catalog, added.clone(), &["properties"]).await.unwrap();
    assert_eq!(changed.properties, added.properties);
    let mut bad = changed;
    bad.properties.insert("nul".to_owned(), "\0".to_owned());
    assert_eq!(
        field(&update(&catalog, bad, &["properties"]).await.unwrap_err()),
        "image.properties[\"nul\"]"
    );
}

#[tokio::test]
async fn only_what_was_fetched_by_name_follows() {
    let (_database, catalog) = start().await;
    catalog.add_remote(on_demand("images", 2)).await.unwrap();
    let offered = ["by-name", "by-alias", "by-fingerprint", "by-pin"]
        .map(|product| image(product, &[product], &["1.9", "1.10"]));
    catalog.offer(&snapshot(offered.into())).await.unwrap();
    let exact = catalog.image("by-fingerprint").await.unwrap().versions[1]
        .fingerprint
        .clone();
    let pinned = CreateAliasRequest {
        name: "golden".to_owned(),
        image: "by-pin".to_owned(),
        version: Some(0),
        ..CreateAliasRequest::default()
    };
    catalog.aliases().create_alias(pinned).await.unwrap();
    for (reference, version, follows) in [
        ("by-name", 1, true),
        ("by-alias/amd64", 1, true),
        (&exact, 0, false),
        ("golden", 0, false),
    ] {
        let request = FetchImageRequest {
            image: reference.to_owned(),
            r#type: 0,
            version: None,
            public: None,
        };
        let fetched = catalog.images().fetch_image(request).await.unwrap().into_inner();
        let image = fetched.image.unwrap();
        assert_eq!(
            (fetched.version, image.cached, image.auto_update),
            (version, true, follows),
            "{reference}"
        );
    }
}
