//! Aliases that users make, beside those that come from remotes.

use rootstock_proto::{
    Error, Refusal, ResourceKind,
    catalog::v1::{
        Alias, Change, ChangeOperation, CreateAliasRequest, DeleteAliasRequest, GetAliasRequest, ImageType,
        ListAliasesRequest, RenameAliasRequest, ResolveImageRequest, SyncRemoteRequest, UpdateAliasRequest,
        WatchRequest, change::Resource,
    },
};
use rootstock_tests::catalog::TestCatalog;
use tonic::Status;

use super::{
    offers::{fingerprint, image, snapshot},
    remote, start,
};

const CONTAINER: i32 = ImageType::Container as i32;

fn ask(name: &str, image: &str) -> CreateAliasRequest {
    CreateAliasRequest {
        name: name.to_owned(),
        image: image.to_owned(),
        ..CreateAliasRequest::default()
    }
}

async fn create(catalog: &TestCatalog, request: CreateAliasRequest) -> Result<Alias, Status> {
    let answer = catalog.aliases().create_alias(request).await?;
    Ok(answer.into_inner().alias.unwrap())
}

async fn get(catalog: &TestCatalog, name: &str) -> Result<Alias, Status> {
    let request = GetAliasRequest {
        name: name.to_owned(),
        ..GetAliasRequest::default()
    };
    Ok(catalog
        .aliases()
        .get_alias(request)
        .await?
        .into_inner()
        .alias
        .unwrap())
}

async fn update(catalog: &TestCatalog, alias: Alias, paths: &[&str]) -> Result<Alias, Status> {
    let request = UpdateAliasRequest {
        alias: Some(alias),
        update_mask: Some(prost_types::FieldMask {
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        }),
    };
    Ok(catalog
        .aliases()
        .update_alias(request)
        .await?
        .into_inner()
        .alias
        .unwrap())
}

async fn rename(catalog: &TestCatalog, name: &str, new_name: &str) -> Result<Alias, Status> {
    let request = RenameAliasRequest {
        name: name.to_owned(),
        new_name: new_name.to_owned(),
        ..RenameAliasRequest::default()
    };
    Ok(catalog
        .aliases()
        .rename_alias(request)
        .await?
        .into_inner()
        .alias
        .unwrap())
}

async fn delete(catalog: &TestCatalog, name: &str) -> Result<(), Status> {
    let request = DeleteAliasRequest {
        name: name.to_owned(),
        ..DeleteAliasRequest::default()
    };
    catalog.aliases().delete_alias(request).await?;
    Ok(())
}

async fn serial(catalog: &TestCatalog, reference: &str) -> Result<String, Status> {
    let request = ResolveImageRequest {
        image: reference.to_owned(),
        ..ResolveImageRequest::default()
    };
    let answer = catalog.images().resolve_image(request).await?.into_inner();
    Ok(answer.version.unwrap().serial)
}

/// A catalog with `debian:12` and `debian:13`, both with the versions given.
async fn synced(catalog: &TestCatalog, serials: &[&str]) {
    let offer = snapshot(vec![
        image("debian:12", &["debian/12"], serials),
        image("debian:13", &["debian/13"], serials),
    ]);
    catalog.offer(&offer).await.unwrap();
    catalog.store_all(fingerprint).await.unwrap();
}

async fn sync_again(catalog: &TestCatalog) {
    let request = SyncRemoteRequest {
        name: "images".to_owned(),
        ..SyncRemoteRequest::default()
    };
    catalog.remotes().sync_remote(request).await.unwrap();
}

/// Changes of aliases from a revision on: (operation, name), until `last` was seen.
async fn changes(catalog: &TestCatalog, from_revision: i64, last: &str) -> Vec<(ChangeOperation, String)> {
    let request = WatchRequest {
        from_revision,
        ..WatchRequest::default()
    };
    let mut stream = catalog.watches().watch(request).await.unwrap().into_inner();
    let mut seen = vec![];
    loop {
        for change in stream.message().await.unwrap().unwrap().changes {
            let operation = change.operation();
            if let Change {
                resource: Some(Resource::Alias(alias)),
                ..
            } = change
            {
                seen.push((operation, alias.name.clone()));
                if alias.name == last {
                    return seen;
                }
            }
        }
    }
}

