//! Which versions hold which blob.

use std::collections::HashMap;

use rootstock_model::Digest;

use super::items::{Version, VersionKey};

/// From a blob to the versions that hold it: an index of the [`Resources`](super::Resources)' versions.
#[derive(Debug, Default)]
pub(super) struct Blobs(HashMap<Digest, Vec<VersionKey>>);

impl Blobs {
    /// Updates the index to a version as it was and as it is; `None` while it is not known.
    pub(super) fn update(&mut self, key: &VersionKey, before: Option<&Version>, after: Option<&Version>) {
        for file in before.iter().flat_map(|version| version.files()) {
            if let Some(holders) = self.0.get_mut(&file.sha256) {
                holders.retain(|holder| holder != key);
                if holders.is_empty() {
                    self.0.remove(&file.sha256);
                }
            }
        }
        for file in after.iter().flat_map(|version| version.files()) {
            // Most blobs have one holder: no more room than for that.
            let holders = self.0.entry(file.sha256).or_insert_with(|| Vec::with_capacity(1));
            if let Err(place) = holders.binary_search(key) {
                holders.insert(place, key.clone());
            }
        }
    }

    /// The versions that hold a blob, in order.
    pub(super) fn holders(&self, digest: &Digest) -> &[VersionKey] {
        self.0.get(digest).map_or(&[], Vec::as_slice)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
