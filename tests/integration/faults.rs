//! Rootstock as processes, of which any may be killed and anything they stand on may go away, in the
//! middle of a sync.
//!
//! A [`Site`] is the processes, an image server whose big files come slowly, and a visitor that
//! looks at the gateway and the store all the while. Each test offers a big file, waits until some of
//! it has come, breaks something, and wants everything to be as if nothing had happened.

mod kills;
mod outages;
mod visitor;

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rootstock_blobs::BlobStore;
use rootstock_model::{Digest, RootFtype};
use rootstock_proto::catalog::v1::{CreateRemoteRequest, Remote};
use rootstock_tests::{
    processes::{Layout, Processes, Role},
    remote::{FakeRemote, Fault, Request},
    tree::{Product, Tree, TreeFile, Version},
};

use self::visitor::{Expect, Visitor};

/// How long anything may take that is waited for. Far more than it takes on an idle machine.
const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(30);
/// Three parts of S3 and a bit.
const BIG_BYTES: u64 = (16 << 20) + 12_345;
/// A big file takes some seconds at this rate, of which most are left when its first part is stored.
const SLOW: Fault = Fault::Slow {
    bytes_per_second: 1 << 20,
};
const SERIAL: &str = "20260101_0524";

/// Everything that a test needs.
struct Site {
    // Dropped first: it looks at the others.
    visitor: Visitor,
    processes: Processes,
    blobs: BlobStore,
    remote: FakeRemote,
    tree: Tree,
    products: Vec<String>,
}

/// A big file that is being transferred.
struct Big {
    root: TreeFile,
    fingerprint: Digest,
}

/// Runs `test` on a site that has mirrored a small image, and then asks whether anything was ever
/// wrong. Panics on an error, which shows what the processes printed.
async fn on_site(layout: Layout, test: impl AsyncFnOnce(&mut Site) -> anyhow::Result<()>) {
    let mut site = Site::start(layout).await.expect("everything starts");
    let tested = async {
        site.mirror_a_small_image().await?;
        test(&mut site).await
    };
    let tested = tested.await;
    let seen = site.visitor.verdict();
    let running = site.processes.all_run();
    if let Err(error) = tested.and(running) {
        panic!("{error:?}\nand the visitor says: {seen:?}");
    }
    seen.expect("nothing was ever wrong");
}