#[tokio::test]
async fn an_alias_is_made_moved_renamed_and_removed_and_watchers_hear_of_it() {
    let (_database, catalog) = start().await;
    catalog.add_remote(remote("images")).await.unwrap();
    synced(&catalog, &["20260101", "20260102"]).await;
    let made = create(
        &catalog,
        CreateAliasRequest {
            description: "what we run".to_owned(),
            ..ask("our/stable", "debian/12/amd64")
        },
    )
    .await
    .unwrap();
    let debian = catalog.image("debian:12").await.unwrap();
    assert_eq!(
        (
            made.image_id.as_str(),
            made.synced,
            made.version,
            made.architecture.as_str()
        ),
        (debian.id.as_str(), false, None, "x86_64")
    );
    assert_eq!(debian.aliases, ["debian/12", "our/stable"]);
    assert_eq!(get(&catalog, "our/stable").await.unwrap(), made);
    assert_eq!(serial(&catalog, "our/stable").await.unwrap(), "20260102");
    // The same again is a retry.
    assert_eq!(
        create(&catalog, ask("our/stable", "debian:12")).await.unwrap(),
        made
    );

    let taken = create(&catalog, ask("our/stable", "debian:13"))
        .await
        .unwrap_err();
    assert_eq!(
        Error::from_status(&taken),
        Some(Error::AlreadyExists {
            kind: ResourceKind::Alias,
            name: "our/stable".to_owned()
        })
    );
    let replacing = CreateAliasRequest {
        replace: true,
        ..ask("our/stable", "debian:13")
    };
    let moved = create(&catalog, replacing).await.unwrap();
    assert_ne!((&moved.image_id, &moved.etag), (&made.image_id, &made.etag));

    let pinned = update(
        &catalog,
        Alias {
            version: Some(0),
            ..moved.clone()
        },
        &["version"],
    )
    .await
    .unwrap();
    assert_eq!((pinned.version, &pinned.image_id), (Some(0), &moved.image_id));
    assert_eq!(serial(&catalog, "our/stable").await.unwrap(), "20260101");
    let stale = update(
        &catalog,
        Alias {
            description: "x".to_owned(),
            ..moved
        },
        &["description"],
    )
    .await
    .unwrap_err();
    assert_eq!(stale.code(), tonic::Code::Aborted);
    let back = update(
        &catalog,
        Alias {
            image_id: debian.id.clone(),
            etag: String::new(),
            ..pinned
        },
        &["image_id"],
    )
    .await
    .unwrap();
    assert_eq!(
        (back.version, &back.image_id),
        (None, &debian.id),
        "a pin does not go along"
    );

    assert_eq!(rename(&catalog, "our/stable", "ours").await.unwrap().name, "ours");
    assert_eq!(rename(&catalog, "ours", "ours").await.unwrap().name, "ours");
    let taken = rename(&catalog, "ours", "debian/12").await.unwrap_err();
    assert_eq!(taken.code(), tonic::Code::AlreadyExists);
    delete(&catalog, "ours").await.unwrap();
    assert_eq!(
        delete(&catalog, "ours").await.unwrap_err().code(),
        tonic::Code::NotFound
    );
    create(&catalog, ask("last", "debian:12")).await.unwrap();

    let seen = changes(&catalog, 2, "last").await;
    let own: Vec<_> = seen
        .iter()
        .filter(|(_, name)| !name.starts_with("debian"))
        .map(|(operation, name)| (*operation, name.as_str()))
        .collect();
    use ChangeOperation::{Created, Deleted, Updated};
    assert_eq!(
        own,
        [
            (Created, "our/stable"),
            (Updated, "our/stable"),
            (Updated, "our/stable"),
            (Updated, "our/stable"),
            (Deleted, "our/stable"),
            (Created, "ours"),
            (Deleted, "ours"),
            (Created, "last"),
        ]
    );
    catalog.stop().await.unwrap();
}

