//! A client that never stops looking, for as long as a test lasts: at what the gateway lists, at
//! every byte it hands out, and at what is visible in the store.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use futures::TryStreamExt as _;
use reqwest::{Client, StatusCode};
use rootstock_blobs::BlobStore;
use rootstock_model::Digest;
use rootstock_tests::{processes::Processes, tree::PRODUCTS_PATH};
use serde::Deserialize;
use tokio::task::JoinSet;

use super::eventually;

/// Between two rounds.
const PAUSE: Duration = Duration::from_millis(50);
/// For the next bytes of an answer. Short, so that a store that is away does not keep a visitor from
/// looking at the index.
const STALL_TIMEOUT: Duration = Duration::from_secs(10);
/// For one answer with all its bytes, on a machine that has much else to do.
const TIMEOUT: Duration = Duration::from_secs(60);

/// What the gateway is to have at this moment. What it does answer is to be right in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Expect {
    /// Nothing: it is down.
    Nothing,
    /// The index with all that was in it; the store is down.
    Index,
    /// The index, and every blob in it.
    Everything,
}

/// Looks until it is dropped.
#[derive(Debug)]
pub(super) struct Visitor {
    notes: Arc<Mutex<Notes>>,
    _tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Notes {
    expect: Expect,
    /// Grows with each change of `expect`: a round that saw two of them says nothing of either.
    generation: u64,
    /// Rounds that saw all that was expected, without a change on the way.
    rounds: u64,
    /// Fingerprints that were ever listed.
    listed: BTreeSet<Digest>,
    /// What is to come into the store.
    wanted: BTreeSet<Digest>,
    /// The first thing that was wrong.
    wrong: Option<String>,
}

/// Why a round did not see what it looked for.
enum Problem {
    /// The gateway did not answer, or not to the end.
    Index(anyhow::Error),
    /// The gateway did not hand out a blob.
    Blob(anyhow::Error),
    /// It did answer, and that must never happen.
    Wrong(String),
}

/// `streams/v1/images.json`, as far as it is looked at.
#[derive(Debug, Deserialize)]
struct ProductsFile {
    products: BTreeMap<String, Product>,
}

#[derive(Debug, Deserialize)]
struct Product {
    versions: BTreeMap<String, Version>,
}

#[derive(Debug, Deserialize)]
struct Version {
    items: BTreeMap<String, Item>,
}

#[derive(Debug, Deserialize)]
struct Item {
    ftype: String,
    sha256: Digest,
    size: u64,
    path: String,
    #[serde(rename = "combined_squashfs_sha256")]
    fingerprint: Option<Digest>,
}

/// A gateway as a client sees it.
struct Gateway {
    client: Client,
    url: String,
    /// Blobs whose bytes were right, by their paths.
    fetched: BTreeSet<String>,
}

impl Visitor {
    /// Begins to look.
    pub(super) async fn start(processes: &Processes) -> anyhow::Result<Self> {
        let notes = Arc::new(Mutex::new(Notes {
            expect: Expect::Everything,
            generation: 0,
            rounds: 0,
            listed: BTreeSet::new(),
            wanted: BTreeSet::new(),
            wrong: None,
        }));
        let ca = reqwest::Certificate::from_pem(&processes.ca_pem()?)?;
        let gateway = Gateway {
            client: Client::builder()
                .tls_certs_only([ca])
                .read_timeout(STALL_TIMEOUT)
                .timeout(TIMEOUT)
                .build()?,
            url: processes.gateway_url(),
            fetched: BTreeSet::new(),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(look_at_gateway(gateway, Arc::clone(&notes)));
        tasks.spawn(look_at_store(processes.blobs().await?, Arc::clone(&notes)));
        Ok(Self { notes, _tasks: tasks })
    }

    /// Says what the gateway is to have from now on.
    pub(super) fn expect(&self, expect: Expect) {
        let mut notes = lock(&self.notes);
        notes.expect = expect;
        notes.generation += 1;
    }

    /// Says which blobs to look for in the store.
    pub(super) fn want(&self, blobs: impl IntoIterator<Item = Digest>) {
        lock(&self.notes).wanted.extend(blobs);
    }

    /// Rounds so far that saw all that was expected.
    pub(super) fn rounds(&self) -> u64 {
        lock(&self.notes).rounds
    }

    /// Whether this was ever listed, which it then stays.
    pub(super) fn has_seen(&self, fingerprint: &Digest) -> bool {
        lock(&self.notes).listed.contains(fingerprint)
    }

    /// An error when anything was ever wrong.
    pub(super) fn verdict(&self) -> anyhow::Result<()> {
        match &lock(&self.notes).wrong {
            Some(wrong) => bail!("the visitor saw: {wrong}"),
            None => Ok(()),
        }
    }

    /// Waits for some more rounds that see all that is expected.
    pub(super) async fn more_rounds(&self) -> anyhow::Result<()> {
        let target = self.rounds() + 3;
        eventually("rounds of the visitor", async || {
            self.verdict()?;
            Ok(self.rounds() >= target)
        })
        .await
    }
}

async fn look_at_gateway(mut gateway: Gateway, notes: Arc<Mutex<Notes>>) {
    loop {
        let (expect, generation) = {
            let notes = lock(&notes);
            (notes.expect, notes.generation)
        };
        let outcome = gateway.round(&notes).await;
        {
            let mut notes = lock(&notes);
            let undisturbed = notes.generation == generation;
            let problem = match outcome {
                Ok(()) => None,
                Err(Problem::Wrong(what)) => Some(what),
                Err(Problem::Index(error)) => (undisturbed && expect >= Expect::Index)
                    .then(|| format!("no index, while it expected {expect:?}: {error:#}")),
                Err(Problem::Blob(error)) => (undisturbed && expect >= Expect::Everything)
                    .then(|| format!("no blob, while it expected {expect:?}: {error:#}")),
            };
            match problem {
                Some(problem) => notes.wrong = notes.wrong.take().or(Some(problem)),
                None if undisturbed => notes.rounds += 1,
                None => {}
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

impl Gateway {
    async fn round(&mut self, notes: &Mutex<Notes>) -> Result<(), Problem> {
        let products = self.products().await.map_err(Problem::Index)?;
        let versions = products
            .products
            .values()
            .flat_map(|product| product.versions.values());
        let items: Vec<&Item> = versions.flat_map(|version| version.items.values()).collect();
        let listed: BTreeSet<Digest> = items.iter().filter_map(|item| item.fingerprint).collect();
        let vanished = lock(notes).listed.difference(&listed).next().copied();
        if let Some(fingerprint) = vanished {
            return Err(Problem::Wrong(format!(
                "{fingerprint} was listed, and is no longer"
            )));
        }
        for item in items {
            self.look_at(item).await?;
        }
        // What is in the notes was there to be fetched.
        lock(notes).listed.extend(listed);
        Ok(())
    }

    async fn products(&self) -> anyhow::Result<ProductsFile> {
        let answer = self
            .client
            .get(format!("{}/{PRODUCTS_PATH}", self.url))
            .send()
            .await?;
        let text = answer.error_for_status()?.bytes().await?;
        serde_json::from_slice(&text).context("the index cannot be read")
    }

    /// Asks for the blob's head; and once for its bytes.
    async fn look_at(&mut self, item: &Item) -> Result<(), Problem> {
        let url = format!("{}/{}", self.url, item.path);
        let head = self.client.head(&url).send().await;
        let head = head.map_err(|error| Problem::Blob(error.into()))?;
        let length = head.headers().get(http::header::CONTENT_LENGTH).cloned();
        let length = length.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        match (head.status(), length) {
            (StatusCode::OK, Some(length)) if length == item.size => {}
            (StatusCode::OK | StatusCode::NOT_FOUND, length) => {
                return Err(Problem::Wrong(format!(
                    "{} is listed with {} bytes; its head says {} and {length:?}",
                    item.ftype,
                    item.size,
                    head.status()
                )));
            }
            (status, _) => return Err(Problem::Blob(anyhow::anyhow!("{url}: {status}"))),
        }
        if !self.fetched.contains(&item.path) {
            let bytes = self.fetch(&url).await.map_err(Problem::Blob)?;
            if Digest::of(&bytes) != item.sha256 {
                return Err(Problem::Wrong(format!("{url} has other bytes than it says")));
            }
            self.fetched.insert(item.path.clone());
        }
        Ok(())
    }

    /// All bytes. Those of a test's blobs fit in memory.
    async fn fetch(&self, url: &str) -> anyhow::Result<Vec<u8>> {
        let answer = self.client.get(url).send().await?.error_for_status()?;
        Ok(answer.bytes().await?.to_vec())
    }
}

/// Whatever becomes visible is what its name says. A store that does not answer shows nothing.
async fn look_at_store(blobs: BlobStore, notes: Arc<Mutex<Notes>>) {
    let mut seen = BTreeSet::new();
    loop {
        let wanted = lock(&notes).wanted.clone();
        for digest in wanted {
            if seen.contains(&digest) || !matches!(blobs.head(&digest).await, Ok(Some(_))) {
                continue;
            }
            match hash(&blobs, &digest).await {
                Ok(found) if found == digest => {
                    seen.insert(digest);
                }
                Ok(found) => {
                    let wrong = format!("the store showed {digest} with the bytes of {found}");
                    let mut notes = lock(&notes);
                    notes.wrong = notes.wrong.take().or(Some(wrong));
                    return;
                }
                Err(_) => {}
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn hash(blobs: &BlobStore, digest: &Digest) -> anyhow::Result<Digest> {
    let reader = blobs.read(digest, None).await?;
    let pieces: Vec<_> = reader.stream.try_collect().await?;
    let bytes = pieces.concat();
    ensure!(!bytes.is_empty(), "no blob of these tests is empty");
    Ok(Digest::of(&bytes))
}

fn lock(notes: &Mutex<Notes>) -> MutexGuard<'_, Notes> {
    notes.lock().unwrap_or_else(PoisonError::into_inner)
}
