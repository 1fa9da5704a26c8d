//! Which images list which content.

use std::{collections::HashMap, sync::Arc};

use rootstock_model::Digest;

use super::items::{Version, VersionKey};

/// From a fingerprint to the versions that have it: an index of the [`Resources`](super::Resources)'
/// listed versions.
#[derive(Debug, Default)]
pub(super) struct Contents(HashMap<Digest, Vec<VersionKey>>);

impl Contents {
    /// Updates the index to a version as it was and as it is; `None` while it is not known.
    pub(super) fn update(&mut self, key: &VersionKey, before: Option<&Version>, after: Option<&Version>) {
        if let Some(fingerprint) = listed(before)
            && let Some(versions) = self.0.get_mut(&fingerprint)
        {
            versions.retain(|version| version != key);
            if versions.is_empty() {
                self.0.remove(&fingerprint);
            }
        }
        if let Some(fingerprint) = listed(after) {
            // Most contents belong to one version: no more room than for that.
            let versions = self.0.entry(fingerprint).or_insert_with(|| Vec::with_capacity(1));
            versions.push(key.clone());
        }
    }

    /// The images that list a content; one that lists it twice comes twice.
    pub(super) fn images_with(&self, fingerprint: Digest) -> impl Iterator<Item = &Arc<str>> {
        let versions = self.0.get(&fingerprint).into_iter().flatten();
        versions.map(|key| &key.image_id)
    }
}

fn listed(version: Option<&Version>) -> Option<Digest> {
    version.filter(|version| version.is_listed())?.fingerprint
}
