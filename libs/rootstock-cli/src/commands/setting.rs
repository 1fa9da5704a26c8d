//! `rootstock config`: settings, what is the same for the whole catalog.

use rootstock_proto::catalog::v1::{
    GetSettingRequest, ListSettingsRequest, ResetSettingRequest, Setting, UpdateSettingRequest,
};

use crate::{
    client::{Client, ClientArgs},
    completion,
    failure::Failure,
    output::{self, Format},
    table::{Column, Table},
};

const EXAMPLES: &str = "\
Examples:
  rootstock config show
  rootstock config set images.update_interval 15m
  rootstock config get images.update_interval
  rootstock config reset images.update_interval

A setting is effective at once, everywhere. What a process is started with (listeners, database, store) is not here:
\"rootstock check-config\".";

/// Settings of the catalog
#[derive(Debug, clap::Args)]
#[command(visible_alias = "setting", after_help = EXAMPLES)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, clap::Subcommand)]
enum ConfigCommand {
    Show(ShowArgs),
    Get(GetArgs),
    Set(SetArgs),
    Reset(ResetArgs),
}

/// Show all settings
#[derive(Debug, clap::Args)]
#[command(visible_aliases = ["list", "ls"])]
struct ShowArgs {}

/// Print the value of a setting
#[derive(Debug, clap::Args)]
struct GetArgs {
    /// Its key
    #[arg(add = completion::settings())]
    key: String,
}

/// Set a setting
#[derive(Debug, clap::Args)]
struct SetArgs {
    /// Its key; or KEY=VALUE
    #[arg(add = completion::settings())]
    key: String,

    /// Its new value
    #[arg(allow_hyphen_values = true)]
    value: Option<String>,
}

/// Set a setting back to its default
#[derive(Debug, clap::Args)]
#[command(visible_alias = "unset")]
struct ResetArgs {
    /// Its key
    #[arg(add = completion::settings())]
    key: String,
}

impl ConfigArgs {
    /// Runs the command.
    ///
    /// # Errors
    /// See [`Failure`].
    pub(crate) async fn run(self, args: &ClientArgs) -> Result<(), Failure> {
        let client = Client::new(args)?;
        let format = args.format;
        match self.command {
            ConfigCommand::Show(ShowArgs {}) => show(&client, format).await,
            ConfigCommand::Get(args) => get(&client, format, args).await,
            ConfigCommand::Set(args) => set(&client, format, args).await,
            ConfigCommand::Reset(args) => reset(&client, format, args).await,
        }
    }
}

async fn show(client: &Client, format: Format) -> Result<(), Failure> {
    let answer = client
        .call(client.settings().list_settings(ListSettingsRequest {}))
        .await?;
    let settings = answer.settings;
    output::print_list(format, &settings, |screen| table(&settings, screen.width))
}

fn table(settings: &[Setting], width: Option<u16>) -> String {
    let mut table = Table::new(&[
        Column::always("KEY"),
        Column::always("VALUE"),
        Column::always("DEFAULT"),
        Column::when_wide("DESCRIPTION"),
    ]);
    for setting in settings {
        table.row([
            setting.key.clone(),
            setting.value.clone(),
            setting.default_value.clone(),
            setting.description.clone(),
        ]);
    }
    table.render(width)
}

async fn get(client: &Client, format: Format, GetArgs { key }: GetArgs) -> Result<(), Failure> {
    let answer = client
        .call(client.settings().get_setting(GetSettingRequest { key }))
        .await?;
    let setting = answer.setting.unwrap_or_default();
    output::print(format, &setting, |_| format!("{}\n", setting.value))
}

async fn set(client: &Client, format: Format, args: SetArgs) -> Result<(), Failure> {
    let (key, value) = match args.value {
        Some(value) => (args.key, value),
        None => args
            .key
            .split_once('=')
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .ok_or_else(|| {
                Failure::usage(format!(
                    "no value: \"rootstock config set {} VALUE\" sets it, \"rootstock config reset {0}\" sets it back \
                     to its default",
                    args.key
                ))
            })?,
    };
    let answer = client
        .call(
            client
                .settings()
                .update_setting(UpdateSettingRequest { key, value }),
        )
        .await?;
    changed(format, &answer.setting.unwrap_or_default())
}

async fn reset(client: &Client, format: Format, ResetArgs { key }: ResetArgs) -> Result<(), Failure> {
    let answer = client
        .call(client.settings().reset_setting(ResetSettingRequest { key }))
        .await?;
    changed(format, &answer.setting.unwrap_or_default())
}

fn changed(format: Format, setting: &Setting) -> Result<(), Failure> {
    output::print(format, setting, |_| {
        format!("{} is {} now\n", setting.key, setting.value)
    })
}
