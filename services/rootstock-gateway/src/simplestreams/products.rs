//! From entries to the products of a simplestreams tree.
//!
//! An image becomes the product of its name. A container and a virtual machine of one name become
//! one product, as on public servers, when they can: same architecture, same description, and where
//! both have a version of one serial, the same metadata tarball. Otherwise the virtual machine goes
//! under `<name>:virtual-machine`, a name that clients never show. Which versions and aliases a
//! product has is decided before, in [`dedupe`].
//!
//! What an image becomes depends on the images of its [`family`], and on those that share a content with
//! one of these; on no others. So a change is shown by rendering a family or two.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use rootstock_model::{AliasName, Architecture, ImageName, ImageType, MetadataFtype, RootFtype, serial};
use rootstock_proto::catalog::v1 as wire;
use rootstock_simplestreams::{
    FileEntry, ProductEntry, SplitEntry, VersionEntry, VersionStamp, served_serials,
};

use super::dedupe::{Unique, dedupe};
use crate::{
    listing::{
        audience::Audience,
        entries::{Entries, Entry, EntryFiles, EntryVersion},
    },
    read_model::{File, ReadModel},
};

/// Where blobs lie, relative to the image server's URL.
const BLOBS_PATH: &str = "blobs/sha256";

/// What is put behind the name of a product that cannot have the image's own.
const SUFFIXES: [&str; 2] = [":version-", ":virtual-machine"];

/// What entries become.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Products {
    /// By their names.
    pub(crate) products: BTreeMap<ImageName, ProductEntry>,
    /// What could not be shown, and why.
    pub(crate) skipped: BTreeSet<String>,
}

/// The name that all images have whose products may compete for a name with those of this image: without
/// what is put behind the names of further products.
pub(crate) fn family(name: &str) -> &str {
    let mut family = name;
    loop {
        let cut = SUFFIXES.iter().filter_map(|suffix| family.rfind(suffix)).max();
        match cut {
            Some(cut) if !family[cut + 1..].contains(':') => family = &family[..cut],
            _ => return family,
        }
    }
}

/// Prefixes of the names that a family's images and products may have besides the family's own.
pub(crate) fn prefixes(family: &str) -> [String; 2] {
    SUFFIXES.map(|suffix| format!("{family}{suffix}"))
}

/// What has to be read of the model to render a family: taken out of it, so that rendering holds up nobody.
#[derive(Debug)]
pub(crate) struct FamilyEntries {
    entries: Entries,
    /// Whose products are wanted; `None`: those of all entries.
    family: Option<Arc<str>>,
    /// Aliases of the entries that an image of the other type bears: that type, and its architecture.
    borne: BTreeSet<(AliasName, ImageType, Architecture)>,
}

impl FamilyEntries {
    /// Reads a family as this audience sees it, with all entries that share a content with it.
    pub(crate) fn of(model: &ReadModel, audience: &dyn Audience, name: &Arc<str>) -> Self {
        let resources = model.resources();
        let [versions, machines] = prefixes(name);
        let images = resources
            .images_named(name)
            .chain(resources.images_with_prefix(&versions))
            .chain(resources.images_with_prefix(&machines))
            .filter(|image| family(&image.name) == &**name);
        let sharing = images.flat_map(move |image| {
            let fingerprints = resources
                .listed_versions(&image.id)
                .filter_map(|version| version.fingerprint);
            let sharing = fingerprints.flat_map(move |fingerprint| model.images_with(fingerprint));
            sharing.chain([&image.id]).cloned()
        });
        let entries = Entries::of(model, audience, sharing);
        Self::new(model, entries, Some(Arc::clone(name)))
    }

    /// Reads every entry that this audience sees.
    #[cfg(test)]
    pub(crate) fn all(model: &ReadModel, audience: &dyn Audience) -> Self {
        let names = model.resources().names();
        let images = names.flat_map(|name| model.resources().images_named(name));
        let entries = Entries::of(model, audience, images.map(|image| Arc::clone(&image.id)));
        Self::new(model, entries, None)
    }

