//! Everything at once: operators, services, workers and time itself act at random, side by side, and
//! what the catalog promises is checked after each round.
//!
//! `ROOTSTOCK_RANDOM_SEED` repeats a run as far as its calls go (what overlaps with what is the
//! machine's matter); `ROOTSTOCK_RANDOM_ROUNDS` makes it longer.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    env,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures::{StreamExt as _, future::join_all};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use rootstock_model::{
    Digest,
    limits::{MAX_PROPERTIES_BYTES, MAX_TEXT_BYTES},
    properties::MAX_VALUE_BYTES,
    snapshot::Snapshot,
};
use rootstock_proto::{
    catalog::v1::{
        AddImageRequest, CreateAliasRequest, CreateApplicationRequest, DeleteAliasRequest,
        DeleteApplicationRequest, DeleteImageRequest, DeleteVersionRequest, FetchImageRequest,
        ListAliasesRequest, RecordImageUseRequest, ReleaseImageRequest, Remote, RemoteMode,
        ResolveImageRequest, RollbackImageRequest, Status, SwitchDefaultImageRequest, SyncRemoteRequest,
        UpdateImageRequest, WatchRequest, WatchResponse,
        application_service_client::ApplicationServiceClient, change::Resource,
    },
    sync::v1::{WorkKind, work::Task},
};
use rootstock_tests::catalog::transfer_task;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Streaming};

use super::{AUTO_UPDATE, EXPIRE, Site};
use crate::catalog::{
    offers::{fingerprint, image, snapshot},
    watch::apply,
};

const OPERATORS: u64 = 8;
const CALLS: usize = 100;
const WATCHERS: usize = 3;
const PRODUCTS: usize = 4;
/// Serials that a remote offers of each product.
const OFFERED: u32 = 3;

/// What is beyond the catalog: the object store, and what remotes offer.
struct World {
    site: Site,
    objects: Mutex<BTreeSet<Digest>>,
    /// The newest serial of each product, by remote.
    offers: Mutex<BTreeMap<&'static str, [u32; PRODUCTS]>>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_at_once_every_promise_holds() {
    let number = |name: &str| env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seed = number("ROOTSTOCK_RANDOM_SEED").unwrap_or_else(rand::random);
    let rounds = number("ROOTSTOCK_RANDOM_ROUNDS").unwrap_or(3);
    eprintln!("ROOTSTOCK_RANDOM_SEED={seed}");
    let _ = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::ERROR)
        .with_writer(std::io::stderr)
        .try_init();
    let world = World::new().await;
    let mut watchers = vec![];
    for _ in 0..WATCHERS {
        watchers.push(Watcher::begin(&world).await);
    }
    for round in 0..rounds {
        let stop = CancellationToken::new();
        let operators = async {
            join_all((0..OPERATORS).map(|operator| {
                let random = StdRng::seed_from_u64(seed ^ (round * OPERATORS + operator));
                world.operate(random)
            }))
            .await;
            stop.cancel();
        };
        tokio::join!(
            operators,
            world.polls(&stop),
            world.transfers(&stop),
            world.transfers(&stop),
            world.verifications(&stop),
            world.timed(&stop),
            world.collections(&stop),
        );
        world.check().await;
        let revision = world.revision().await;
        let whole = Watcher::begin(&world).await.state;
        for watcher in &mut watchers {
            watcher.follow(revision).await;
            assert_eq!(
                watcher.differences(&whole),
                [] as [String; 0],
                "what a watcher has is what there is"
            );
        }
        world.age().await;
        world.check().await;
    }
}

/// Properties: mostly none, else up to what an image may have, and sometimes more.
fn large_properties(random: &mut StdRng) -> HashMap<String, String> {
    if random.random_bool(0.5) {
        return HashMap::new();
    }
    let count = random.random_range(0..MAX_PROPERTIES_BYTES / MAX_VALUE_BYTES + 1);
    let value = "x".repeat(random.random_range(0..=MAX_VALUE_BYTES));
    (0..count)
        .map(|number| (format!("k{number}"), value.clone()))
        .collect()
}

