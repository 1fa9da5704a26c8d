//! `rootstock image alias update`.

use prost_types::FieldMask;
use rootstock_proto::catalog::v1::{Alias, UpdateAliasRequest};

use super::{AliasReference, text};
use crate::{
    Failure, change,
    client::Client,
    commands::image,
    completion,
    output::{self, Format},
    record::AliasRecord,
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
    fn apply(&self, alias: &mut Alias, image_id: Option<&str>) -> Vec<String> {
        let mut paths = Vec::new();
        if let Some(image_id) = image_id {
            alias.image_id = image_id.to_owned();
            paths.push("image_id");
        }
        if self.number.is_some() || self.newest {
            alias.version = self.number;
            paths.push("version");
        }
        if let Some(description) = &self.description {
            alias.description.clone_from(description);
            paths.push("description");
        }
        paths.into_iter().map(str::to_owned).collect()
    }

    fn concerns(&self, alias: &Alias) -> (Option<String>, Option<Option<i32>>, Option<String>) {
        (
            self.image.as_ref().map(|_| alias.image_id.clone()),
            (self.number.is_some() || self.newest).then_some(alias.version),
            self.description.as_ref().map(|_| alias.description.clone()),
        )
    }
}

pub(super) async fn run(client: &Client, format: Format, args: UpdateArgs) -> Result<(), Failure> {
    let UpdateArgs {
        reference,
        edit,
        etag,
    } = args;
    let alias = reference.get(client).await?;
    let image_id = match &edit.image {
        Some(image) => Some(image::get(client, image, alias.r#type()).await?.id),
        None => None,
    };
    let request = |mut alias: Alias| {
        let paths = edit.apply(&mut alias, image_id.as_deref());
        UpdateAliasRequest {
            alias: Some(alias),
            update_mask: Some(FieldMask { paths }),
        }
    };
    let answer = match etag {
        Some(etag) => {
            let request = request(Alias { etag, ..alias });
            client.call(client.aliases().update_alias(request)).await?
        }
        None => {
            change::make(
                client,
                async || reference.get(client).await,
                |alias| edit.concerns(alias),
                async |alias| client.aliases().update_alias(request(alias)).await,
            )
            .await?
        }
    };
    let alias = answer.alias.unwrap_or_default();
    output::print(format, &AliasRecord::from(alias.clone()), |_| text(&alias))
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(edit.concerns(&alias), (None, Some(Some(3)), Some("old".into())));
        assert_eq!(edit.apply(&mut alias, None), ["version", "description"]);
        assert_eq!((alias.version, alias.description.as_str()), (None, ""));
        assert_eq!(edit.apply(&mut alias, Some("b"))[0], "image_id");
        assert_eq!(alias.image_id, "b");
    }
}
