//! `rootstock image show`.

use rootstock_proto::catalog::v1::{GetImageRequest, Image};

use super::Reference;
use crate::cli::{
    Failure,
    client::Client,
    human,
    output::{self, Format, Lines, Screen},
    record::{self, ImageRecord},
    table::{Column, Table},
};

/// Show an image and its versions
#[derive(Debug, clap::Args)]
pub(super) struct ShowArgs {
    #[command(flatten)]
    reference: Reference,
}

pub(super) async fn run(client: &Client, format: Format, args: ShowArgs) -> Result<(), Failure> {
    let request = GetImageRequest {
        r#type: args.reference.image_type().into(),
        image: args.reference.image,
    };
    let answer = client
        .images()
        .get_image(request)
        .await
        .map_err(|status| client.failure(&status))?;
    let image = answer.into_inner().image.unwrap_or_default();
    output::print(format, &ImageRecord::whole(image.clone()), |screen| {
        text(&image, screen)
    })
}

pub(super) fn text(image: &Image, screen: Screen) -> String {
    let mut lines = Lines::default();
    lines.add("id", &image.id).add("name", &image.name);
    lines.add("type", record::image_type(image.r#type()));
    lines
        .add("architecture", &image.architecture)
        .add("variant", &image.variant);
    lines.add("status", record::status(image.status()));
    lines.add("default", image.default.to_string());
    lines.add("aliases", image.aliases.join(", "));
    lines.add("fingerprint", &image.fingerprint);
    if let Some(source) = &image.source {
        lines.add("remote", &source.remote);
        lines.add("product", &source.product);
    }
    let flags = [
        (image.immutable, "immutable"),
        (image.public, "public"),
        (image.cached, "cached"),
    ];
    lines.add(
        "is",
        flags
            .iter()
            .filter(|(set, _)| *set)
            .map(|(_, name)| *name)
            .collect::<Vec<_>>()
            .join(", "),
    );
    if image.expires_at.is_some() {
        lines.add("supported until", human::minute(image.expires_at.as_ref()));
    }
    lines.add("known since", human::minute(image.created_at.as_ref()));
    let mut text = lines.render();
    let mut properties: Vec<_> = image.properties.iter().collect();
    properties.sort();
    if !properties.is_empty() {
        text += "\nproperties:\n";
        for (key, value) in properties {
            text += &format!("  {key}: {value}\n");
        }
    }
    if !image.versions.is_empty() {
        text.push('\n');
        text += &versions(image, screen.width);
    }
    text
}

fn versions(image: &Image, width: Option<u16>) -> String {
    let mut table = Table::new(&[
        Column::always("VERSION").right(),
        Column::gives_way("SERIAL"),
        Column::always("STATUS"),
        Column::always("SIZE").right(),
        Column::always("CREATED"),
        Column::gives_way("FINGERPRINT"),
    ]);
    for version in &image.versions {
        table.row([
            version.number.to_string(),
            version.serial.clone(),
            record::status(version.status()).to_owned(),
            human::size(version.size_bytes),
            human::minute(version.created_at.as_ref()),
            version.fingerprint.clone(),
        ]);
    }
    let mut text = table.render(width);
    for version in image
        .versions
        .iter()
        .filter(|version| !version.error_message.is_empty())
    {
        text += &format!("version {}: {}\n", version.number, version.error_message);
    }
    text
}

#[cfg(test)]
mod tests {
    use rootstock_proto::{
        catalog::v1::{self as wire, Version},
        convert::timestamp,
    };
    use time::macros::datetime;

    use super::*;

    #[test]
    fn an_image_is_shown_with_its_versions() {
        let image = Image {
            id: "btavtegj1qm58qg7ru50".into(),
            name: "alpine:3.20:amd64:default".into(),
            r#type: wire::ImageType::VirtualMachine.into(),
            architecture: "x86_64".into(),
            status: wire::Status::Active.into(),
            immutable: true,
            properties: [("requirements.secureboot".to_owned(), "false".to_owned())].into(),
            versions: vec![Version {
                number: 1,
                serial: "20261122".into(),
                status: wire::Status::Queued.into(),
                size_bytes: 4 << 20,
                created_at: Some(timestamp(datetime!(2026-11-22 05:24 UTC))),
                error_message: "404 Not Found".into(),
                ..Version::default()
            }],
            ..Image::default()
        };
        let screen = Screen {
            width: None,
            now: datetime!(2026-11-22 12:00 UTC),
        };
        assert_eq!(
            text(&image, screen),
            "\
id:           btavtegj1qm58qg7ru50
name:         alpine:3.20:amd64:default
type:         virtual-machine
architecture: x86_64
status:       active
default:      false
is:           immutable
known since:  -

properties:
  requirements.secureboot: false

VERSION  SERIAL    STATUS      SIZE  CREATED               FINGERPRINT
      1  20261122  queued  4.00 MiB  2026-11-22 05:24 UTC
version 1: 404 Not Found
"
        );
    }
}
