//! From the read model to the entries of a simplestreams tree.
//!
//! An image becomes the product of its name. A container and a virtual machine of one name become
//! one product, as on public servers, when they can: same architecture, same description, and where
//! both have a version of one serial, the same metadata tarball. Otherwise the virtual machine goes
//! under `<name>:virtual-machine`, a name that clients never show.

use std::collections::{BTreeMap, BTreeSet};

use rootstock_model::{
    AliasName, Architecture, Digest, ImageName, ImageType, MetadataFtype, RootFtype, serial,
};
use rootstock_proto::{catalog::v1 as wire, convert};
use rootstock_simplestreams::{
    FileEntry, ProductEntry, SplitEntry, VersionEntry, VersionStamp, served_serials,
};
use time::{Date, OffsetDateTime};

use crate::model::{Catalog, File, Image, Version};

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
struct Line<'a> {
    name: ImageName,
    image_type: ImageType,
    architecture: Architecture,
    aliases: Vec<AliasName>,
    properties: BTreeMap<String, String>,
    support_eol: Option<Date>,
    versions: Vec<Content<'a>>,
}

/// One version, read out of its message.
struct Content<'a> {
    message: &'a wire::Version,
    created_at: OffsetDateTime,
    files: Files,
}

enum Files {
    Split {
        root_ftype: RootFtype,
        entry: SplitEntry,
    },
    Unified(FileEntry),
}

/// The products that show every listed version of every public image.
pub(crate) fn products(catalog: &Catalog) -> Products {
    let mut products = Products::default();
    let names = AliasTable::of(catalog);
    let mut lines: BTreeMap<ImageName, Vec<Line<'_>>> = BTreeMap::new();
    for image in catalog.public_images() {
        match line(image, catalog, &names, &mut products.left_out) {
            Ok(line) if line.versions.is_empty() => {}
            Ok(line) => lines.entry(line.name.clone()).or_default().push(line),
            Err(problem) => {
                products
                    .left_out
                    .insert(format!("image {}: {problem}", image.message.name));
            }
        }
    }
    let taken: BTreeSet<_> = lines.keys().cloned().collect();
    for (name, mut lines) in lines {
        lines.sort_by_key(|line| line.image_type);
        let apart = match lines.as_slice() {
            [container, machine] if !can_share_a_product(container, machine, &names) => lines.pop(),
            _ => None,
        };
        if let Some(machine) = apart {
            match name_apart(&machine.name, &taken) {
                Some(name) => products
                    .entries
                    .extend(entry(vec![machine]).map(|entry| (name, entry))),
                None => {
                    let problem = "there is no product name left for its virtual machine";
                    products
                        .left_out
                        .insert(format!("image {}: {problem}", machine.name));
                }
            }
        }
        products.entries.extend(entry(lines).map(|entry| (name, entry)));
    }
    products
}

/// Which image an alias leads to.
struct AliasTable<'a> {
    by_name: BTreeMap<(&'a str, ImageType), BTreeMap<&'a str, &'a str>>,
}

impl<'a> AliasTable<'a> {
    fn of(catalog: &'a Catalog) -> Self {
        let mut by_name: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for (name, image_type, architecture, image_id) in catalog.aliases() {
            if let Some(image_type) = type_of(image_type) {
                by_name
                    .entry((name, image_type))
                    .or_default()
                    .insert(architecture, image_id);
            }
        }
        Self { by_name }
    }

    /// The aliases that lead to an image, those that clients cannot hold left out.
    fn of_image(&self, image: &wire::Image, left_out: &mut BTreeSet<String>) -> Vec<AliasName> {
        let mut aliases = Vec::new();
        for ((name, _), targets) in &self.by_name {
            if targets.values().any(|image_id| *image_id == image.id) {
                match name.parse() {
                    Ok(alias) => aliases.push(alias),
                    Err(error) => {
                        left_out.insert(format!("image {}: {error}", image.name));
                    }
                }
            }
        }
        aliases
    }

    fn exists(&self, name: &AliasName, image_type: ImageType, architecture: Architecture) -> bool {
        self.by_name
            .get(&(name.as_str(), image_type))
            .is_some_and(|targets| targets.contains_key(architecture.kernel_name()))
    }
}

fn line<'a>(
    image: &'a Image,
    catalog: &'a Catalog,
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
    for version in catalog.listed_versions(&message.id) {
        match content(version, image_type) {
            Ok(content) => versions.extend(content),
            Err(problem) => {
                let serial = &version.message.serial;
                left_out.insert(format!("version {serial} of image {}: {problem}", message.name));
            }
        }
    }
    Ok(Line {
        name: message.name.parse().map_err(|error| format!("{error}"))?,
        image_type,
        architecture: message.architecture.parse().map_err(|error| format!("{error}"))?,
        aliases: names.of_image(message, left_out),
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
    // do so as long as nothing else of the other's type bears it.
    let free = |alias: &AliasName, other: &Line<'_>| {
        other.aliases.contains(alias) || !names.exists(alias, other.image_type, other.architecture)
    };
    same_description
        && container.aliases.iter().all(|alias| free(alias, machine))
        && machine.aliases.iter().all(|alias| free(alias, container))
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

fn name_apart(name: &ImageName, taken: &BTreeSet<ImageName>) -> Option<ImageName> {
    let candidates = ["virtual-machine".to_owned()]
        .into_iter()
        .chain((2..10).map(|n| format!("virtual-machine-{n}")));
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
