//! `rootstock webhook show`.

use rootstock_proto::catalog::v1::{GetWebhookRequest, Webhook, WebhookStatus};

use crate::{
    client::Client,
    completion,
    failure::Failure,
    human,
    output::{self, Format, Lines, Screen},
    word::Word,
};

/// Show a webhook: what it is sent, and how delivery goes
#[derive(Debug, clap::Args)]
#[command(visible_alias = "info")]
pub(super) struct ShowArgs {
    /// Name of the webhook
    #[arg(add = completion::webhooks())]
    name: String,
}

pub(super) async fn run(client: &Client, format: Format, args: ShowArgs) -> Result<(), Failure> {
    let webhook = get(client, &args.name).await?;
    output::print(format, &webhook, |screen| text(&webhook, screen))
}

/// A webhook.
///
/// # Errors
/// The server's.
pub(super) async fn get(client: &Client, name: &str) -> Result<Webhook, Failure> {
    let request = GetWebhookRequest {
        name: name.to_owned(),
    };
    let answer = client.call(client.webhooks().get_webhook(request)).await?;
    Ok(answer.webhook.unwrap_or_default())
}

fn text(webhook: &Webhook, screen: Screen) -> String {
    let status = webhook.status.clone().unwrap_or_default();
    let mut lines = Lines::default();
    lines
        .add("name", &webhook.name)
        .add("url", &webhook.url)
        .add("kinds", kinds(webhook))
        .add("names", &webhook.name_glob)
        .add("state", state(webhook.disabled, &status))
        .add("delivered up to revision", status.delivered_revision.to_string())
        .add(
            "last success",
            human::relative(status.last_success_at.as_ref(), screen.now),
        )
        .add("last error", &status.last_error);
    if status.failed_attempts > 0 {
        lines
            .add("failed attempts", status.failed_attempts.to_string())
            .add(
                "next attempt",
                human::relative(status.next_attempt_at.as_ref(), screen.now),
            );
    }
    if status.ping_pending {
        lines.add("ping", "waits to be sent");
    }
    lines
        .add("added", human::minute(webhook.created_at.as_ref()))
        .add("etag", &webhook.etag);
    lines.render()
}

/// Which kinds of changes it is sent.
pub(super) fn kinds(webhook: &Webhook) -> String {
    let kinds: Vec<_> = webhook.kinds().map(Word::word).collect();
    if kinds.is_empty() {
        "all".to_owned()
    } else {
        kinds.join(", ")
    }
}

/// The first thing an operator wants to know.
pub(super) fn state(disabled: bool, status: &WebhookStatus) -> &'static str {
    if disabled {
        "disabled"
    } else if status.last_error.is_empty() {
        "ok"
    } else {
        "failing"
    }
}
