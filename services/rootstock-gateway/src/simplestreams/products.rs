//! From the read model to the entries of a simplestreams tree.
//!
//! An image becomes the product of its name. A container and a virtual machine of one name become
//! one product, as on public servers, when they can: same architecture, same description, and where
//! both have a version of one serial, the same metadata tarball. Otherwise the virtual machine goes
//! under `<name>:virtual-machine`, a name that clients never show. Which versions and aliases a
//! product has is decided before, in [`dedupe`].

use std::collections::{BTreeMap, BTreeSet};

use rootstock_model::{
    AliasName, Architecture, Digest, ImageName, ImageType, MetadataFtype, RootFtype, serial,
};
use rootstock_proto::{catalog::v1 as wire, convert};
use rootstock_simplestreams::{
    FileEntry, ProductEntry, SplitEntry, VersionEntry, VersionStamp, served_serials,
};
use time::{Date, OffsetDateTime};

use super::dedupe;
use crate::read_model::{Alias, File, Image, Resources, Version};

/// Where blobs lie, relative to the gateway's URL.
pub(crate) const BLOBS_PATH: &str = "blobs/sha256";

/// What the index is made of.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Products {
    /// By their names.
    pub(crate) entries: BTreeMap<ImageName, ProductEntry>,
    /// What could not be shown, and why.
    pub(crate) left_out: BTreeSet<String>,
}

/// One image, read out of its message.
pub(super) struct Line<'a> {
    pub(super) name: ImageName,
    pub(super) image_type: ImageType,
    pub(super) architecture: Architecture,
    /// Those that follow its newest version.
    pub(super) aliases: BTreeSet<AliasName>,
    /// Those that are pinned to one of its versions, with its number.
    pub(super) pinned: BTreeMap<AliasName, i32>,
    pub(super) properties: BTreeMap<String, String>,
    pub(super) support_eol: Option<Date>,
    pub(super) versions: Vec<Content<'a>>,
    /// The number of its one version, when that has a product of its own.
    pub(super) apart: Option<i32>,
}

/// One version, read out of its message.
#[derive(Clone)]
pub(super) struct Content<'a> {
    pub(super) message: &'a wire::Version,
    pub(super) created_at: OffsetDateTime,
    pub(super) files: Files,
}

#[derive(Clone)]
pub(super) enum Files {
    Split {
        root_ftype: RootFtype,
        entry: SplitEntry,
    },
    Unified(FileEntry),
}

/// The products that show every listed version of every public image.
pub(crate) fn products(resources: &Resources) -> Products {
    let mut products = Products::default();
    let names = AliasTable::of(resources);
    let mut all = Vec::new();
    for image in resources.public_images() {
        match line(image, resources, &names, &mut products.left_out) {
            Ok(line) if line.versions.is_empty() => {}
            Ok(line) => all.push(line),
            Err(problem) => {
                products
                    .left_out
                    .insert(format!("image {}: {problem}", image.message.name));
            }
        }
    }
    let mut taken: BTreeSet<ImageName> = all.iter().map(|line| line.name.clone()).collect();
    let (apart, together): (Vec<_>, Vec<_>) = dedupe::one_place_each(all)
        .into_iter()
        .partition(|line| line.apart.is_some());
    let mut lines: BTreeMap<ImageName, Vec<Line<'_>>> = BTreeMap::new();
    for line in together {
        lines.entry(line.name.clone()).or_default().push(line);
    }
    let mut with_names_apart = apart;
    for (name, mut lines) in lines {
        lines.sort_by_key(|line| line.image_type);
        match lines.as_slice() {
            [container, machine] if !can_share_a_product(container, machine, &names) => {
                with_names_apart.extend(lines.pop());
            }
            _ => {}
        }
        products.entries.extend(entry(lines).map(|entry| (name, entry)));
    }
    for line in with_names_apart {
        let suffix = match line.apart {
            Some(number) => format!("version-{number}"),
            None => "virtual-machine".to_owned(),
        };
        match name_apart(&line.name, &suffix, &taken) {
            Some(name) => {
                taken.insert(name.clone());
                products
                    .entries
                    .extend(entry(vec![line]).map(|entry| (name, entry)));
            }
            None => {
                let problem = format!("there is no product name left for its {suffix}");
                products
                    .left_out
                    .insert(format!("image {}: {problem}", line.name));
            }
        }
    }
    products
}

/// Which image, and which version of it, an alias leads to.
struct AliasTable<'a> {
    by_image: BTreeMap<&'a str, Vec<Alias<'a>>>,
    keys: BTreeSet<(&'a str, ImageType, &'a str)>,
}

