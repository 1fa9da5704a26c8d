//! Changes.

use rootstock_proto::catalog::v1::{self as wire, change::Resource};
use serde::Serialize;

use super::{ImageRecord, RemoteRecord, VersionRecord, image_type, rfc3339, status};

/// A change of one resource.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct ChangeRecord {
    revision: i64,
    operation: &'static str,
    changed_at: Option<String>,
    /// One field, named after the kind of resource, as in the API.
    #[serde(flatten)]
    resource: Option<ResourceRecord>,
    /// What a line for people says of it.
    #[serde(skip)]
    summary: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum ResourceRecord {
    Image(Box<ImageRecord>),
    Version {
        image_id: String,
        version: VersionRecord,
    },
    Alias {
        name: String,
        r#type: &'static str,
        architecture: String,
        image_id: String,
    },
    Remote(Box<RemoteRecord>),
    Setting {
        key: String,
        value: String,
    },
    Application {
        name: String,
        image_id: String,
        image: String,
        version: Option<VersionRecord>,
        auto_update: bool,
    },
}

impl ChangeRecord {
    /// One line for people: revision, time, what happened, to what.
    pub(in crate::cli) fn line(&self) -> String {
        let changed_at = self.changed_at.as_deref().unwrap_or("-");
        format!(
            "{:>8}  {changed_at}  {:<7}  {}",
            self.revision, self.operation, self.summary
        )
    }
}

impl From<wire::Change> for ChangeRecord {
    fn from(change: wire::Change) -> Self {
        let operation = match change.operation() {
            wire::ChangeOperation::Unspecified => "unknown",
            wire::ChangeOperation::State => "state",
            wire::ChangeOperation::Created => "created",
            wire::ChangeOperation::Updated => "updated",
            wire::ChangeOperation::Deleted => "deleted",
        };
        Self {
            revision: change.revision,
            operation,
            changed_at: change.changed_at.as_ref().and_then(rfc3339),
            summary: change
                .resource
                .as_ref()
                .map_or_else(|| "something unknown here".into(), summary),
            resource: change.resource.and_then(resource),
        }
    }
}

fn resource(resource: Resource) -> Option<ResourceRecord> {
    Some(match resource {
        Resource::Image(image) => ResourceRecord::Image(Box::new(ImageRecord::listed(image))),
        Resource::Version(change) => ResourceRecord::Version {
            image_id: change.image_id,
            version: change.version?.into(),
        },
        Resource::Alias(alias) => ResourceRecord::Alias {
            r#type: image_type(alias.r#type()),
            name: alias.name,
            architecture: alias.architecture,
            image_id: alias.image_id,
        },
        Resource::Remote(remote) => ResourceRecord::Remote(Box::new(remote.into())),
        Resource::Setting(wire::Setting { key, value, .. }) => ResourceRecord::Setting { key, value },
        Resource::Application(application) => ResourceRecord::Application {
            name: application.name,
            image_id: application.image_id,
            image: application.image,
            version: application.version.map(Into::into),
            auto_update: application.auto_update,
        },
    })
}

fn summary(resource: &Resource) -> String {
    match resource {
        Resource::Image(image) => format!(
            "image {} {} ({}) {}{}",
            image.id,
            image.name,
            image_type(image.r#type()),
            status(image.status()),
            if image.default { ", default" } else { "" },
        ),
        Resource::Version(change) => {
            let version = change.version.clone().unwrap_or_default();
            let reason = match version.error_message.as_str() {
                "" => String::new(),
                message => format!(": {message}"),
            };
            format!(
                "version {} of {} ({}) {}{reason}",
                version.number,
                change.image_id,
                version.serial,
                status(version.status())
            )
        }
        Resource::Alias(alias) => format!(
            "alias {} ({}, {}) to {}",
            alias.name,
            image_type(alias.r#type()),
            alias.architecture,
            alias.image_id
        ),
        Resource::Remote(remote) => format!("remote {} {}", remote.name, remote.url),
        Resource::Setting(setting) => format!("setting {} = {}", setting.key, setting.value),
        Resource::Application(application) => format!(
            "application {} holds version {} of {}",
            application.name,
            application.version.as_ref().map_or(-1, |version| version.number),
            application.image,
        ),
    }
}
