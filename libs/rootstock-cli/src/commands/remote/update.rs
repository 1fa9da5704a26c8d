//! `rootstock remote update`, `enable` and `disable`.

use rootstock_proto::catalog::v1::{Remote, UpdateRemoteRequest};

use super::{fields::Fields, show::get};
use crate::{
    client::Client,
    completion,
    failure::Failure,
    output::{self, Format},
    update::{self, NewValues},
};

const EXAMPLES: &str = "\
Examples:
  rootstock remote update images --include os=debian --include os=alpine
                                      takes the place of the rules that were there
  rootstock remote update images --unset include,keep-versions
  rootstock remote update anbox --auth-file token.txt";

/// Change a remote, and poll it at once
#[derive(Debug, clap::Args)]
#[command(visible_alias = "set", after_help = EXAMPLES)]
pub(super) struct UpdateArgs {
    /// Name of the remote
    #[arg(add = completion::remotes())]
    name: String,

    /// Another address, without "streams/v1/…"
    #[arg(long, value_name = "URL")]
    url: Option<String>,

    #[command(flatten)]
    fields: Fields,

    /// Set back to what it is when nothing is said; may be given several times
    #[arg(long, value_name = "FIELD", value_enum, value_delimiter = ',')]
    unset: Vec<Field>,

    /// Only if its etag is still this one, as "remote show" has it
    #[arg(long, value_name = "ETAG")]
    etag: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Field {
    Include,
    Exclude,
    RootPreference,
    KeepVersions,
    UpdateInterval,
    VersionConstraint,
    Ca,
    Auth,
}

/// Poll a remote again, which was disabled
#[derive(Debug, clap::Args)]
pub(super) struct EnableArgs {
    /// Name of the remote
    #[arg(add = completion::remotes())]
    name: String,
}

/// Leave a remote alone: it is not polled until it is enabled, or a sync is asked for
#[derive(Debug, clap::Args)]
pub(super) struct DisableArgs {
    /// Name of the remote
    #[arg(add = completion::remotes())]
    name: String,
}

impl Field {
    /// Its path in the contract.
    fn path(self) -> &'static str {
        match self {
            Self::Include => "include",
            Self::Exclude => "exclude",
            Self::RootPreference => "root_preference",
            Self::KeepVersions => "keep_versions",
            Self::UpdateInterval => "update_interval",
            Self::VersionConstraint => "version_constraint",
            Self::Ca => "ca_pem",
            Self::Auth => "auth",
        }
    }
}

impl UpdateArgs {
    fn edit(&self) -> Result<NewValues<Remote>, Failure> {
        let mut to = Remote::default();
        let mut paths = self.fields.apply(&mut to)?;
        if let Some(url) = &self.url {
            to.url.clone_from(url);
            paths.push("url");
        }
        for field in &self.unset {
            let path = field.path();
            if paths.contains(&path) {
                return Err(Failure::usage(format!("{path} cannot be set and unset at once")));
            }
            paths.push(path);
        }
        if paths.is_empty() {
            return Err(Failure::usage(
                "nothing to change: \"rootstock remote update --help\" lists what can be",
            ));
        }
        NewValues::new(to, paths)
    }
}

pub(super) async fn run(client: &Client, format: Format, args: UpdateArgs) -> Result<(), Failure> {
    let edit = args.edit()?;
    change(client, format, &args.name, &edit, args.etag, "changed").await
}

pub(super) async fn enable(client: &Client, format: Format, args: EnableArgs) -> Result<(), Failure> {
    change(client, format, &args.name, &disabled(false)?, None, "enabled").await
}

pub(super) async fn disable(client: &Client, format: Format, args: DisableArgs) -> Result<(), Failure> {
    change(client, format, &args.name, &disabled(true)?, None, "disabled").await
}

fn disabled(disabled: bool) -> Result<NewValues<Remote>, Failure> {
    let to = Remote {
        disabled,
        ..Remote::default()
    };
    NewValues::new(to, ["disabled"])
}

async fn change(
    client: &Client,
    format: Format,
    name: &str,
    edit: &NewValues<Remote>,
    etag: Option<String>,
    done: &str,
) -> Result<(), Failure> {
    let answer = update::run(
        client,
        etag,
        edit,
        async || get(client, name).await,
        async |remote, update_mask| {
            let request = UpdateRemoteRequest { remote, update_mask };
            client.remotes().update_remote(request).await
        },
    )
    .await?;
    let remote = answer.remote.unwrap_or_default();
    output::print(format, &remote, |_| format!("{done} remote {name}\n"))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::update::Edit as _;

    #[derive(clap::Parser)]
    struct Flags {
        #[command(flatten)]
        args: UpdateArgs,
    }

    fn edit(flags: &[&str]) -> Result<NewValues<Remote>, Failure> {
        let words = ["test", "lab"].iter().chain(flags);
        Flags::parse_from(words).args.edit()
    }

    #[test]
    fn an_edit_changes_what_it_names_and_no_more() {
        let mut remote = Remote {
            name: "lab".into(),
            url: "https://old".into(),
            include: vec!["os=alpine".into()],
            keep_versions: 3,
            disabled: true,
            ..Remote::default()
        };
        let edit = edit(&["--url", "https://new", "--unset", "include"]).unwrap();
        let concerned = edit.concern(&remote).unwrap();
        assert_eq!(
            (concerned.url.as_str(), concerned.keep_versions),
            ("https://old", 0)
        );
        edit.apply(&mut remote).unwrap();
        assert_eq!(remote.url, "https://new");
        assert!(remote.include.is_empty() && remote.disabled);
        assert_eq!(remote.keep_versions, 3);
    }

    #[test]
    fn every_field_that_can_be_set_or_unset_is_applied() {
        let said = edit(&[
            "--mode",
            "on-demand",
            "--include",
            "os=a",
            "--exclude",
            "os=b",
            "--root-preference",
            "squashfs",
            "--keep-versions",
            "9",
            "--update-interval",
            "9s",
            "--version-constraint",
            "1.9",
            "--insecure",
            "--url",
            "https://x",
        ])
        .unwrap();
        let mut remote = Remote::default();
        said.apply(&mut remote).unwrap();
        assert_eq!(remote, said.to);
        for unset in [
            "include",
            "exclude",
            "root-preference",
            "keep-versions",
            "update-interval",
        ] {
            edit(&["--unset", unset]).unwrap().apply(&mut remote).unwrap();
        }
        edit(&["--unset", "version-constraint,ca,auth"])
            .unwrap()
            .apply(&mut remote)
            .unwrap();
        assert_eq!(
            remote,
            Remote {
                url: "https://x".into(),
                mode: said.to.mode,
                insecure: true,
                ..Remote::default()
            }
        );
    }

    #[test]
    fn contradictions_and_nothing_at_all_are_told() {
        assert_eq!(edit(&[]).unwrap_err().kind().exit_code(), 2);
        let both = edit(&["--include", "os=a", "--unset", "include"]).unwrap_err();
        assert!(both.to_string().contains("include"));
    }
}
