//! Applications hold one version each, and move as their images do (semantics §8).

use rootstock_proto::{
    Error, Refusal,
    catalog::v1::{
        Application, CreateAliasRequest, CreateApplicationRequest, DeleteApplicationRequest,
        GetApplicationRequest, ListApplicationsRequest, Remote, SyncRemoteRequest, UpdateApplicationRequest,
        Version,
    },
};
use rootstock_tests::catalog::TestCatalog;
use tonic::Code;

use super::{
    calls::{delete, delete_version, offer_and_store, refusal, release, rollback, store},
    offers::{image, snapshot},
    remote, start,
};

const DEBIAN: &str = "debian:12:amd64:default";

fn wanted(name: &str, image: &str) -> CreateApplicationRequest {
    CreateApplicationRequest {
        name: name.to_owned(),
        image: image.to_owned(),
        ..CreateApplicationRequest::default()
    }
}

async fn create(
    catalog: &TestCatalog,
    request: CreateApplicationRequest,
) -> Result<Application, tonic::Status> {
    let created = catalog
        .applications()
        .create_application(request)
        .await?
        .into_inner();
    Ok(created.application.unwrap())
}

async fn get(catalog: &TestCatalog, name: &str) -> Application {
    let request = GetApplicationRequest {
        name: name.to_owned(),
    };
    let got = catalog
        .applications()
        .get_application(request)
        .await
        .unwrap()
        .into_inner();
    got.application.unwrap()
}

async fn update(
    catalog: &TestCatalog,
    application: Application,
    paths: &[&str],
) -> Result<Application, tonic::Status> {
    let paths = paths.iter().map(|path| (*path).to_owned()).collect();
    let request = UpdateApplicationRequest {
        application: Some(application),
        update_mask: Some(prost_types::FieldMask { paths }),
    };
    let updated = catalog
        .applications()
        .update_application(request)
        .await?
        .into_inner();
    Ok(updated.application.unwrap())
}

fn holds(application: &Application) -> i32 {
    application.version.as_ref().unwrap().number
}

async fn next_version(catalog: &TestCatalog, serials: &[&str]) {
    let request = SyncRemoteRequest {
        name: "images".to_owned(),
        ..SyncRemoteRequest::default()
    };
    catalog.remotes().sync_remote(request).await.unwrap();
    let recorded = catalog
        .offer(&snapshot(vec![image(DEBIAN, &["debian/12"], serials)]))
        .await
        .unwrap();
    store(catalog, recorded.queued_transfers).await;
}

/// A remote of which two versions are kept, with the first.
async fn offer_first(catalog: &TestCatalog) {
    let keep_two = Remote {
        keep_versions: 2,
        ..remote("images")
    };
    catalog.add_remote(keep_two).await.unwrap();
    next_version(catalog, &["1.9"]).await;
}

