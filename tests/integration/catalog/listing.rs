//! Lists of images: filters, order, pages.

use rootstock_model::snapshot::OfferedImage;
use rootstock_proto::catalog::v1::{FetchImageRequest, Image, ImageType, ListImagesRequest, Status};
use rootstock_tests::catalog::TestCatalog;

use super::{
    offers::{fingerprint, image, snapshot},
    on_demand, remote, start,
};

async fn list(catalog: &TestCatalog, request: ListImagesRequest) -> Vec<Image> {
    let answer = catalog.images().list_images(request).await.unwrap().into_inner();
    assert_eq!(answer.next_page_token, "");
    answer.images
}

async fn names(catalog: &TestCatalog, request: ListImagesRequest) -> Vec<String> {
    list(catalog, request)
        .await
        .into_iter()
        .map(|image| image.name)
        .collect()
}

fn arm(mut image: OfferedImage) -> OfferedImage {
    image.architecture = "arm64".parse().unwrap();
    image.properties.insert("os".to_owned(), "Alpine".to_owned());
    image.properties.insert("release".to_owned(), "edge".to_owned());
    image
}

#[tokio::test]
async fn an_empty_catalog_lists_nothing_and_says_so() {
    let (_database, catalog) = start().await;
    assert_eq!(names(&catalog, ListImagesRequest::default()).await, [""; 0]);
}

#[tokio::test]
async fn every_filter_narrows_the_list_and_all_of_them_together() {
    let (_database, catalog) = start().await;
    catalog.add_remote(on_demand("later", 1)).await.unwrap();
    let offer = snapshot(vec![
        arm(image("alpine:edge", &["alpine/edge", "alpine"], &["20260103"])),
        image("debian:13", &["debian/13"], &["20260103"]),
    ]);
    catalog.offer(&offer).await.unwrap();
    catalog.add_remote(remote("now")).await.unwrap();
    let offer = snapshot(vec![image("debian:12", &["debian/12"], &["20260101"])]);
    catalog.offer(&offer).await.unwrap();
    let fetch = FetchImageRequest {
        image: "debian:13".to_owned(),
        ..FetchImageRequest::default()
    };
    catalog.images().fetch_image(fetch).await.unwrap();
    catalog.store_all(fingerprint).await.unwrap();

    let all = list(&catalog, ListImagesRequest::default()).await;
    let by_status: Vec<_> = all
        .iter()
        .map(|image| (image.name.as_str(), image.status()))
        .collect();
    assert_eq!(
        by_status,
        [
            ("alpine:edge", Status::Available),
            ("debian:12", Status::Active),
            ("debian:13", Status::Active)
        ]
    );
    assert!(
        all.iter()
            .all(|image| image.versions.is_empty() && image.version_count == 1)
    );
    let default = all.iter().find(|image| image.default).unwrap().name.clone();
    let others: Vec<_> = all
        .iter()
        .filter(|image| !image.default)
        .map(|image| image.name.clone())
        .collect();

    let ask = |change: fn(&mut ListImagesRequest)| {
        let mut request = ListImagesRequest::default();
        change(&mut request);
        request
    };
    for (request, expected) in [
        (
            ask(|r| r.name = "debian:*".into()),
            vec!["debian:12", "debian:13"],
        ),
        (
            ask(|r| r.name = "debian:1?".into()),
            vec!["debian:12", "debian:13"],
        ),
        (ask(|r| r.name = "debian".into()), vec![]),
        (ask(|r| r.name = "*%*".into()), vec![]),
        (ask(|r| r.alias = "alpine".into()), vec!["alpine:edge"]),
        (ask(|r| r.alias = "nothing".into()), vec![]),
        (ask(|r| r.architecture = "arm64".into()), vec!["alpine:edge"]),
        (ask(|r| r.architecture = "aarch64".into()), vec!["alpine:edge"]),
        (
            ask(|r| r.architecture = "amd64".into()),
            vec!["debian:12", "debian:13"],
        ),
        (ask(|r| r.set_type(ImageType::VirtualMachine)), vec![]),
        (
            ask(|r| r.remote = "later".into()),
            vec!["alpine:edge", "debian:13"],
        ),
        (ask(|r| r.set_status(Status::Available)), vec!["alpine:edge"]),
        (ask(|r| r.cached = Some(true)), vec!["debian:13"]),
        (ask(|r| r.cached = Some(false)), vec!["alpine:edge", "debian:12"]),
        (
            ask(|r| r.properties = [("os".into(), "Alpine".into())].into()),
            vec!["alpine:edge"],
        ),
        (
            ask(|r| {
                r.properties = [("os".into(), "Alpine".into()), ("release".into(), "3.20".into())].into();
            }),
            vec![],
        ),
        (ask(|r| r.is_default = Some(true)), vec![default.as_str()]),
        (
            ask(|r| r.is_default = Some(false)),
            others.iter().map(String::as_str).collect(),
        ),
        (
            ask(|r| {
                r.name = "*".into();
                r.set_type(ImageType::Container);
                r.remote = "later".into();
                r.set_status(Status::Active);
                r.alias = "debian/13".into();
                r.architecture = "x86_64".into();
                r.properties = [("os".into(), "Debian".into())].into();
                r.cached = Some(true);
            }),
            vec!["debian:13"],
        ),
    ] {
        assert_eq!(names(&catalog, request.clone()).await, expected, "{request:?}");
    }
    let unknown = ask(|r| r.architecture = "vax".into());
    let status = catalog.images().list_images(unknown).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
}