impl<'a> AliasTable<'a> {
    fn of(resources: &'a Resources) -> Self {
        let (mut by_image, mut keys) = (BTreeMap::<_, Vec<_>>::new(), BTreeSet::new());
        for alias in resources.aliases() {
            if let Some(image_type) = type_of(alias.image_type) {
                by_image.entry(alias.image_id).or_default().push(alias);
                keys.insert((alias.name, image_type, alias.architecture));
            }
        }
        Self { by_image, keys }
    }

    /// The aliases that lead to an image: those that follow it, and those that are pinned to a version.
    /// What clients cannot hold is left out.
    fn of_image(
        &self,
        image: &wire::Image,
        left_out: &mut BTreeSet<String>,
    ) -> (BTreeSet<AliasName>, BTreeMap<AliasName, i32>) {
        let (mut following, mut pinned) = (BTreeSet::new(), BTreeMap::new());
        for alias in self.by_image.get(image.id.as_str()).into_iter().flatten() {
            match (alias.name.parse(), alias.version) {
                (Ok(name), None) => {
                    following.insert(name);
                }
                (Ok(name), Some(number)) => {
                    pinned.insert(name, number);
                }
                (Err(error), _) => {
                    let error: rootstock_model::name::InvalidName = error;
                    left_out.insert(format!("image {}: {error}", image.name));
                }
            }
        }
        (following, pinned)
    }

    fn exists(&self, name: &AliasName, image_type: ImageType, architecture: Architecture) -> bool {
        self.keys
            .contains(&(name.as_str(), image_type, architecture.kernel_name()))
    }
}

fn line<'a>(
    image: &'a Image,
    resources: &'a Resources,
    names: &AliasTable<'_>,
    left_out: &mut BTreeSet<String>,
) -> Result<Line<'a>, String> {
    let message = &image.message;
    let image_type = type_of(message.r#type).ok_or("its type is unknown")?;
    let mut properties: BTreeMap<_, _> = message.properties.clone().into_iter().collect();
    if !message.variant.is_empty() {
        properties
            .entry("variant".to_owned())
            .or_insert_with(|| message.variant.clone());
    }
    let mut versions = Vec::new();
    for version in resources.listed_versions(&message.id) {
        match content(version, image_type) {
            Ok(content) => versions.extend(content),
            Err(problem) => {
                let serial = &version.message.serial;
                left_out.insert(format!("version {serial} of image {}: {problem}", message.name));
            }
        }
    }
    let (aliases, pinned) = names.of_image(message, left_out);
    Ok(Line {
        name: message.name.parse().map_err(|error| format!("{error}"))?,
        image_type,
        architecture: message.architecture.parse().map_err(|error| format!("{error}"))?,
        aliases,
        pinned,
        apart: None,
        properties,
        support_eol: message
            .expires_at
            .as_ref()
            .and_then(convert::moment)
            .map(OffsetDateTime::date),
        versions,
    })
}

fn type_of(image_type: i32) -> Option<ImageType> {
    wire::ImageType::try_from(image_type).ok().and_then(Into::into)
}

/// What clients can take of a version; `None` when that is nothing although nothing is wrong.
fn content(version: &Version, image_type: ImageType) -> Result<Option<Content<'_>>, String> {
    let files = match version.files.as_slice() {
        [file] if metadata_ftype(file).is_some_and(MetadataFtype::is_unified) => {
            // Most clients take any unified image for a container (incus-protocol §1.2).
            if image_type != ImageType::Container {
                return Ok(None);
            }
            Files::Unified(file_entry(file, MetadataFtype::IncusCombined.extension())?)
        }
        [metadata, root] => {
            let root_ftype: RootFtype = root.ftype.parse().map_err(|error| format!("{error}"))?;
            let fingerprint: Digest = version
                .message
                .fingerprint
                .parse()
                .map_err(|error| format!("its fingerprint: {error}"))?;
            let entry = SplitEntry {
                metadata: file_entry(metadata, MetadataFtype::Incus.extension())?,
                root: file_entry(root, root_ftype.extension())?,
                fingerprint,
            };
            Files::Split { root_ftype, entry }
        }
        files => {
            let ftypes: Vec<_> = files.iter().map(|file| file.ftype.as_str()).collect();
            return Err(format!("its files ({}) make no image", ftypes.join(", ")));
        }
    };
    let message = &version.message;
    let created_at = message.created_at.as_ref().and_then(convert::moment);
    Ok(Some(Content {
        message,
        created_at: created_at
            .or_else(|| serial::moment(&message.serial))
            .unwrap_or(OffsetDateTime::UNIX_EPOCH),
        files,
    }))
}

