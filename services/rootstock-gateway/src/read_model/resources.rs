//! Images, versions and aliases as the changes leave them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use rootstock_model::{Digest, settings::Settings};
use rootstock_proto::{catalog::v1 as wire, convert};
use time::OffsetDateTime;
use wire::{Change, ChangeOperation, change::Resource};

use super::is_within;

/// The state of the catalog, as far as the edge shows it. Cheap to clone: its parts are shared.
#[derive(Debug, Clone, Default)]
pub(crate) struct Resources {
    /// The last revision that was applied.
    pub(crate) revision: i64,
    images: BTreeMap<Arc<str>, Arc<Image>>,
    versions: BTreeMap<VersionKey, Arc<Version>>,
    aliases: BTreeMap<AliasKey, AliasTarget>,
    /// The files of the versions that applications hold, by the applications' names.
    applications: BTreeMap<String, Arc<wire::Application>>,
    /// How many applications hold a file.
    held: BTreeMap<Digest, usize>,
    settings: BTreeMap<String, String>,
    /// What `settings` says of it, or the default.
    deletion_grace: Option<Duration>,
}

/// Names a version.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct VersionKey {
    pub(crate) image_id: Arc<str>,
    pub(crate) number: i32,
}

/// Names an alias.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct AliasKey {
    name: String,
    image_type: i32,
    architecture: String,
}

/// What an alias points to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct AliasTarget {
    image_id: Arc<str>,
    /// The one version that it is pinned to; `None` follows the newest.
    version: Option<i32>,
}

/// An alias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Alias<'a> {
    pub(crate) name: &'a str,
    /// As messages number types.
    pub(crate) image_type: i32,
    pub(crate) architecture: &'a str,
    pub(crate) image_id: &'a str,
    /// The one version that it is pinned to; `None` follows the newest.
    pub(crate) version: Option<i32>,
}

/// An image.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Image {
    /// As it was last told.
    pub(crate) message: wire::Image,
    /// Whether it was deleted. It is kept until the grace of its versions is over.
    pub(crate) is_deleted: bool,
}

/// A version that is listed, or was.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Version {
    /// As it was last told.
    pub(crate) message: wire::Version,
    /// Its files.
    pub(crate) files: Vec<File>,
    /// When it went off the list; `None` while it is on it.
    pub(crate) delisted_at: Option<OffsetDateTime>,
}

/// A file of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    /// What it is to the version.
    pub(crate) ftype: String,
    /// The name of its blob.
    pub(crate) sha256: Digest,
    /// Its exact length.
    pub(crate) size_bytes: u64,
}

impl Version {
    /// Whether clients are shown it. What a hold hides is not, and stays readable.
    pub(crate) fn is_listed(&self) -> bool {
        self.delisted_at.is_none() && !self.message.hidden
    }

    /// Whether clients may read its files, applications left aside.
    fn is_readable(&self, now: OffsetDateTime, grace: Duration) -> bool {
        self.delisted_at
            .is_none_or(|delisted_at| is_within(delisted_at, grace, now))
    }
}

impl Resources {
    /// `images.deletion_grace`: how long the files of a version stay readable that went off the list.
    pub(super) fn deletion_grace(&self) -> Duration {
        self.deletion_grace
            .unwrap_or_else(|| Settings::default().deletion_grace)
    }

    /// An image, deleted ones included while they are remembered.
    pub(super) fn image(&self, id: &str) -> Option<&Image> {
        self.images.get(id).map(Arc::as_ref)
    }

    pub(super) fn version(&self, key: &VersionKey) -> Option<&Version> {
        self.versions.get(key).map(Arc::as_ref)
    }

    /// The images that are shown to everyone, in the order of their ids.
    pub(crate) fn public_images(&self) -> impl Iterator<Item = &Image> {
        self.images
            .values()
            .map(Arc::as_ref)
            .filter(|image| image.message.public && !image.is_deleted)
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
            || version
                .files
                .iter()
                .any(|file| self.held.contains_key(&file.sha256))
    }

