//! A state of the read model at one revision, apart from the model that goes on.

use std::{collections::BTreeMap, sync::Arc};

use rootstock_proto::{catalog::v1 as wire, convert};
use wire::{Change, ChangeOperation, change::Resource};

use super::items::{AliasKey, AliasTarget, Image, Version, VersionKey};

/// What the model knew at one revision. It shares all that is large with the model.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// The last revision that was applied.
    pub(crate) revision: i64,
    pub(super) settings: BTreeMap<String, String>,
    pub(super) images: Vec<Arc<Image>>,
    pub(super) versions: Vec<(VersionKey, Arc<Version>)>,
    pub(super) aliases: Vec<(Arc<AliasKey>, AliasTarget)>,
    pub(super) applications: Vec<Arc<wire::Application>>,
}

impl Snapshot {
    /// The changes that make this state out of nothing.
    pub(crate) fn changes(&self) -> impl Iterator<Item = Change> {
        let change = |operation: ChangeOperation, resource| Change {
            revision: self.revision,
            operation: operation.into(),
            changed_at: None,
            resource: Some(resource),
        };
        let settings = self.settings.iter().map(move |(key, value)| {
            let setting = wire::Setting {
                key: key.clone(),
                value: value.clone(),
                ..wire::Setting::default()
            };
            change(ChangeOperation::State, Resource::Setting(setting))
        });
        let images = self.images.iter().map(move |image| {
            let operation = if image.is_deleted {
                ChangeOperation::Deleted
            } else {
                ChangeOperation::State
            };
            change(operation, Resource::Image(image.message()))
        });
        let versions = self.versions.iter().map(move |(key, version)| {
            let mut message = version.message();
            let operation = match version.delisted_at {
                None => ChangeOperation::State,
                Some(delisted_at) => {
                    message.deleted_at = Some(convert::timestamp(delisted_at));
                    ChangeOperation::Deleted
                }
            };
            let version = wire::VersionChange {
                image_id: key.image_id.to_string(),
                version: Some(message),
                ..wire::VersionChange::default()
            };
            change(operation, Resource::Version(version))
        });
        let aliases = self.aliases.iter().map(move |(key, target)| {
            let alias = wire::Alias {
                name: key.name.to_string(),
                r#type: key.image_type,
                architecture: key.architecture.to_string(),
                image_id: target.image_id.to_string(),
                version: target.version,
                ..wire::Alias::default()
            };
            change(ChangeOperation::State, Resource::Alias(alias))
        });
        let applications = self.applications.iter().map(move |application| {
            let application = Resource::Application(wire::Application::clone(application));
            change(ChangeOperation::State, application)
        });
        settings
            .chain(images)
            .chain(versions)
            .chain(aliases)
            .chain(applications)
    }
}