/// A text: mostly short, else about as long as it may be.
fn large_text(text: &str, random: &mut StdRng) -> String {
    match random.random_bool(0.2) {
        true => "x".repeat(random.random_range(MAX_TEXT_BYTES / 2..=MAX_TEXT_BYTES + 1)),
        false => text.to_owned(),
    }
}

impl World {
    async fn new() -> Self {
        let site = Site::start().await;
        for (name, mode) in [("mirror", RemoteMode::Mirror), ("lazy", RemoteMode::OnDemand)] {
            let remote = Remote {
                name: name.to_owned(),
                url: format!("https://{name}.example"),
                mode: mode.into(),
                keep_versions: 2,
                ..Remote::default()
            };
            site.catalog.add_remote(remote).await.unwrap();
        }
        Self {
            site,
            objects: Mutex::default(),
            offers: Mutex::new([("mirror", [OFFERED; PRODUCTS]), ("lazy", [OFFERED; PRODUCTS])].into()),
        }
    }

    /// Makes calls at random. Each may be refused; none may fail otherwise.
    async fn operate(&self, mut random: StdRng) {
        for _ in 0..CALLS {
            let (what, outcome) = self.call(&mut random).await;
            let Err(status) = outcome else { continue };
            let is_refusal = matches!(
                status.code(),
                Code::NotFound
                    | Code::AlreadyExists
                    | Code::FailedPrecondition
                    | Code::InvalidArgument
                    | Code::Aborted
            );
            // A product whose versions are forgotten is known after the next poll.
            let is_later = status.code() == Code::Unavailable && status.message().contains("taken up again");
            assert!(is_refusal || is_later, "{what}: {status:?}");
        }
    }

