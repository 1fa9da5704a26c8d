//! The TLS port before the first request.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use rustls::{ClientConfig, RootCertStore, version};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{Gateway, PATIENCE, Site};

async fn connect(
    gateway: &Gateway,
    versions: &[&'static rustls::SupportedProtocolVersion],
    alpn: &[&[u8]],
) -> anyhow::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(gateway.ca_pem.as_bytes())?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let stream = TcpStream::connect(gateway.http).await?;
    Ok(TlsConnector::from(Arc::new(config))
        .connect(ServerName::try_from("localhost")?, stream)
        .await?)
}

#[tokio::test]
async fn tls_1_3_is_spoken_and_nothing_older() -> anyhow::Result<()> {
    let (site, _) = Site::with_root("root").await?;
    let gateway = site.gateway().await?;
    for (offered, chosen) in [
        (&[&b"h2"[..], b"http/1.1"][..], Some(&b"h2"[..])),
        (&[b"http/1.1"], Some(b"http/1.1")),
        (&[], None),
    ] {
        let stream = connect(&gateway, &[&version::TLS13], offered).await?;
        assert_eq!(stream.get_ref().1.alpn_protocol(), chosen);
    }
    let older = connect(&gateway, &[&version::TLS12], &[]).await;
    let error = older.err().context("TLS 1.2 was accepted")?.to_string();
    assert!(error.contains("ProtocolVersion"), "{error}");
    gateway.stop().await
}

#[tokio::test]
async fn plain_http_is_closed_at_once() -> anyhow::Result<()> {
    let (site, _) = Site::with_root("root").await?;
    let gateway = site.gateway().await?;
    let mut stream = TcpStream::connect(gateway.http).await?;
    stream
        .write_all(b"GET /blobs/sha256/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await?;
    let mut answer = Vec::new();
    // Long before the handshake would be given up.
    let closed = timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await;
    let closed = closed.context("the connection is left open")?;
    assert!(closed.is_err() || answer.is_empty(), "{answer:?}");
    gateway.stop().await
}

#[tokio::test]
async fn a_client_without_alpn_is_served() -> anyhow::Result<()> {
    let (site, _) = Site::with_root("root").await?;
    let gateway = site.gateway().await?;
    let mut stream = connect(&gateway, &[&version::TLS13], &[]).await?;
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
        .await?;
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await??;
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("https://here "),
        "{answer}"
    );
    gateway.stop().await
}

#[tokio::test]
async fn connections_that_say_nothing_do_not_keep_the_process() -> anyhow::Result<()> {
    let (site, _) = Site::with_root("root").await?;
    let gateway = site.gateway().await?;
    let _silent = TcpStream::connect(gateway.http).await?;
    let _shaken_hands = connect(&gateway, &[&version::TLS13], &[b"h2"]).await?;
    let idle = gateway.get("/", &[]).await?;
    timeout(PATIENCE, gateway.stop()).await??;
    drop(idle);
    Ok(())
}