#[tokio::test]
async fn names_and_targets_that_cannot_be_are_refused() {
    let (_database, catalog) = start().await;
    catalog.add_remote(remote("images")).await.unwrap();
    synced(&catalog, &["20260101"]).await;
    for name in ["", "two words", "a,b", "a/../b", "/a"] {
        let status = create(&catalog, ask(name, "debian:12")).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument, "{name:?}");
    }
    create(&catalog, ask("mine", "debian:12")).await.unwrap();
    let bad = rename(&catalog, "mine", "a b").await.unwrap_err();
    assert_eq!(bad.code(), tonic::Code::InvalidArgument);
    let status = create(&catalog, ask("x", "debian:14")).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::NotFound);
    let pinned = CreateAliasRequest {
        version: Some(9),
        ..ask("x", "debian:12")
    };
    let status = create(&catalog, pinned).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::NotFound);
    let mine = get(&catalog, "mine").await.unwrap();
    for (alias, paths) in [(mine.clone(), &[][..]), (mine.clone(), &["name"][..])] {
        let status = update(&catalog, alias, paths).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument, "{paths:?}");
    }
}

#[tokio::test]
async fn what_comes_from_a_remote_is_left_to_it() {
    let (_database, catalog) = start().await;
    catalog.add_remote(remote("images")).await.unwrap();
    synced(&catalog, &["20260101"]).await;
    let alias = get(&catalog, "debian/12").await.unwrap();
    assert!(alias.synced);
    let other = catalog.image("debian:13").await.unwrap().id;
    let replacing = CreateAliasRequest {
        replace: true,
        ..ask("debian/12", "debian:13")
    };
    let moved = Alias {
        image_id: other,
        ..alias.clone()
    };
    for status in [
        create(&catalog, replacing).await.unwrap_err(),
        update(&catalog, moved, &["image_id"]).await.unwrap_err(),
        rename(&catalog, "debian/12", "debian/twelve").await.unwrap_err(),
        delete(&catalog, "debian/12").await.unwrap_err(),
    ] {
        assert!(
            matches!(
                Error::from_status(&status),
                Some(Error::Refused {
                    reason: Refusal::Immutable,
                    ..
                })
            ),
            "{status:?}"
        );
    }
    assert_eq!(get(&catalog, "debian/12").await.unwrap(), alias);
    assert_eq!(
        create(&catalog, ask("debian/12", "debian:12")).await.unwrap(),
        alias
    );
}

#[tokio::test]
async fn a_users_alias_stays_where_it_is_whatever_remotes_say() {
    let (_database, catalog) = start().await;
    catalog.add_remote(remote("images")).await.unwrap();
    synced(&catalog, &["20260101"]).await;
    let mine = create(&catalog, ask("stable", "debian:12")).await.unwrap();
    // The remote gives the same name to another product now.
    sync_again(&catalog).await;
    let offer = snapshot(vec![
        image("debian:12", &["debian/12"], &["20260101"]),
        image("debian:13", &["debian/13", "stable"], &["20260101", "20260102"]),
    ]);
    catalog.offer(&offer).await.unwrap();
    catalog.store_all(fingerprint).await.unwrap();
    assert_eq!(get(&catalog, "stable").await.unwrap(), mine);
    assert_eq!(catalog.image("debian:13").await.unwrap().aliases, ["debian/13"]);
}

