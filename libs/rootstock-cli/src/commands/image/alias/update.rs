//! `rootstock image alias update`.

use rootstock_proto::catalog::v1::{Alias, UpdateAliasRequest};

use super::show::{AliasReference, text};
use crate::{
    client::Client,
    commands::image::reference::get,
    completion,
    failure::Failure,
    output::{self, Format},
    update::{self, NewValues},
};

/// Point an alias elsewhere, pin it to a version, or describe it
#[derive(Debug, clap::Args)]
#[command(visible_alias = "set")]
pub(super) struct UpdateArgs {
    #[command(flatten)]
    reference: AliasReference,

    #[command(flatten)]
    edit: Edit,

    /// Only if its etag is still this one, as "image alias show" has it
    #[arg(long, value_name = "ETAG")]
    etag: Option<String>,
}

#[derive(Debug, clap::Args)]
#[group(id = "edit", required = true, multiple = true)]
struct Edit {
    /// Point it to this image, of the same type and architecture
    #[arg(long, value_name = "IMAGE", add = completion::images())]
    image: Option<String>,

    /// Keep it at the version of this number
    #[arg(long = "version", value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    #[arg(conflicts_with = "newest")]
    number: Option<i32>,

    /// Let it follow the newest version
    #[arg(long, visible_alias = "follow")]
    newest: bool,

    /// For people; may be empty
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
}

impl Edit {
    /// The new values, of which `image_id` is the image's.
    fn values(&self, image_id: Option<String>) -> Result<NewValues<Alias>, Failure> {
        let mut paths = Vec::new();
        if image_id.is_some() {
            paths.push("image_id");
        }
        if self.number.is_some() || self.newest {
            paths.push("version");
        }
        if self.description.is_some() {
            paths.push("description");
        }
        let to = Alias {
            image_id: image_id.unwrap_or_default(),
            version: self.number,
            description: self.description.clone().unwrap_or_default(),
            ..Alias::default()
        };
        NewValues::new(to, paths)
    }
}

pub(super) async fn run(client: &Client, format: Format, args: UpdateArgs) -> Result<(), Failure> {
    let UpdateArgs {
        reference,
        edit,
        etag,
    } = args;
    let image_id = match &edit.image {
        Some(image) => {
            let alias = reference.get(client).await?;
            Some(get(client, image, alias.r#type()).await?.id)
        }
        None => None,
    };
    let answer = update::run(
        client,
        etag,
        &edit.values(image_id)?,
        async || reference.get(client).await,
        async |alias, update_mask| {
            let request = UpdateAliasRequest { alias, update_mask };
            client.aliases().update_alias(request).await
        },
    )
    .await?;
    let alias = answer.alias.unwrap_or_default();
    output::print(format, &alias, |_| text(&alias))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::update::Edit as _;

    #[test]
    fn only_what_was_asked_for_changes() {
        let edit = Edit {
            image: None,
            number: None,
            newest: true,
            description: Some(String::new()),
        };
        let mut alias = Alias {
            image_id: "a".into(),
            version: Some(3),
            description: "old".into(),
            ..Alias::default()
        };
        let values = edit.values(None).unwrap();
        let expected = Alias {
            version: Some(3),
            description: "old".into(),
            ..Alias::default()
        };
        assert_eq!(values.concern(&alias).unwrap(), expected);
        let mask = values.apply(&mut alias).unwrap();
        assert_eq!(mask.paths(), ["version", "description"]);
        assert_eq!((alias.version, alias.description.as_str()), (None, ""));
        let moved = edit.values(Some("b".into())).unwrap().apply(&mut alias).unwrap();
        assert_eq!(moved.paths()[0], "image_id");
        assert_eq!(alias.image_id, "b");
    }
}
