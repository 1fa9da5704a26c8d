//! The simplestreams documents over HTTP.

use std::{collections::BTreeSet, io::Read as _};

use http::{Method, StatusCode, header};
use rootstock_model::{Digest, ImageType, RootFtype, snapshot::OfferedImage};
use rootstock_tests::{
    corpus::corpus,
    indexes,
    tree::{Product, Tree, Version},
};

use super::{Site, created, header, image, offered_image, text_of};

const INDEX: &str = "/streams/v1/index.json";
const PRODUCTS: &str = "/streams/v1/images.json";

#[tokio::test]
async fn documents_bear_validators_and_answer_conditions() -> anyhow::Result<()> {
    let (site, _) = Site::with_root("root").await?;
    let gateway = site.gateway().await?;
    for path in [INDEX, PRODUCTS] {
        let whole = gateway.get(path, &[]).await?;
        assert_eq!(whole.status(), StatusCode::OK);
        assert_eq!(header(&whole, "content-type"), "application/json");
        assert_eq!(header(&whole, "cache-control"), "no-cache");
        assert_eq!(header(&whole, "content-encoding"), "");
        assert!(header(&whole, "vary").contains("accept-encoding"), "{whole:?}");
        let etag = header(&whole, "etag").to_owned();
        let modified = header(&whole, "last-modified").to_owned();
        let length: u64 = header(&whole, "content-length").parse()?;
        assert_eq!(whole.bytes().await?.len() as u64, length);

        for condition in [
            (header::IF_NONE_MATCH, etag.as_str()),
            (header::IF_MODIFIED_SINCE, modified.as_str()),
        ] {
            let same = gateway.get(path, std::slice::from_ref(&condition)).await?;
            assert_eq!(header(&same, "etag"), etag);
            assert_eq!(
                text_of(same, StatusCode::NOT_MODIFIED).await?,
                "",
                "{condition:?}"
            );
        }
        let other = gateway.get(path, &[(header::IF_NONE_MATCH, "\"other\"")]).await?;
        assert_eq!(other.status(), StatusCode::OK);

        let head = gateway.client.head(gateway.url(path)).send().await?;
        assert_eq!(
            (header(&head, "etag"), header(&head, "content-length")),
            (etag.as_str(), length.to_string().as_str())
        );
        assert_eq!(text_of(head, StatusCode::OK).await?, "");
        let posted = gateway.client.post(gateway.url(path)).send().await?;
        assert_eq!(posted.status(), StatusCode::METHOD_NOT_ALLOWED);
    }
    gateway.stop().await
}

#[tokio::test]
async fn the_packed_form_is_the_same_document_under_another_tag() -> anyhow::Result<()> {
    let (site, _) = Site::with_root("root").await?;
    let gateway = site.gateway().await?;
    let plain = gateway.get(PRODUCTS, &[]).await?;
    let plain_tag = header(&plain, "etag").to_owned();
    let plain = plain.bytes().await?;
    let packed = gateway
        .get(PRODUCTS, &[(header::ACCEPT_ENCODING, "gzip")])
        .await?;
    assert_eq!(header(&packed, "content-encoding"), "gzip");
    let packed_tag = header(&packed, "etag").to_owned();
    assert_ne!(packed_tag, plain_tag);
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&*packed.bytes().await?).read_to_end(&mut unpacked)?;
    assert_eq!(unpacked, plain);
    let condition = [
        (header::ACCEPT_ENCODING, "gzip"),
        (header::IF_NONE_MATCH, packed_tag.as_str()),
    ];
    let same = gateway.get(PRODUCTS, &condition).await?;
    assert_eq!(same.status(), StatusCode::NOT_MODIFIED);
    gateway.stop().await
}

