//! Which product shows a content, and which aliases lead there.
//!
//! To clients an alias leads to the newest version of the product that bears it, and they refuse a
//! fingerprint that two entries have, whole or not. So every content has one place, whatever images
//! have it and whatever aliases lead to it: an image's newest version is in the image's product, with
//! the aliases that follow the image and those that are pinned to just that version; an older one
//! that aliases are pinned to has a product of its own.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

use rootstock_model::{AliasName, ImageType, serial};

use super::products::{Content, Line};

/// Names a content to clients.
type Key<'a> = (ImageType, &'a str);

/// Lines that have every content once. Those that stand apart have one version and its aliases; of
/// the others, all aliases lead to the newest version.
pub(super) fn one_place_each(mut lines: Vec<Line<'_>>) -> Vec<Line<'_>> {
    for line in &mut lines {
        line.versions.sort_by(order);
    }
    let places = places(&lines);
    let newest: Vec<Option<Key<'_>>> = lines
        .iter()
        .map(|line| line.versions.last().map(|v| key(line, v)))
        .collect();
    let place_of = |key: Option<Key<'_>>| key.and_then(|key| places.get(&key).copied());

    let mut following: Vec<BTreeSet<AliasName>> = vec![BTreeSet::new(); lines.len()];
    let mut pinned: Vec<BTreeMap<AliasName, i32>> = vec![BTreeMap::new(); lines.len()];
    let mut apart: BTreeMap<Key<'_>, BTreeMap<AliasName, i32>> = BTreeMap::new();
    for (line, newest_key) in lines.iter().zip(&newest) {
        if let Some(place) = place_of(*newest_key) {
            following[place].extend(line.aliases.iter().cloned());
        }
        for (alias, number) in &line.pinned {
            // A version that is not listed takes its aliases off the list with it.
            let version = line
                .versions
                .iter()
                .find(|version| version.message.number == *number);
            let Some(key) = version.map(|version| key(line, version)) else {
                continue;
            };
            match place_of(Some(key)) {
                Some(place) if newest[place] == Some(key) => {
                    pinned[place].insert(alias.clone(), *number);
                }
                _ => {
                    apart.entry(key).or_default().insert(alias.clone(), *number);
                }
            }
        }
    }

    let mut standing_apart = Vec::new();
    let mut kept = BTreeSet::new();
    for (index, line) in lines.iter_mut().enumerate() {
        line.aliases = std::mem::take(&mut following[index]);
        line.pinned = std::mem::take(&mut pinned[index]);
        line.aliases.extend(line.pinned.keys().cloned());
        // From the newest on: of one content twice in a line, the newer version is shown.
        let mut versions = std::mem::take(&mut line.versions);
        while let Some(version) = versions.pop() {
            let key = (line.image_type, version.message.fingerprint.as_str());
            if places.get(&key) != Some(&index) || !kept.insert(key) {
                continue;
            }
            match apart.remove(&key) {
                None => line.versions.push(version),
                Some(pinned) => standing_apart.push(Line {
                    name: line.name.clone(),
                    image_type: line.image_type,
                    architecture: line.architecture,
                    aliases: pinned.keys().cloned().collect(),
                    pinned,
                    properties: line.properties.clone(),
                    support_eol: line.support_eol,
                    apart: Some(version.message.number),
                    versions: vec![version],
                }),
            }
        }
        line.versions.reverse();
    }
    lines.retain(|line| !line.versions.is_empty());
    lines.extend(standing_apart);
    lines
}

/// The line that shows each content: one whose newest version it is, if there is any.
fn places<'a>(lines: &[Line<'a>]) -> BTreeMap<Key<'a>, usize> {
    let mut places = BTreeMap::new();
    for (index, line) in lines.iter().enumerate() {
        if let Some(newest) = line.versions.last() {
            places.entry(key(line, newest)).or_insert(index);
        }
    }
    for (index, line) in lines.iter().enumerate() {
        for version in &line.versions {
            places.entry(key(line, version)).or_insert(index);
        }
    }
    places
}

fn key<'a>(line: &Line<'_>, version: &Content<'a>) -> Key<'a> {
    (line.image_type, version.message.fingerprint.as_str())
}

/// The order in which clients see versions.
fn order(a: &Content<'_>, b: &Content<'_>) -> Ordering {
    let (a, b) = (a.message, b.message);
    serial::compare(&a.serial, &b.serial).then(a.number.cmp(&b.number))
}
