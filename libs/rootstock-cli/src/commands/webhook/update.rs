//! `rootstock webhook update`.

use prost_types::FieldMask;
use rootstock_proto::catalog::v1::{UpdateWebhookRequest, Webhook};

use super::{fields::Fields, get};
use crate::{
    Failure, change,
    client::Client,
    completion,
    output::{self, Format},
    record::WebhookRecord,
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

/// New values, and the fields that have them.
struct Edit {
    to: Webhook,
    paths: Vec<&'static str>,
}

impl UpdateArgs {
    fn edit(&self) -> Result<Edit, Failure> {
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
        Ok(Edit { to, paths })
    }
}

impl Edit {
    /// The webhook with nothing but the fields that are to be changed, of `of`.
    fn part(&self, of: &Webhook) -> Webhook {
        let mut part = Webhook::default();
        for path in &self.paths {
            match *path {
                "url" => part.url.clone_from(&of.url),
                "kinds" => part.kinds.clone_from(&of.kinds),
                "name_glob" => part.name_glob.clone_from(&of.name_glob),
                "ca_pem" => part.ca_pem.clone_from(&of.ca_pem),
                "disabled" => part.disabled = of.disabled,
                "secret" => part.secret.clone_from(&of.secret),
                _ => {}
            }
        }
        part
    }
}

pub(super) async fn run(client: &Client, format: Format, args: UpdateArgs) -> Result<(), Failure> {
    let edit = args.edit()?;
    let name = &args.name;
    let request = |etag: String| UpdateWebhookRequest {
        webhook: Some(Webhook {
            name: name.clone(),
            etag,
            ..edit.part(&edit.to)
        }),
        update_mask: Some(FieldMask {
            paths: edit.paths.iter().map(|path| (*path).to_owned()).collect(),
        }),
    };
    let answer = match args.etag.clone() {
        Some(etag) => {
            client
                .call(client.webhooks().update_webhook(request(etag)))
                .await?
        }
        None => {
            change::make(
                client,
                async || get(client, name).await,
                |webhook| edit.part(webhook),
                async |webhook| client.webhooks().update_webhook(request(webhook.etag)).await,
            )
            .await?
        }
    };
    let webhook = answer.webhook.unwrap_or_default();
    output::print(format, &WebhookRecord::from(webhook), |_| {
        format!("changed webhook {name}\n")
    })
}