#[tokio::test]
async fn pages_hold_every_image_once_in_order_whatever_changes_meanwhile() {
    let (_database, catalog) = start().await;
    catalog.add_remote(on_demand("images", 1)).await.unwrap();
    let products: Vec<_> = (0..25).map(|number| format!("product:{number:02}")).collect();
    let offer = |products: &[String]| {
        snapshot(
            products
                .iter()
                .map(|product| image(product, &[], &["20260101"]))
                .collect(),
        )
    };
    catalog.offer(&offer(&products[..20])).await.unwrap();
    let sync = rootstock_proto::catalog::v1::SyncRemoteRequest {
        name: "images".to_owned(),
        ..Default::default()
    };
    let (mut seen, mut page_token) = (vec![], String::new());
    loop {
        let request = ListImagesRequest {
            page_size: 7,
            page_token,
            ..ListImagesRequest::default()
        };
        let page = catalog.images().list_images(request).await.unwrap().into_inner();
        seen.extend(page.images.into_iter().map(|image| image.name));
        page_token = page.next_page_token;
        if seen.len() == 7 {
            catalog.remotes().sync_remote(sync.clone()).await.unwrap();
            catalog.offer(&offer(&products)).await.unwrap();
        }
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, products);
    let bad = ListImagesRequest {
        page_token: "nonsense".to_owned(),
        ..ListImagesRequest::default()
    };
    assert!(catalog.images().list_images(bad).await.is_err());
}

#[tokio::test]
async fn sizes_are_those_of_each_version_and_image() {
    let (_database, catalog) = start().await;
    catalog.add_remote(on_demand("images", 2)).await.unwrap();
    let sized = |product: &str, sizes: &[(&str, u64)]| {
        let serials: Vec<&str> = sizes.iter().map(|(serial, _)| *serial).collect();
        let mut offered = image(product, &[], &serials);
        for (version, (_, size_bytes)) in offered.versions.iter_mut().zip(sizes) {
            let rootstock_model::snapshot::Content::Split { root, .. } = &mut version.contents[0] else {
                panic!("not split")
            };
            root.size_bytes = *size_bytes;
        }
        offered
    };
    let offer = snapshot(vec![
        sized("a", &[("20260101", 10_000), ("20260102", 20_000)]),
        sized("b", &[("20260101", 5_000_000_000)]),
    ]);
    catalog.offer(&offer).await.unwrap();
    let sizes = async |name: &str| -> Vec<_> {
        let image = catalog.image(name).await.unwrap();
        image
            .versions
            .iter()
            .map(|version| (version.serial.clone(), version.size_bytes))
            .collect()
    };
    let expected = [
        (
            "a",
            vec![("20260102".to_owned(), 20_700), ("20260101".to_owned(), 10_700)],
        ),
        ("b", vec![("20260101".to_owned(), 5_000_000_700)]),
    ];
    // Known before a byte is here, and the same once all are.
    for (name, expected) in &expected {
        assert_eq!(sizes(name).await, *expected);
        let fetch = FetchImageRequest {
            image: (*name).to_owned(),
            ..FetchImageRequest::default()
        };
        catalog.images().fetch_image(fetch).await.unwrap();
    }
    catalog.store_all(fingerprint).await.unwrap();
    for (name, expected) in &expected {
        assert_eq!(sizes(name).await, *expected);
        let answer = catalog
            .images()
            .resolve_image(rootstock_proto::catalog::v1::ResolveImageRequest {
                image: (*name).to_owned(),
                ..Default::default()
            })
            .await
            .unwrap()
            .into_inner();
        assert_eq!(answer.version.unwrap().size_bytes, expected[0].1);
        let files: i64 = answer
            .artifacts
            .iter()
            .map(|place| place.artifact.as_ref().unwrap().size_bytes)
            .sum();
        assert_eq!(files, expected[0].1);
    }
}
