//! `rootstock webhook`: receivers that every change is sent to over HTTP.

mod add;
mod fields;
mod list;
mod show;
mod update;

use rootstock_proto::catalog::v1::{DeleteWebhookRequest, TestWebhookRequest};

use crate::{
    client::{Client, ClientArgs},
    completion,
    failure::Failure,
    output::{self, Format},
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
    Show(show::ShowArgs),
    Update(update::UpdateArgs),
    Remove(RemoveArgs),
    Test(TestArgs),
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
            WebhookCommand::Show(args) => show::run(&client, format, args).await,
            WebhookCommand::Update(args) => update::run(&client, format, args).await,
            WebhookCommand::Remove(args) => remove(&client, args).await,
            WebhookCommand::Test(args) => test(&client, format, args).await,
        }
    }
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
