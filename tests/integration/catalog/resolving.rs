//! What a reference resolves to, and what is answered when it does not.

use std::time::Duration;

use rootstock_model::{ImageType, RootFtype, snapshot::OfferedImage};
use rootstock_proto::{
    Error, Refusal,
    catalog::v1::{
        self as wire, CreateAliasRequest, HostFacts, RecordImageUseRequest, ResolveImageRequest,
        ResolveImageResponse, Status,
    },
};
use rootstock_tests::catalog::{TestCatalog, config};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tonic::Code;

use super::{
    offers::{fingerprint, image, snapshot},
    on_demand, remote, start,
};

const DEBIAN: &str = "debian:12:amd64:default";

fn ask(image: &str) -> ResolveImageRequest {
    ResolveImageRequest {
        image: image.to_owned(),
        ..ResolveImageRequest::default()
    }
}

async fn resolve(
    catalog: &TestCatalog,
    request: ResolveImageRequest,
) -> Result<ResolveImageResponse, tonic::Status> {
    Ok(catalog.images().resolve_image(request).await?.into_inner())
}

/// (name, type, serial) of what a request resolves to.
async fn resolved(catalog: &TestCatalog, request: ResolveImageRequest) -> (String, wire::ImageType, String) {
    let answer = resolve(catalog, request).await.unwrap();
    let image = answer.image.unwrap();
    (image.name.clone(), image.r#type(), answer.version.unwrap().serial)
}

async fn refusal(catalog: &TestCatalog, request: ResolveImageRequest) -> (Refusal, String) {
    let status = resolve(catalog, request).await.unwrap_err();
    match Error::from_status(&status) {
        Some(Error::Refused { reason, message }) => (reason, message),
        other => panic!("{other:?} of {status:?}"),
    }
}

fn machine(product: &str, aliases: &[&str], serials: &[&str]) -> OfferedImage {
    let mut machine = image(product, aliases, serials);
    machine.image_type = ImageType::VirtualMachine;
    for version in &mut machine.versions {
        for content in &mut version.contents {
            let rootstock_model::snapshot::Content::Split {
                root,
                metadata,
                fingerprint: claimed,
            } = content
            else {
                panic!("not split")
            };
            root.ftype = RootFtype::DiskKvmImg;
            root.sha256 = rootstock_model::Digest::of(format!("{product} disk {}", root.path).as_bytes());
            *claimed = Some(fingerprint(metadata.sha256, root.sha256));
        }
    }
    machine
}

fn of_architecture(mut image: OfferedImage, architecture: &str) -> OfferedImage {
    image.architecture = architecture.parse().unwrap();
    image
}

async fn sql(url: &str, statement: String) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::query(AssertSqlSafe(statement))
        .execute(&mut connection)
        .await
        .unwrap();
}

#[tokio::test]
async fn every_way_to_name_an_image_leads_to_its_newest_version_and_files() {
    let (_database, catalog) = start().await;
    catalog.add_remote(remote("images")).await.unwrap();
    let offer = snapshot(vec![image(DEBIAN, &["debian/12"], &["1.9", "1.10"])]);
    catalog.offer(&offer).await.unwrap();
    catalog.store_all(fingerprint).await.unwrap();
    let image = catalog.image(DEBIAN).await.unwrap();
    let default = ResolveImageRequest {
        r#type: wire::ImageType::Container.into(),
        ..ask("")
    };
    let fingerprint = image.fingerprint.clone();
    for request in [
        default,
        ask(DEBIAN),
        ask(&image.id),
        ask("debian/12"),
        ask("debian/12/amd64"),
        ask("debian/12/x86_64"),
        ask(&fingerprint),
        ask(&fingerprint[..12]),
        ask(&fingerprint.to_uppercase()),
        ResolveImageRequest {
            architecture: "amd64".to_owned(),
            r#type: wire::ImageType::Container.into(),
            ..ask("debian/12")
        },
    ] {
        let answer = resolve(&catalog, request.clone()).await.unwrap();
        let version = answer.version.unwrap();
        // `1.10` is newer than `1.9`: parts of serials compare as numbers.
        assert_eq!(version.serial, "1.10", "{request:?}");
        assert_eq!(version.fingerprint, fingerprint);
        let places: Vec<_> = answer
            .artifacts
            .iter()
            .map(|place| {
                let artifact = place.artifact.clone().unwrap();
                assert_eq!(place.path, format!("blobs/sha256/{}", artifact.sha256));
                (artifact.ftype, artifact.size_bytes)
            })
            .collect();
        assert_eq!(
            places,
            [("incus.tar.xz".to_owned(), 700), ("squashfs".to_owned(), 10_000)]
        );
        let answered = answer.image.unwrap();
        assert_eq!(answered.current_version, Some(version.number));
        assert!(answered.versions.is_empty());
    }
    let older = image
        .versions
        .iter()
        .find(|version| version.serial == "1.9")
        .unwrap();
    for request in [
        ask(&older.fingerprint),
        ResolveImageRequest {
            version: Some(older.number),
            ..ask("debian/12")
        },
    ] {
        assert_eq!(resolved(&catalog, request).await.2, "1.9");
    }
    catalog.stop().await.unwrap();
}

