//! `rootstock webhook add`.

use rootstock_proto::catalog::v1::{CreateWebhookRequest, Webhook};

use super::fields::Fields;
use crate::{
    Failure,
    client::Client,
    output::{self, Format},
    record::{NewWebhookRecord, WebhookRecord},
};

/// Add a receiver of changes
///
/// Each change is posted as a CloudEvent, in order and at least once, signed with a secret. Without one, one is made up and
/// told this once.
#[derive(Debug, clap::Args)]
#[command(visible_alias = "create")]
pub(super) struct AddArgs {
    /// A name for it: at most 64 letters, digits, "-", "_" and "."
    name: String,

    /// Where events are posted to
    url: String,

    #[command(flatten)]
    fields: Fields,

    /// Begin with this revision instead of what comes next
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
    from_revision: Option<i64>,

    /// Send nothing until it is enabled
    #[arg(long)]
    disabled: bool,
}

pub(super) async fn run(client: &Client, format: Format, args: AddArgs) -> Result<(), Failure> {
    let mut webhook = Webhook {
        name: args.name,
        url: args.url,
        disabled: args.disabled,
        ..Webhook::default()
    };
    args.fields.apply(&mut webhook)?;
    let request = CreateWebhookRequest {
        webhook: Some(webhook),
        from_revision: args.from_revision.unwrap_or_default(),
    };
    let answer = client.call(client.webhooks().create_webhook(request)).await?;
    let webhook = answer.webhook.unwrap_or_default();
    let (name, secret) = (webhook.name.clone(), answer.secret);
    let record = NewWebhookRecord {
        webhook: WebhookRecord::from(webhook),
        secret: secret.clone(),
    };
    output::print(format, &record, |_| {
        let mut text = format!("added webhook {name}; \"rootstock webhook test {name}\" sends a ping\n");
        if !secret.is_empty() {
            text += &format!("events are signed with this secret, which is not shown again: {secret}\n");
        }
        text
    })
}
