//! Results as programs read them: the API's messages, what is added to them, and the columns of CSV.

use std::collections::BTreeMap;

use rootstock_model::requirements;
use rootstock_proto::catalog::v1::{self as wire, change::Resource};

use crate::{failure::Failure, output::Record, value::Value, word::Word as _};

/// Messages that are printed as they are.
macro_rules! messages {
    ($($message:ident: $columns:expr;)*) => {$(
        impl Record for wire::$message {
            const COLUMNS: &'static [&'static str] = &$columns;

            fn value(&self) -> Result<Value, Failure> {
                Value::of(self)
            }
        }
    )*};
}

messages! {
    Alias: ["name", "type", "architecture", "image_id", "version", "description", "synced", "etag"];
    Application: [
        "name", "image_id", "image", "type", "version.number", "version.serial", "version.fingerprint", "auto_update",
        "created_at", "updated_at", "etag",
    ];
    Blob: ["sha256", "size_bytes", "stored_at", "need_count", "reason", "needs"];
    LeftOut: ["product", "serial", "item", "reason", "message"];
    Remote: [
        "name", "url", "protocol", "mode", "disabled", "include", "exclude", "root_preference", "keep_versions",
        "update_interval", "version_constraint", "insecure", "auth_set", "created_at", "status.last_attempt_at",
        "status.last_success_at", "status.last_error", "status.next_poll_at", "status.image_count",
        "status.active_version_count", "status.left_out_count", "status.pending_transfer_count",
        "status.failed_transfer_count", "etag",
    ];
    Setting: ["key", "value", "default_value", "description"];
    Transfer: [
        "sha256", "size_bytes", "done_bytes", "state", "failed_attempts", "last_error", "next_attempt_at", "image",
        "serial", "ftype",
    ];
    Webhook: [
        "name", "url", "kinds", "name_glob", "disabled", "created_at", "status.delivered_revision",
        "status.last_success_at", "status.last_error", "status.failed_attempts", "status.next_attempt_at",
        "status.ping_pending", "etag",
    ];
}

/// An image with its versions, and with what is odd about its requirements.
impl Record for wire::Image {
    const COLUMNS: &'static [&'static str] = &[
        "id",
        "name",
        "status",
        "version_count",
        "architecture",
        "default",
        "type",
        "variant",
        "fingerprint",
        "current_version",
        "aliases",
        "source.remote",
        "source.product",
        "source.release",
        "immutable",
        "public",
        "cached",
        "auto_update",
        "hold.version",
        "created_at",
        "expires_at",
        "last_used_at",
        "used_by",
        "etag",
    ];

    fn value(&self) -> Result<Value, Failure> {
        let mut value = Value::of(self)?;
        value.set("warnings", requirement_warnings(self).into_iter().collect());
        Ok(value)
    }
}

/// An image of a list. Lists do not say which versions it has, which is not the same as there being none.
pub(crate) struct Listed<'a>(pub(crate) &'a wire::Image);

impl Record for Listed<'_> {
    const COLUMNS: &'static [&'static str] = wire::Image::COLUMNS;

    fn value(&self) -> Result<Value, Failure> {
        let mut value = self.0.value()?;
        value.remove("versions");
        Ok(value)
    }
}

/// What is odd about an image's requirements, a sentence each.
pub(crate) fn requirement_warnings(image: &wire::Image) -> Vec<String> {
    let properties: BTreeMap<_, _> = image.properties.iter().collect();
    requirements::warnings(
        properties
            .into_iter()
            .map(|(key, value)| (key.as_str(), value.as_str())),
    )
}

impl Record for wire::ResolveImageResponse {
    const COLUMNS: &'static [&'static str] = &[
        "image.id",
        "image.name",
        "image.type",
        "image.architecture",
        "version.number",
        "version.serial",
        "version.fingerprint",
        "version.size_bytes",
        "warnings",
    ];

    fn value(&self) -> Result<Value, Failure> {
        without_versions(Value::of(self)?)
    }
}

impl Record for wire::ExplainImageResponse {
    const COLUMNS: &'static [&'static str] = &[
        "image.id",
        "image.name",
        "image.current_version",
        "summary",
        "rules",
        "versions",
        "left_out",
        "transfers",
        "next_check_at",
    ];

    fn value(&self) -> Result<Value, Failure> {
        without_versions(Value::of(self)?)
    }
}

impl Record for wire::Change {
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

    fn value(&self) -> Result<Value, Failure> {
        without_versions(Value::of(self)?)
    }

