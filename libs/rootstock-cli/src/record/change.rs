//! Changes.

use rootstock_proto::catalog::v1::{self as wire, change::Resource};
use serde::Serialize;
use serde_json::Value;

use super::{
    AliasRecord, ApplicationRecord, ImageRecord, RemoteRecord, SettingRecord, VersionRecord, image_type,
    moment, status,
};
use crate::output::Record;

/// A change of one resource.
#[derive(Debug, Serialize)]
pub(crate) struct ChangeRecord {
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
        image: String,
        version: Box<VersionRecord>,
    },
    Alias(AliasRecord),
    Remote(Box<RemoteRecord>),
    Setting(SettingRecord),
    Application(Box<ApplicationRecord>),
}

impl Record for ChangeRecord {
    const COLUMNS: &'static [&'static str] = &[
        "revision",
        "operation",
        "changed_at",
        "kind",
        "image_id",
        "name",
        "version",
        "status",
        "value",
    ];

    /// Of all kinds of resources, what fits into the columns of one table.
    fn fields(&self) -> serde_json::Result<Value> {
        let mut fields = serde_json::json!({
            "revision": self.revision,
            "operation": self.operation,
            "changed_at": self.changed_at,
        });
        let change = serde_json::to_value(&self.resource)?;
        let Some((kind, resource)) = change.as_object().and_then(|only| only.iter().next()) else {
            return Ok(fields);
        };
        let (image_id, name) = match kind.as_str() {
            "image" => (&resource["id"], &resource["name"]),
            "version" => (&resource["image_id"], &resource["image"]),
            "setting" => (&Value::Null, &resource["key"]),
            _ => (&resource["image_id"], &resource["name"]),
        };
        let version = match kind.as_str() {
            "image" => &resource["current_version"],
            "version" | "application" => &resource["version"]["number"],
            _ => &resource["version"],
        };
        let status = match kind.as_str() {
            "version" => &resource["version"]["status"],
            "image" => &resource["status"],
            _ => &Value::Null,
        };
        fields["kind"] = kind.as_str().into();
        fields["image_id"] = image_id.clone();
        fields["name"] = name.clone();
        fields["version"] = version.clone();
        fields["status"] = status.clone();
        fields["value"] = resource["value"].clone();
        Ok(fields)
    }
}

impl ChangeRecord {
    /// One line for people: revision, time, what happened, to what.
    pub(crate) fn line(&self) -> String {
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
            changed_at: moment(change.changed_at.as_ref()),
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
            image: change.image,
            version: Box::new(change.version?.into()),
        },
        Resource::Alias(alias) => ResourceRecord::Alias(alias.into()),
        Resource::Remote(remote) => ResourceRecord::Remote(Box::new(remote.into())),
        Resource::Setting(setting) => ResourceRecord::Setting(setting.into()),
        Resource::Application(application) => ResourceRecord::Application(Box::new(application.into())),
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
                if change.image.is_empty() {
                    &change.image_id
                } else {
                    &change.image
                },
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