#[tokio::test]
async fn applications_follow_their_image_forth_and_back() {
    let (_database, catalog) = start().await;
    offer_first(&catalog).await;
    let follows = create(&catalog, wanted("follows", "debian/12")).await.unwrap();
    assert_eq!(
        (follows.image.as_str(), holds(&follows), follows.auto_update),
        (DEBIAN, 0, true)
    );
    assert_eq!(follows.version.as_ref().unwrap().artifacts.len(), 2);
    let stays = CreateApplicationRequest {
        auto_update: Some(false),
        ..wanted("stays", DEBIAN)
    };
    create(&catalog, stays).await.unwrap();

    next_version(&catalog, &["1.9", "1.10"]).await;
    assert_eq!(
        (
            holds(&get(&catalog, "follows").await),
            holds(&get(&catalog, "stays").await)
        ),
        (1, 0)
    );
    rollback(&catalog, DEBIAN, None, "1.10 does not boot")
        .await
        .unwrap();
    assert_eq!(holds(&get(&catalog, "follows").await), 0);
    next_version(&catalog, &["1.9", "1.10", "1.11"]).await;
    assert_eq!(holds(&get(&catalog, "follows").await), 0);
    release(&catalog, DEBIAN).await.unwrap();
    assert_eq!(
        (
            holds(&get(&catalog, "follows").await),
            holds(&get(&catalog, "stays").await)
        ),
        (2, 0)
    );
    delete_version(&catalog, DEBIAN, 2).await.unwrap();
    assert_eq!(holds(&get(&catalog, "follows").await), 1);
    assert_eq!(catalog.image(DEBIAN).await.unwrap().used_by, ["follows", "stays"]);

    // The image goes; what is held stays, and moves no more.
    delete(&catalog, DEBIAN, true).await.unwrap();
    let left = get(&catalog, "follows").await;
    assert_eq!(
        (left.image_id.as_str(), left.image.as_str(), holds(&left)),
        ("", "", 1)
    );
    assert_eq!(left.version.as_ref().unwrap().artifacts.len(), 2);
    let (reason, _) = refusal(update(&catalog, left.clone(), &["version"]).await);
    assert_eq!(reason, Refusal::NotActive);
    let request = DeleteApplicationRequest {
        name: "follows".to_owned(),
    };
    catalog
        .applications()
        .delete_application(request.clone())
        .await
        .unwrap();
    let status = catalog
        .applications()
        .delete_application(request)
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::NotFound, "application \"follows\" not found")
    );
}

#[tokio::test]
async fn the_same_again_is_answered_and_another_under_the_name_is_refused() {
    let (_database, catalog) = start().await;
    catalog.add_remote(remote("images")).await.unwrap();
    offer_and_store(&catalog, &[DEBIAN, "debian:13"], &["1.9", "1.10"]).await;
    let first = create(&catalog, wanted("app", DEBIAN)).await.unwrap();
    assert_eq!(create(&catalog, wanted("app", DEBIAN)).await.unwrap(), first);
    let status = create(&catalog, wanted("app", "debian:13")).await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::AlreadyExists, "application \"app\" already exists")
    );
    for (name, image, code) in [
        ("", DEBIAN, Code::InvalidArgument),
        ("a b", DEBIAN, Code::InvalidArgument),
        ("other", "nothing", Code::NotFound),
        ("other", "", Code::InvalidArgument),
    ] {
        assert_eq!(
            create(&catalog, wanted(name, image)).await.unwrap_err().code(),
            code,
            "{name:?} {image:?}"
        );
    }
    // Without an image, the default of the type.
    let of_default = CreateApplicationRequest {
        r#type: 1,
        ..wanted("of-default", "")
    };
    let default = catalog.image(DEBIAN).await.unwrap().default;
    let expected = if default { DEBIAN } else { "debian:13" };
    assert_eq!(create(&catalog, of_default).await.unwrap().image, expected);
    let of_no_default = CreateApplicationRequest {
        r#type: 2,
        ..wanted("of-no-default", "")
    };
    assert_eq!(
        create(&catalog, of_no_default).await.unwrap_err().code(),
        Code::NotFound
    );
    let page = ListApplicationsRequest {
        page_size: 1,
        ..ListApplicationsRequest::default()
    };
    let page = catalog
        .applications()
        .list_applications(page)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(page.applications, [first]);
    let next = ListApplicationsRequest {
        page_token: page.next_page_token,
        ..ListApplicationsRequest::default()
    };
    let next = catalog
        .applications()
        .list_applications(next)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (next.applications[0].name.as_str(), next.next_page_token.as_str()),
        ("of-default", "")
    );
}

