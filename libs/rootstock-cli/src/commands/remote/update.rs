//! `rootstock remote update`, `enable` and `disable`.

use prost_types::FieldMask;
use rootstock_proto::catalog::v1::{Remote, UpdateRemoteRequest};

use super::{fields::Fields, get};
use crate::{
    Failure, change,
    client::Client,
    completion,
    output::{self, Format},
    record::RemoteRecord,
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
    fn clear(self, remote: &mut Remote) -> &'static str {
        match self {
            Self::Include => {
                remote.include.clear();
                "include"
            }
            Self::Exclude => {
                remote.exclude.clear();
                "exclude"
            }
            Self::RootPreference => {
                remote.root_preference.clear();
                "root_preference"
            }
            Self::KeepVersions => {
                remote.keep_versions = 0;
                "keep_versions"
            }
            Self::UpdateInterval => {
                remote.update_interval = None;
                "update_interval"
            }
            Self::VersionConstraint => {
                remote.version_constraint.clear();
                "version_constraint"
            }
            Self::Ca => {
                remote.ca_pem.clear();
                "ca_pem"
            }
            Self::Auth => {
                remote.auth.clear();
                "auth"
            }
        }
    }
}

/// New values, and the fields that have them.
#[derive(Debug, Clone, Default)]
struct Edit {
    to: Remote,
    paths: Vec<&'static str>,
}

impl UpdateArgs {
    fn edit(&self) -> Result<Edit, Failure> {
        let mut to = Remote::default();
        let mut paths = self.fields.apply(&mut to)?;
        if let Some(url) = &self.url {
            to.url.clone_from(url);
            paths.push("url");
        }
        for field in &self.unset {
            let path = field.clear(&mut Remote::default());
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
        Ok(Edit { to, paths })
    }
}

impl Edit {
    /// The remote with the new values.
    fn apply(&self, remote: &mut Remote) {
        let to = self.to.clone();
        for path in &self.paths {
            match *path {
                "url" => remote.url.clone_from(&to.url),
                "mode" => remote.mode = to.mode,
                "include" => remote.include.clone_from(&to.include),
                "exclude" => remote.exclude.clone_from(&to.exclude),
                "root_preference" => remote.root_preference.clone_from(&to.root_preference),
                "keep_versions" => remote.keep_versions = to.keep_versions,
                "update_interval" => remote.update_interval = to.update_interval,
                "version_constraint" => remote.version_constraint.clone_from(&to.version_constraint),
                "ca_pem" => remote.ca_pem.clone_from(&to.ca_pem),
                "insecure" => remote.insecure = to.insecure,
                "auth" => remote.auth.clone_from(&to.auth),
                "disabled" => remote.disabled = to.disabled,
                _ => {}
            }
        }
    }

    /// The remote with nothing but the fields that are to be changed.
    fn concerns(&self, remote: &Remote) -> Remote {
        let of = Edit {
            to: remote.clone(),
            paths: self.paths.clone(),
        };
        let mut concerned = Remote::default();
        of.apply(&mut concerned);
        concerned
    }
}

pub(super) async fn run(client: &Client, format: Format, args: UpdateArgs) -> Result<(), Failure> {
    let edit = args.edit()?;
    change(client, format, &args.name, &edit, args.etag, "changed").await
}

pub(super) async fn enable(client: &Client, format: Format, args: EnableArgs) -> Result<(), Failure> {
    change(client, format, &args.name, &disabled(false), None, "enabled").await
}

pub(super) async fn disable(client: &Client, format: Format, args: DisableArgs) -> Result<(), Failure> {
    change(client, format, &args.name, &disabled(true), None, "disabled").await
}

fn disabled(disabled: bool) -> Edit {
    Edit {
        to: Remote {
            disabled,
            ..Remote::default()
        },
        paths: vec!["disabled"],
    }
}

async fn change(
    client: &Client,
    format: Format,
    name: &str,
    edit: &Edit,
    etag: Option<String>,
    done: &str,
) -> Result<(), Failure> {
    let request = |mut remote: Remote| {
        edit.apply(&mut remote);
        UpdateRemoteRequest {
            remote: Some(remote),
            update_mask: Some(FieldMask {
                paths: edit.paths.iter().map(|path| (*path).to_owned()).collect(),
            }),
        }
    };
    let answer = match etag {
        Some(etag) => {
            let request = request(Remote {
                etag,
                ..get(client, name).await?
            });
            client.call(client.remotes().update_remote(request)).await?
        }
        None => {
            change::make(
                client,
                async || get(client, name).await,
                |remote| edit.concerns(remote),
                async |remote| client.remotes().update_remote(request(remote)).await,
            )
            .await?
        }
    };
    let remote = answer.remote.unwrap_or_default();
    output::print(format, &RemoteRecord::from(remote), |_| {
        format!("{done} remote {name}\n")
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Flags {
        #[command(flatten)]
        args: UpdateArgs,
    }

    fn edit(flags: &[&str]) -> Result<Edit, Failure> {
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
        let concerned = edit.concerns(&remote);
        assert_eq!(
            (concerned.url.as_str(), concerned.keep_versions),
            ("https://old", 0)
        );
        edit.apply(&mut remote);
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
        said.apply(&mut remote);
        assert_eq!(remote, said.to);
        for unset in [
            "include",
            "exclude",
            "root-preference",
            "keep-versions",
            "update-interval",
        ] {
            edit(&["--unset", unset]).unwrap().apply(&mut remote);
        }
        edit(&["--unset", "version-constraint,ca,auth"])
            .unwrap()
            .apply(&mut remote);
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
