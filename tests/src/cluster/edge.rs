//! What clients see: the gateway, from outside.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{bail, ensure};
use http::StatusCode;
use rootstock_model::{
    Digest,
    snapshot::{OfferedVersion, Snapshot},
};

use rootstock_proto::catalog::v1::content_service_client::ContentServiceClient;
use tonic::transport::{Certificate, Channel, ClientTlsConfig};

use crate::tree::PRODUCTS_PATH;

/// What takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(180);

/// A gateway's TLS port, and a client that trusts it.
#[derive(Debug)]
pub struct Edge {
    address: SocketAddr,
    ca_pem: String,
    client: reqwest::Client,
}

impl Edge {
    pub(super) fn new(address: SocketAddr, ca: &Path) -> anyhow::Result<Self> {
        let ca_pem = std::fs::read_to_string(ca)?;
        let trusted = reqwest::Certificate::from_pem(ca_pem.as_bytes())?;
        Ok(Self {
            address,
            ca_pem,
            client: reqwest::Client::builder().tls_certs_only([trusted]).build()?,
        })
    }

    /// Its root, without a slash at the end.
    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }

    /// The certificate to trust.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its `ContentService` as everyone reaches it, through `port`.
    pub fn contents_through(&self, port: u16) -> anyhow::Result<ContentServiceClient<Channel>> {
        Ok(ContentServiceClient::new(self.channel_through(port)?))
    }

    /// A connection for calls as everyone makes them.
    pub fn channel(&self) -> anyhow::Result<Channel> {
        self.channel_through(self.address.port())
    }

    fn channel_through(&self, port: u16) -> anyhow::Result<Channel> {
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&self.ca_pem));
        let endpoint = Channel::from_shared(format!("https://localhost:{port}"))?.tls_config(tls)?;
        Ok(endpoint.connect_lazy())
    }

    /// Its `ContentService` as everyone reaches it.
    pub fn contents(&self) -> anyhow::Result<ContentServiceClient<Channel>> {
        self.contents_through(self.address.port())
    }

    /// Fetches a path (without its leading slash).
    pub async fn get(&self, path: &str) -> anyhow::Result<(StatusCode, Vec<u8>)> {
        let response = self.client.get(format!("{}/{path}", self.url())).send().await?;
        Ok((response.status(), response.bytes().await?.into()))
    }

    /// The status for a blob. An error when the bytes of a success are not the blob's.
    pub async fn blob(&self, digest: &Digest) -> anyhow::Result<StatusCode> {
        let (status, bytes) = self.get(&format!("blobs/sha256/{digest}")).await?;
        ensure!(
            !status.is_success() || Digest::of(&bytes) == *digest,
            "other bytes are served as {digest}"
        );
        Ok(status)
    }

    /// Everything that is listed. An error when the index has a mistake.
    pub async fn offer(&self) -> anyhow::Result<Snapshot> {
        let (status, document) = self.get(PRODUCTS_PATH).await?;
        ensure!(status == StatusCode::OK, "the index is {status}");
        let offer = rootstock_simplestreams::parse_products(&document)?;
        ensure!(
            offer.left_out.is_empty(),
            "the gateway lists {:?}",
            offer.left_out
        );
        Ok(offer)
    }

    /// The fingerprints of everything that is listed.
    pub async fn fingerprints(&self) -> anyhow::Result<BTreeSet<String>> {
        let offer = self.offer().await?;
        let contents = versions(&offer).flat_map(|version| &version.contents);
        Ok(contents
            .filter_map(|content| content.fingerprint())
            .map(|fingerprint| fingerprint.to_hex())
            .collect())
    }

    /// Waits until just these fingerprints are listed.
    pub async fn wait_for(&self, fingerprints: &BTreeSet<String>) -> anyhow::Result<()> {
        let start = Instant::now();
        loop {
            let listed = self.fingerprints().await?;
            if listed == *fingerprints {
                return Ok(());
            }
            if start.elapsed() > PATIENCE {
                bail!("listed are {listed:#?}, not {fingerprints:#?}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Fetches every file that is listed, at the path that the index says, and answers how many there
    /// are. An error when one is not to the byte what the index says.
    pub async fn fetch_everything(&self) -> anyhow::Result<usize> {
        let offer = self.offer().await?;
        let contents = versions(&offer).flat_map(|version| &version.contents);
        let mut seen = BTreeSet::new();
        for artifact in contents.flat_map(|content| content.artifacts()) {
            if !seen.insert(artifact.path.clone()) {
                continue;
            }
            let (status, bytes) = self.get(&artifact.path).await?;
            ensure!(status == StatusCode::OK, "{} is {status}", artifact.path);
            ensure!(
                bytes.len() as u64 == artifact.size_bytes && Digest::of(&bytes) == artifact.sha256,
                "{} is not what the index says",
                artifact.path
            );
        }
        Ok(seen.len())
    }
}

/// All versions of an offer.
pub fn versions(offer: &Snapshot) -> impl Iterator<Item = &OfferedVersion> {
    offer.images.iter().flat_map(|image| &image.versions)
}
