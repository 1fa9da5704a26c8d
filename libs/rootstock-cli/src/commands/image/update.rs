//! `rootstock image update`.

use prost_types::FieldMask;
use rootstock_proto::catalog::v1::{Image, UpdateImageRequest};
use time::OffsetDateTime;

use super::{Reference, show};
use crate::{
    Failure, change,
    client::Client,
    input::{End, pair, truth, when_or_never},
    output::{self, Format},
    record::ImageRecord,
};

const EXAMPLES: &str = "\
Examples:
  rootstock image update base --private --auto-update false
  rootstock image update base --expires 90d
  rootstock image update base --property os=Debian --unset-property release

A new version from files: \"rootstock image import\". Another default: \"rootstock image switch\".";

/// Change what may be changed of an image
#[derive(Debug, clap::Args)]
#[command(visible_alias = "set", after_help = EXAMPLES)]
pub(super) struct UpdateArgs {
    #[command(flatten)]
    reference: Reference,

    #[command(flatten)]
    edit: Edit,

    /// Only if its etag is still this one, as "image show" has it
    #[arg(long, value_name = "ETAG")]
    etag: Option<String>,
}

#[derive(Debug, clap::Args)]
#[group(id = "edit", required = true, multiple = true)]
struct Edit {
    /// Show it to everyone at the edge
    #[arg(long, conflicts_with = "private")]
    public: bool,

    /// Do not show it at the edge
    #[arg(long)]
    private: bool,

    /// Whether it follows newer versions
    #[arg(long, value_name = "BOOL", value_parser = truth)]
    auto_update: Option<bool>,

    /// When it expires: a day, a moment (RFC 3339), a time from now (90d), or never
    #[arg(long, visible_alias = "expires-at", value_name = "WHEN", value_parser = when_or_never)]
    expires: Option<End>,

    /// Set a property; may be given several times
    #[arg(long = "property", value_name = "KEY=VALUE", value_parser = pair)]
    set: Vec<(String, String)>,

    /// Remove a property; may be given several times
    #[arg(long = "unset-property", value_name = "KEY")]
    unset: Vec<String>,
}

impl Edit {
    fn visibility(&self) -> Option<bool> {
        (self.public || self.private).then_some(self.public)
    }

    /// Makes the change to an image; which fields it is about.
    fn apply(&self, image: &mut Image, now: OffsetDateTime) -> Vec<String> {
        let mut paths = Vec::new();
        if let Some(public) = self.visibility() {
            image.public = public;
            paths.push("public");
        }
        if let Some(auto_update) = self.auto_update {
            image.auto_update = auto_update;
            paths.push("auto_update");
        }
        if let Some(End(expires)) = self.expires {
            image.expires_at = expires.map(|when| when.seen_from(now));
            paths.push("expires_at");
        }
        if !self.set.is_empty() || !self.unset.is_empty() {
            image.properties.extend(self.set.iter().cloned());
            for key in &self.unset {
                image.properties.remove(key);
            }
            paths.push("properties");
        }
        paths.into_iter().map(str::to_owned).collect()
    }

    /// What of an image it is about, property by property.
    fn concerns(&self, image: &Image) -> Vec<Option<String>> {
        let keys = self.set.iter().map(|(key, _)| key).chain(&self.unset);
        let mut concerned: Vec<_> = keys.map(|key| image.properties.get(key).cloned()).collect();
        concerned.push(self.visibility().map(|_| image.public.to_string()));
        concerned.push(self.auto_update.map(|_| image.auto_update.to_string()));
        concerned.push(self.expires.map(|_| format!("{:?}", image.expires_at)));
        concerned
    }
}

pub(super) async fn run(client: &Client, format: Format, args: UpdateArgs) -> Result<(), Failure> {
    let UpdateArgs {
        reference,
        edit,
        etag,
    } = args;
    let now = OffsetDateTime::now_utc();
    let request = |mut image: Image| {
        let paths = edit.apply(&mut image, now);
        UpdateImageRequest {
            image: Some(image),
            update_mask: Some(FieldMask { paths }),
        }
    };
    let answer = match etag {
        Some(etag) => {
            let mut image = reference.get(client).await?;
            image.etag = etag;
            client.call(client.images().update_image(request(image))).await?
        }
        None => {
            change::make(
                client,
                async || reference.get(client).await,
                |image| edit.concerns(image),
                async |image| client.images().update_image(request(image)).await,
            )
            .await?
        }
    };
    let image = answer.image.unwrap_or_default();
    output::print(format, &ImageRecord::whole(image.clone()), |screen| {
        show::text(&image, screen)
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use time::macros::datetime;

    use super::*;

    #[derive(clap::Parser)]
    struct Flags {
        #[command(flatten)]
        edit: Edit,
    }

    fn edit(flags: &[&str]) -> Edit {
        let words = std::iter::once(&"test").chain(flags);
        Flags::try_parse_from(words).map(|flags| flags.edit).unwrap()
    }

    #[test]
    fn only_what_was_asked_for_is_in_the_mask() {
        let now = datetime!(2026-11-22 12:00 UTC);
        let mut image = Image {
            public: true,
            properties: [
                ("os".to_owned(), "x".to_owned()),
                ("release".to_owned(), "y".to_owned()),
            ]
            .into(),
            ..Image::default()
        };
        assert_eq!(edit(&["--private"]).apply(&mut image, now), ["public"]);
        assert!(!image.public);
        let paths = edit(&[
            "--property",
            "os=Debian",
            "--property",
            "a=b",
            "--unset-property",
            "release",
        ])
        .apply(&mut image, now);
        assert_eq!(paths, ["properties"]);
        assert_eq!(
            image.properties,
            [
                ("os".to_owned(), "Debian".to_owned()),
                ("a".to_owned(), "b".to_owned())
            ]
            .into()
        );
        assert_eq!(
            edit(&["--expires", "7d", "--auto-update", "no"]).apply(&mut image, now),
            ["auto_update", "expires_at"]
        );
        assert!(image.expires_at.is_some());
        edit(&["--expires", "never"]).apply(&mut image, now);
        assert_eq!(image.expires_at, None);
        assert!(Flags::try_parse_from(["test"]).is_err(), "nothing to change");
    }

    #[test]
    fn an_edit_concerns_the_properties_that_it_names_alone() {
        let image = |os: &str, release: &str| Image {
            properties: [("os", os), ("release", release)]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            ..Image::default()
        };
        let edit = edit(&["--property", "os=Debian"]);
        assert_eq!(edit.concerns(&image("x", "1")), edit.concerns(&image("x", "2")));
        assert_ne!(edit.concerns(&image("x", "1")), edit.concerns(&image("y", "1")));
    }
}
