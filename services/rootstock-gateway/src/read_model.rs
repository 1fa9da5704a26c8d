//! The read model: what the gateway knows of the catalog.
//!
//! It holds what can be seen from outside: images, the versions that are listed, those that were
//! listed until a moment ago, aliases, settings. It is changed one whole transaction at a time, so
//! readers see a state that the catalog was in. It knows nothing of audiences and formats; it notes
//! which images changed, so that a listing renders those and no others.

mod blobs;
mod contents;
mod encoded;
pub(crate) mod follow;
mod items;
mod resources;
mod snapshot;
pub(crate) mod state_file;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use rootstock_model::Digest;
use rootstock_proto::catalog::v1 as wire;
use time::OffsetDateTime;
use tokio::sync::watch;

use self::{blobs::Blobs, contents::Contents, items::ChangedVersion};
pub(crate) use self::{
    items::{File, Image, Version},
    resources::Resources,
};

/// Images that one download counts for.
const MAX_USED: usize = 8;

/// The model as its one writer holds it. Readers look at it through [`watch::Sender::subscribe`],
/// and are woken after each transaction. `None` until a first state was received or loaded.
pub(crate) type SharedReadModel = watch::Sender<Option<ReadModel>>;

/// What the gateway knows of the catalog.
#[derive(Debug, Default)]
pub(crate) struct ReadModel {
    resources: Resources,
    blobs: Blobs,
    contents: Contents,
    touched: Touched,
}

/// Images whose listing may have changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Touched {
    /// Every image, those that are gone included.
    All,
    /// The images of these names.
    Names(BTreeSet<Arc<str>>),
}

impl Default for Touched {
    fn default() -> Self {
        Self::Names(BTreeSet::new())
    }
}

impl ReadModel {
    /// The model of a whole state, as the first part of a watch gives it.
    #[cfg(test)]
    pub(crate) fn from_state(state: Vec<wire::Change>, revision: i64, now: OffsetDateTime) -> Self {
        let mut model = Self::new();
        model.apply(state, revision, now);
        model
    }

    /// A model that a whole state is still to be applied to.
    pub(crate) fn new() -> Self {
        Self {
            touched: Touched::All,
            ..Self::default()
        }
    }

    /// Applies the changes of one transaction, or a part of a whole state to a new model.
    ///
    /// Changes up to the revision that is here already are skipped, so that receiving one twice
    /// does no harm.
    pub(crate) fn apply(
        &mut self,
        changes: impl IntoIterator<Item = wire::Change>,
        revision: i64,
        now: OffsetDateTime,
    ) {
        let known = self.resources.revision;
        for change in changes {
            if change.revision > known || known == 0 {
                self.apply_change(change, now);
            }
        }
        self.resources.revision = known.max(revision);
    }

    fn apply_change(&mut self, change: wire::Change, now: OffsetDateTime) {
        let affected = match self.touched {
            Touched::All => Vec::new(),
            Touched::Names(_) => self.resources.affected_images(&change),
        };
        self.touch(&affected);
        let versions = self.resources.apply(change, now);
        self.update_indexes(&versions);
        self.touch(&affected);
    }

    fn update_indexes(&mut self, changed: &[ChangedVersion]) {
        for ChangedVersion { key, before } in changed {
            let (before, after) = (before.as_deref(), self.resources.version(key));
            self.blobs.update(key, before, after);
            self.contents.update(key, before, after);
        }
    }

    /// Notes that these images change or have changed, and with them those that share a content with
    /// them: a listing shows a content once, at one of its images.
    fn touch(&mut self, image_ids: &[Arc<str>]) {
        let Touched::Names(names) = &mut self.touched else {
            return;
        };
        let (resources, contents) = (&self.resources, &self.contents);
        for id in image_ids {
            let shared = resources
                .listed_versions(id)
                .filter_map(|version| version.fingerprint)
                .flat_map(|fingerprint| contents.images_with(fingerprint));
            for id in shared.chain([id]) {
                names.extend(resources.image(id).map(|image| Arc::clone(&image.name)));
            }
        }
    }

