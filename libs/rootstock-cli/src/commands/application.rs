//! `rootstock application`: consumers that hold one version of an image each.

mod list;
mod update;

use rootstock_proto::catalog::v1::{
    Application, CreateApplicationRequest, DeleteApplicationRequest, GetApplicationRequest,
};

use crate::{
    client::{Client, ClientArgs},
    completion,
    confirm::{self, ConfirmArgs},
    failure::Failure,
    human,
    input::{TypeArgs, truth},
    output::{self, Format, Lines},
    word::Word as _,
};

const EXAMPLES: &str = "\
Examples:
  rootstock application create shop debian/12     holds its current version, and moves to newer ones
  rootstock application update shop --auto-update false
  rootstock application update shop --version 3   goes back
  rootstock application list --image debian/12";

/// Consumers of images: each holds one version, and keeps its bytes
#[derive(Debug, clap::Args)]
#[command(visible_aliases = ["app", "applications", "apps"], after_help = EXAMPLES)]
pub(crate) struct ApplicationArgs {
    #[command(subcommand)]
    command: ApplicationCommand,
}

#[derive(Debug, clap::Subcommand)]
enum ApplicationCommand {
    Create(CreateArgs),
    List(list::ListArgs),
    Show(ShowArgs),
    Update(update::UpdateArgs),
    Delete(DeleteArgs),
}

/// Make an application that holds a version of an image
#[derive(Debug, clap::Args)]
#[command(visible_alias = "add")]
struct CreateArgs {
    /// Its name
    name: String,

    /// Name, alias, id, or fingerprint of its image [default: the default image of --type]
    #[arg(value_name = "IMAGE", required_unless_present_any = ["image_type", "vm"], add = completion::images())]
    image: Option<String>,

    #[command(flatten)]
    image_type: TypeArgs,

    /// Number of the version to hold [default: the current one]
    #[arg(long = "version", value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    number: Option<i32>,

    /// Whether it moves to newer versions as its image does [default: true]
    #[arg(long, value_name = "BOOL", value_parser = truth)]
    auto_update: Option<bool>,
}

/// Show an application
#[derive(Debug, clap::Args)]
#[command(visible_alias = "info")]
struct ShowArgs {
    /// Its name
    #[arg(value_name = "APPLICATION", add = completion::applications())]
    name: String,
}

/// Delete an application: it lets go of its version
#[derive(Debug, clap::Args)]
#[command(visible_aliases = ["rm", "remove"])]
struct DeleteArgs {
    /// Its name
    #[arg(value_name = "APPLICATION", add = completion::applications())]
    name: String,

    #[command(flatten)]
    confirm: ConfirmArgs,
}

impl ApplicationArgs {
    /// Runs the command.
    ///
    /// # Errors
    /// See [`Failure`].
    pub(crate) async fn run(self, args: &ClientArgs) -> Result<(), Failure> {
        let client = Client::new(args)?;
        let format = args.format;
        match self.command {
            ApplicationCommand::Create(args) => create(&client, format, args).await,
            ApplicationCommand::List(args) => list::run(&client, format, args).await,
            ApplicationCommand::Show(args) => show(&client, format, args).await,
            ApplicationCommand::Update(args) => update::run(&client, format, args).await,
            ApplicationCommand::Delete(args) => delete(&client, args).await,
        }
    }
}

async fn create(client: &Client, format: Format, args: CreateArgs) -> Result<(), Failure> {
    let request = CreateApplicationRequest {
        name: args.name,
        image: args.image.unwrap_or_default(),
        r#type: args.image_type.wire().into(),
        version: args.number,
        auto_update: args.auto_update,
    };
    let answer = client
        .call(client.applications().create_application(request))
        .await?;
    print(format, &answer.application.unwrap_or_default())
}

async fn show(client: &Client, format: Format, args: ShowArgs) -> Result<(), Failure> {
    print(format, &get(client, &args.name).await?)
}

async fn delete(client: &Client, DeleteArgs { name, confirm }: DeleteArgs) -> Result<(), Failure> {
    get(client, &name).await?;
    confirm::removal(confirm, "application", std::slice::from_ref(&name))?;
    let request = DeleteApplicationRequest { name: name.clone() };
    client
        .call(client.applications().delete_application(request))
        .await?;
    output::note(&format!("deleted application {name}"));
    Ok(())
}

async fn get(client: &Client, name: &str) -> Result<Application, Failure> {
    let request = GetApplicationRequest {
        name: name.to_owned(),
    };
    let answer = client
        .call(client.applications().get_application(request))
        .await?;
    Ok(answer.application.unwrap_or_default())
}

fn print(format: Format, application: &Application) -> Result<(), Failure> {
    output::print(format, application, |_| text(application))
}

fn text(application: &Application) -> String {
    let mut lines = Lines::default();
    lines
        .add("name", &application.name)
        .add("image", image(application))
        .add("type", application.r#type().word());
    if let Some(version) = &application.version {
        lines
            .add("version", format!("{} ({})", version.number, version.serial))
            .add("fingerprint", &version.fingerprint)
            .add("size", human::size(version.size_bytes));
    }
    lines
        .add("auto-update", application.auto_update.to_string())
        .add("created", human::minute(application.created_at.as_ref()))
        .add("updated", human::minute(application.updated_at.as_ref()))
        .add("etag", &application.etag);
    lines.render()
}

/// Its image's name; what stands there once the image was deleted.
fn image(application: &Application) -> String {
    if application.image_id.is_empty() {
        "deleted".to_owned()
    } else {
        application.image.clone()
    }
}