#[tokio::test]
async fn a_tag_changes_with_the_bytes_and_with_nothing_else() -> anyhow::Result<()> {
    let (site, _) = Site::with_root("root").await?;
    let gateway = site.gateway().await?;
    let tag = async || anyhow::Ok(header(&gateway.get(PRODUCTS, &[]).await?, "etag").to_owned());
    let first = tag().await?;
    // Seen by the gateway, because what comes after it is; but it shows nowhere.
    site.catalog.commit(created([image("i9", "without-versions")]));
    let files = [("incus.tar.xz", "metadata".into()), ("squashfs", "root 2".into())];
    let second_version = site.version("i1", 1, "20261123", &files).await?;
    let unchanged = tag().await?;
    site.catalog.commit(created([second_version]));
    gateway
        .wait_for_products(|products| products["debian"]["versions"]["20261123"].is_object())
        .await?;
    assert_eq!(unchanged, first);
    assert_ne!(tag().await?, first);

    // Another gateway on the same state has the same tag.
    let other = site.gateway().await?;
    assert_eq!(header(&other.get(PRODUCTS, &[]).await?, "etag"), tag().await?);
    other.stop().await?;
    gateway.stop().await
}

#[tokio::test]
async fn web_pages_of_other_sites_may_read_the_index_and_nothing_else() -> anyhow::Result<()> {
    let (site, root) = Site::with_root("root").await?;
    let gateway = site.gateway().await?;
    let origin = [(header::ORIGIN, "https://ui.example")];
    let allowed = |response: &reqwest::Response| header(response, "access-control-allow-origin").to_owned();
    assert_eq!(allowed(&gateway.get(PRODUCTS, &origin).await?), "*");
    assert_eq!(allowed(&gateway.blob(&root, &origin).await?), "");
    let preflight = gateway
        .client
        .request(Method::OPTIONS, gateway.url(PRODUCTS))
        .header(header::ORIGIN, "https://ui.example")
        .header(header::ACCESS_CONTROL_REQUEST_METHOD, "GET")
        .send()
        .await?;
    assert!(preflight.status().is_success());
    assert_eq!(allowed(&preflight), "*");
    gateway.stop().await
}

#[tokio::test]
async fn a_tree_comes_out_as_it_went_in() -> anyhow::Result<()> {
    let mut tree = Tree::default();
    let debian =
        tree.add_product(Product::new("Debian", "bookworm", "amd64").requirement("secureboot", "false"));
    for serial in ["20260101_0524", "20260102_0524"] {
        let version = Version::new(serial)
            .root(RootFtype::Squashfs)
            .root(RootFtype::DiskKvmImg);
        tree.add_version(&debian, version)?;
    }
    let alpine = tree.add_product(Product::new("Alpine", "3.20", "arm64"));
    tree.add_version(&alpine, Version::new("20260103_1300").root(RootFtype::RootTarXz))?;
    let site = Site::new().await?;
    site.add_tree(&tree).await?;
    let gateway = site.gateway().await?;

    let served = gateway.get(PRODUCTS, &[]).await?.bytes().await?;
    let served = rootstock_simplestreams::parse_products(&served)?;
    assert_eq!(served.left_out, []);
    let [(_, _), (_, indexed)] = tree.indexes();
    let went_in = rootstock_simplestreams::parse_products(indexed.as_bytes())?;
    assert_eq!(served.images.len(), went_in.images.len());
    for (out, mut wanted) in served.images.into_iter().zip(went_in.images) {
        // Where the files lie is the server's business, and aliases have no order.
        for (version, wanted) in out.versions.iter().zip(&mut wanted.versions) {
            assert_eq!(version.contents.len(), wanted.contents.len());
            assert!(version.contents[0].same_bytes(&wanted.contents[0]));
            assert_eq!(
                version.contents[0].fingerprint(),
                wanted.contents[0].fingerprint()
            );
            for artifact in version.contents[0].artifacts() {
                let file = gateway
                    .get(&format!("/{}", artifact.path), &[])
                    .await?
                    .bytes()
                    .await?;
                assert_eq!(Digest::of(&file), artifact.sha256);
                assert_eq!(file.len() as u64, artifact.size_bytes);
            }
            wanted.contents.clone_from(&version.contents);
        }
        wanted.aliases.sort();
        assert_eq!(out, wanted);
    }

    // Both families find their metadata in each version.
    let products = gateway.products().await?;
    let items = products[&debian]["versions"]["20260102_0524"]["items"]
        .as_object()
        .unwrap()
        .clone();
    for ftype in ["incus.tar.xz", "lxd.tar.xz", "squashfs", "disk-kvm.img"] {
        assert!(
            items.values().any(|item| item["ftype"] == ftype),
            "{ftype} is missing in {items:#?}"
        );
    }
    assert_eq!(products[&debian]["requirements"]["secureboot"], "false");
    gateway.stop().await
}