#[tokio::test]
async fn updates_name_their_fields_and_are_conditional() {
    let (_database, catalog) = start().await;
    catalog.add_remote(remote("images")).await.unwrap();
    offer_and_store(&catalog, &[DEBIAN, "debian:13"], &["1.9", "1.10"]).await;
    let app = create(&catalog, wanted("app", DEBIAN)).await.unwrap();
    let number = |number| {
        Some(Version {
            number,
            ..Version::default()
        })
    };
    let older = Application {
        version: number(0),
        auto_update: false,
        ..app.clone()
    };
    let older = update(&catalog, older, &["version", "auto_update"])
        .await
        .unwrap();
    assert_eq!((holds(&older), older.auto_update), (0, false));
    assert_eq!(
        update(&catalog, app.clone(), &["auto_update"])
            .await
            .unwrap_err()
            .code(),
        Code::Aborted
    );
    // The same again is nothing new.
    assert_eq!(
        update(&catalog, older.clone(), &["version", "auto_update"])
            .await
            .unwrap(),
        older
    );
    // Following anew moves at once.
    let follows = Application {
        auto_update: true,
        ..older.clone()
    };
    let follows = update(&catalog, follows, &["auto_update"]).await.unwrap();
    assert_eq!(holds(&follows), 1);
    let other = Application {
        image: "debian:13".to_owned(),
        version: None,
        ..follows.clone()
    };
    let other = update(&catalog, other, &["image"]).await.unwrap();
    assert_eq!(other.image, "debian:13");
    let missing = Application {
        version: number(9),
        ..other.clone()
    };
    assert_eq!(
        update(&catalog, missing, &["version"]).await.unwrap_err().code(),
        Code::NotFound
    );
    for paths in [&["created_at"][..], &["auto_update", "name"], &[]] {
        let status = update(&catalog, other.clone(), paths).await.unwrap_err();
        let Some(Error::Invalid(violations)) = Error::from_status(&status) else {
            panic!("{status:?}")
        };
        assert!(violations[0].field.starts_with("update_mask"), "{violations:?}");
    }
    let nobody = Application {
        name: "nobody".to_owned(),
        ..Application::default()
    };
    assert_eq!(
        update(&catalog, nobody, &["auto_update"])
            .await
            .unwrap_err()
            .code(),
        Code::NotFound
    );
}

#[tokio::test]
async fn a_version_that_is_named_exactly_is_held_exactly() {
    let (_database, catalog) = start().await;
    offer_first(&catalog).await;
    next_version(&catalog, &["1.9", "1.10"]).await;
    let older = catalog.image(DEBIAN).await.unwrap().versions[1]
        .fingerprint
        .clone();
    let alias = CreateAliasRequest {
        name: "golden".to_owned(),
        image: older.clone(),
        ..CreateAliasRequest::default()
    };
    let alias = catalog.aliases().create_alias(alias).await.unwrap().into_inner();
    assert_eq!(alias.alias.unwrap().version, Some(0));

    for (name, reference) in [("by-fingerprint", &older[..12]), ("by-alias", "golden")] {
        let made = create(&catalog, wanted(name, reference)).await.unwrap();
        assert_eq!((holds(&made), made.auto_update), (0, false), "{name}");
        assert_eq!(create(&catalog, wanted(name, reference)).await.unwrap(), made);
    }
    let other_version = CreateApplicationRequest {
        version: Some(1),
        ..wanted("contradiction", &older)
    };
    let status = create(&catalog, other_version).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let follows = CreateApplicationRequest {
        auto_update: Some(true),
        ..wanted("follows", "golden")
    };
    assert_eq!(holds(&create(&catalog, follows).await.unwrap()), 0);

    // One that is there takes the version of what it is given.
    let newest = create(&catalog, wanted("newest", DEBIAN)).await.unwrap();
    assert_eq!(holds(&newest), 1);
    let to = Application {
        image: "golden".to_owned(),
        ..newest
    };
    assert_eq!(holds(&update(&catalog, to, &["image"]).await.unwrap()), 0);

    next_version(&catalog, &["1.10", "1.11"]).await;
    let held = ["by-fingerprint", "by-alias", "follows"];
    let mut now = vec![];
    for name in held {
        now.push(holds(&get(&catalog, name).await));
    }
    assert_eq!(now, [0, 0, 2]);
}