#[tokio::test]
async fn a_pinned_alias_goes_with_its_version_and_no_other() {
    let (_database, catalog) = start().await;
    let keeping_one = rootstock_proto::catalog::v1::Remote {
        keep_versions: 1,
        ..remote("images")
    };
    catalog.add_remote(keeping_one).await.unwrap();
    synced(&catalog, &["20260101"]).await;
    for image in ["debian:12", "debian:13"] {
        let pinned = CreateAliasRequest {
            version: Some(0),
            ..ask(&format!("pinned/{image}"), image)
        };
        create(&catalog, pinned).await.unwrap();
        create(&catalog, ask(&format!("following/{image}"), image))
            .await
            .unwrap();
    }
    sync_again(&catalog).await;
    let offer = snapshot(vec![
        image("debian:12", &["debian/12"], &["20260102"]),
        image("debian:13", &["debian/13"], &["20260101"]),
    ]);
    catalog.offer(&offer).await.unwrap();
    assert_eq!(serial(&catalog, "pinned/debian:12").await.unwrap(), "20260101");
    catalog.store_all(fingerprint).await.unwrap();
    // The newer version retired the one that the alias was pinned to.
    assert_eq!(
        get(&catalog, "pinned/debian:12").await.unwrap_err().code(),
        tonic::Code::NotFound
    );
    assert_eq!(
        serial(&catalog, "pinned/debian:12").await.unwrap_err().code(),
        tonic::Code::NotFound
    );
    assert_eq!(serial(&catalog, "following/debian:12").await.unwrap(), "20260102");
    assert_eq!(serial(&catalog, "pinned/debian:13").await.unwrap(), "20260101");
    assert_eq!(
        catalog.image("debian:12").await.unwrap().aliases,
        ["debian/12", "following/debian:12"]
    );
    create(&catalog, ask("last", "debian:12")).await.unwrap();
    let seen = changes(&catalog, 2, "last").await;
    assert!(
        seen.contains(&(ChangeOperation::Deleted, "pinned/debian:12".to_owned())),
        "{seen:?}"
    );
}

#[tokio::test]
async fn a_name_of_several_is_narrowed_and_lists_come_in_pages() {
    let (_database, catalog) = start().await;
    catalog.add_remote(remote("images")).await.unwrap();
    let mut arm = image("debian:12:arm64", &["debian/12"], &["20260101"]);
    arm.architecture = "arm64".parse().unwrap();
    let offer = snapshot(vec![image("debian:12", &["debian/12", "d"], &["20260101"]), arm]);
    catalog.offer(&offer).await.unwrap();
    catalog.store_all(fingerprint).await.unwrap();
    let ambiguous = get(&catalog, "debian/12").await.unwrap_err();
    assert!(
        ambiguous.message().contains("x86_64") && ambiguous.message().contains("aarch64"),
        "{ambiguous:?}"
    );
    let request = GetAliasRequest {
        name: "debian/12".to_owned(),
        r#type: CONTAINER,
        architecture: "arm64".to_owned(),
    };
    let found = catalog.aliases().get_alias(request).await.unwrap().into_inner();
    assert_eq!(found.alias.unwrap().architecture, "aarch64");

    let (mut seen, mut page_token) = (vec![], String::new());
    loop {
        let request = ListAliasesRequest {
            page_size: 1,
            page_token,
            ..ListAliasesRequest::default()
        };
        let page = catalog
            .aliases()
            .list_aliases(request)
            .await
            .unwrap()
            .into_inner();
        seen.extend(
            page.aliases
                .into_iter()
                .map(|alias| (alias.name, alias.architecture)),
        );
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let seen: Vec<_> = seen
        .iter()
        .map(|(name, arch)| (name.as_str(), arch.as_str()))
        .collect();
    assert_eq!(
        seen,
        [("d", "x86_64"), ("debian/12", "aarch64"), ("debian/12", "x86_64")]
    );
    let id = catalog.image("debian:12").await.unwrap().id;
    for (request, count) in [
        (
            ListAliasesRequest {
                image_id: id,
                ..Default::default()
            },
            2,
        ),
        (
            ListAliasesRequest {
                name: "debian/*".to_owned(),
                ..Default::default()
            },
            2,
        ),
        (
            ListAliasesRequest {
                name: "?".to_owned(),
                ..Default::default()
            },
            1,
        ),
    ] {
        let listed = catalog
            .aliases()
            .list_aliases(request.clone())
            .await
            .unwrap()
            .into_inner();
        assert_eq!(listed.aliases.len(), count, "{request:?}");
    }
}