#[tokio::test]
async fn what_is_not_there_is_not_found_and_what_makes_no_sense_is_refused() {
    let (_database, catalog) = start().await;
    // An empty catalog answers like any other.
    let default = ResolveImageRequest {
        r#type: wire::ImageType::Container.into(),
        ..ask("")
    };
    let status = resolve(&catalog, default.clone()).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::NotFound);
    catalog.add_remote(remote("images")).await.unwrap();
    catalog
        .offer(&snapshot(vec![image(DEBIAN, &["debian/12"], &["20260101"])]))
        .await
        .unwrap();
    catalog.store_all(fingerprint).await.unwrap();
    let fingerprint = catalog.image(DEBIAN).await.unwrap().fingerprint;
    let of = |request: ResolveImageRequest, change: fn(&mut ResolveImageRequest)| {
        let mut request = request;
        change(&mut request);
        request
    };
    for (request, code) in [
        (ask("debian/13"), tonic::Code::NotFound),
        (ask("debian/12/arm64"), tonic::Code::NotFound),
        (ask(&fingerprint[..11]), tonic::Code::NotFound),
        (of(ask(DEBIAN), |r| r.version = Some(7)), tonic::Code::NotFound),
        (
            of(ask(DEBIAN), |r| r.set_type(wire::ImageType::VirtualMachine)),
            tonic::Code::NotFound,
        ),
        (
            of(ask(DEBIAN), |r| r.architecture = "arm64".to_owned()),
            tonic::Code::NotFound,
        ),
        (
            of(ask(DEBIAN), |r| r.architecture = "vax".to_owned()),
            tonic::Code::InvalidArgument,
        ),
        (
            of(default.clone(), |r| r.architecture = "arm64".to_owned()),
            tonic::Code::NotFound,
        ),
        (ask(""), tonic::Code::InvalidArgument),
        (
            of(ask(&fingerprint), |r| r.version = Some(7)),
            tonic::Code::InvalidArgument,
        ),
    ] {
        let status = resolve(&catalog, request.clone()).await.unwrap_err();
        assert_eq!(status.code(), code, "{request:?}: {status:?}");
        assert!(Error::from_status(&status).is_some(), "{status:?}");
    }
}

#[tokio::test]
async fn a_name_of_several_is_narrowed_or_refused_with_the_candidates() {
    let (_database, catalog) = start().await;
    catalog.add_remote(remote("images")).await.unwrap();
    let offer = snapshot(vec![
        image("debian:12", &["debian/12"], &["20260101"]),
        machine("debian:12", &["debian/12"], &["20260102"]),
        of_architecture(image("debian:12:arm64", &["debian/12"], &["20260103"]), "arm64"),
    ]);
    catalog.offer(&offer).await.unwrap();
    catalog.store_all(fingerprint).await.unwrap();

    // A container before a virtual machine, in whatever way they are named alike.
    let (name, image_type, serial) = resolved(&catalog, ask("debian:12")).await;
    assert_eq!(
        (name.as_str(), image_type),
        ("debian:12", wire::ImageType::Container)
    );
    assert_eq!(serial, "20260101");
    let vm = ResolveImageRequest {
        r#type: wire::ImageType::VirtualMachine.into(),
        ..ask("debian/12")
    };
    assert_eq!(resolved(&catalog, vm).await.2, "20260102");

    let (reason, message) = refusal(&catalog, ask("debian/12")).await;
    assert_eq!(reason, Refusal::Ambiguous);
    for candidate in [
        "debian:12, container, x86_64",
        "debian:12:arm64, container, aarch64",
    ] {
        assert!(message.contains(candidate), "{message}");
    }
    for (request, serial) in [
        (ask("debian/12/arm64"), "20260103"),
        (ask("debian/12/amd64"), "20260101"),
        (
            ResolveImageRequest {
                architecture: "aarch64".to_owned(),
                ..ask("debian/12")
            },
            "20260103",
        ),
    ] {
        assert_eq!(resolved(&catalog, request).await.2, serial);
    }
}