    /// All aliases, in the order of (name, type, architecture).
    pub(crate) fn aliases(&self) -> impl Iterator<Item = Alias<'_>> {
        self.aliases.iter().map(|(key, target)| Alias {
            name: &key.name,
            image_type: key.image_type,
            architecture: &key.architecture,
            image_id: &target.image_id,
            version: target.version,
        })
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

    /// Applies one change; answers the versions that it touched.
    pub(super) fn apply(&mut self, change: Change, now: OffsetDateTime) -> Vec<VersionKey> {
        let operation = change.operation();
        let changed_at = change
            .changed_at
            .as_ref()
            .and_then(convert::moment)
            .unwrap_or(now);
        let is_deleted = operation == ChangeOperation::Deleted;
        match change.resource {
            Some(Resource::Image(image)) => self.apply_image(image, is_deleted, changed_at),
            Some(Resource::Version(version)) => self.apply_version(version, is_deleted, changed_at),
            Some(Resource::Alias(alias)) => {
                self.apply_alias(alias, is_deleted);
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
        message: wire::Image,
        is_deleted: bool,
        changed_at: OffsetDateTime,
    ) -> Vec<VersionKey> {
        let image_id: Arc<str> = message.id.as_str().into();
        self.images
            .insert(Arc::clone(&image_id), Arc::new(Image { message, is_deleted }));
        if !is_deleted {
            return Vec::new();
        }
        let keys: Vec<_> = self.versions_of(&image_id).map(|(key, _)| key.clone()).collect();
        for key in &keys {
            if let Some(version) = self.versions.get_mut(key) {
                Arc::make_mut(version).delisted_at.get_or_insert(changed_at);
            }
        }
        keys
    }

    fn apply_version(
        &mut self,
        change: wire::VersionChange,
        is_deleted: bool,
        changed_at: OffsetDateTime,
    ) -> Vec<VersionKey> {
        let Some(message) = change.version else {
            return Vec::new();
        };
        let key = VersionKey {
            image_id: change.image_id.as_str().into(),
            number: message.number,
        };
        let is_listed = !is_deleted && message.status() == wire::Status::Active;
        let delisted_at = (!is_listed)
            .then(|| {
                let before = self.versions.get(&key);
                let told = message.deleted_at.as_ref().or(message.delisted_at.as_ref());
                let told = told.and_then(convert::moment);
                told.or_else(|| before.map(|version| version.delisted_at.unwrap_or(changed_at)))
            })
            .flatten();
        if !is_listed && delisted_at.is_none() {
            // It never was listed: nobody can have heard of it.
            return Vec::new();
        }
        match files(&message) {
            Ok(files) => {
                self.versions.insert(
                    key.clone(),
                    Arc::new(Version {
                        message,
                        files,
                        delisted_at,
                    }),
                );
            }
            Err(problem) => {
                tracing::warn!(
                    image.id = change.image_id,
                    version.number = message.number,
                    problem,
                    "a version that the catalog sent cannot be understood and is left out"
                );
                self.versions.remove(&key);
            }
        }
        vec![key]
    }

    fn apply_alias(&mut self, alias: wire::Alias, is_deleted: bool) {
        let target = AliasTarget {
            image_id: alias.image_id.as_str().into(),
            version: alias.version,
        };
        let key = AliasKey {
            name: alias.name,
            image_type: alias.r#type,
            architecture: alias.architecture,
        };
        if is_deleted {
            self.aliases.remove(&key);
        } else {
            self.aliases.insert(key, target);
        }
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
                tracing::debug!(%error, "a setting is passed over");
            }
        }
        self.deletion_grace = Some(settings.deletion_grace);
    }

