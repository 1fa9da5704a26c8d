//! `rootstock image show`.

use rootstock_proto::catalog::v1::{Hold, Image, Version};

use super::reference::Reference;
use crate::{
    client::Client,
    failure::Failure,
    human,
    output::{self, Format, Lines, Screen},
    record::requirement_warnings,
    table::{Column, Table},
    word::Word as _,
};

/// Show an image and its versions
#[derive(Debug, clap::Args)]
#[command(visible_alias = "info")]
pub(super) struct ShowArgs {
    #[command(flatten)]
    reference: Reference,
}

pub(super) async fn run(client: &Client, format: Format, args: ShowArgs) -> Result<(), Failure> {
    let image = args.reference.get(client).await?;
    output::print(format, &image, |screen| text(&image, screen))
}

/// An image for people.
pub(super) fn text(image: &Image, screen: Screen) -> String {
    let mut lines = Lines::default();
    lines.add("id", &image.id).add("name", &image.name);
    lines.add("type", image.r#type().word());
    lines
        .add("architecture", &image.architecture)
        .add("variant", &image.variant);
    lines.add("status", image.status().word());
    lines.add("default", image.default.to_string());
    lines.add("aliases", image.aliases.join(", "));
    lines.add("fingerprint", &image.fingerprint);
    if let Some(source) = &image.source {
        lines
            .add("remote", &source.remote)
            .add("product", &source.product)
            .add("release", &source.release);
    }
    let flags = [
        (image.immutable, "immutable"),
        (image.public, "public"),
        (image.cached, "cached"),
        (image.auto_update, "auto-updated"),
    ];
    let set = flags.iter().filter(|(set, _)| *set);
    lines.add("is", set.map(|(_, name)| *name).collect::<Vec<_>>().join(", "));
    if let Some(hold) = &image.hold {
        lines.add("held", held(hold));
    }
    lines.add("used by", image.used_by.join(", "));
    lines.add(
        "last used",
        human::relative(image.last_used_at.as_ref(), screen.now),
    );
    if image.expires_at.is_some() {
        // Only a cached image leaves the store then; of any other it is what its maker says.
        let key = if image.cached {
            "expires"
        } else {
            "supported until"
        };
        lines.add(key, human::minute(image.expires_at.as_ref()));
    }
    lines.add("known since", human::minute(image.created_at.as_ref()));
    lines.add("etag", &image.etag);
    let mut text = lines.render();
    let mut properties: Vec<_> = image.properties.iter().collect();
    properties.sort();
    if !properties.is_empty() {
        text += "\nproperties:\n";
        for (key, value) in properties {
            text += &format!("  {key}: {value}\n");
        }
        for warning in requirement_warnings(image) {
            text += &format!("  warning: {warning}\n");
        }
    }
    if !image.versions.is_empty() {
        text.push('\n');
        text += &versions(image, screen.width);
    }
    text
}

fn held(hold: &Hold) -> String {
    let until = match &hold.until {
        Some(until) => format!(" until {}", human::minute(Some(until))),
        None => String::new(),
    };
    format!(
        "at version {} since {}{until}: {}",
        hold.version,
        human::minute(hold.since.as_ref()),
        hold.reason
    )
}

/// What clients see of a version.
fn shown(image: &Image, version: &Version) -> &'static str {
    if Some(version.number) == image.current_version {
        "current"
    } else if version.hidden {
        "hidden"
    } else {
        ""
    }
}

fn versions(image: &Image, width: Option<u16>) -> String {
    let mut table = Table::new(&[
        Column::always("VERSION").right(),
        Column::gives_way("SERIAL"),
        Column::always("STATUS"),
        Column::always("SIZE").right(),
        Column::always("CREATED"),
        Column::always("SHOWN"),
        Column::gives_way("FINGERPRINT"),
    ]);
    for version in &image.versions {
        table.row([
            version.number.to_string(),
            version.serial.clone(),
            version.status().word(),
            human::size(version.size_bytes),
            human::minute(version.created_at.as_ref()),
            shown(image, version).to_owned(),
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
            auto_update: true,
            used_by: vec!["anbox".into(), "shop".into()],
            last_used_at: Some(timestamp(datetime!(2026-11-22 11:00 UTC))),
            hold: Some(Hold {
                version: 0,
                reason: "DNS is broken".into(),
                until: Some(timestamp(datetime!(2026-12-01 00:00 UTC))),
                since: Some(timestamp(datetime!(2026-11-22 08:30 UTC))),
            }),
            etag: "17".into(),
            current_version: Some(0),
            properties: [("requirements.secureboot".to_owned(), "false".to_owned())].into(),
            versions: vec![Version {
                number: 1,
                serial: "20261122".into(),
                status: wire::Status::Queued.into(),
                size_bytes: 4 << 20,
                created_at: Some(timestamp(datetime!(2026-11-22 05:24 UTC))),
                error_message: "404 Not Found".into(),
                hidden: true,
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
is:           immutable, auto-updated
held:         at version 0 since 2026-11-22 08:30 UTC until 2026-12-01 00:00 UTC: DNS is broken
used by:      anbox, shop
last used:    60 min ago
known since:  -
etag:         17

properties:
  requirements.secureboot: false

VERSION  SERIAL    STATUS      SIZE  CREATED               SHOWN   FINGERPRINT
      1  20261122  queued  4.00 MiB  2026-11-22 05:24 UTC  hidden
version 1: 404 Not Found
"
        );
    }
}
