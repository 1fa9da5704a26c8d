//! `rootstock image update`.

use rootstock_proto::{
    catalog::v1::{Image, UpdateImageRequest},
    update::Mask,
};
use time::OffsetDateTime;

use super::{reference::Reference, show};
use crate::{
    client::Client,
    failure::Failure,
    input::{End, pair, truth, when_or_never},
    output::{self, Format},
    update,
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
}

/// An edit, made at a moment that relative times are counted from.
struct Made<'a> {
    edit: &'a Edit,
    now: OffsetDateTime,
}

impl update::Edit<Image> for Made<'_> {
    /// Property by property.
    type Concern = Vec<Option<String>>;

    fn apply(&self, image: &mut Image) -> Result<Mask<Image>, Failure> {
        let Self { edit, now } = self;
        let mut paths = Vec::new();
        if let Some(public) = edit.visibility() {
            image.public = public;
            paths.push("public");
        }
        if let Some(auto_update) = edit.auto_update {
            image.auto_update = auto_update;
            paths.push("auto_update");
        }
        if let Some(End(expires)) = edit.expires {
            image.expires_at = expires.map(|when| when.seen_from(*now));
            paths.push("expires_at");
        }
        if !edit.set.is_empty() || !edit.unset.is_empty() {
            image.properties.extend(edit.set.iter().cloned());
            for key in &edit.unset {
                image.properties.remove(key);
            }
            paths.push("properties");
        }
        update::mask(paths)
    }

    fn concern(&self, image: &Image) -> Result<Self::Concern, Failure> {
        let edit = self.edit;
        let keys = edit.set.iter().map(|(key, _)| key).chain(&edit.unset);
        let mut concern: Vec<_> = keys.map(|key| image.properties.get(key).cloned()).collect();
        concern.push(edit.visibility().map(|_| image.public.to_string()));
        concern.push(edit.auto_update.map(|_| image.auto_update.to_string()));
        concern.push(edit.expires.map(|_| format!("{:?}", image.expires_at)));
        Ok(concern)
    }
}

pub(super) async fn run(client: &Client, format: Format, args: UpdateArgs) -> Result<(), Failure> {
    let UpdateArgs {
        reference,
        edit,
        etag,
    } = args;
    let made = Made {
        edit: &edit,
        now: OffsetDateTime::now_utc(),
    };
    let answer = update::run(
        client,
        etag,
        &made,
        async || reference.get(client).await,
        async |image, update_mask| {
            let request = UpdateImageRequest { image, update_mask };
            client.images().update_image(request).await
        },
    )
    .await?;
    let image = answer.image.unwrap_or_default();
    output::print(format, &image, |screen| show::text(&image, screen))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use time::macros::datetime;

    use super::*;
    use crate::update::Edit as _;

    #[derive(clap::Parser)]
    struct Flags {
        #[command(flatten)]
        edit: Edit,
    }

    const NOW: OffsetDateTime = datetime!(2026-11-22 12:00 UTC);

    /// Makes the change that these flags ask for; which fields it is about.
    fn apply(flags: &[&str], image: &mut Image) -> Vec<&'static str> {
        let edit = &edit(flags);
        Made { edit, now: NOW }.apply(image).unwrap().paths().to_vec()
    }

    fn edit(flags: &[&str]) -> Edit {
        let words = std::iter::once(&"test").chain(flags);
        Flags::try_parse_from(words).map(|flags| flags.edit).unwrap()
    }

    #[test]
    fn only_what_was_asked_for_is_in_the_mask() {
        let mut image = Image {
            public: true,
            properties: [
                ("os".to_owned(), "x".to_owned()),
                ("release".to_owned(), "y".to_owned()),
            ]
            .into(),
            ..Image::default()
        };
        assert_eq!(apply(&["--private"], &mut image), ["public"]);
        assert!(!image.public);
        let flags = [
            "--property",
            "os=Debian",
            "--property",
            "a=b",
            "--unset-property",
            "release",
        ];
        let paths = apply(&flags, &mut image);
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
            apply(&["--expires", "7d", "--auto-update", "no"], &mut image),
            ["auto_update", "expires_at"]
        );
        assert!(image.expires_at.is_some());
        apply(&["--expires", "never"], &mut image);
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
        let edit = &edit(&["--property", "os=Debian"]);
        let concern = |image| Made { edit, now: NOW }.concern(&image).unwrap();
        assert_eq!(concern(image("x", "1")), concern(image("x", "2")));
        assert_ne!(concern(image("x", "1")), concern(image("y", "1")));
    }
}