#[tokio::test]
async fn other_paths_say_what_this_is() -> anyhow::Result<()> {
    let (site, _) = Site::with_root("root").await?;
    let gateway = site.gateway().await?;
    let welcome = text_of(gateway.get("/", &[]).await?, StatusCode::OK).await?;
    assert!(
        welcome.contains(&format!("https://localhost:{}", gateway.http.port())),
        "{welcome}"
    );
    for path in ["/1.0", "/1.0/images"] {
        let native = text_of(gateway.get(path, &[]).await?, StatusCode::NOT_FOUND).await?;
        let native: serde_json::Value = serde_json::from_str(&native)?;
        assert_eq!(
            (&native["type"], &native["error_code"]),
            (&"error".into(), &404.into())
        );
    }
    for path in [
        "/nonesuch",
        "/streams/v1/other.json",
        "/blobs",
        "/streams/v1/../../etc/passwd",
    ] {
        let missing = gateway.get(path, &[]).await?;
        assert_eq!(header(&missing, "cache-control"), "no-store", "{path}");
        assert_eq!(missing.status(), StatusCode::NOT_FOUND, "{path}");
    }
    gateway.stop().await
}

#[tokio::test]
async fn a_large_index_comes_out_whole() -> anyhow::Result<()> {
    comes_out_whole("the large index", &indexes::large(200)).await
}

#[tokio::test]
async fn real_indexes_come_out_whole() -> anyhow::Result<()> {
    let Some(corpus) = corpus() else {
        return Ok(());
    };
    for entry in std::fs::read_dir(corpus.join("indexes"))? {
        let path = entry?.path();
        let mut text = Vec::new();
        flate2::read::GzDecoder::new(std::fs::File::open(&path)?).read_to_end(&mut text)?;
        comes_out_whole(&path.display().to_string(), &text).await?;
    }
    Ok(())
}

async fn comes_out_whole(name: &str, index: &[u8]) -> anyhow::Result<()> {
    let mut offered = rootstock_simplestreams::parse_products(index)?.images;
    for image in &mut offered {
        // What claims no fingerprint gets one when its bytes are here, and they are not.
        image
            .versions
            .retain(|version| version.contents[0].fingerprint().is_some());
    }
    offered.retain(|image| !image.versions.is_empty());
    let site = Site::new().await?;
    let images = offered.iter().enumerate();
    site.catalog.commit(created(
        images.flat_map(|(index, image)| offered_image(index, image)),
    ));
    let gateway = site.gateway().await?;
    let served = gateway.get(PRODUCTS, &[]).await?.bytes().await?;
    let served = rootstock_simplestreams::parse_products(&served)?;
    assert_eq!(served.left_out, [], "{name}");
    let (out, wanted) = (contents(&served.images), contents(&offered));
    let lost: Vec<_> = wanted.difference(&out).take(3).collect();
    let made_up: Vec<_> = out.difference(&wanted).take(3).collect();
    assert!(
        lost.is_empty() && made_up.is_empty(),
        "{name}: {lost:?} {made_up:?}"
    );
    assert_eq!(version_count(&served.images), version_count(&offered), "{name}");
    gateway.stop().await?;
    Ok(())
}

/// Each version's name, type and fingerprint.
fn contents(images: &[OfferedImage]) -> BTreeSet<(String, ImageType, Digest)> {
    let mut all = BTreeSet::new();
    for image in images {
        let name = image.product.as_str();
        let name = name.strip_suffix(":virtual-machine").unwrap_or(name);
        for fingerprint in image
            .versions
            .iter()
            .filter_map(|version| version.contents[0].fingerprint())
        {
            all.insert((name.to_owned(), image.image_type, fingerprint));
        }
    }
    all
}

fn version_count(images: &[OfferedImage]) -> usize {
    images.iter().map(|image| image.versions.len()).sum()
}
