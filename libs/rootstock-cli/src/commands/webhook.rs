//! `rootstock webhook`: receivers that every change is sent to over HTTP.

mod add;
mod fields;
mod list;
mod update;

use rootstock_proto::catalog::v1::{
    DeleteWebhookRequest, GetWebhookRequest, TestWebhookRequest, Webhook, WebhookStatus,
};

use crate::{
    client::{Client, ClientArgs},
    completion,
    failure::Failure,
    human,
    output::{self, Format, Lines, Screen},
    word::Word,
};

const EXAMPLES: &str = "\
Examples:
  rootstock webhook add ci https://ci.example/hook --kind image,version
  rootstock webhook test ci
  rootstock webhook show ci           how delivery goes
  rootstock webhook update ci --disable";

/// Receivers that every change is sent to
#[derive(Debug, clap::Args)]
#[command(visible_alias = "webhooks", after_help = EXAMPLES)]
pub(crate) struct WebhookArgs {
    #[command(subcommand)]
    command: WebhookCommand,
}

#[derive(Debug, clap::Subcommand)]
enum WebhookCommand {
    Add(add::AddArgs),
    List(list::ListArgs),
    Show(ShowArgs),
    Update(update::UpdateArgs),
    Remove(RemoveArgs),
    Test(TestArgs),
}

/// Show a webhook: what it is sent, and how delivery goes
#[derive(Debug, clap::Args)]
#[command(visible_alias = "info")]
struct ShowArgs {
    /// Name of the webhook
    #[arg(add = completion::webhooks())]
    name: String,
}

/// Send nothing more to a receiver
#[derive(Debug, clap::Args)]
#[command(visible_aliases = ["rm", "delete"])]
struct RemoveArgs {
    /// Name of the webhook
    #[arg(add = completion::webhooks())]
    name: String,
}

/// Send a ping, ahead of what waits
#[derive(Debug, clap::Args)]
#[command(visible_alias = "ping")]
struct TestArgs {
    /// Name of the webhook
    #[arg(add = completion::webhooks())]
    name: String,
}

impl WebhookArgs {
    /// Runs the command.
    ///
    /// # Errors
    /// See [`Failure`].
    pub(crate) async fn run(self, args: &ClientArgs) -> Result<(), Failure> {
        let client = Client::new(args)?;
        let format = args.format;
        match self.command {
            WebhookCommand::Add(args) => add::run(&client, format, args).await,
            WebhookCommand::List(args) => list::run(&client, format, args).await,
            WebhookCommand::Show(args) => show(&client, format, args).await,
            WebhookCommand::Update(args) => update::run(&client, format, args).await,
            WebhookCommand::Remove(args) => remove(&client, args).await,
            WebhookCommand::Test(args) => test(&client, format, args).await,
        }
    }
}

async fn show(client: &Client, format: Format, args: ShowArgs) -> Result<(), Failure> {
    let webhook = get(client, &args.name).await?;
    output::print(format, &webhook, |screen| text(&webhook, screen))
}

async fn remove(client: &Client, RemoveArgs { name }: RemoveArgs) -> Result<(), Failure> {
    let request = DeleteWebhookRequest { name: name.clone() };
    client.call(client.webhooks().delete_webhook(request)).await?;
    output::note(&format!("removed webhook {name}"));
    Ok(())
}

async fn test(client: &Client, format: Format, TestArgs { name }: TestArgs) -> Result<(), Failure> {
    let request = TestWebhookRequest { name: name.clone() };
    let answer = client.call(client.webhooks().test_webhook(request)).await?;
    let webhook = answer.webhook.unwrap_or_default();
    output::print(format, &webhook, |_| {
        format!("a ping is on its way; \"rootstock webhook show {name}\" tells how it went\n")
    })
}

async fn get(client: &Client, name: &str) -> Result<Webhook, Failure> {
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
fn kinds(webhook: &Webhook) -> String {
    let kinds: Vec<_> = webhook.kinds().map(Word::word).collect();
    if kinds.is_empty() {
        "all".to_owned()
    } else {
        kinds.join(", ")
    }
}

/// The first thing an operator wants to know.
fn state(disabled: bool, status: &WebhookStatus) -> &'static str {
    if disabled {
        "disabled"
    } else if status.last_error.is_empty() {
        "ok"
    } else {
        "failing"
    }
}
