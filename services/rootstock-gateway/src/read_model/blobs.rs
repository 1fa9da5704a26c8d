//! Which versions hold which blob.

use std::collections::{BTreeMap, HashMap};

use rootstock_model::Digest;

use super::resources::{Resources, VersionKey};

/// From a blob to the versions that hold it. A cache of [`Resources`]'s versions, turned around.
#[derive(Debug, Default)]
pub(super) struct Blobs {
    holders: HashMap<Digest, BTreeMap<VersionKey, u64>>,
    held: HashMap<VersionKey, Vec<Digest>>,
}

impl Blobs {
    /// Takes over how the `touched` versions stand in the resources now.
    pub(super) fn update(&mut self, touched: &[VersionKey], resources: &Resources) {
        for key in touched {
            for digest in self.held.remove(key).unwrap_or_default() {
                if let Some(holders) = self.holders.get_mut(&digest) {
                    holders.remove(key);
                    if holders.is_empty() {
                        self.holders.remove(&digest);
                    }
                }
            }
            let Some(version) = resources.version(key) else {
                continue;
            };
            for file in &version.files {
                self.holders
                    .entry(file.sha256)
                    .or_default()
                    .insert(key.clone(), file.size_bytes);
            }
            let digests = version.files.iter().map(|file| file.sha256).collect();
            self.held.insert(key.clone(), digests);
        }
    }

    /// The versions that hold a blob, and its size as each has it (they agree).
    pub(super) fn holders(&self, digest: &Digest) -> impl Iterator<Item = (&VersionKey, u64)> {
        self.holders
            .get(digest)
            .into_iter()
            .flatten()
            .map(|(key, size_bytes)| (key, *size_bytes))
    }

    pub(super) fn len(&self) -> usize {
        self.holders.len()
    }
}
