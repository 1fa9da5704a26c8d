//! Which product shows a content, and which aliases lead there.
//!
//! To clients an alias leads to the newest version of the product that bears it, and they refuse a
//! fingerprint that two entries have, whole or not. So every content has one place, whatever images
//! have it and whatever aliases lead to it: an image's newest version is in the image's product, with
//! the aliases that follow the image and those that are pinned to just that version; an older one
//! that aliases are pinned to is split off into a product of its own.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

use rootstock_model::{AliasName, Digest, ImageType, serial};

use crate::listing::entries::{Entry, EntryVersion};

/// Names a content to clients.
type Key = (ImageType, Digest);

/// An entry whose contents are shown nowhere else.
#[derive(Debug)]
pub(super) struct Unique {
    pub(super) entry: Entry,
    /// The number of its one version, when that is split off into a product of its own.
    pub(super) split: Option<i32>,
}

/// Entries that have every content once. Those that are split off have one version and its aliases; of
/// the others, all aliases lead to the newest version.
pub(super) fn dedupe(mut entries: Vec<Entry>) -> Vec<Unique> {
    for entry in &mut entries {
        entry.versions.sort_by(order);
    }
    let places = places(&entries);
    let newest: Vec<Option<Key>> = entries
        .iter()
        .map(|entry| entry.versions.last().map(|version| key(entry, version)))
        .collect();
    let place_of = |key: Option<Key>| key.and_then(|key| places.get(&key).copied());

    let mut following: Vec<BTreeSet<AliasName>> = vec![BTreeSet::new(); entries.len()];
    let mut pinned: Vec<BTreeMap<AliasName, i32>> = vec![BTreeMap::new(); entries.len()];
    let mut split: BTreeMap<Key, BTreeMap<AliasName, i32>> = BTreeMap::new();
    for (entry, newest_key) in entries.iter().zip(&newest) {
        if let Some(place) = place_of(*newest_key) {
            following[place].extend(entry.aliases.iter().cloned());
        }
        for (alias, number) in &entry.pinned {
            // A version that is not listed takes its aliases off the list with it.
            let version = entry.versions.iter().find(|version| version.number == *number);
            let Some(key) = version.map(|version| key(entry, version)) else {
                continue;
            };
            match place_of(Some(key)) {
                Some(place) if newest[place] == Some(key) => {
                    pinned[place].insert(alias.clone(), *number);
                }
                _ => {
                    split.entry(key).or_default().insert(alias.clone(), *number);
                }
            }
        }
    }

    let mut split_off = Vec::new();
    let mut kept = BTreeSet::new();
    for (index, entry) in entries.iter_mut().enumerate() {
        entry.aliases = std::mem::take(&mut following[index]);
        entry.pinned = std::mem::take(&mut pinned[index]);
        entry.aliases.extend(entry.pinned.keys().cloned());
        // From the newest on: of one content twice in an entry, the newer version is shown.
        let mut versions = std::mem::take(&mut entry.versions);
        while let Some(version) = versions.pop() {
            let key = key(entry, &version);
            if places.get(&key) != Some(&index) || !kept.insert(key) {
                continue;
            }
            match split.remove(&key) {
                None => entry.versions.push(version),
                Some(pinned) => split_off.push(Unique {
                    split: Some(version.number),
                    entry: Entry {
                        aliases: pinned.keys().cloned().collect(),
                        pinned,
                        versions: vec![version],
                        ..entry.clone()
                    },
                }),
            }
        }
        entry.versions.reverse();
    }
    let kept = entries.into_iter().filter(|entry| !entry.versions.is_empty());
    let kept = kept.map(|entry| Unique { entry, split: None });
    kept.chain(split_off).collect()
}

/// The entry that shows each content: one whose newest version it is, if there is any.
fn places(entries: &[Entry]) -> BTreeMap<Key, usize> {
    let mut places = BTreeMap::new();
    for (index, entry) in entries.iter().enumerate() {
        if let Some(newest) = entry.versions.last() {
            places.entry(key(entry, newest)).or_insert(index);
        }
    }
    for (index, entry) in entries.iter().enumerate() {
        for version in &entry.versions {
            places.entry(key(entry, version)).or_insert(index);
        }
    }
    places
}

fn key(entry: &Entry, version: &EntryVersion) -> Key {
    (entry.image_type, version.fingerprint)
}

/// The order in which clients see versions.
fn order(a: &EntryVersion, b: &EntryVersion) -> Ordering {
    serial::compare(&a.serial, &b.serial).then(a.number.cmp(&b.number))
}
