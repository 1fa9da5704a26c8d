//! `rootstock image list`.

use rootstock_model::Status;
use rootstock_proto::catalog::v1::{self as wire, Image, ListImagesRequest};

use crate::{
    client::Client,
    completion,
    failure::Failure,
    human,
    input::{TypeArgs, pair, truth},
    output::{self, Format, Screen},
    record::Listed,
    table::{Column, Table},
    word::Word as _,
};

const EXAMPLES: &str = "\
Examples:
  rootstock image list 'debian*' --type vm
  rootstock image list --remote images --status available
  rootstock image list --arch arm64 --property os=Debian --default";

/// List images
#[derive(Debug, clap::Args)]
#[command(visible_alias = "ls", after_help = EXAMPLES)]
pub(super) struct ListArgs {
    /// Only those whose name matches (*, ?, [a-z], {a,b}; case does not matter)
    pattern: Option<String>,

    /// Only those of this remote
    #[arg(long, value_name = "NAME", add = completion::remotes())]
    remote: Option<String>,

    #[command(flatten)]
    image_type: TypeArgs,

    /// Only those with this status: active, available, queued, created, initializing, error
    #[arg(long, value_parser = status)]
    status: Option<Status>,

    /// Only those that this alias points to
    #[arg(long, value_name = "NAME", add = completion::aliases())]
    alias: Option<String>,

    /// Only this architecture: x86_64, amd64, …
    #[arg(long, visible_alias = "arch", value_name = "ARCH")]
    architecture: Option<String>,

    /// Only those with this property; given several times, with all of them
    #[arg(long = "property", value_name = "KEY=VALUE", value_parser = pair)]
    properties: Vec<(String, String)>,

    /// Only those that are cached, or (false) that are not
    #[arg(long, value_name = "BOOL", value_parser = truth, num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true")]
    cached: Option<bool>,

    /// Only defaults, or (false) only others
    #[arg(long = "default", value_name = "BOOL", value_parser = truth, num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true")]
    is_default: Option<bool>,
}

pub(super) async fn run(client: &Client, format: Format, args: ListArgs) -> Result<(), Failure> {
    let request = ListImagesRequest {
        name: args.pattern.unwrap_or_default(),
        r#type: args.image_type.wire().into(),
        remote: args.remote.unwrap_or_default(),
        status: args.status.map_or(wire::Status::Unspecified, Into::into).into(),
        alias: args.alias.unwrap_or_default(),
        architecture: args.architecture.unwrap_or_default(),
        properties: args.properties.into_iter().collect(),
        cached: args.cached,
        is_default: args.is_default,
        ..ListImagesRequest::default()
    };
    let images = client
        .list(&request, async |request| {
            client.images().list_images(request).await
        })
        .await?;
    let records: Vec<_> = images.iter().map(Listed).collect();
    output::print_list(format, &records, |screen| text(&images, screen))
}

fn text(images: &[Image], screen: Screen) -> String {
    let mut table = Table::new(&[
        Column::always("ID"),
        Column::gives_way("NAME"),
        Column::always("STATUS"),
        Column::always("VERSIONS"),
        Column::always("ARCHITECTURE"),
        Column::always("DEFAULT"),
        Column::when_wide("TYPE"),
        Column::when_wide("REMOTE"),
        Column::when_wide("FINGERPRINT"),
        Column::when_wide("ALIASES"),
    ]);
    for image in images {
        table.row([
            image.id.clone(),
            image.name.clone(),
            image.status().word(),
            image.version_count.to_string(),
            image.architecture.clone(),
            image.default.to_string(),
            image.r#type().word(),
            image
                .source
                .as_ref()
                .map_or_else(String::new, |source| source.remote.clone()),
            human::short_digest(&image.fingerprint).to_owned(),
            image.aliases.join(", "),
        ]);
    }
    table.render(screen.width)
}

fn status(text: &str) -> Result<Status, String> {
    Status::ALL
        .into_iter()
        .filter(|status| !matches!(status, Status::Unknown | Status::Deleted))
        .find(|status| status.as_str() == text)
        .ok_or_else(|| "it is active, available, queued, created, initializing or error".to_owned())
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn the_list_has_the_columns_that_operators_know() {
        let screen = |width| Screen {
            width,
            now: datetime!(2026-11-22 12:00 UTC),
        };
        assert_eq!(
            text(&[], screen(None)),
            "ID  NAME  STATUS  VERSIONS  ARCHITECTURE  DEFAULT\n"
        );
        let image = Image {
            id: "btavtegj1qm58qg7ru50".into(),
            name: "alpine:3.20:amd64:default".into(),
            r#type: wire::ImageType::Container.into(),
            architecture: "x86_64".into(),
            status: wire::Status::Active.into(),
            default: true,
            version_count: 2,
            fingerprint: "0123456789abcdef".into(),
            aliases: vec!["alpine/3.20".into(), "alpine".into()],
            source: Some(wire::ImageSource {
                remote: "images".into(),
                ..wire::ImageSource::default()
            }),
            ..Image::default()
        };
        assert_eq!(
            text(std::slice::from_ref(&image), screen(None)),
            "\
ID                    NAME                       STATUS  VERSIONS  ARCHITECTURE  DEFAULT
btavtegj1qm58qg7ru50  alpine:3.20:amd64:default  active  2         x86_64        true
"
        );
        assert_eq!(
            text(&[image], screen(Some(160))),
            "\
ID                    NAME                       STATUS  VERSIONS  ARCHITECTURE  DEFAULT  TYPE       REMOTE  FINGERPRINT   ALIASES
btavtegj1qm58qg7ru50  alpine:3.20:amd64:default  active  2         x86_64        true     container  images  0123456789ab  alpine/3.20, alpine
"
        );
    }

    #[test]
    fn a_status_is_a_word() {
        assert_eq!(status("active"), Ok(Status::Active));
        assert!(status("ACTIVE").is_err() && status("deleted").is_err());
    }
}