    async fn call(&self, random: &mut StdRng) -> (&'static str, Result<(), tonic::Status>) {
        let catalog = &self.site.catalog;
        let (mut images, mut aliases) = (catalog.images(), catalog.aliases());
        let mut applications = ApplicationServiceClient::new(catalog.channel.clone());
        let source = product(random);
        let name = if random.random() {
            added(random)
        } else {
            source.clone()
        };
        let (alias, application) = (numbered("alias", random), numbered("application", random));
        let version: Option<i32> = random.random_bool(0.3).then(|| random.random_range(0..6));
        let (r#type, etag) = (0, String::new());
        match random.random_range(0..18) {
            0 | 1 => {
                let request = AddImageRequest {
                    name: if random.random_bool(0.2) {
                        source.clone()
                    } else {
                        added(random)
                    },
                    source,
                    release: version
                        .map(|number| serial(number.unsigned_abs() + 1))
                        .unwrap_or_default(),
                    default: random.random_bool(0.2),
                    properties: large_properties(random),
                    ..AddImageRequest::default()
                };
                ("add", images.add_image(request).await.map(drop))
            }
            2 => {
                let request = DeleteImageRequest {
                    image: name,
                    r#type,
                    force: random.random_bool(0.7),
                    etag,
                };
                ("delete", images.delete_image(request).await.map(drop))
            }
            3 => {
                let version = random.random_range(0..6);
                let request = DeleteVersionRequest {
                    image: name,
                    r#type,
                    version,
                    etag,
                };
                ("delete a version", images.delete_version(request).await.map(drop))
            }
            4 => {
                let request = SwitchDefaultImageRequest { image: name, r#type };
                ("switch", images.switch_default_image(request).await.map(drop))
            }
            5 => {
                let request = RollbackImageRequest {
                    image: name,
                    version,
                    reason: large_text("at random", random),
                    ..RollbackImageRequest::default()
                };
                ("roll back", images.rollback_image(request).await.map(drop))
            }
            6 | 7 => {
                let request = ReleaseImageRequest { image: name, r#type };
                ("release", images.release_image(request).await.map(drop))
            }
            8 | 9 => {
                let request = FetchImageRequest {
                    image: name,
                    r#type,
                    version,
                    public: None,
                };
                ("fetch", images.fetch_image(request).await.map(drop))
            }
            10 => {
                let request = CreateAliasRequest {
                    name: alias,
                    image: name,
                    version,
                    replace: random.random(),
                    description: large_text("", random),
                    ..CreateAliasRequest::default()
                };
                ("create an alias", aliases.create_alias(request).await.map(drop))
            }
            11 => {
                let request = DeleteAliasRequest {
                    name: alias,
                    ..DeleteAliasRequest::default()
                };
                ("delete an alias", aliases.delete_alias(request).await.map(drop))
            }
            12 => {
                let request = CreateApplicationRequest {
                    name: application,
                    image: name,
                    r#type,
                    version,
                    auto_update: Some(random.random_bool(0.7)),
                };
                let created = applications.create_application(request).await;
                ("create an application", created.map(drop))
            }
            13 => {
                let request = DeleteApplicationRequest { name: application };
                let deleted = applications.delete_application(request).await;
                ("delete an application", deleted.map(drop))
            }
            14 => {
                let Ok(mut image) = catalog.image(&name).await else {
                    return ("read", Ok(()));
                };
                (image.public, image.auto_update) = (random.random(), random.random());
                let paths = ["public", "auto_update"].map(str::to_owned).to_vec();
                let request = UpdateImageRequest {
                    image: Some(image),
                    update_mask: Some(prost_types::FieldMask { paths }),
                };
                ("update", images.update_image(request).await.map(drop))
            }
            15 => {
                let request = RecordImageUseRequest { image: name, r#type };
                ("use", images.record_image_use(request).await.map(drop))
            }
            16 => {
                let request = ResolveImageRequest {
                    image: if random.random() { name } else { alias },
                    version,
                    record_use: true,
                    ..ResolveImageRequest::default()
                };
                ("resolve", images.resolve_image(request).await.map(drop))
            }
            _ => {
                let remote = *["mirror", "lazy"].choose(random).unwrap();
                let product = random.random_range(0..PRODUCTS);
                lock(&self.offers).get_mut(remote).unwrap()[product] += 1;
                let request = SyncRemoteRequest {
                    name: remote.to_owned(),
                    ..SyncRemoteRequest::default()
                };
                ("sync", catalog.remotes().sync_remote(request).await.map(drop))
            }
        }
    }

    fn offer(&self, remote: &str) -> Snapshot {
        let newest = lock(&self.offers)[remote];
        let images = newest.iter().enumerate().map(|(product, newest)| {
            let serials: Vec<String> = (newest - OFFERED + 1..=*newest).map(serial).collect();
            let serials: Vec<&str> = serials.iter().map(String::as_str).collect();
            image(
                &format!("{remote}:{product}"),
                &[&format!("{remote}/{product}")],
                &serials,
            )
        });
        snapshot(images.collect())
    }

    async fn polls(&self, stop: &CancellationToken) {
        while let Some(work) = self.next(WorkKind::Poll, stop).await {
            let Some(Task::Poll(task)) = &work.task else {
                panic!("{work:?}")
            };
            let remote = &task.remote.as_ref().unwrap().name;
            done(self.site.catalog.submit(work.lease, &self.offer(remote)).await);
        }
    }

    async fn transfers(&self, stop: &CancellationToken) {
        while let Some(work) = self.next(WorkKind::Transfer, stop).await {
            let digest = Digest::from_slice(&transfer_task(&work).unwrap().sha256).unwrap();
            // The object first, the row after it.
            lock(&self.objects).insert(digest);
            let finished = self.site.catalog.finish_transfer(&work).await;
            done(finished.map_err(|error| error.downcast::<tonic::Status>().unwrap()));
        }
    }

    async fn verifications(&self, stop: &CancellationToken) {
        while let Some(work) = self.next(WorkKind::Verify, stop).await {
            let finished = self.site.catalog.finish_verify(work, fingerprint).await;
            done(finished.map_err(|error| error.downcast::<tonic::Status>().unwrap()));
        }
    }

    /// The next piece of work, until the round is over.
    async fn next(
        &self,
        kind: WorkKind,
        stop: &CancellationToken,
    ) -> Option<rootstock_proto::sync::v1::Work> {
        while !stop.is_cancelled() {
            let wait = Duration::from_millis(100);
            if let Some(work) = self.site.catalog.claim_now(kind, wait).await.unwrap() {
                return Some(work);
            }
        }
        None
    }

    /// Has the catalog check for newer versions, and end what has run out, again and again.
    async fn timed(&self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            self.site.wake(AUTO_UPDATE).await;
            self.site.wake(EXPIRE).await;
            // Whatever is cached was not used for long, now and then.
            self.site
                .sql("UPDATE images SET cached_at = now() - interval '30 days' WHERE cached AND random() < 0.1")
                .await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // What is checked next is not to change meanwhile.
        self.site.put_off().await;
    }

    async fn collections(&self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            // Some of what is stored has been so for long.
            self.site
                .sql(
                    "UPDATE blobs SET stored_at = now() - interval '3 days' WHERE random() < 0.3;
                     UPDATE versions SET deleted_at = deleted_at - interval '3 days'
                     WHERE status = 4 AND random() < 0.2",
                )
                .await;
            self.collect().await;
        }
    }

    /// One collection, as a worker carries it out: the object goes before that is confirmed.
    async fn collect(&self) {
        let lease = self.site.collection().await;
        let taken = self.site.take(lease).await.unwrap();
        {
            let mut objects = lock(&self.objects);
            for digest in &taken {
                objects.remove(digest);
            }
        }
        self.site.confirm(lease, &taken).await.unwrap();
        self.site.finish_collection(lease).await.unwrap();
    }

    /// Lets the grace pass of everything: no blob may outlive it that nothing needs.
    async fn age(&self) {
        self.site.three_days_later().await;
        // The transfers that are queued may yet bring theirs.
        self.collect().await;
        self.collect().await;
        let unneeded = "blobs b WHERE NOT EXISTS (
            SELECT FROM artifacts a JOIN versions v ON v.id = a.version_id
            WHERE a.sha256 = b.sha256
              AND (v.status IN (1, 2, 3, 6) OR EXISTS (SELECT FROM applications p WHERE p.version_id = v.id)))
            AND NOT EXISTS (SELECT FROM work w WHERE w.kind IN (2, 9) AND w.subject = encode(b.sha256, 'hex'))";
        assert_eq!(self.site.count(unneeded).await, 0, "blobs that nothing needs");
        assert_eq!(self.site.count("blob_removals").await, 0);
    }

    /// What must be so whenever nobody is in the middle of anything.
    async fn check(&self) {
        let none = async |what: &str, from: &str| {
            assert_eq!(self.site.count(from).await, 0, "{what}");
        };
        let active = self.site.count("images WHERE status = 3").await;
        let defaults = self.site.count("images WHERE is_default AND status <> 4").await;
        assert_eq!(defaults, i64::from(active > 0 || defaults > 0), "defaults");
        none(
            "active versions without their blobs",
            "versions v JOIN artifacts a ON a.version_id = v.id LEFT JOIN blobs b ON b.sha256 = a.sha256
             WHERE v.status = 3 AND b.sha256 IS NULL",
        )
        .await;
        none(
            "applications whose version lacks blobs",
            "applications p JOIN artifacts a ON a.version_id = p.version_id LEFT JOIN blobs b ON b.sha256 = a.sha256
             WHERE b.sha256 IS NULL",
        )
        .await;
        none(
            "aliases of what is deleted",
            "aliases a JOIN images i ON i.id = a.image_id
             LEFT JOIN versions v ON v.image_id = a.image_id AND v.number = a.version
             WHERE i.status = 4 OR a.version IS NOT NULL AND (v.id IS NULL OR v.status = 4)",
        )
        .await;
        none(
            "images that show another version than their newest that no hold hides",
            "images i WHERE i.status <> 4 AND EXISTS (SELECT FROM versions v
             WHERE v.image_id = i.id AND v.number = i.newest_version AND (v.status <> 3 OR v.hidden))",
        )
        .await;
        let objects = lock(&self.objects).clone();
        for sha256 in self.digests("SELECT sha256 FROM blobs").await {
            assert!(objects.contains(&sha256), "blob {sha256} has a row and no object");
        }
        let request = ListAliasesRequest::default();
        let aliases = self.site.catalog.aliases().list_aliases(request).await.unwrap();
        for alias in aliases.into_inner().aliases {
            let request = ResolveImageRequest {
                image: alias.name.clone(),
                architecture: alias.architecture,
                ..ResolveImageRequest::default()
            };
            if let Ok(resolved) = self.site.catalog.images().resolve_image(request).await {
                let version = resolved.into_inner().version.unwrap();
                assert!(
                    version.status() == Status::Active && !version.hidden,
                    "{}",
                    alias.name
                );
            }
        }
    }

    async fn digests(&self, query: &'static str) -> Vec<Digest> {
        use sqlx::Connection as _;
        let mut connection = sqlx::PgConnection::connect(&self.site.database.url)
            .await
            .unwrap();
        let rows: Vec<Vec<u8>> = sqlx::query_scalar(query)
            .fetch_all(&mut connection)
            .await
            .unwrap();
        rows.iter().map(|row| Digest::from_slice(row).unwrap()).collect()
    }

    async fn revision(&self) -> i64 {
        use sqlx::Connection as _;
        let mut connection = sqlx::PgConnection::connect(&self.site.database.url)
            .await
            .unwrap();
        let revision = sqlx::query_scalar("SELECT revision FROM catalog_revision");
        revision.fetch_one(&mut connection).await.unwrap()
    }
}

/// A watcher, and what it has by now.
struct Watcher {
    changes: Streaming<WatchResponse>,
    revision: i64,
    state: BTreeMap<String, Resource>,
}

impl Watcher {
    /// Begins with the whole state.
    async fn begin(world: &World) -> Self {
        let request = WatchRequest {
            initial_state: true,
            ..WatchRequest::default()
        };
        let changes = world
            .site
            .catalog
            .watches()
            .watch(request)
            .await
            .unwrap()
            .into_inner();
        let mut watcher = Self {
            changes,
            revision: 0,
            state: BTreeMap::new(),
        };
        while watcher.revision == 0 {
            let response = watcher.changes.next().await.unwrap().unwrap();
            apply(&mut watcher.state, response.changes);
            watcher.revision = response.revision;
        }
        watcher
    }