fn metadata_ftype(file: &File) -> Option<MetadataFtype> {
    file.ftype.parse().ok()
}

fn file_entry(file: &File, extension: &str) -> Result<FileEntry, String> {
    let path = format!("{BLOBS_PATH}/{}.{extension}", file.sha256);
    FileEntry::new(file.sha256, file.size_bytes, &path).map_err(|error| format!("{}: {error}", file.ftype))
}

/// Whether one product can show both without saying of either what is only true of the other.
fn can_share_a_product(container: &Line<'_>, machine: &Line<'_>, names: &AliasTable<'_>) -> bool {
    let same_description = container.architecture == machine.architecture
        && container.properties == machine.properties
        && container.support_eol == machine.support_eol;
    // A product has one list of aliases: what only one of the two bears will lead to both, and may
    // do so as long as nothing else of the other's type bears it. One that is pinned leads to its
    // version and nowhere else.
    let free = |alias: &AliasName, line: &Line<'_>, other: &Line<'_>| {
        other.aliases.contains(alias)
            || !line.pinned.contains_key(alias) && !names.exists(alias, other.image_type, other.architecture)
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
            let twin = |other: &&Content<'_>| other.message.serial == one.message.serial;
            machine
                .versions
                .iter()
                .filter(twin)
                .all(|other| can_share_a_version(&one.files, &other.files))
        })
}

fn can_share_a_version(one: &Files, other: &Files) -> bool {
    match (one, other) {
        (Files::Split { entry: one, .. }, Files::Split { entry: other, .. }) => {
            one.metadata == other.metadata
        }
        (Files::Unified(_), _) | (_, Files::Unified(_)) => false,
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

/// The product of one line, or of two that can share it.
fn entry(lines: Vec<Line<'_>>) -> Option<ProductEntry> {
    let aliases: BTreeSet<_> = lines.iter().flat_map(|line| &line.aliases).cloned().collect();
    let mut contents = Vec::new();
    let mut described = None;
    for line in lines {
        contents.extend(
            line.versions
                .into_iter()
                .map(|content| (line.image_type, content)),
        );
        described.get_or_insert((line.architecture, line.properties, line.support_eol));
    }
    let (architecture, properties, support_eol) = described?;
    Some(ProductEntry {
        architecture,
        aliases: aliases.into_iter().collect(),
        properties,
        support_eol,
        versions: versions(contents),
    })
}

/// The versions of a product. A container and a virtual machine of one serial are one of them.
fn versions(mut contents: Vec<(ImageType, Content<'_>)>) -> BTreeMap<String, VersionEntry> {
    contents.sort_by(|(a_type, a), (b_type, b)| {
        let (a, b) = (a.message, b.message);
        serial::compare(&a.serial, &b.serial).then((a.number, a_type).cmp(&(b.number, b_type)))
    });
    let mut groups: Vec<Vec<(ImageType, Content<'_>)>> = Vec::new();
    for (image_type, content) in contents {
        match groups.last_mut() {
            Some(group) if belongs_to(group, image_type, &content) => group.push((image_type, content)),
            _ => groups.push(vec![(image_type, content)]),
        }
    }
    let stamps: Vec<_> = groups
        .iter()
        .filter_map(|group| group.first())
        .map(|(_, content)| VersionStamp {
            serial: &content.message.serial,
            created_at: content.created_at,
            number: content.message.number,
        })
        .collect();
    let served = served_serials(&stamps);
    served
        .into_iter()
        .zip(&groups)
        .map(|(served, group)| {
            let mut entry = VersionEntry::default();
            for (image_type, content) in group {
                entry.label.clone_from(&content.message.label);
                match &content.files {
                    Files::Split {
                        root_ftype,
                        entry: split,
                    } => {
                        entry.split.insert(*root_ftype, split.clone());
                    }
                    Files::Unified(file) => {
                        entry.unified.insert(*image_type, file.clone());
                    }
                }
            }
            if let Some(true_serial) = served.true_serial {
                entry.label = true_serial;
            }
            (served.serial, entry)
        })
        .collect()
}

fn belongs_to(group: &[(ImageType, Content<'_>)], image_type: ImageType, content: &Content<'_>) -> bool {
    group.iter().all(|(other_type, other)| {
        *other_type != image_type
            && other.message.serial == content.message.serial
            && can_share_a_version(&other.files, &content.files)
    })
}

#[cfg(test)]
mod tests;