    fn new(model: &ReadModel, entries: Entries, family: Option<Arc<str>>) -> Self {
        let architectures: BTreeSet<Architecture> =
            entries.entries.iter().map(|entry| entry.architecture).collect();
        let mut borne = BTreeSet::new();
        for entry in &entries.entries {
            let other_type = match entry.image_type {
                ImageType::Container => ImageType::VirtualMachine,
                ImageType::VirtualMachine => ImageType::Container,
            };
            let number = wire::ImageType::from(other_type).into();
            for alias in entry.aliases.iter().chain(entry.pinned.keys()) {
                for architecture in &architectures {
                    let resources = model.resources();
                    if resources.has_alias(alias.as_str(), number, architecture.kernel_name()) {
                        borne.insert((alias.clone(), other_type, *architecture));
                    }
                }
            }
        }
        Self {
            entries,
            family,
            borne,
        }
    }

    /// The products that show every listed version of every image of the family.
    pub(crate) fn products(self) -> Products {
        let Entries {
            mut entries,
            mut skipped,
        } = self.entries;
        for entry in &mut entries {
            let name = &entry.name;
            let image_type = entry.image_type;
            entry.versions.retain(|version| match check(version, image_type) {
                Ok(is_shown) => is_shown,
                Err(problem) => {
                    skipped.insert(format!("version {} of image {name}: {problem}", version.serial));
                    false
                }
            });
        }
        entries.retain(|entry| !entry.versions.is_empty());
        let wanted = |entry: &Entry| {
            let wanted = self.family.as_deref();
            wanted.is_none_or(|wanted| family(entry.name.as_str()) == wanted)
        };
        let mut taken: BTreeSet<ImageName> = entries
            .iter()
            .filter(|entry| wanted(entry))
            .map(|entry| entry.name.clone())
            .collect();
        let (mut apart, mut by_name) = (Vec::new(), BTreeMap::<ImageName, Vec<Entry>>::new());
        for Unique { entry, split } in dedupe(entries) {
            match split {
                _ if !wanted(&entry) => {}
                Some(number) => apart.push((entry, format!("version-{number}"))),
                None => by_name.entry(entry.name.clone()).or_default().push(entry),
            }
        }
        let mut products = BTreeMap::new();
        for (name, mut entries) in by_name {
            entries.sort_by_key(|entry| entry.image_type);
            match entries.as_slice() {
                [container, machine] if !can_share_a_product(container, machine, &self.borne) => {
                    apart.extend(entries.pop().map(|entry| (entry, "virtual-machine".to_owned())));
                }
                _ => {}
            }
            products.extend(product(entries).map(|product| (name, product)));
        }
        for (entry, suffix) in apart {
            match name_apart(&entry.name, &suffix, &taken) {
                Some(name) => {
                    taken.insert(name.clone());
                    products.extend(product(vec![entry]).map(|product| (name, product)));
                }
                None => {
                    let problem = format!("there is no product name left for its {suffix}");
                    skipped.insert(format!("image {}: {problem}", entry.name));
                }
            }
        }
        Products { products, skipped }
    }
}

/// Whether clients are shown a version: what they would take for something else they are not.
///
/// # Errors
/// Clients would choke on it.
fn check(version: &EntryVersion, image_type: ImageType) -> Result<bool, String> {
    match &version.files {
        // Most clients take any unified image for a container (incus-protocol §1.2).
        EntryFiles::Unified(_) if image_type != ImageType::Container => return Ok(false),
        EntryFiles::Unified(file) => unified(file).map(drop)?,
        EntryFiles::Split { .. } => split(version).map(drop)?,
    }
    Ok(true)
}

fn unified(file: &File) -> Result<FileEntry, String> {
    file_entry(file, MetadataFtype::IncusCombined.extension())
}

fn split(version: &EntryVersion) -> Result<Option<(RootFtype, SplitEntry)>, String> {
    let EntryFiles::Split {
        metadata,
        root,
        root_ftype,
    } = &version.files
    else {
        return Ok(None);
    };
    let entry = SplitEntry {
        metadata: file_entry(metadata, MetadataFtype::Incus.extension())?,
        root: file_entry(root, root_ftype.extension())?,
        fingerprint: version.fingerprint,
    };
    Ok(Some((*root_ftype, entry)))
}

fn file_entry(file: &File, extension: &str) -> Result<FileEntry, String> {
    let path = format!("{BLOBS_PATH}/{}.{extension}", file.sha256);
    FileEntry::new(file.sha256, file.size_bytes, &path).map_err(|error| format!("{}: {error}", file.ftype))
}

