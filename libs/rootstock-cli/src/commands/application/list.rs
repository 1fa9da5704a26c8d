//! `rootstock application list`.

use rootstock_proto::catalog::v1::{Application, ImageType, ListApplicationsRequest};

use super::show::image;
use crate::{
    client::Client,
    commands::image::reference,
    completion,
    failure::Failure,
    human,
    output::{self, Format, Screen},
    table::{Column, Table},
    word::Word as _,
};

/// List applications
#[derive(Debug, clap::Args)]
#[command(visible_alias = "ls")]
pub(super) struct ListArgs {
    /// Only those that hold a version of this image
    #[arg(long, value_name = "IMAGE", add = completion::images())]
    image: Option<String>,
}

pub(super) async fn run(client: &Client, format: Format, args: ListArgs) -> Result<(), Failure> {
    let image_id = match args.image {
        Some(name) => reference::get(client, &name, ImageType::Unspecified).await?.id,
        None => String::new(),
    };
    let request = ListApplicationsRequest {
        image_id,
        ..ListApplicationsRequest::default()
    };
    let applications = client
        .list(&request, async |request| {
            client.applications().list_applications(request).await
        })
        .await?;
    output::print_list(format, &applications, |screen| table(&applications, screen))
}

fn table(applications: &[Application], screen: Screen) -> String {
    let mut table = Table::new(&[
        Column::gives_way("NAME"),
        Column::gives_way("IMAGE"),
        Column::always("TYPE"),
        Column::always("VERSION").right(),
        Column::gives_way("SERIAL"),
        Column::always("AUTO-UPDATE"),
        Column::when_wide("UPDATED"),
        Column::when_wide("FINGERPRINT"),
    ]);
    for application in applications {
        let version = application.version.clone().unwrap_or_default();
        table.row([
            application.name.clone(),
            image(application),
            application.r#type().word(),
            version.number.to_string(),
            version.serial.clone(),
            application.auto_update.to_string(),
            human::relative(application.updated_at.as_ref(), screen.now),
            human::short_digest(&version.fingerprint).to_owned(),
        ]);
    }
    table.render(screen.width)
}

#[cfg(test)]
mod tests {
    use rootstock_proto::catalog::v1::Version;
    use time::macros::datetime;

    use super::*;

    #[test]
    fn a_list_tells_what_each_holds() {
        let application = |name: &str, image_id: &str| Application {
            name: name.into(),
            image_id: image_id.into(),
            image: "debian:12".into(),
            r#type: ImageType::Container.into(),
            version: Some(Version {
                number: 3,
                serial: "20261122".into(),
                ..Version::default()
            }),
            auto_update: true,
            ..Application::default()
        };
        let screen = Screen {
            width: None,
            now: datetime!(2026-11-22 12:00 UTC),
        };
        assert_eq!(
            table(&[application("old", ""), application("shop", "x")], screen),
            "\
NAME  IMAGE      TYPE       VERSION  SERIAL    AUTO-UPDATE
old   deleted    container        3  20261122  true
shop  debian:12  container        3  20261122  true
"
        );
    }
}