/// Waits until `is_so`; an error when that takes too long.
async fn eventually(what: &str, is_so: impl AsyncFn() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let start = Instant::now();
    while !is_so().await.with_context(|| format!("waiting for {what}"))? {
        if start.elapsed() > PATIENCE {
            bail!("waited for {what} in vain");
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

impl Site {
    async fn start(layout: Layout) -> anyhow::Result<Self> {
        let processes = Processes::start(layout).await?;
        Ok(Self {
            visitor: Visitor::start(&processes).await?,
            blobs: processes.blobs().await?,
            processes,
            remote: FakeRemote::https()?,
            tree: Tree::default(),
            products: Vec::new(),
        })
    }

    async fn mirror_a_small_image(&mut self) -> anyhow::Result<()> {
        let small = self.offer("bookworm", 100_000)?;
        let remote = Remote {
            name: "upstream".to_owned(),
            url: self.remote.url(),
            ca_pem: self.remote.ca_pem().to_owned(),
            update_interval: prost_types::Duration::try_from(Duration::from_secs(1)).ok(),
            ..Remote::default()
        };
        let request = CreateRemoteRequest { remote: Some(remote) };
        self.processes.remotes().create_remote(request).await?;
        self.mirrored(&small).await
    }

    /// Puts a new product with one version on the remote, which is polled each second.
    fn offer(&mut self, release: &str, size_bytes: u64) -> anyhow::Result<Big> {
        let product = self.tree.add_product(Product::new("Debian", release, "amd64"));
        let version = Version::new(SERIAL).root_of_size(RootFtype::Squashfs, size_bytes);
        self.tree.add_version(&product, version)?;
        let offered = Big {
            root: self.tree.root(&product, SERIAL, RootFtype::Squashfs)?.clone(),
            fingerprint: self.tree.fingerprint(&product, SERIAL, RootFtype::Squashfs)?,
        };
        if size_bytes >= BIG_BYTES {
            self.remote.fault(&offered.root.path, SLOW);
        }
        self.visitor.want(self.tree.files().map(|file| file.digest));
        self.tree.publish(&self.remote)?;
        self.products.push(product);
        Ok(offered)
    }

    /// Offers a big file and waits until a part of it is stored and a part is not. From then on the
    /// rest of it comes fast, to whoever asks for it.
    async fn offer_and_wait_half_way(&mut self, release: &str) -> anyhow::Result<Big> {
        let big = self.offer(release, BIG_BYTES)?;
        self.half_way(&big).await?;
        self.remote.clear_faults(&big.root.path);
        Ok(big)
    }

    async fn half_way(&self, big: &Big) -> anyhow::Result<()> {
        let digest = &big.root.digest;
        eventually("a first part to be stored", async || {
            self.processes.is_journaled(digest).await
        })
        .await?;
        let stored = self.blobs.head(digest).await?;
        ensure!(stored.is_none(), "the blob came too fast to be interrupted");
        let of_all = self.blobs.list_uploads().await?;
        ensure!(
            of_all.iter().any(|upload| upload.digest == Some(*digest)),
            "it is half-way, and these are the uploads: {of_all:?}"
        );
        Ok(())
    }

    /// Waits until the version is listed at the gateway and its bytes were read there.
    async fn mirrored(&self, offered: &Big) -> anyhow::Result<()> {
        eventually("the version at the gateway", async || {
            self.visitor.verdict()?;
            Ok(self.visitor.has_seen(&offered.fingerprint))
        })
        .await
    }

    /// Waits until everything is at the gateway and nothing is under way any more, and the store holds
    /// each wanted blob once and nothing else.
    async fn is_complete(&self) -> anyhow::Result<()> {
        for product in &self.products {
            let fingerprint = self.tree.fingerprint(product, SERIAL, RootFtype::Squashfs)?;
            eventually(&format!("{product} at the gateway"), async || {
                self.visitor.verdict()?;
                Ok(self.visitor.has_seen(&fingerprint))
            })
            .await?;
        }
        eventually("the transfers to end", async || {
            Ok(self.processes.transfers().await? == 0)
        })
        .await?;
        eventually("abandoned uploads to be swept", async || {
            Ok(self.blobs.list_uploads().await?.is_empty())
        })
        .await?;
        let mut wanted: Vec<String> = self
            .tree
            .files()
            .map(|file| file.digest.to_hex())
            .map(|hex| format!("blobs/sha256/{}/{hex}", &hex[..2]))
            .collect();
        wanted.sort();
        let objects = self.processes.objects().await?;
        ensure!(
            objects == wanted,
            "the store holds {objects:#?}, wanted are {wanted:#?}"
        );
        self.visitor.more_rounds().await
    }

    /// Requests for a file, those before the first `seen` left out.
    fn requests_since(&self, seen: usize, big: &Big) -> Vec<Request> {
        let requests = self.remote.requests_for(&big.root.path);
        requests.into_iter().skip(seen).collect()
    }

    /// An error when any of these requests asked for bytes that were stored already.
    fn asked_for_the_rest(&self, requests: &[Request]) -> anyhow::Result<()> {
        for request in requests {
            let range = request.range().unwrap_or_default();
            let start = range
                .strip_prefix("bytes=")
                .and_then(|range| range.split('-').next()?.parse::<u64>().ok())
                .unwrap_or_default();
            let part = self.processes.part_size_bytes();
            ensure!(
                start >= part && start % part == 0,
                "with a part of {part} bytes stored, range {range:?} was asked for"
            );
        }
        Ok(())
    }

    /// Leaves an upload behind that nobody knows of, as a worker does that is killed before it could
    /// tell the catalog.
    async fn plant_orphan(&self) -> anyhow::Result<()> {
        let mut upload = self
            .blobs
            .begin_upload(&Digest::of(b"nobody wants this"), BIG_BYTES)
            .await?;
        let bytes = usize::try_from(self.processes.part_size_bytes())? + (1 << 20);
        upload.write(vec![7; bytes].into()).await?;
        drop(upload);
        ensure!(
            !self.blobs.list_uploads().await?.is_empty(),
            "no orphan was planted"
        );
        Ok(())
    }

    /// Kills a process and starts it again.
    async fn restart(&mut self, role: Role) -> anyhow::Result<()> {
        if role == Role::Gateway {
            self.visitor.expect(Expect::Nothing);
        }
        self.processes.kill(role)?;
        self.processes.launch(role).await?;
        self.visitor.expect(Expect::Everything);
        Ok(())
    }
}