    /// Whether anything changed since [`ReadModel::take_touched`] was last called.
    pub(crate) fn is_touched(&self) -> bool {
        match &self.touched {
            Touched::All => true,
            Touched::Names(names) => !names.is_empty(),
        }
    }

    /// What changed since this was last called.
    pub(crate) fn take_touched(&mut self) -> Touched {
        std::mem::take(&mut self.touched)
    }

    /// Replaces this state by a newly received one; returns the old one, for the caller to drop.
    ///
    /// What was listed here and is unknown there was deleted in between: its blobs stay readable
    /// for the grace, because clients still hold the index that lists it.
    pub(crate) fn replace(&mut self, mut new: Self, now: OffsetDateTime) -> Self {
        let inherited = new.resources.inherit(&self.resources, now);
        new.update_indexes(&inherited);
        new.touched = Touched::All;
        std::mem::replace(self, new)
    }

    /// Forgets versions whose grace is over.
    pub(crate) fn prune(&mut self, now: OffsetDateTime) {
        let forgotten = self.resources.prune(now);
        self.update_indexes(&forgotten);
    }

    /// Images, versions and aliases.
    pub(crate) fn resources(&self) -> &Resources {
        &self.resources
    }

    /// The last revision that was applied.
    pub(crate) fn revision(&self) -> i64 {
        self.resources.revision
    }

    /// The images that list a content, by its fingerprint.
    pub(crate) fn images_with(&self, fingerprint: Digest) -> impl Iterator<Item = &Arc<str>> {
        self.contents.images_with(fingerprint)
    }

    /// The exact length of a blob that an image has which `shows` accepts, in a version that is stored, was
    /// listed until less than the deletion grace ago, or is held by an application.
    pub(crate) fn readable_blob(
        &self,
        digest: &Digest,
        shows: impl Fn(&Image) -> bool,
        now: OffsetDateTime,
    ) -> Option<u64> {
        self.blobs.holders(digest).iter().find_map(|key| {
            let version = self.resources.version(key)?;
            let readable = self.resources.is_readable(version, now)
                && self.resources.image(&key.image_id).is_some_and(&shows);
            if !readable {
                return None;
            }
            let files = version.files();
            let file = files.iter().find(|file| file.sha256 == *digest)?;
            Some(file.size_bytes)
        })
    }

    /// Whether a version is listed here.
    pub(crate) fn has_version(&self, image_id: &str, number: i32) -> bool {
        self.resources
            .listed_versions(image_id)
            .any(|version| version.number == number)
    }

    /// The images, of those that `shows` accepts, that a download of this blob is a use of: it is the root
    /// of one of their versions, or their unified file. The first few: a root that many images share says
    /// little.
    pub(crate) fn used_by_download_of(&self, digest: &Digest, shows: impl Fn(&Image) -> bool) -> Vec<String> {
        let mut ids: Vec<String> = self
            .blobs
            .holders(digest)
            .iter()
            .filter(|key| {
                let version = self.resources.version(key);
                let root = version.and_then(|version| version.files().pop());
                root.is_some_and(|root| root.sha256 == *digest)
                    && self
                        .resources
                        .image(&key.image_id)
                        .is_some_and(|image| !image.is_deleted && shows(image))
            })
            .map(|key| key.image_id.to_string())
            .collect();
        ids.dedup();
        ids.truncate(MAX_USED);
        ids
    }

    /// How many blobs could be read, for the log.
    pub(crate) fn blob_count(&self) -> usize {
        self.blobs.len()
    }
}

/// Whether `moment` lies less than `grace` before `now`.
fn is_within(moment: OffsetDateTime, grace: Duration, now: OffsetDateTime) -> bool {
    // A moment in the future (clocks differ) is within any grace.
    match Duration::try_from(now - moment) {
        Ok(age) => age < grace,
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests;
