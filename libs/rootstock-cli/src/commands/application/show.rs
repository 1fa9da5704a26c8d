//! `rootstock application show`.

use rootstock_proto::catalog::v1::{Application, GetApplicationRequest};

use crate::{
    client::Client,
    completion,
    failure::Failure,
    human,
    output::{self, Format, Lines},
    word::Word as _,
};

/// Show an application
#[derive(Debug, clap::Args)]
#[command(visible_alias = "info")]
pub(super) struct ShowArgs {
    /// Its name
    #[arg(value_name = "APPLICATION", add = completion::applications())]
    name: String,
}

pub(super) async fn run(client: &Client, format: Format, args: ShowArgs) -> Result<(), Failure> {
    print(format, &get(client, &args.name).await?)
}

/// An application.
///
/// # Errors
/// The server's.
pub(super) async fn get(client: &Client, name: &str) -> Result<Application, Failure> {
    let request = GetApplicationRequest {
        name: name.to_owned(),
    };
    let answer = client
        .call(client.applications().get_application(request))
        .await?;
    Ok(answer.application.unwrap_or_default())
}

/// Prints an application.
///
/// # Errors
/// Standard output cannot be written to.
pub(super) fn print(format: Format, application: &Application) -> Result<(), Failure> {
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
pub(super) fn image(application: &Application) -> String {
    if application.image_id.is_empty() {
        "deleted".to_owned()
    } else {
        application.image.clone()
    }
}
