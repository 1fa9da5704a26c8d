//! Webhooks.

use rootstock_proto::catalog::v1 as wire;
use serde::Serialize;

use super::moment;
use crate::output::Record;

/// A webhook.
#[derive(Debug, Serialize)]
pub(crate) struct WebhookRecord {
    name: String,
    url: String,
    kinds: Vec<&'static str>,
    name_glob: String,
    ca_pem: String,
    disabled: bool,
    created_at: Option<String>,
    status: Option<WebhookStatusRecord>,
    etag: String,
}

#[derive(Debug, Serialize)]
struct WebhookStatusRecord {
    delivered_revision: i64,
    last_success_at: Option<String>,
    last_error: String,
    failed_attempts: i32,
    next_attempt_at: Option<String>,
    ping_pending: bool,
}

/// A webhook that was just added. Not [`std::fmt::Debug`]: it holds the secret.
#[derive(Serialize)]
pub(crate) struct NewWebhookRecord {
    #[serde(flatten)]
    pub(crate) webhook: WebhookRecord,
    pub(crate) secret: String,
}

impl Record for WebhookRecord {
    const COLUMNS: &'static [&'static str] = &[
        "name",
        "url",
        "kinds",
        "name_glob",
        "disabled",
        "created_at",
        "status.delivered_revision",
        "status.last_success_at",
        "status.last_error",
        "status.failed_attempts",
        "status.next_attempt_at",
        "status.ping_pending",
        "etag",
    ];
}

impl Record for NewWebhookRecord {
    const COLUMNS: &'static [&'static str] =
        &["name", "url", "kinds", "name_glob", "disabled", "etag", "secret"];
}

impl From<wire::Webhook> for WebhookRecord {
    fn from(webhook: wire::Webhook) -> Self {
        let kinds = webhook.kinds().map(change_kind).collect();
        Self {
            kinds,
            name: webhook.name,
            url: webhook.url,
            name_glob: webhook.name_glob,
            ca_pem: webhook.ca_pem,
            disabled: webhook.disabled,
            created_at: moment(webhook.created_at.as_ref()),
            status: webhook.status.map(WebhookStatusRecord::from),
            etag: webhook.etag,
        }
    }
}

impl From<wire::WebhookStatus> for WebhookStatusRecord {
    fn from(status: wire::WebhookStatus) -> Self {
        Self {
            delivered_revision: status.delivered_revision,
            last_success_at: moment(status.last_success_at.as_ref()),
            last_error: status.last_error,
            failed_attempts: status.failed_attempts,
            next_attempt_at: moment(status.next_attempt_at.as_ref()),
            ping_pending: status.ping_pending,
        }
    }
}

/// `image`, `version`, ….
pub(crate) fn change_kind(kind: wire::ChangeKind) -> &'static str {
    match kind {
        wire::ChangeKind::Unspecified => "unknown",
        wire::ChangeKind::Image => "image",
        wire::ChangeKind::Version => "version",
        wire::ChangeKind::Alias => "alias",
        wire::ChangeKind::Remote => "remote",
        wire::ChangeKind::Setting => "setting",
        wire::ChangeKind::Application => "application",
    }
}
