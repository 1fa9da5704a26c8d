//! `rootstock webhook list`.

use rootstock_proto::catalog::v1::{ListWebhooksRequest, Webhook};

use super::show::{kinds, state};
use crate::{
    client::Client,
    failure::Failure,
    human,
    output::{self, Format, Screen},
    table::{Column, Table},
};

/// List webhooks
#[derive(Debug, clap::Args)]
#[command(visible_alias = "ls")]
pub(super) struct ListArgs {}

pub(super) async fn run(client: &Client, format: Format, ListArgs {}: ListArgs) -> Result<(), Failure> {
    let request = ListWebhooksRequest::default();
    let webhooks = client
        .list(&request, async |request| {
            client.webhooks().list_webhooks(request).await
        })
        .await?;
    output::print_list(format, &webhooks, |screen| table(&webhooks, screen))
}

fn table(webhooks: &[Webhook], screen: Screen) -> String {
    let mut table = Table::new(&[
        Column::gives_way("NAME"),
        Column::gives_way("URL"),
        Column::always("KINDS"),
        Column::always("STATE"),
        Column::always("DELIVERED").right(),
        Column::always("LAST SUCCESS"),
        Column::gives_way("LAST ERROR"),
    ]);
    for webhook in webhooks {
        let status = webhook.status.clone().unwrap_or_default();
        table.row([
            webhook.name.clone(),
            webhook.url.clone(),
            kinds(webhook),
            state(webhook.disabled, &status).to_owned(),
            status.delivered_revision.to_string(),
            human::relative(status.last_success_at.as_ref(), screen.now),
            status.last_error.clone(),
        ]);
    }
    table.render(screen.width)
}

#[cfg(test)]
mod tests {
    use rootstock_proto::catalog::v1::{ChangeKind, WebhookStatus};
    use time::macros::datetime;

    use super::*;

    #[test]
    fn a_list_tells_how_delivery_goes() {
        let webhook = Webhook {
            name: "ci".into(),
            url: "https://ci.example".into(),
            kinds: vec![ChangeKind::Image.into(), ChangeKind::Version.into()],
            status: Some(WebhookStatus {
                delivered_revision: 42,
                last_error: "503 Service Unavailable".into(),
                ..WebhookStatus::default()
            }),
            ..Webhook::default()
        };
        let screen = Screen {
            width: None,
            now: datetime!(2026-11-22 12:00 UTC),
        };
        assert_eq!(
            table(&[webhook], screen),
            "\
NAME  URL                 KINDS           STATE    DELIVERED  LAST SUCCESS  LAST ERROR
ci    https://ci.example  image, version  failing         42  never         503 Service Unavailable
"
        );
    }
}
