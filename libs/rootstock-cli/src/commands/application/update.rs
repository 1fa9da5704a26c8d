//! `rootstock application update`.

use prost_types::FieldMask;
use rootstock_proto::catalog::v1::{Application, UpdateApplicationRequest, Version};

use super::{get, print};
use crate::{
    Failure, change,
    client::Client,
    completion,
    input::{TypeArgs, truth},
    output::Format,
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
    fn apply(&self, application: &mut Application) -> Vec<String> {
        let mut paths = Vec::new();
        if let Some(image) = &self.image {
            application.image.clone_from(image);
            paths.push("image");
        }
        if self.number.is_some() || self.current {
            application.version = self.number.map(|number| Version {
                number,
                ..Version::default()
            });
            paths.push("version");
        }
        if let Some(auto_update) = self.auto_update {
            application.auto_update = auto_update;
            paths.push("auto_update");
        }
        paths.into_iter().map(str::to_owned).collect()
    }

    fn concerns(&self, application: &Application) -> (Option<String>, Option<i32>, Option<bool>) {
        let moves = self.image.is_some() || self.number.is_some() || self.current;
        (
            moves.then(|| application.image_id.clone()),
            application
                .version
                .as_ref()
                .filter(|_| moves)
                .map(|version| version.number),
            self.auto_update.map(|_| application.auto_update),
        )
    }
}

pub(super) async fn run(client: &Client, format: Format, args: UpdateArgs) -> Result<(), Failure> {
    let UpdateArgs {
        name,
        edit,
        image_type,
        etag,
    } = args;
    let request = |mut application: Application| {
        let paths = edit.apply(&mut application);
        if edit.image.is_some() {
            application.r#type = image_type.wire().into();
        }
        UpdateApplicationRequest {
            application: Some(application),
            update_mask: Some(FieldMask { paths }),
        }
    };
    let answer = match etag {
        Some(etag) => {
            let request = request(Application {
                etag,
                ..get(client, &name).await?
            });
            client
                .call(client.applications().update_application(request))
                .await?
        }
        None => {
            change::make(
                client,
                async || get(client, &name).await,
                |application| edit.concerns(application),
                async |application| {
                    client
                        .applications()
                        .update_application(request(application))
                        .await
                },
            )
            .await?
        }
    };
    print(format, &answer.application.unwrap_or_default())
}
