//! Blobs over HTTP.

use std::time::Duration;

use http::{StatusCode, header};
use rootstock_blobs::{BlobStore, S3Config, Secret, StoreConfig};
use rootstock_gateway::GatewayConfig;
use rootstock_model::Digest;
use rootstock_proto::catalog::v1::{ChangeOperation, Image, change::Resource};
use rootstock_tests::remote::Content;
use time::OffsetDateTime;

use super::{
    ALPHABET, Gateway, PATIENCE, Site, blob_file, client, created, header, image, retired, setting, text_of,
    updated,
};

const MIB: u64 = 1 << 20;

#[tokio::test]
async fn a_blob_is_immutable_and_sent_as_it_is() -> anyhow::Result<()> {
    let (site, digest) = Site::with_root(ALPHABET).await?;
    let gateway = site.gateway().await?;
    for path in [
        format!("/blobs/sha256/{digest}"),
        format!("/blobs/sha256/{digest}.any.thing"),
    ] {
        let whole = gateway.get(&path, &[(header::ACCEPT_ENCODING, "gzip")]).await?;
        let etag = format!("\"{digest}\"");
        for (name, value) in [
            ("etag", etag.as_str()),
            ("content-length", "26"),
            ("accept-ranges", "bytes"),
            ("content-type", "application/octet-stream"),
            ("content-encoding", ""),
            (
                "cache-control",
                "public, max-age=31536000, immutable, no-transform",
            ),
        ] {
            assert_eq!(header(&whole, name), value, "{name} of {path}");
        }
        assert_eq!(text_of(whole, StatusCode::OK).await?, ALPHABET);
        let head = gateway.client.head(gateway.url(&path)).send().await?;
        assert_eq!(
            (header(&head, "content-length"), header(&head, "etag")),
            ("26", etag.as_str())
        );
        assert_eq!(text_of(head, StatusCode::OK).await?, "");
        let same = gateway.get(&path, &[(header::IF_NONE_MATCH, &etag)]).await?;
        assert_eq!(text_of(same, StatusCode::NOT_MODIFIED).await?, "");
    }
    gateway.stop().await
}

#[tokio::test]
async fn parts_are_sent_of_the_same_whole() -> anyhow::Result<()> {
    let (site, digest) = Site::with_root(ALPHABET).await?;
    let gateway = site.gateway().await?;
    let etag = format!("\"{digest}\"");
    for (range, part, content_range) in [
        ("bytes=0-0", "a", "bytes 0-0/26"),
        ("bytes=2-4", "cde", "bytes 2-4/26"),
        ("bytes=23-", "xyz", "bytes 23-25/26"),
        ("bytes=-2", "yz", "bytes 24-25/26"),
        ("bytes=24-99", "yz", "bytes 24-25/26"),
    ] {
        let response = gateway
            .blob(&digest, &[(header::RANGE, range), (header::IF_RANGE, &etag)])
            .await?;
        assert_eq!(header(&response, "content-range"), content_range);
        assert_eq!(header(&response, "content-length"), part.len().to_string());
        assert_eq!(header(&response, "etag"), etag);
        assert_eq!(
            text_of(response, StatusCode::PARTIAL_CONTENT).await?,
            part,
            "{range}"
        );
    }
    let beyond = gateway.blob(&digest, &[(header::RANGE, "bytes=26-")]).await?;
    assert_eq!(header(&beyond, "content-range"), "bytes */26");
    assert_eq!(beyond.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    for whole in [
        &[(header::RANGE, "bytes=0-1,3-4")][..],
        &[(header::RANGE, "bytes=2-4"), (header::IF_RANGE, "\"another\"")],
    ] {
        let response = gateway.blob(&digest, whole).await?;
        assert_eq!(text_of(response, StatusCode::OK).await?.len(), 26, "{whole:?}");
    }
    gateway.stop().await
}

#[tokio::test]
async fn a_large_blob_comes_whole_over_either_http() -> anyhow::Result<()> {
    let (site, digest) = Site::with_root(Content::generated(1, b"hsqs", 40 * MIB + 7)).await?;
    let gateway = site.gateway().await?;
    let http1 = client(&gateway.ca_pem, reqwest::ClientBuilder::http1_only)?;
    for (client, version) in [
        (&gateway.client, http::Version::HTTP_2),
        (&http1, http::Version::HTTP_11),
    ] {
        let response = client
            .get(gateway.url(&format!("/blobs/sha256/{digest}.squashfs")))
            .send()
            .await?;
        assert_eq!(response.version(), version);
        assert_eq!(Digest::of(&response.bytes().await?), digest);
    }
    gateway.stop().await
}

#[tokio::test]
async fn what_is_not_listed_is_not_there() -> anyhow::Result<()> {
    let (site, digest) = Site::with_root(ALPHABET).await?;
    let stored_only = site.store(&"stored, but of no version".into()).await?;
    let private_files = [
        ("incus.tar.xz", "private metadata".into()),
        ("squashfs", "private".into()),
    ];
    let private = site.version("i2", 0, "20261122", &private_files).await?;
    let Resource::Image(private_image) = image("i2", "private") else {
        unreachable!()
    };
    let private_image = Resource::Image(Image {
        public: false,
        ..private_image
    });
    site.catalog.commit(created([private_image, private]));
    let gateway = site.gateway().await?;
    for name in [
        stored_only.to_hex(),
        Digest::of(b"private").to_hex(),
        Digest::of(b"never heard of").to_hex(),
        digest.to_hex().to_uppercase(),
        digest.to_hex()[1..].to_owned(),
        "..%2f..%2fetc%2fpasswd".to_owned(),
    ] {
        let response = gateway.get(&format!("/blobs/sha256/{name}"), &[]).await?;
        assert_eq!(header(&response, "cache-control"), "no-store", "{name}");
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{name}");
    }
    gateway.stop().await
}

#[tokio::test]
async fn a_retired_version_is_readable_for_the_grace_and_no_longer() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let now = OffsetDateTime::now_utc();
    let version = async |number: i32, serial: &str| {
        let (metadata, root) = (format!("metadata {serial}"), format!("root {serial}"));
        let files = [("incus.tar.xz", metadata.into()), ("squashfs", root.into())];
        site.version("i1", number, serial, &files).await
    };
    let (old, older, new) = (
        version(0, "20261120").await?,
        version(1, "20261121").await?,
        version(2, "20261122").await?,
    );
    site.catalog.commit(created([
        setting("images.deletion_grace", "3h"),
        image("i1", "debian"),
        new,
    ]));
    site.catalog.commit(created([old.clone(), older.clone()]));
    let gateway = site.gateway().await?;
    let status = async |serial: &str| {
        let digest = Digest::of(format!("root {serial}").as_bytes());
        anyhow::Ok(gateway.blob(&digest, &[]).await?.status())
    };
    for serial in ["20261120", "20261121", "20261122"] {
        assert_eq!(status(serial).await?, StatusCode::OK);
    }
    site.catalog
        .commit(updated(retired(&old, now - Duration::from_secs(4 * 60 * 60))));
    site.catalog
        .commit(updated(retired(&older, now - Duration::from_secs(2 * 60 * 60))));
    gateway
        .wait_for_products(|products| {
            products["debian"]["versions"]
                .as_object()
                .is_some_and(|versions| versions.len() == 1)
        })
        .await?;
    assert_eq!(status("20261120").await?, StatusCode::NOT_FOUND);
    assert_eq!(status("20261121").await?, StatusCode::OK);
    assert_eq!(status("20261122").await?, StatusCode::OK);

    // Made private, nothing of it can be read, grace or not.
    let Resource::Image(private) = image("i1", "debian") else {
        unreachable!()
    };
    let private = Resource::Image(Image {
        public: false,
        ..private
    });
    site.catalog.commit([(ChangeOperation::Updated, private)]);
    gateway
        .wait_for_products(|products| products.get("debian").is_none())
        .await?;
    assert_eq!(status("20261122").await?, StatusCode::NOT_FOUND);
    gateway.stop().await
}