/// Whether one product can show both without saying of either what is only true of the other.
fn can_share_a_product(
    container: &Entry,
    machine: &Entry,
    borne: &BTreeSet<(AliasName, ImageType, Architecture)>,
) -> bool {
    let same_description = container.architecture == machine.architecture
        && container.properties == machine.properties
        && container.support_eol == machine.support_eol;
    // A product has one list of aliases: what only one of the two bears will lead to both, and may
    // do so as long as nothing else of the other's type bears it. One that is pinned leads to its
    // version and nowhere else.
    let free = |alias: &AliasName, entry: &Entry, other: &Entry| {
        other.aliases.contains(alias)
            || !entry.pinned.contains_key(alias)
                && !borne.contains(&(alias.clone(), other.image_type, other.architecture))
    };
    same_description
        && container
            .aliases
            .iter()
            .all(|alias| free(alias, container, machine))
        && machine
            .aliases
            .iter()
            .all(|alias| free(alias, machine, container))
        && container.versions.iter().all(|one| {
            machine
                .versions
                .iter()
                .filter(|other| other.serial == one.serial)
                .all(|other| can_share_a_version(one, other))
        })
}

fn can_share_a_version(one: &EntryVersion, other: &EntryVersion) -> bool {
    match (&one.files, &other.files) {
        (EntryFiles::Split { metadata: one, .. }, EntryFiles::Split { metadata: other, .. }) => {
            (one.sha256, one.size_bytes) == (other.sha256, other.size_bytes)
        }
        (EntryFiles::Unified(_), _) | (_, EntryFiles::Unified(_)) => false,
    }
}

fn name_apart(name: &ImageName, suffix: &str, taken: &BTreeSet<ImageName>) -> Option<ImageName> {
    let candidates = [suffix.to_owned()]
        .into_iter()
        .chain((2..10).map(|n| format!("{suffix}-{n}")));
    candidates
        .filter_map(|suffix| format!("{name}:{suffix}").parse().ok())
        .find(|candidate| !taken.contains(candidate))
}

/// The product of one entry, or of two that can share it.
fn product(entries: Vec<Entry>) -> Option<ProductEntry> {
    let aliases: BTreeSet<_> = entries.iter().flat_map(|entry| &entry.aliases).cloned().collect();
    let mut versions = Vec::new();
    let mut described = None;
    for entry in entries {
        let image_type = entry.image_type;
        versions.extend(entry.versions.into_iter().map(|version| (image_type, version)));
        described.get_or_insert((entry.architecture, entry.properties, entry.support_eol));
    }
    let (architecture, properties, support_eol) = described?;
    Some(ProductEntry {
        architecture,
        aliases: aliases.into_iter().collect(),
        properties,
        support_eol,
        versions: product_versions(versions),
    })
}

/// The versions of a product. A container and a virtual machine of one serial are one of them.
fn product_versions(mut versions: Vec<(ImageType, EntryVersion)>) -> BTreeMap<String, VersionEntry> {
    versions.sort_by(|(a_type, a), (b_type, b)| {
        serial::compare(&a.serial, &b.serial).then((a.number, a_type).cmp(&(b.number, b_type)))
    });
    let mut groups: Vec<Vec<(ImageType, EntryVersion)>> = Vec::new();
    for (image_type, version) in versions {
        match groups.last_mut() {
            Some(group) if belongs_to(group, image_type, &version) => group.push((image_type, version)),
            _ => groups.push(vec![(image_type, version)]),
        }
    }
    let stamps: Vec<_> = groups
        .iter()
        .filter_map(|group| group.first())
        .map(|(_, version)| VersionStamp {
            serial: &version.serial,
            created_at: version.created_at,
            number: version.number,
        })
        .collect();
    let served = served_serials(&stamps);
    served
        .into_iter()
        .zip(&groups)
        .map(|(served, group)| {
            let mut entry = VersionEntry::default();
            for (image_type, version) in group {
                entry.label.clone_from(&version.label);
                // What cannot be written was taken out before.
                entry.split.extend(split(version).ok().flatten());
                if let EntryFiles::Unified(file) = &version.files {
                    let file = unified(file).ok();
                    entry.unified.extend(file.map(|file| (*image_type, file)));
                }
            }
            if let Some(true_serial) = served.true_serial {
                entry.label = true_serial;
            }
            (served.serial, entry)
        })
        .collect()
}

fn belongs_to(group: &[(ImageType, EntryVersion)], image_type: ImageType, version: &EntryVersion) -> bool {
    group.iter().all(|(other_type, other)| {
        *other_type != image_type && other.serial == version.serial && can_share_a_version(other, version)
    })
}

#[cfg(test)]
mod tests;
