//! `rootstock image alias show`, and aliases as users name them.

use rootstock_proto::catalog::v1::{Alias, GetAliasRequest};

use crate::{
    client::Client,
    completion,
    failure::Failure,
    input::TypeArgs,
    output::{self, Format, Lines},
    word::Word as _,
};

/// Show an alias
#[derive(Debug, clap::Args)]
#[command(visible_alias = "info")]
pub(super) struct ShowArgs {
    #[command(flatten)]
    reference: AliasReference,
}

/// An alias as users name it.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct AliasReference {
    /// Its name
    #[arg(value_name = "ALIAS", add = completion::aliases())]
    pub(super) name: String,

    #[command(flatten)]
    pub(super) image_type: TypeArgs,

    /// The architecture, where the name is there for several: x86_64, amd64, …
    #[arg(long, visible_alias = "arch", value_name = "ARCH")]
    pub(super) architecture: Option<String>,
}

impl AliasReference {
    pub(super) async fn get(&self, client: &Client) -> Result<Alias, Failure> {
        let request = GetAliasRequest {
            name: self.name.clone(),
            r#type: self.image_type.wire().into(),
            architecture: self.architecture.clone().unwrap_or_default(),
        };
        let answer = client.call(client.aliases().get_alias(request)).await?;
        Ok(answer.alias.unwrap_or_default())
    }
}

pub(super) async fn run(client: &Client, format: Format, args: ShowArgs) -> Result<(), Failure> {
    let alias = args.reference.get(client).await?;
    output::print(format, &alias, |_| text(&alias))
}

/// An alias for people.
pub(super) fn text(alias: &Alias) -> String {
    let mut lines = Lines::default();
    lines
        .add("name", &alias.name)
        .add("type", alias.r#type().word())
        .add("architecture", &alias.architecture)
        .add("image", &alias.image_id)
        .add("version", follows(alias))
        .add("description", &alias.description)
        .add("from a remote", alias.synced.to_string())
        .add("etag", &alias.etag);
    lines.render()
}

/// Which version it gives.
pub(super) fn follows(alias: &Alias) -> String {
    match alias.version {
        Some(number) => number.to_string(),
        None => "newest".to_owned(),
    }
}