/// Begins to read a large blob; the rest stays where it is.
async fn begin_download(gateway: &Gateway, digest: &Digest) -> anyhow::Result<reqwest::Response> {
    // On a connection of its own: HTTP/2 would share one, and its window.
    let client = client(&gateway.ca_pem, reqwest::ClientBuilder::http1_only)?;
    let mut response = client
        .get(gateway.url(&format!("/blobs/sha256/{digest}")))
        .send()
        .await?;
    assert_eq!(response.status(), StatusCode::OK);
    assert!(response.chunk().await?.is_some());
    Ok(response)
}

#[tokio::test]
async fn downloads_beyond_the_bound_are_told_to_come_back() -> anyhow::Result<()> {
    let (site, digest) = Site::with_root(Content::generated(2, b"hsqs", 64 * MIB)).await?;
    let gateway = site
        .start(GatewayConfig {
            max_downloads: 1,
            ..site.config()
        })
        .await?;
    gateway.wait_ready().await?;
    let first = begin_download(&gateway, &digest).await?;
    let part = [(header::RANGE, "bytes=0-9")];
    let refused = gateway.blob(&digest, &part).await?;
    assert_eq!(header(&refused, "retry-after"), "10");
    assert_eq!(header(&refused, "cache-control"), "no-store");
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    let head = gateway
        .client
        .head(gateway.url(&format!("/blobs/sha256/{digest}")))
        .send()
        .await?;
    assert_eq!(head.status(), StatusCode::OK, "a look costs nothing");
    drop(first);
    let until_free = async {
        while gateway.blob(&digest, &part).await?.status() != StatusCode::PARTIAL_CONTENT {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(PATIENCE, until_free).await??;
    gateway.stop().await
}

#[tokio::test]
async fn a_client_that_takes_nothing_loses_its_place() -> anyhow::Result<()> {
    let (site, digest) = Site::with_root(Content::generated(3, b"hsqs", 64 * MIB)).await?;
    let config = GatewayConfig {
        max_downloads: 1,
        write_stall_timeout: Duration::from_secs(1),
        ..site.config()
    };
    let gateway = site.start(config).await?;
    gateway.wait_ready().await?;
    let idle = begin_download(&gateway, &digest).await?;
    let part = [(header::RANGE, "bytes=0-9")];
    let until_free = async {
        while gateway.blob(&digest, &part).await?.status() != StatusCode::PARTIAL_CONTENT {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(PATIENCE, until_free).await??;
    assert!(idle.bytes().await.is_err(), "what it has is not the whole");
    gateway.stop().await
}

#[tokio::test]
async fn a_store_that_fails_in_the_middle_cuts_the_download_off() -> anyhow::Result<()> {
    let (site, digest) = Site::with_root(Content::generated(4, b"hsqs", 64 * MIB)).await?;
    let gateway = site.gateway().await?;
    for only_http1 in [true, false] {
        let client = client(&gateway.ca_pem, |builder| {
            if only_http1 { builder.http1_only() } else { builder }
        })?;
        let mut response = client
            .get(gateway.url(&format!("/blobs/sha256/{digest}")))
            .send()
            .await?;
        assert!(response.chunk().await?.is_some());
        let file = std::fs::OpenOptions::new()
            .write(true)
            .open(blob_file(&site, &digest))?;
        file.set_len(MIB)?;
        let rest = tokio::time::timeout(PATIENCE, response.bytes()).await?;
        assert!(rest.is_err(), "over HTTP/{}", if only_http1 { 1 } else { 2 });

        // A blob that is not whole is not begun.
        let later = gateway.blob(&digest, &[]).await?;
        assert_eq!(later.status(), StatusCode::SERVICE_UNAVAILABLE);
        file.set_len(64 * MIB)?;
    }
    std::fs::remove_file(blob_file(&site, &digest))?;
    let gone = gateway.blob(&digest, &[]).await?;
    assert_eq!(header(&gone, "cache-control"), "no-store");
    assert_eq!(gone.status(), StatusCode::NOT_FOUND);
    gateway.stop().await
}

#[tokio::test]
async fn downloads_end_before_the_process_does() -> anyhow::Result<()> {
    let (site, digest) = Site::with_root(Content::generated(5, b"hsqs", 64 * MIB)).await?;
    let gateway = site.gateway().await?;
    let (url, ca_pem) = (gateway.url("/"), gateway.ca_pem.clone());
    let client = client(&gateway.ca_pem, reqwest::ClientBuilder::http1_only)?;
    let response = client
        .get(gateway.url(&format!("/blobs/sha256/{digest}")))
        .send()
        .await?;
    let stopped = tokio::spawn(gateway.stop());
    let refused = async {
        let client = super::client(&ca_pem, |builder| builder.pool_max_idle_per_host(0))?;
        while client.get(&url).send().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(PATIENCE, refused).await??;
    assert!(!stopped.is_finished(), "a download is under way");
    assert_eq!(Digest::of(&response.bytes().await?), digest);
    stopped.await?
}

/// A store that nobody listens for.
async fn absent_s3() -> anyhow::Result<BlobStore> {
    let config = S3Config {
        endpoint: Some("http://127.0.0.1:9/".parse()?),
        access_key_id: Some("key".to_owned()),
        secret_access_key: Some(Secret::new("secret")),
        path_style: true,
        allow_http: true,
        ..S3Config::new("bucket")
    };
    Ok(BlobStore::open(&StoreConfig::S3(config)).await?)
}

#[tokio::test]
async fn a_store_that_can_sign_is_redirected_to_when_asked_for() -> anyhow::Result<()> {
    let (site, digest) = Site::with_root("root").await?;
    let config = GatewayConfig {
        redirect_blobs: true,
        ..site.config()
    };
    let gateway = site.start_before(absent_s3().await?, config.clone()).await?;
    gateway.wait_ready().await?;
    let redirect = gateway.blob(&digest, &[]).await?;
    assert_eq!(redirect.status(), StatusCode::FOUND);
    assert_eq!(header(&redirect, "cache-control"), "no-store");
    let location = header(&redirect, "location");
    assert!(location.starts_with("http://127.0.0.1:9/bucket/"), "{location}");
    assert!(
        location.contains(&digest.to_hex()) && location.contains("X-Amz-Signature="),
        "{location}"
    );
    let unknown = gateway.blob(&Digest::of(b"unknown"), &[]).await?;
    assert_eq!(unknown.status(), StatusCode::NOT_FOUND);
    gateway.stop().await?;

    // Local disk cannot sign, and is read through the gateway.
    let gateway = site.start(config).await?;
    gateway.wait_ready().await?;
    assert_eq!(
        text_of(gateway.blob(&digest, &[]).await?, StatusCode::OK).await?,
        "root"
    );
    gateway.stop().await
}

#[tokio::test]
async fn a_store_that_is_away_is_no_reason_to_wait() -> anyhow::Result<()> {
    let (site, digest) = Site::with_root("root").await?;
    let gateway = site.start_before(absent_s3().await?, site.config()).await?;
    gateway.wait_ready().await?;
    let response = tokio::time::timeout(PATIENCE, gateway.blob(&digest, &[])).await??;
    assert!(!header(&response, "retry-after").is_empty());
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    gateway.stop().await
}