    /// Takes over from an older state what is unknown here but may still be read; answers the
    /// versions it took.
    pub(super) fn inherit(&mut self, older: &Self, now: OffsetDateTime) -> Vec<VersionKey> {
        let mut inherited = Vec::new();
        for (key, version) in &older.versions {
            if self.versions.contains_key(key) || !self.is_readable(version, now) {
                continue;
            }
            let Some(image) = older.images.get(&key.image_id) else {
                continue;
            };
            self.images.entry(Arc::clone(&key.image_id)).or_insert_with(|| {
                Arc::new(Image {
                    is_deleted: true,
                    ..Image::clone(image)
                })
            });
            let mut version = Arc::clone(version);
            Arc::make_mut(&mut version).delisted_at.get_or_insert(now);
            self.versions.insert(key.clone(), version);
            inherited.push(key.clone());
        }
        inherited
    }

    /// Forgets versions whose grace is over, and deleted images that have none left; answers the
    /// versions.
    pub(super) fn prune(&mut self, now: OffsetDateTime) -> Vec<VersionKey> {
        let over: Vec<_> = self
            .versions
            .iter()
            .filter(|(_, version)| !self.is_readable(version, now))
            .map(|(key, _)| key.clone())
            .collect();
        for key in &over {
            self.versions.remove(key);
        }
        let held: BTreeSet<_> = self.versions.keys().map(|key| &key.image_id).collect();
        self.images
            .retain(|id, image| !image.is_deleted || held.contains(id));
        over
    }

    /// The changes that make this state out of nothing.
    pub(super) fn to_changes(&self) -> Vec<Change> {
        let change = |operation: ChangeOperation, resource| Change {
            revision: self.revision,
            operation: operation.into(),
            changed_at: None,
            resource: Some(resource),
        };
        let settings = self.settings.iter().map(|(key, value)| {
            let setting = wire::Setting {
                key: key.clone(),
                value: value.clone(),
                ..wire::Setting::default()
            };
            change(ChangeOperation::State, Resource::Setting(setting))
        });
        let images = self.images.values().map(|image| {
            let operation = if image.is_deleted {
                ChangeOperation::Deleted
            } else {
                ChangeOperation::State
            };
            change(operation, Resource::Image(image.message.clone()))
        });
        let versions = self.versions.iter().map(|(key, version)| {
            let mut message = version.message.clone();
            let operation = match version.delisted_at {
                None => ChangeOperation::State,
                Some(delisted_at) => {
                    message.deleted_at = Some(convert::timestamp(delisted_at));
                    ChangeOperation::Deleted
                }
            };
            let version = wire::VersionChange {
                image_id: key.image_id.to_string(),
                version: Some(message),
                ..wire::VersionChange::default()
            };
            change(operation, Resource::Version(version))
        });
        let aliases = self.aliases.iter().map(|(key, target)| {
            let alias = wire::Alias {
                name: key.name.clone(),
                r#type: key.image_type,
                architecture: key.architecture.clone(),
                image_id: target.image_id.to_string(),
                version: target.version,
                ..wire::Alias::default()
            };
            change(ChangeOperation::State, Resource::Alias(alias))
        });
        let applications = self.applications.values().map(|application| {
            let application = Resource::Application(wire::Application::clone(application));
            change(ChangeOperation::State, application)
        });
        settings
            .chain(images)
            .chain(versions)
            .chain(aliases)
            .chain(applications)
            .collect()
    }
}

/// The files of the version that an application holds; what cannot be understood is none.
fn held_files(application: &wire::Application) -> impl Iterator<Item = Digest> {
    let artifacts = application.version.iter().flat_map(|version| &version.artifacts);
    artifacts.filter_map(|artifact| artifact.sha256.parse().ok())
}

fn files(version: &wire::Version) -> Result<Vec<File>, String> {
    let file = |artifact: &wire::Artifact| {
        let sha256 = artifact
            .sha256
            .parse()
            .map_err(|error| format!("{}: {error}", artifact.ftype))?;
        let size_bytes = u64::try_from(artifact.size_bytes)
            .map_err(|_| format!("{}: its size is negative", artifact.ftype))?;
        Ok(File {
            ftype: artifact.ftype.clone(),
            sha256,
            size_bytes,
        })
    };
    version.artifacts.iter().map(file).collect()
}
