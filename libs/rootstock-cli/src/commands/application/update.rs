//! `rootstock application update`.

use rootstock_proto::{
    catalog::v1::{Application, ImageType, UpdateApplicationRequest, Version},
    update::Mask,
};

use super::show::{get, print};
use crate::{
    client::Client,
    completion,
    failure::Failure,
    input::{TypeArgs, truth},
    output::Format,
    update,
};

/// Move an application to another version or image, or let it follow
#[derive(Debug, clap::Args)]
#[command(visible_alias = "set")]
pub(super) struct UpdateArgs {
    /// Its name
    #[arg(value_name = "APPLICATION", add = completion::applications())]
    name: String,

    #[command(flatten)]
    edit: Edit,

    #[command(flatten)]
    image_type: TypeArgs,

    /// Only if its etag is still this one, as "application show" has it
    #[arg(long, value_name = "ETAG")]
    etag: Option<String>,
}

#[derive(Debug, clap::Args)]
#[group(id = "edit", required = true, multiple = true)]
struct Edit {
    /// Move it to this image: its current version, or --version
    #[arg(long, value_name = "IMAGE", add = completion::images())]
    image: Option<String>,

    /// Move it to the version of this number
    #[arg(long = "version", value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    #[arg(conflicts_with = "current")]
    number: Option<i32>,

    /// Move it to its image's current version
    #[arg(long)]
    current: bool,

    /// Whether it moves to newer versions as its image does; set anew, it moves at once
    #[arg(long, value_name = "BOOL", value_parser = truth)]
    auto_update: Option<bool>,
}

impl Edit {
    fn moves(&self) -> bool {
        self.image.is_some() || self.number.is_some() || self.current
    }
}

/// An edit, with the type of the image to look for.
struct Change<'a> {
    edit: &'a Edit,
    image_type: ImageType,
}

impl update::Edit<Application> for Change<'_> {
    /// Where it is, and whether it follows.
    type Concern = (Option<(String, Option<i32>)>, Option<bool>);

    fn apply(&self, application: &mut Application) -> Result<Mask<Application>, Failure> {
        let edit = self.edit;
        let mut paths = Vec::new();
        if let Some(image) = &edit.image {
            application.image.clone_from(image);
            application.r#type = self.image_type.into();
            paths.push("image");
        }
        if edit.number.is_some() || edit.current {
            application.version = edit.number.map(|number| Version {
                number,
                ..Version::default()
            });
            paths.push("version");
        }
        if let Some(auto_update) = edit.auto_update {
            application.auto_update = auto_update;
            paths.push("auto_update");
        }
        update::mask(paths)
    }

    fn concern(&self, application: &Application) -> Result<Self::Concern, Failure> {
        let held = || {
            let number = application.version.as_ref().map(|version| version.number);
            (application.image_id.clone(), number)
        };
        let auto_update = self.edit.auto_update.map(|_| application.auto_update);
        Ok((self.edit.moves().then(held), auto_update))
    }
}

pub(super) async fn run(client: &Client, format: Format, args: UpdateArgs) -> Result<(), Failure> {
    let UpdateArgs {
        name,
        edit,
        image_type,
        etag,
    } = args;
    let change = Change {
        edit: &edit,
        image_type: image_type.wire(),
    };
    let answer = update::run(
        client,
        etag,
        &change,
        async || get(client, &name).await,
        async |application, update_mask| {
            let request = UpdateApplicationRequest {
                application,
                update_mask,
            };
            client.applications().update_application(request).await
        },
    )
    .await?;
    print(format, &answer.application.unwrap_or_default())
}