#[tokio::test]
async fn what_is_not_stored_says_what_to_do() {
    let (_database, catalog) = start().await;
    catalog.add_remote(on_demand("images", 2)).await.unwrap();
    let offer = snapshot(vec![image(DEBIAN, &["debian/12"], &["20260101"])]);
    catalog.offer(&offer).await.unwrap();
    let (reason, message) = refusal(&catalog, ask("debian/12")).await;
    assert_eq!(reason, Refusal::NotActive);
    assert!(message.contains("rootstock image fetch"), "{message}");
    let first = ResolveImageRequest {
        version: Some(0),
        ..ask(DEBIAN)
    };
    assert!(refusal(&catalog, first.clone()).await.1.contains("--version 0"));

    let fetch = wire::FetchImageRequest {
        image: DEBIAN.to_owned(),
        ..wire::FetchImageRequest::default()
    };
    catalog.images().fetch_image(fetch).await.unwrap();
    for request in [ask(DEBIAN), first.clone()] {
        let (reason, message) = refusal(&catalog, request).await;
        assert_eq!(reason, Refusal::NotActive);
        assert!(message.contains("still being fetched"), "{message}");
    }
    catalog
        .store_all(|_, _| rootstock_model::Digest::of(b"something else"))
        .await
        .unwrap();
    let (reason, message) = refusal(&catalog, first).await;
    assert_eq!(reason, Refusal::NotActive);
    assert!(message.contains("claims the fingerprint"), "{message}");
    assert_eq!(refusal(&catalog, ask(DEBIAN)).await.0, Refusal::NotActive);
}

#[tokio::test]
async fn images_are_there_while_they_are_synced_and_the_held_one_is_used_meanwhile() {
    let (_database, catalog) = start().await;
    catalog.add_remote(remote("images")).await.unwrap();
    let offer = |serials: &[&str]| snapshot(vec![image(DEBIAN, &["debian/12"], serials)]);
    catalog.offer(&offer(&["20260101"])).await.unwrap();
    let names = async || {
        let mut images = catalog.images();
        let listed = images
            .list_images(wire::ListImagesRequest::default())
            .await
            .unwrap();
        let listed = listed.into_inner().images;
        listed
            .into_iter()
            .map(|image| (image.name.clone(), image.status()))
            .collect::<Vec<_>>()
    };
    // As soon as the index was read, before a byte is here.
    assert_eq!(names().await, [(DEBIAN.to_owned(), Status::Queued)]);
    catalog.store_all(fingerprint).await.unwrap();
    let sync = wire::SyncRemoteRequest {
        name: "images".to_owned(),
        ..wire::SyncRemoteRequest::default()
    };
    catalog.remotes().sync_remote(sync).await.unwrap();
    catalog.offer(&offer(&["20260101", "20260102"])).await.unwrap();
    assert_eq!(names().await, [(DEBIAN.to_owned(), Status::Active)]);
    assert_eq!(resolved(&catalog, ask("debian/12")).await.2, "20260101");
    catalog.store_all(fingerprint).await.unwrap();
    assert_eq!(resolved(&catalog, ask("debian/12")).await.2, "20260102");
}

