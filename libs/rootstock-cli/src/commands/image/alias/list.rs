//! `rootstock image alias list`.

use rootstock_proto::catalog::v1::{Alias, ImageType, ListAliasesRequest};

use super::show::follows;
use crate::{
    client::Client,
    commands::image::reference,
    completion,
    failure::Failure,
    output::{self, Format},
    table::{Column, Table},
    word::Word as _,
};

/// List aliases
#[derive(Debug, clap::Args)]
#[command(visible_alias = "ls")]
pub(super) struct ListArgs {
    /// Only those whose name matches (*, ?, [a-z], {a,b}; case does not matter)
    pattern: Option<String>,

    /// Only those that point to this image
    #[arg(long, value_name = "IMAGE", add = completion::images())]
    image: Option<String>,
}

pub(super) async fn run(client: &Client, format: Format, args: ListArgs) -> Result<(), Failure> {
    let image_id = match args.image {
        Some(name) => reference::get(client, &name, ImageType::Unspecified).await?.id,
        None => String::new(),
    };
    let request = ListAliasesRequest {
        image_id,
        name: args.pattern.unwrap_or_default(),
        ..ListAliasesRequest::default()
    };
    let aliases = client
        .list(&request, async |request| {
            client.aliases().list_aliases(request).await
        })
        .await?;
    output::print_list(format, &aliases, |screen| table(&aliases, screen.width))
}

fn table(aliases: &[Alias], width: Option<u16>) -> String {
    let mut table = Table::new(&[
        Column::gives_way("ALIAS"),
        Column::always("IMAGE"),
        Column::always("VERSION"),
        Column::always("TYPE"),
        Column::always("ARCHITECTURE"),
        Column::gives_way("DESCRIPTION"),
        Column::when_wide("FROM A REMOTE"),
    ]);
    for alias in aliases {
        table.row([
            alias.name.clone(),
            alias.image_id.clone(),
            follows(alias),
            alias.r#type().word(),
            alias.architecture.clone(),
            alias.description.clone(),
            alias.synced.to_string(),
        ]);
    }
    table.render(width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_tells_what_is_pinned() {
        let alias = |name: &str, version| Alias {
            name: name.into(),
            image_id: "btavtegj1qm58qg7ru50".into(),
            r#type: ImageType::Container.into(),
            architecture: "x86_64".into(),
            version,
            ..Alias::default()
        };
        assert_eq!(
            table(&[alias("debian/12", None), alias("golden", Some(0))], None),
            "\
ALIAS      IMAGE                 VERSION  TYPE       ARCHITECTURE  DESCRIPTION
debian/12  btavtegj1qm58qg7ru50  newest   container  x86_64
golden     btavtegj1qm58qg7ru50  0        container  x86_64
"
        );
    }
}