    /// Of all kinds of resources, what fits into the columns of one table.
    fn row(&self) -> Result<Value, Failure> {
        let mut row = Value::of(self)?;
        let number = |number: Option<i32>| number.map_or(Value::Null, Value::from);
        let of_version =
            |version: &Option<wire::Version>| number(version.as_ref().map(|version| version.number));
        let status = |status: wire::Status| Value::from(status.word());
        let nothing = || Value::Null;
        let Some(resource) = &self.resource else {
            return Ok(row);
        };
        let (kind, image_id, name, version, status, value) = match resource {
            Resource::Image(image) => (
                "image",
                image.id.as_str().into(),
                image.name.as_str().into(),
                number(image.current_version),
                status(image.status()),
                nothing(),
            ),
            Resource::Version(change) => (
                "version",
                change.image_id.as_str().into(),
                change.image.as_str().into(),
                of_version(&change.version),
                change
                    .version
                    .as_ref()
                    .map_or(nothing(), |version| status(version.status())),
                nothing(),
            ),
            Resource::Alias(alias) => (
                "alias",
                alias.image_id.as_str().into(),
                alias.name.as_str().into(),
                number(alias.version),
                nothing(),
                nothing(),
            ),
            Resource::Setting(setting) => (
                "setting",
                nothing(),
                setting.key.as_str().into(),
                nothing(),
                nothing(),
                setting.value.as_str().into(),
            ),
            Resource::Application(application) => (
                "application",
                application.image_id.as_str().into(),
                application.name.as_str().into(),
                of_version(&application.version),
                nothing(),
                nothing(),
            ),
            other => (
                other.kind().label(),
                nothing(),
                other.name().into(),
                nothing(),
                nothing(),
                nothing(),
            ),
        };
        row.remove(kind);
        for (column, value) in [
            ("kind", kind.into()),
            ("image_id", image_id),
            ("name", name),
            ("version", version),
            ("status", status),
            ("value", value),
        ] {
            row.set(column, value);
        }
        Ok(row)
    }
}

/// Takes the versions off the image of a message that says that it comes without them.
fn without_versions(mut value: Value) -> Result<Value, Failure> {
    if let Some(image) = value.field_mut("image") {
        image.remove("versions");
    }
    Ok(value)
}

/// A sync. Its plan was fetched whole, and needs no token to go on.
impl Record for wire::SyncRun {
    const COLUMNS: &'static [&'static str] = &[
        "id",
        "remote",
        "plan_only",
        "state",
        "error",
        "plan.fetch_blobs",
        "plan.fetch_bytes",
        "plan.steps",
        "plan.left_out",
        "failed_transfers",
    ];

    fn value(&self) -> Result<Value, Failure> {
        let mut value = Value::of(self)?;
        if let Some(plan) = value.field_mut("plan") {
            plan.remove("next_page_token");
        }
        Ok(value)
    }
}

/// A sync that was waited for, with what could not be fetched.
pub(crate) struct Synced<'a> {
    pub(crate) run: &'a wire::SyncRun,
    pub(crate) failed: &'a [wire::Transfer],
}

impl Record for Synced<'_> {
    const COLUMNS: &'static [&'static str] = wire::SyncRun::COLUMNS;

    fn value(&self) -> Result<Value, Failure> {
        let mut value = self.run.value()?;
        value.set("failed_transfers", Value::list(self.failed)?);
        Ok(value)
    }
}

/// A collection, or what one would be.
pub(crate) struct Collection<'a> {
    pub(crate) dry_run: bool,
    pub(crate) answer: &'a wire::CollectBlobsResponse,
}

impl Record for Collection<'_> {
    const COLUMNS: &'static [&'static str] = &[
        "dry_run",
        "totals.blobs",
        "totals.size_bytes",
        "totals.unneeded_blobs",
        "totals.unneeded_size_bytes",
        "totals.removing_blobs",
        "totals.removing_size_bytes",
    ];

    fn value(&self) -> Result<Value, Failure> {
        let mut value = Value::of(self.answer)?;
        value.set("dry_run", self.dry_run.into());
        Ok(value)
    }
}

/// A webhook that was just added, with its secret if it was made up.
pub(crate) struct NewWebhook<'a>(pub(crate) &'a wire::CreateWebhookResponse);

impl Record for NewWebhook<'_> {
    const COLUMNS: &'static [&'static str] =
        &["name", "url", "kinds", "name_glob", "disabled", "etag", "secret"];

    fn value(&self) -> Result<Value, Failure> {
        let mut value = Value::of(&self.0.webhook.clone().unwrap_or_default())?;
        value.set("secret", self.0.secret.as_str().into());
        Ok(value)
    }
}

/// A remote with what failed and what was left out.
pub(crate) struct RemoteDetails<'a> {
    pub(crate) remote: &'a wire::Remote,
    pub(crate) failed: &'a [wire::Transfer],
    pub(crate) left_out: &'a [wire::LeftOut],
}

impl Record for RemoteDetails<'_> {
    const COLUMNS: &'static [&'static str] = wire::Remote::COLUMNS;

    fn value(&self) -> Result<Value, Failure> {
        let mut value = Value::of(self.remote)?;
        value.set("failed_transfers", Value::list(self.failed)?);
        value.set("left_out", Value::list(self.left_out)?);
        Ok(value)
    }
}

#[cfg(test)]
mod tests;