#[tokio::test]
async fn a_version_that_is_held_back_is_out_of_reach_and_says_why() {
    let (database, catalog) = start().await;
    catalog.add_remote(remote("images")).await.unwrap();
    let offer = snapshot(vec![image(DEBIAN, &["debian/12"], &["20260101", "20260102"])]);
    catalog.offer(&offer).await.unwrap();
    catalog.store_all(fingerprint).await.unwrap();
    let image = catalog.image(DEBIAN).await.unwrap();
    let newest = &image.versions[0];
    // As a rollback leaves it.
    sql(
        &database.url,
        format!(
            "UPDATE versions SET hidden = true WHERE number = {}",
            newest.number
        ),
    )
    .await;
    sql(
        &database.url,
        "UPDATE images SET hold_version = 0, hold_reason = 'it does not boot', held_at = now(), newest_version = 0"
            .to_owned(),
    )
    .await;
    assert_eq!(resolved(&catalog, ask("debian/12")).await.2, "20260101");
    for request in [
        ask(&newest.fingerprint),
        ask(&newest.fingerprint[..20]),
        ResolveImageRequest {
            version: Some(newest.number),
            ..ask("debian/12")
        },
    ] {
        let (reason, message) = refusal(&catalog, request).await;
        assert_eq!(reason, Refusal::Held);
        assert!(
            message.contains("it does not boot") && message.contains("release"),
            "{message}"
        );
    }
    let pinned = CreateAliasRequest {
        name: "stable".to_owned(),
        image: DEBIAN.to_owned(),
        version: Some(newest.number),
        ..CreateAliasRequest::default()
    };
    let status = catalog.aliases().create_alias(pinned).await.unwrap_err();
    assert!(matches!(
        Error::from_status(&status),
        Some(Error::Refused {
            reason: Refusal::Held,
            ..
        })
    ));
}

#[tokio::test]
async fn one_content_of_two_images_is_no_ambiguity() {
    let (database, catalog) = start().await;
    catalog.add_remote(remote("images")).await.unwrap();
    let offer = snapshot(vec![image(DEBIAN, &[], &["20260101"])]);
    catalog.offer(&offer).await.unwrap();
    catalog.store_all(fingerprint).await.unwrap();
    let first = catalog.image(DEBIAN).await.unwrap();
    // As an added image shares its blobs with the synced one.
    sql(
        &database.url,
        "INSERT INTO images (id, name, type, architecture, status, immutable, public, product, properties,
             wanted_aliases, version_count, newest_version)
         SELECT 'vvvvvvvvvvvvvvvvvvv0', 'own', type, architecture, status, false, true, '', properties, '{}', 1, 0
         FROM images"
            .to_owned(),
    )
    .await;
    sql(
        &database.url,
        "INSERT INTO versions (image_id, number, serial, label, status, fingerprint, size_bytes, created_at)
         SELECT 'vvvvvvvvvvvvvvvvvvv0', 0, serial, label, status, fingerprint, size_bytes, created_at FROM versions"
            .to_owned(),
    )
    .await;
    assert_eq!(resolved(&catalog, ask(&first.fingerprint)).await.0, DEBIAN);
    // To a request that would change one of them, it is.
    let status = catalog.image(&first.fingerprint).await.unwrap_err();
    assert!(matches!(
        Error::from_status(&status),
        Some(Error::Refused {
            reason: Refusal::Ambiguous,
            ..
        })
    ));
}

#[tokio::test]
async fn a_host_is_told_each_requirement_that_it_does_not_meet() {
    let (_database, catalog) = start().await;
    catalog.add_remote(remote("images")).await.unwrap();
    let mut demanding = image(DEBIAN, &["debian/12"], &["20260101"]);
    for (key, value) in [
        ("requirements.cgroup", "v1"),
        ("requirements.nesting", "true"),
        ("requirements.privileged", "perhaps"),
        ("requirements.teapot", "true"),
    ] {
        demanding.properties.insert(key.to_owned(), value.to_owned());
    }
    catalog.offer(&snapshot(vec![demanding])).await.unwrap();
    catalog.store_all(fingerprint).await.unwrap();
    let with = |host| ResolveImageRequest {
        host,
        ..ask("debian/12")
    };
    let status = resolve(&catalog, with(Some(HostFacts::default())))
        .await
        .unwrap_err();
    let Some(Error::RequirementsNotMet { image, violations }) = Error::from_status(&status) else {
        panic!("{status:?}")
    };
    assert_eq!(image, DEBIAN);
    let keys: Vec<_> = violations
        .iter()
        .map(|violation| violation.key.as_str())
        .collect();
    assert_eq!(keys, ["requirements.cgroup", "requirements.nesting"]);
    let able = HostFacts {
        cgroup: "v1".to_owned(),
        nesting: true,
        ..HostFacts::default()
    };
    for host in [Some(able), None] {
        let warnings = resolve(&catalog, with(host)).await.unwrap().warnings;
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(
            warnings[0].starts_with("requirements.privileged is \"perhaps\""),
            "{warnings:?}"
        );
        assert!(warnings[1].starts_with("requirements.teapot"), "{warnings:?}");
    }
}

