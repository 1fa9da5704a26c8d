//! Aliases, applications and settings.

use rootstock_proto::catalog::v1 as wire;
use serde::Serialize;

use super::{VersionRecord, image_type, moment};
use crate::output::Record;

/// An alias.
#[derive(Debug, Serialize)]
pub(crate) struct AliasRecord {
    name: String,
    r#type: &'static str,
    architecture: String,
    image_id: String,
    version: Option<i32>,
    description: String,
    synced: bool,
    etag: String,
}

impl Record for AliasRecord {
    const COLUMNS: &'static [&'static str] = &[
        "name",
        "type",
        "architecture",
        "image_id",
        "version",
        "description",
        "synced",
        "etag",
    ];
}

impl From<wire::Alias> for AliasRecord {
    fn from(alias: wire::Alias) -> Self {
        Self {
            r#type: image_type(alias.r#type()),
            name: alias.name,
            architecture: alias.architecture,
            image_id: alias.image_id,
            version: alias.version,
            description: alias.description,
            synced: alias.synced,
            etag: alias.etag,
        }
    }
}

/// An application.
#[derive(Debug, Serialize)]
pub(crate) struct ApplicationRecord {
    name: String,
    image_id: String,
    image: String,
    r#type: &'static str,
    version: Option<VersionRecord>,
    auto_update: bool,
    created_at: Option<String>,
    updated_at: Option<String>,
    etag: String,
}

impl Record for ApplicationRecord {
    const COLUMNS: &'static [&'static str] = &[
        "name",
        "image_id",
        "image",
        "type",
        "version.number",
        "version.serial",
        "version.fingerprint",
        "auto_update",
        "created_at",
        "updated_at",
        "etag",
    ];
}

impl From<wire::Application> for ApplicationRecord {
    fn from(application: wire::Application) -> Self {
        Self {
            r#type: image_type(application.r#type()),
            created_at: moment(application.created_at.as_ref()),
            updated_at: moment(application.updated_at.as_ref()),
            name: application.name,
            image_id: application.image_id,
            image: application.image,
            version: application.version.map(VersionRecord::from),
            auto_update: application.auto_update,
            etag: application.etag,
        }
    }
}

/// A setting.
#[derive(Debug, Serialize)]
pub(crate) struct SettingRecord {
    key: String,
    value: String,
    default_value: String,
    description: String,
}

impl Record for SettingRecord {
    const COLUMNS: &'static [&'static str] = &["key", "value", "default_value", "description"];
}

impl From<wire::Setting> for SettingRecord {
    fn from(setting: wire::Setting) -> Self {
        let wire::Setting {
            key,
            value,
            default_value,
            description,
        } = setting;
        Self {
            key,
            value,
            default_value,
            description,
        }
    }
}
