//! Images, versions and aliases as the changes leave them.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
    time::Duration,
};

use rootstock_model::{Digest, settings::Settings};
use rootstock_proto::{catalog::v1 as wire, convert};
use time::OffsetDateTime;
use wire::{Change, ChangeOperation, change::Resource};

use super::{
    items::{AliasKey, AliasTarget, ChangedVersion, Image, Version, VersionKey},
    snapshot::Snapshot,
};

/// The state of the catalog, as far as the edge shows it.
#[derive(Debug, Default)]
pub(crate) struct Resources {
    /// The last revision that was applied.
    pub(crate) revision: i64,
    images: BTreeMap<Arc<str>, Arc<Image>>,
    /// Images by name: at most one of each type, deleted ones aside.
    by_name: BTreeMap<Arc<str>, Vec<Arc<str>>>,
    versions: BTreeMap<VersionKey, Arc<Version>>,
    /// The versions that are not on the list: what [`Resources::prune`] has to look at.
    delisted: BTreeSet<VersionKey>,
    deleted_images: BTreeSet<Arc<str>>,
    aliases: BTreeMap<Arc<AliasKey>, AliasTarget>,
    aliases_of: BTreeMap<Arc<str>, Vec<Arc<AliasKey>>>,
    /// The versions that applications hold, by the applications' names.
    applications: BTreeMap<String, Arc<wire::Application>>,
    /// How many applications hold a file.
    held: BTreeMap<Digest, usize>,
    settings: BTreeMap<String, String>,
    /// What `settings` says of it, or the default.
    deletion_grace: Option<Duration>,
}

impl Resources {
    /// `images.deletion_grace`: how long the files of a version stay readable that went off the list.
    pub(super) fn deletion_grace(&self) -> Duration {
        self.deletion_grace
            .unwrap_or_else(|| Settings::default().deletion_grace)
    }

    /// An image, deleted ones included while they are remembered.
    pub(crate) fn image(&self, id: &str) -> Option<&Image> {
        self.images.get(id).map(Arc::as_ref)
    }

    pub(super) fn version(&self, key: &VersionKey) -> Option<&Version> {
        self.versions.get(key).map(Arc::as_ref)
    }

