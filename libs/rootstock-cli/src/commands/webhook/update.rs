//! `rootstock webhook update`.

use rootstock_proto::catalog::v1::{UpdateWebhookRequest, Webhook};

use super::{fields::Fields, show::get};
use crate::{
    client::Client,
    completion,
    failure::Failure,
    output::{self, Format},
    update::{self, NewValues},
};

/// Change a webhook; delivery goes on where it was
#[derive(Debug, clap::Args)]
#[command(visible_alias = "set")]
pub(super) struct UpdateArgs {
    /// Name of the webhook
    #[arg(add = completion::webhooks())]
    name: String,

    /// Another address
    #[arg(long, value_name = "URL")]
    url: Option<String>,

    #[command(flatten)]
    fields: Fields,

    /// Send all kinds of changes again
    #[arg(long, conflicts_with = "kinds")]
    all_kinds: bool,

    /// Send nothing for now
    #[arg(long, conflicts_with = "enable")]
    disable: bool,

    /// Send again: what happened meanwhile first, as far as it is kept
    #[arg(long)]
    enable: bool,

    /// Only if its etag is still this one, as "webhook show" has it
    #[arg(long, value_name = "ETAG")]
    etag: Option<String>,
}

impl UpdateArgs {
    fn edit(&self) -> Result<NewValues<Webhook>, Failure> {
        let mut to = Webhook::default();
        let mut paths = self.fields.apply(&mut to)?;
        if let Some(url) = &self.url {
            to.url.clone_from(url);
            paths.push("url");
        }
        if self.all_kinds {
            paths.push("kinds");
        }
        if self.disable || self.enable {
            to.disabled = self.disable;
            paths.push("disabled");
        }
        if paths.is_empty() {
            return Err(Failure::usage(
                "nothing to change: \"rootstock webhook update --help\" lists what can be",
            ));
        }
        NewValues::new(to, paths)
    }
}

pub(super) async fn run(client: &Client, format: Format, args: UpdateArgs) -> Result<(), Failure> {
    let edit = args.edit()?;
    let name = &args.name;
    let answer = update::run(
        client,
        args.etag,
        &edit,
        async || get(client, name).await,
        async |webhook, update_mask| {
            let request = UpdateWebhookRequest { webhook, update_mask };
            client.webhooks().update_webhook(request).await
        },
    )
    .await?;
    let webhook = answer.webhook.unwrap_or_default();
    output::print(format, &webhook, |_| format!("changed webhook {name}\n"))
}
