//! Images in and out at the edge: uploads, imports, exports.

mod cuts;
mod export;
mod imports;
mod names;
mod uploads;

use std::{collections::BTreeMap, fs, path::PathBuf, process::Output};

use bytes::Bytes;
use rootstock_archive::Metadata;
use rootstock_blobs::{LocalConfig, StoreConfig};
use rootstock_model::Digest;
use rootstock_proto::catalog::v1::{
    ImportImageRequest, UploadHeader, content_service_client::ContentServiceClient,
};
use rootstock_tests::{
    cluster::{Cluster, ClusterOptions},
    process,
    remote::Content,
    standalone::run,
    uploads::{file, header, upload},
};
use tempfile::TempDir;
use time::OffsetDateTime;
use tonic::{Status, transport::Channel};

/// What a cut-off upload goes on from is a multiple of this.
const PART_BYTES: u64 = 1 << 20;
const CREATED: i64 = 1_767_225_600; // 2026-01-01

/// A cluster whose store keeps what came in small parts, and the store's directory.
struct Site {
    cluster: Cluster,
    store: TempDir,
    files: TempDir,
}

impl Site {
    async fn start() -> anyhow::Result<Self> {
        let store = tempfile::tempdir()?;
        let mut config = LocalConfig::new(store.path());
        config.part_size_bytes = PART_BYTES;
        Ok(Self {
            cluster: cluster(StoreConfig::Local(config)).await?,
            store,
            files: tempfile::tempdir()?,
        })
    }

    fn contents(&self) -> anyhow::Result<ContentServiceClient<Channel>> {
        self.cluster.contents()
    }

    /// Every file in the store, by name.
    fn stored(&self) -> anyhow::Result<Vec<String>> {
        let mut names = Vec::new();
        let mut left = vec![self.store.path().to_owned()];
        while let Some(directory) = left.pop() {
            for entry in fs::read_dir(directory)? {
                let entry = entry?;
                match entry.file_type()?.is_dir() {
                    true => left.push(entry.path()),
                    false => names.push(entry.file_name().to_string_lossy().into_owned()),
                }
            }
        }
        names.sort();
        Ok(names)
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        let hex = digest.to_hex();
        self.store.path().join("blobs/sha256").join(&hex[..2]).join(hex)
    }

    /// Writes a file for the command line to read.
    fn write(&self, name: &str, content: &[u8]) -> anyhow::Result<String> {
        let path = self.files.path().join(name);
        fs::write(&path, content)?;
        Ok(path.display().to_string())
    }

    async fn cli(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        cli(&self.cluster, arguments).await
    }

    async fn ok(&self, arguments: &[&str]) -> anyhow::Result<String> {
        ok(&self.cluster, arguments).await
    }

    /// Runs `rootstock <arguments>` against the listener where operators see every image, as it is reached
    /// through this port.
    async fn operate(&self, port: u16, arguments: &[&str]) -> anyhow::Result<Output> {
        let mut command = process::command()?;
        command
            .args(arguments)
            .env("ROOTSTOCK_SERVER", format!("http://127.0.0.1:{port}"));
        run(command).await
    }
}

async fn cluster(store: StoreConfig) -> anyhow::Result<Cluster> {
    Cluster::start_with(ClusterOptions {
        store: Some(store),
        ..ClusterOptions::default()
    })
    .await
}

/// Runs `rootstock <arguments>` against the cluster's gateway.
async fn cli(cluster: &Cluster, arguments: &[&str]) -> anyhow::Result<Output> {
    let ca = cluster.directory().join("ca-for-cli.pem");
    fs::write(&ca, cluster.edge.ca_pem())?;
    let mut command = process::command()?;
    command
        .args(arguments)
        .env("ROOTSTOCK_SERVER", cluster.edge.url())
        .env("ROOTSTOCK_SERVER_CA", ca);
    run(command).await
}

async fn ok(cluster: &Cluster, arguments: &[&str]) -> anyhow::Result<String> {
    let output = cli(cluster, arguments).await?;
    anyhow::ensure!(
        output.status.success(),
        "rootstock {}: {}\n{}",
        arguments.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// What was printed on standard error last, and the exit code.
fn failure(output: &Output) -> (String, i32) {
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.trim_end().lines().last().unwrap_or_default().to_owned();
    (last, output.status.code().unwrap_or(-1))
}

/// Metadata of an image of this release.
fn metadata(release: &str) -> anyhow::Result<Bytes> {
    let property = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let metadata = Metadata {
        architecture: "x86_64".parse()?,
        creation_date: OffsetDateTime::from_unix_timestamp(CREATED)?,
        expiry_date: None,
        properties: BTreeMap::from([
            property("os", "Debian"),
            property("release", release),
            property("variant", "default"),
            property("architecture", "amd64"),
            property("description", "Debian of our own"),
        ]),
    };
    Ok(metadata.to_tar_xz()?.into())
}

/// Bytes that no other seed makes, behind the magic of a squashfs.
fn root(seed: u64, size_bytes: u64) -> anyhow::Result<Bytes> {
    content(seed, b"hsqs", size_bytes)
}

fn content(seed: u64, head: &'static [u8], size_bytes: u64) -> anyhow::Result<Bytes> {
    use rand::{RngCore as _, SeedableRng as _};
    let mut bytes = vec![0; usize::try_from(size_bytes)?];
    rand::rngs::StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes[..head.len()].copy_from_slice(head);
    Ok(bytes.into())
}

fn fingerprint(files: &[&Bytes]) -> anyhow::Result<Digest> {
    let contents: Vec<Content> = files.iter().map(|file| Content::Bytes((*file).clone())).collect();
    Ok(Content::digest_of_all(&contents.iter().collect::<Vec<_>>())?)
}

/// An import of these files, as a container, under this name.
fn request(name: &str, files: &[&Bytes]) -> ImportImageRequest {
    ImportImageRequest {
        name: name.to_owned(),
        files: files.iter().map(|content| file(content)).collect(),
        ..ImportImageRequest::default()
    }
}

/// Uploads metadata and root, in this order.
async fn upload_both(
    contents: &mut ContentServiceClient<Channel>,
    metadata: &Bytes,
    root: &Bytes,
) -> Result<(), Status> {
    upload(contents, header(metadata), metadata).await?;
    let header = UploadHeader {
        metadata_sha256: Digest::of(metadata).to_hex(),
        ..header(root)
    };
    upload(contents, header, root).await.map(drop)
}