#[tokio::test]
async fn uses_are_noted_on_the_side_and_kept_when_the_catalog_ends() {
    let (database, catalog) = start().await;
    catalog.add_remote(remote("images")).await.unwrap();
    let offer = snapshot(vec![
        image("debian:12", &[], &["20260101"]),
        image("debian:13", &[], &["20260101"]),
    ]);
    catalog.offer(&offer).await.unwrap();
    catalog.store_all(fingerprint).await.unwrap();
    let before = rootstock_tests::catalog::content(&database.url).await.unwrap();
    assert!(catalog.image("debian:12").await.unwrap().last_used_at.is_none());
    resolve(&catalog, ask("debian:12")).await.unwrap();
    let record = |image: &str| RecordImageUseRequest {
        image: image.to_owned(),
        ..RecordImageUseRequest::default()
    };
    let unknown = catalog
        .images()
        .record_image_use(record("alpine"))
        .await
        .unwrap_err();
    assert_eq!(unknown.code(), tonic::Code::NotFound);
    for _ in 0..100 {
        let used = ResolveImageRequest {
            record_use: true,
            ..ask("debian:13")
        };
        resolve(&catalog, used).await.unwrap();
        catalog
            .images()
            .record_image_use(record("debian:13"))
            .await
            .unwrap();
    }
    catalog.stop().await.unwrap();

    let again = TestCatalog::start(config(&database.url)).await.unwrap();
    let used = again.image("debian:13").await.unwrap();
    assert!(used.last_used_at.is_some());
    // That it is resolved, without more, is no use; and nothing that is promised has changed.
    assert!(again.image("debian:12").await.unwrap().last_used_at.is_none());
    assert_eq!(
        rootstock_tests::catalog::content(&database.url).await.unwrap(),
        before
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_at_once_each_is_answered_with_its_own() {
    let (database, catalog) = start().await;
    catalog.add_remote(remote("images")).await.unwrap();
    let names: Vec<String> = (0..20).map(|number| format!("debian:{number}")).collect();
    let offered = names
        .iter()
        .map(|name| image(name, &[&format!("alias/{name}")], &["1"]));
    catalog.offer(&snapshot(offered.collect())).await.unwrap();
    catalog.store_all(fingerprint).await.unwrap();
    let fingerprint_of = catalog.image(&names[3]).await.unwrap().fingerprint;

    for round in 0..10 {
        let mut calls = tokio::task::JoinSet::new();
        for number in 0..100 {
            let name = names[number % names.len()].clone();
            let (reference, expected) = match number % 5 {
                0 => (format!("alias/{name}"), Ok(name)),
                1 => (format!("alias/{name}/amd64"), Ok(name)),
                2 => (name.clone(), Ok(name)),
                3 => (fingerprint_of.clone(), Ok(names[3].clone())),
                _ => (format!("nothing/{number}"), Err(Code::NotFound)),
            };
            let mut images = catalog.images();
            let call = async move {
                let answer = images.resolve_image(ask(&reference)).await;
                let name = answer.map(|answer| answer.into_inner().image.unwrap().name);
                assert_eq!(name.map_err(|status| status.code()), expected, "{reference}");
            };
            // Some callers go away before they are answered, which is nothing to the others.
            if number % 7 == 0 {
                let patience = Duration::from_micros(200 * u64::try_from(number).unwrap());
                calls.spawn(async move { drop(tokio::time::timeout(patience, call).await) });
            } else {
                calls.spawn(call);
            }
            // So do connections.
            if number == 50 && round % 3 == 0 {
                let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                     WHERE datname = current_database() AND application_name = 'rootstock-lookup'";
                sql(&database.url, end.to_owned()).await;
            }
        }
        while let Some(ended) = calls.join_next().await {
            ended.unwrap();
        }
    }

    // Whatever was committed before a call is in its answer.
    let mut aliases = catalog.aliases();
    for number in 0..50 {
        let to = &names[number % names.len()];
        let alias = CreateAliasRequest {
            name: "moving".to_owned(),
            image: to.clone(),
            replace: true,
            ..CreateAliasRequest::default()
        };
        aliases.create_alias(alias).await.unwrap();
        let (one, other) = tokio::join!(
            resolved(&catalog, ask("moving")),
            resolved(&catalog, ask("moving"))
        );
        assert_eq!((&one.0, &other.0), (to, to));
    }
}
