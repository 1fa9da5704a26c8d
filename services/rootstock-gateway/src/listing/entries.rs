//! What an audience is shown: images with their listed versions and the aliases that lead there, read out
//! of the catalog's messages.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use rootstock_model::{
    AliasName, Architecture, Digest, ImageName, ImageType, MetadataFtype, RootFtype, name::InvalidName,
    serial,
};
use rootstock_proto::{catalog::v1 as wire, convert};
use time::{Date, OffsetDateTime};

use super::audience::Audience;
use crate::read_model::{File, Image, ReadModel, Version};

/// An image, as it is listed.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) name: ImageName,
    pub(crate) image_type: ImageType,
    pub(crate) architecture: Architecture,
    /// The aliases that follow its newest version.
    pub(crate) aliases: BTreeSet<AliasName>,
    /// The aliases that are pinned to one of its versions, with that version's number.
    pub(crate) pinned: BTreeMap<AliasName, i32>,
    pub(crate) properties: BTreeMap<String, String>,
    pub(crate) support_eol: Option<Date>,
    /// In the order of their numbers.
    pub(crate) versions: Vec<EntryVersion>,
}

/// A listed version of an image.
#[derive(Debug, Clone)]
pub(crate) struct EntryVersion {
    pub(crate) number: i32,
    pub(crate) serial: String,
    pub(crate) label: String,
    pub(crate) fingerprint: Digest,
    pub(crate) created_at: OffsetDateTime,
    pub(crate) files: EntryFiles,
}

/// The files of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EntryFiles {
    /// Metadata and root.
    Split {
        metadata: File,
        root: File,
        root_ftype: RootFtype,
    },
    /// One file that holds both.
    Unified(File),
}

/// Entries, and what could not become one.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    pub(crate) entries: Vec<Entry>,
    /// What was skipped, and why.
    pub(crate) skipped: BTreeSet<String>,
}

impl Entries {
    /// The entries of those images that the audience sees, in the order of the images' ids. Images without a
    /// listed version have none.
    pub(crate) fn of(
        model: &ReadModel,
        audience: &dyn Audience,
        image_ids: impl IntoIterator<Item = Arc<str>>,
    ) -> Self {
        let image_ids: BTreeSet<Arc<str>> = image_ids.into_iter().collect();
        let mut entries = Self::default();
        for id in image_ids {
            let Some(image) = model.resources().image(&id) else {
                continue;
            };
            if image.is_deleted || !audience.shows(image) {
                continue;
            }
            match entries.entry(model, image) {
                Ok(entry) if entry.versions.is_empty() => {}
                Ok(entry) => entries.entries.push(entry),
                Err(problem) => entries.skip(format!("image {}: {problem}", image.name)),
            }
        }
        entries
    }

    fn skip(&mut self, what: String) {
        self.skipped.insert(what);
    }

    fn entry(&mut self, model: &ReadModel, image: &Image) -> Result<Entry, String> {
        let message = image.message();
        let image_type = image_type_of(message.r#type).ok_or("its type is unknown")?;
        let mut properties: BTreeMap<_, _> = message.properties.into_iter().collect();
        if !message.variant.is_empty() {
            properties.entry("variant".to_owned()).or_insert(message.variant);
        }
        let mut versions = Vec::new();
        for version in model.resources().listed_versions(&image.id) {
            let message = version.message();
            let serial = message.serial.clone();
            match entry_version(version, message) {
                Ok(version) => versions.push(version),
                Err(problem) => self.skip(format!("version {serial} of image {}: {problem}", image.name)),
            }
        }
        let (mut aliases, mut pinned) = (BTreeSet::new(), BTreeMap::new());
        for (key, target) in model.resources().aliases_of(&image.id) {
            if image_type_of(key.image_type).is_none() {
                continue;
            }
            match (key.name.parse(), target.version) {
                (Ok(name), None) => {
                    aliases.insert(name);
                }
                (Ok(name), Some(number)) => {
                    pinned.insert(name, number);
                }
                (Err(error), _) => {
                    let error: InvalidName = error;
                    self.skip(format!("image {}: {error}", image.name));
                }
            }
        }
        Ok(Entry {
            name: message.name.parse().map_err(|error| format!("{error}"))?,
            image_type,
            architecture: message.architecture.parse().map_err(|error| format!("{error}"))?,
            aliases,
            pinned,
            properties,
            support_eol: message
                .expires_at
                .as_ref()
                .and_then(convert::moment)
                .map(OffsetDateTime::date),
            versions,
        })
    }
}

fn image_type_of(image_type: i32) -> Option<ImageType> {
    wire::ImageType::try_from(image_type).ok().and_then(Into::into)
}

fn entry_version(version: &Version, message: wire::Version) -> Result<EntryVersion, String> {
    let mut files = version.files();
    let files = match (files.pop(), files.pop(), files.pop()) {
        (Some(file), None, None) if is_unified(&file) => EntryFiles::Unified(file),
        (Some(root), Some(metadata), None) => EntryFiles::Split {
            root_ftype: root.ftype.parse().map_err(|error| format!("{error}"))?,
            metadata,
            root,
        },
        _ => {
            let ftypes: Vec<_> = message
                .artifacts
                .iter()
                .map(|artifact| artifact.ftype.as_str())
                .collect();
            return Err(format!("its files ({}) make no image", ftypes.join(", ")));
        }
    };
    let created_at = message.created_at.as_ref().and_then(convert::moment);
    Ok(EntryVersion {
        number: message.number,
        fingerprint: version.fingerprint.ok_or("its fingerprint is none")?,
        created_at: created_at
            .or_else(|| serial::moment(&message.serial))
            .unwrap_or(OffsetDateTime::UNIX_EPOCH),
        serial: message.serial,
        label: message.label,
        files,
    })
}

fn is_unified(file: &File) -> bool {
    file.ftype.parse().is_ok_and(MetadataFtype::is_unified)
}
