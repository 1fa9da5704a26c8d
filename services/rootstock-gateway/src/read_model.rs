//! The read model: what the gateway knows of the catalog.
//!
//! It holds what can be seen from outside: images, the versions that are listed, those that were
//! listed until a moment ago, aliases, settings. It is changed one whole transaction at a time, so
//! whoever reads it sees a state that the catalog was in.

mod blobs;
pub(crate) mod follow;
mod resources;
pub(crate) mod state_file;

use std::time::Duration;

use rootstock_model::Digest;
use rootstock_proto::catalog::v1 as wire;
use time::OffsetDateTime;
use tokio::sync::watch;

use blobs::Blobs;
pub(crate) use resources::{Alias, File, Image, Resources, Version};

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
}

/// A blob that may be read by everyone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReadableBlob {
    /// Its exact length.
    pub(crate) size_bytes: u64,
}

impl ReadModel {
    /// The model of a whole state, as the first part of a watch gives it.
    pub(crate) fn from_state(state: Vec<wire::Change>, revision: i64, now: OffsetDateTime) -> Self {
        let mut model = Self::default();
        model.apply(state, revision, now);
        model
    }

    /// Applies the changes of one transaction.
    ///
    /// Changes up to the revision that is here already are passed over, so that being told twice
    /// does no harm.
    pub(crate) fn apply(&mut self, changes: Vec<wire::Change>, revision: i64, now: OffsetDateTime) {
        let known = self.resources.revision;
        for change in changes {
            if change.revision > known || known == 0 {
                let touched = self.resources.apply(change, now);
                self.blobs.update(&touched, &self.resources);
            }
        }
        self.resources.revision = known.max(revision);
    }

    /// Puts a newly received state in the place of this one.
    ///
    /// What was listed here and is unknown there was deleted in between: its blobs stay readable
    /// for the grace, because clients still hold the index that lists it.
    pub(crate) fn replace(&mut self, mut new: Self, now: OffsetDateTime) {
        let inherited = new.resources.inherit(&self.resources, now);
        new.blobs.update(&inherited, &new.resources);
        *self = new;
    }

    /// Forgets versions whose grace is over.
    pub(crate) fn prune(&mut self, now: OffsetDateTime) {
        let forgotten = self.resources.prune(now);
        self.blobs.update(&forgotten, &self.resources);
    }

    /// The part that the index is rendered from; cheap to clone.
    pub(crate) fn resources(&self) -> &Resources {
        &self.resources
    }

    /// The last revision that was applied.
    pub(crate) fn revision(&self) -> i64 {
        self.resources.revision
    }

    /// The blob, when a public image has it in a version that is stored, was listed until less than the
    /// deletion grace ago, or is held by an application.
    pub(crate) fn readable_blob(&self, digest: &Digest, now: OffsetDateTime) -> Option<ReadableBlob> {
        self.blobs.holders(digest).find_map(|(key, size_bytes)| {
            let version = self.resources.version(key)?;
            let readable = self.resources.image(&key.image_id)?.message.public
                && self.resources.is_readable(version, now);
            readable.then_some(ReadableBlob { size_bytes })
        })
    }

    /// The size of a blob, when any image lists it, or did until less than the deletion grace ago: for
    /// those who may see every image.
    pub(crate) fn known_blob(&self, digest: &Digest, now: OffsetDateTime) -> Option<u64> {
        self.blobs.holders(digest).find_map(|(key, size_bytes)| {
            let version = self.resources.version(key)?;
            self.resources.is_readable(version, now).then_some(size_bytes)
        })
    }

    /// Whether a version is listed here.
    pub(crate) fn has_version(&self, image_id: &str, number: i32) -> bool {
        self.resources
            .listed_versions(image_id)
            .any(|version| version.message.number == number)
    }

    /// The public images that a download of this blob is a use of: it is the root of one of their
    /// versions, or their unified file. The first few: a root that many images share says little.
    pub(crate) fn used_by_download_of(&self, digest: &Digest) -> Vec<String> {
        let mut ids: Vec<String> = self
            .blobs
            .holders(digest)
            .filter(|(key, _)| {
                let root = self
                    .resources
                    .version(key)
                    .and_then(|version| version.files.last());
                root.is_some_and(|root| root.sha256 == *digest)
                    && self
                        .resources
                        .image(&key.image_id)
                        .is_some_and(|image| image.message.public && !image.is_deleted)
            })
            .map(|(key, _)| key.image_id.to_string())
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
