//! `rootstock webhook add`.

use rootstock_proto::catalog::v1::{CreateWebhookRequest, Webhook};

use super::fields::Fields;
use crate::{
    client::Client,
    failure::Failure,
    output::{self, Format},
    record::NewWebhook,
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
    let name = answer.webhook.as_ref().map_or("", |webhook| &webhook.name);
    output::print(format, &NewWebhook(&answer), |_| {
        let mut text = format!("added webhook {name}; \"rootstock webhook test {name}\" sends a ping\n");
        if !answer.secret.is_empty() {
            text += &format!(
                "events are signed with this secret, which is not shown again: {}\n",
                answer.secret
            );
        }
        text
    })
}