    /// Takes changes up to this revision: each once, without a gap.
    async fn follow(&mut self, until: i64) {
        while self.revision < until {
            let response = self.changes.next().await.unwrap().unwrap();
            for change in &response.changes {
                assert_eq!(change.revision, self.revision + 1, "without gap or repeat");
                self.revision = change.revision;
            }
            apply(&mut self.state, response.changes);
        }
    }

    /// What is otherwise in another state. What is deleted is left aside: the test turned its clock back.
    fn differences(&self, other: &BTreeMap<String, Resource>) -> Vec<String> {
        let is_deleted = |resource: &&Resource| match resource {
            Resource::Version(change) => change.version.as_ref().unwrap().status() == Status::Deleted,
            _ => false,
        };
        let keys: BTreeSet<&String> = self.state.keys().chain(other.keys()).collect();
        let differing = keys.into_iter().filter_map(|key| {
            let mine = self.state.get(key).filter(|resource| !is_deleted(resource));
            let others = other.get(key).filter(|resource| !is_deleted(resource));
            (mine != others).then(|| format!("{key}: {mine:?} instead of {others:?}"))
        });
        differing.collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Work that nobody wants any more may be taken away from a worker; nothing else may go wrong.
fn done<T>(outcome: Result<T, tonic::Status>) {
    if let Err(status) = outcome {
        assert_eq!(status.code(), Code::Aborted, "{status:?}");
    }
}

fn serial(number: u32) -> String {
    format!("{}", 20_260_000 + number)
}

fn product(random: &mut StdRng) -> String {
    let remote = ["mirror", "lazy"].choose(random).unwrap();
    format!("{remote}:{}", random.random_range(0..PRODUCTS))
}

fn added(random: &mut StdRng) -> String {
    numbered("added", random)
}

fn numbered(name: &str, random: &mut StdRng) -> String {
    format!("{name}-{}", random.random_range(0..5))
}