    /// The names of all images, in order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.by_name.keys()
    }

    /// The images of one name, of any type.
    pub(crate) fn images_named(&self, name: &str) -> impl Iterator<Item = &Image> {
        let ids = self.by_name.get(name).into_iter().flatten();
        ids.filter_map(|id| self.image(id))
    }

    /// The images whose names begin with a prefix.
    pub(crate) fn images_with_prefix<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a Image> {
        self.by_name
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(move |(name, _)| name.starts_with(prefix))
            .flat_map(|(_, ids)| ids)
            .filter_map(|id| self.image(id))
    }

    /// The versions of an image that are listed, in the order of their numbers.
    pub(crate) fn listed_versions(&self, image_id: &str) -> impl Iterator<Item = &Version> {
        self.versions_of(image_id)
            .map(|(_, version)| version.as_ref())
            .filter(|version| version.is_listed())
    }

    /// Whether clients may read a version's files: it is stored, was listed until less than the grace
    /// ago, or an application holds it.
    pub(super) fn is_readable(&self, version: &Version, now: OffsetDateTime) -> bool {
        version.is_readable(now, self.deletion_grace())
            || !self.held.is_empty()
                && version
                    .files()
                    .iter()
                    .any(|file| self.held.contains_key(&file.sha256))
    }

    /// The aliases that point to an image.
    pub(crate) fn aliases_of(&self, image_id: &str) -> impl Iterator<Item = (&AliasKey, &AliasTarget)> {
        let keys = self.aliases_of.get(image_id).into_iter().flatten();
        keys.filter_map(|key| Some((key.as_ref(), self.aliases.get(key)?)))
    }

    /// Whether there is an alias, whatever image it points to.
    pub(crate) fn has_alias(&self, name: &str, image_type: i32, architecture: &str) -> bool {
        let key = AliasKey {
            name: name.into(),
            image_type,
            architecture: architecture.into(),
        };
        self.aliases.contains_key(&key)
    }

    /// The aliases of one name, of any type and architecture.
    fn aliases_named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a AliasTarget> {
        self.aliases
            .range::<AliasKey, _>(AliasKey::first_of(name)..)
            .take_while(move |(key, _)| *key.name == *name)
            .map(|(_, target)| target)
    }

    fn versions_of(&self, image_id: &str) -> impl Iterator<Item = (&VersionKey, &Arc<Version>)> {
        let first = VersionKey {
            image_id: image_id.into(),
            number: i32::MIN,
        };
        let last = VersionKey {
            number: i32::MAX,
            ..first.clone()
        };
        self.versions.range(first..=last)
    }

    /// The images that a change says something of.
    pub(super) fn affected_images(&self, change: &Change) -> Vec<Arc<str>> {
        match &change.resource {
            Some(Resource::Image(image)) => vec![image.id.as_str().into()],
            Some(Resource::Version(version)) => vec![version.image_id.as_str().into()],
            // Whether two images can share a product depends on who else bears an alias.
            Some(Resource::Alias(alias)) => {
                let bearers = self.aliases_named(&alias.name);
                let bearers = bearers.map(|target| Arc::clone(&target.image_id));
                bearers.chain([alias.image_id.as_str().into()]).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Applies one change; returns the versions that it changed.
    pub(super) fn apply(&mut self, change: Change, now: OffsetDateTime) -> Vec<ChangedVersion> {
        let operation = change.operation();
        let changed_at = change
            .changed_at
            .as_ref()
            .and_then(convert::moment)
            .unwrap_or(now);
        let is_deleted = operation == ChangeOperation::Deleted;
        match change.resource {
            Some(Resource::Image(image)) => self.apply_image(&image, is_deleted, changed_at),
            Some(Resource::Version(version)) => self.apply_version(version, is_deleted, changed_at),
            Some(Resource::Alias(alias)) => {
                self.apply_alias(&alias, is_deleted);
                Vec::new()
            }
            Some(Resource::Setting(setting)) => {
                self.apply_setting(setting, is_deleted);
                Vec::new()
            }
            Some(Resource::Application(application)) => {
                self.apply_application(application, is_deleted);
                Vec::new()
            }
            // The edge shows no other kind, and passes over what only a newer catalog knows.
            _ => Vec::new(),
        }
    }

    fn apply_image(
        &mut self,
        message: &wire::Image,
        is_deleted: bool,
        changed_at: OffsetDateTime,
    ) -> Vec<ChangedVersion> {
        let image = Image::new(message, is_deleted);
        let id = Arc::clone(&image.id);
        self.insert_image(Arc::new(image));
        if !is_deleted {
            return Vec::new();
        }
        let keys: Vec<_> = self.versions_of(&id).map(|(key, _)| key.clone()).collect();
        let changed = keys.into_iter().filter_map(|key| {
            let version = self.versions.get_mut(&key)?;
            let before = Some(Arc::clone(version));
            Arc::make_mut(version).delisted_at.get_or_insert(changed_at);
            self.delisted.insert(key.clone());
            Some(ChangedVersion { key, before })
        });
        changed.collect()
    }

    fn insert_image(&mut self, image: Arc<Image>) {
        self.remove_image(&image.id.clone());
        let ids = self
            .by_name
            .entry(Arc::clone(&image.name))
            .or_insert_with(|| Vec::with_capacity(1));
        ids.push(Arc::clone(&image.id));
        if image.is_deleted {
            self.deleted_images.insert(Arc::clone(&image.id));
        }
        self.images.insert(Arc::clone(&image.id), image);
    }

    fn remove_image(&mut self, id: &Arc<str>) {
        let Some(image) = self.images.remove(id) else {
            return;
        };
        self.deleted_images.remove(id);
        if let Some(ids) = self.by_name.get_mut(&image.name) {
            ids.retain(|other| other != id);
            if ids.is_empty() {
                self.by_name.remove(&image.name);
            }
        }
    }

    fn apply_version(
        &mut self,
        change: wire::VersionChange,
        is_deleted: bool,
        changed_at: OffsetDateTime,
    ) -> Vec<ChangedVersion> {
        let Some(message) = change.version else {
            return Vec::new();
        };
        let image_id = change.image_id.as_str();
        let key = VersionKey {
            image_id: match self.images.get(image_id) {
                Some(image) => Arc::clone(&image.id),
                None => image_id.into(),
            },
            number: message.number,
        };
        let before = self.versions.get(&key).cloned();
        let is_listed = !is_deleted && message.status() == wire::Status::Active;
        let delisted_at = (!is_listed)
            .then(|| {
                let sent = message.deleted_at.as_ref().or(message.delisted_at.as_ref());
                let sent = sent.and_then(convert::moment);
                sent.or_else(|| {
                    before
                        .as_ref()
                        .map(|version| version.delisted_at.unwrap_or(changed_at))
                })
            })
            .flatten();
        if !is_listed && delisted_at.is_none() {
            // It never was listed: nobody can have heard of it.
            return Vec::new();
        }
        match Version::new(&message, delisted_at) {
            Ok(version) => self.insert_version(&key, Arc::new(version)),
            Err(problem) => {
                tracing::warn!(
                    image.id = change.image_id,
                    version.number = message.number,
                    problem,
                    "a version that the catalog sent cannot be understood and is skipped"
                );
                self.versions.remove(&key);
                self.delisted.remove(&key);
            }
        }
        vec![ChangedVersion { key, before }]
    }

    fn insert_version(&mut self, key: &VersionKey, version: Arc<Version>) {
        if version.delisted_at.is_some() {
            self.delisted.insert(key.clone());
        } else {
            self.delisted.remove(key);
        }
        self.versions.insert(key.clone(), version);
    }

    fn apply_alias(&mut self, alias: &wire::Alias, is_deleted: bool) {
        let key = AliasKey::of(alias);
        if let Some((key, target)) = self.aliases.remove_entry(&key)
            && let Some(keys) = self.aliases_of.get_mut(&target.image_id)
        {
            keys.retain(|other| *other != key);
            if keys.is_empty() {
                self.aliases_of.remove(&target.image_id);
            }
        }
        if is_deleted {
            return;
        }
        let key = Arc::new(key);
        let image_id: Arc<str> = match self.images.get(alias.image_id.as_str()) {
            Some(image) => Arc::clone(&image.id),
            None => alias.image_id.as_str().into(),
        };
        let keys = self
            .aliases_of
            .entry(Arc::clone(&image_id))
            .or_insert_with(|| Vec::with_capacity(1));
        keys.push(Arc::clone(&key));
        let target = AliasTarget {
            image_id,
            version: alias.version,
        };
        self.aliases.insert(key, target);
    }

    fn apply_application(&mut self, application: wire::Application, is_deleted: bool) {
        let name = application.name.clone();
        let after = (!is_deleted).then(|| Arc::new(application));
        let before = match &after {
            Some(application) => self.applications.insert(name, Arc::clone(application)),
            None => self.applications.remove(&name),
        };
        for digest in after.iter().flat_map(|application| held_files(application)) {
            *self.held.entry(digest).or_default() += 1;
        }
        for digest in before.iter().flat_map(|application| held_files(application)) {
            if let Some(holders) = self.held.get_mut(&digest) {
                *holders -= 1;
                if *holders == 0 {
                    self.held.remove(&digest);
                }
            }
        }
    }

    fn apply_setting(&mut self, setting: wire::Setting, is_deleted: bool) {
        if is_deleted {
            self.settings.remove(&setting.key);
        } else {
            self.settings.insert(setting.key, setting.value);
        }
        let mut settings = Settings::default();
        for (key, value) in &self.settings {
            // The catalog checks what it stores; a key that is newer than this gateway means nothing here.
            if let Err(error) = settings.set(key, value) {
                tracing::debug!(%error, "a setting is skipped");
            }
        }
        self.deletion_grace = Some(settings.deletion_grace);
    }

    /// Takes over from an older state what is unknown here but may still be read; returns the versions
    /// it took.
    pub(super) fn inherit(&mut self, older: &Self, now: OffsetDateTime) -> Vec<ChangedVersion> {
        let mut inherited = Vec::new();
        for (key, version) in &older.versions {
            if self.versions.contains_key(key) || !self.is_readable(version, now) {
                continue;
            }
            let Some(image) = older.images.get(&key.image_id) else {
                continue;
            };
            if !self.images.contains_key(&key.image_id) {
                self.insert_image(Arc::new(Image {
                    is_deleted: true,
                    ..Image::clone(image)
                }));
            }
            let mut version = Arc::clone(version);
            Arc::make_mut(&mut version).delisted_at.get_or_insert(now);
            self.insert_version(key, version);
            inherited.push(ChangedVersion {
                key: key.clone(),
                before: None,
            });
        }
        inherited
    }

    /// Forgets versions whose grace is over, and deleted images that have none left; returns the
    /// versions.
    pub(super) fn prune(&mut self, now: OffsetDateTime) -> Vec<ChangedVersion> {
        let is_over = |key: &&VersionKey| {
            self.version(key)
                .is_none_or(|version| !self.is_readable(version, now))
        };
        let over: Vec<_> = self.delisted.iter().filter(is_over).cloned().collect();
        let forgotten: Vec<ChangedVersion> = over
            .into_iter()
            .map(|key| {
                self.delisted.remove(&key);
                let before = self.versions.remove(&key);
                ChangedVersion { key, before }
            })
            .collect();
        let has_no_version = |id: &&Arc<str>| self.versions_of(id).next().is_none();
        let gone: Vec<_> = self
            .deleted_images
            .iter()
            .filter(has_no_version)
            .cloned()
            .collect();
        for id in gone {
            self.remove_image(&id);
        }
        forgotten
    }

    /// The state as it is now, to be read while this one goes on changing.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let images = self.images.values().cloned();
        let versions = self.versions.iter();
        let aliases = self.aliases.iter();
        Snapshot {
            revision: self.revision,
            settings: self.settings.clone(),
            images: images.collect(),
            versions: versions
                .map(|(key, version)| (key.clone(), Arc::clone(version)))
                .collect(),
            aliases: aliases
                .map(|(key, target)| (Arc::clone(key), target.clone()))
                .collect(),
            applications: self.applications.values().cloned().collect(),
        }
    }
}

/// The files of the version that an application holds; what cannot be understood is none.
fn held_files(application: &wire::Application) -> impl Iterator<Item = Digest> {
    let artifacts = application.version.iter().flat_map(|version| &version.artifacts);
    artifacts.filter_map(|artifact| artifact.sha256.parse().ok())
}
