//! What is said of a remote: the flags that `add`, `update` and `test` share.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use rootstock_model::{Protocol, selection::Rule};
use rootstock_proto::catalog::v1::{Remote, RemoteMode};

use super::credentials::CredentialArgs;
use crate::{failure::Failure, input::truth};

/// Flags about a remote.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Fields {
    /// What the server speaks [default: simplestreams]
    #[arg(long, value_name = "PROTOCOL", value_parser = Protocol::ALL.map(Protocol::as_str))]
    protocol: Option<String>,

    /// mirror: store new versions as they appear (the default); on-demand: list them, and store what is fetched
    #[arg(long, value_enum, value_name = "MODE", hide_possible_values = true)]
    mode: Option<Mode>,

    /// Take only what matches; given several times, one of each KEY must match
    ///
    /// KEY is product, alias, os, release, variant, architecture or type. PATTERN knows *, ?, […] and
    /// {a,b}; case does not matter.
    #[arg(long, value_name = "KEY=PATTERN", value_parser = rule)]
    include: Vec<String>,

    /// Leave out what matches; may be given several times
    #[arg(long, value_name = "KEY=PATTERN", value_parser = rule)]
    exclude: Vec<String>,

    /// Root formats in order of preference, such as squashfs,root.tar.xz
    #[arg(long, value_name = "FTYPE", value_delimiter = ',')]
    root_preference: Vec<String>,

    /// Newest versions to keep of each image [default: the setting images.default_keep_versions, 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=1000))]
    keep_versions: Option<i32>,

    /// Time between two polls, such as 5m or 1h30m [default: the setting images.update_interval, 5m]
    #[arg(long, value_name = "TIME", value_parser = interval)]
    update_interval: Option<Duration>,

    /// Only versions of this release count, such as 1.30; newer ones are ignored
    #[arg(long, value_name = "MAJOR.MINOR")]
    version_constraint: Option<String>,

    /// PEM file of an authority to trust for this remote, besides the system's
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,

    /// Do not check the remote's certificate (its images are verified all the same)
    #[arg(long, value_name = "BOOL", value_parser = truth, num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true")]
    insecure: Option<bool>,

    #[command(flatten)]
    credentials: CredentialArgs,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Mode {
    Mirror,
    OnDemand,
}

impl Fields {
    /// Sets what was said; which fields that are.
    ///
    /// # Errors
    /// A file cannot be read or used.
    pub(super) fn apply(&self, remote: &mut Remote) -> Result<Vec<&'static str>, Failure> {
        let mut paths = Vec::new();
        if let Some(protocol) = &self.protocol {
            remote.protocol.clone_from(protocol);
            paths.push("protocol");
        }
        if let Some(mode) = self.mode {
            let mode = match mode {
                Mode::Mirror => RemoteMode::Mirror,
                Mode::OnDemand => RemoteMode::OnDemand,
            };
            remote.set_mode(mode);
            paths.push("mode");
        }
        for (path, said, field) in [
            ("include", &self.include, &mut remote.include),
            ("exclude", &self.exclude, &mut remote.exclude),
            (
                "root_preference",
                &self.root_preference,
                &mut remote.root_preference,
            ),
        ] {
            if !said.is_empty() {
                field.clone_from(said);
                paths.push(path);
            }
        }
        if let Some(keep_versions) = self.keep_versions {
            remote.keep_versions = keep_versions;
            paths.push("keep_versions");
        }
        if let Some(interval) = self.update_interval {
            let interval = prost_types::Duration::try_from(interval)
                .map_err(|_| Failure::usage("--update-interval is longer than can be"))?;
            remote.update_interval = Some(interval);
            paths.push("update_interval");
        }
        if let Some(constraint) = &self.version_constraint {
            remote.version_constraint.clone_from(constraint);
            paths.push("version_constraint");
        }
        if let Some(path) = &self.ca {
            remote.ca_pem = read_ca(path)?;
            paths.push("ca_pem");
        }
        if let Some(insecure) = self.insecure {
            remote.insecure = insecure;
            paths.push("insecure");
        }
        if let Some(auth) = self.credentials.read()? {
            remote.auth = auth;
            paths.push("auth");
        }
        Ok(paths)
    }
}

fn read_ca(path: &Path) -> Result<String, Failure> {
    let unusable =
        |problem: &dyn std::fmt::Display| Failure::usage(format!("--ca {}: {problem}", path.display()));
    let pem = fs::read_to_string(path).map_err(|error| unusable(&error))?;
    if !pem.contains("-----BEGIN CERTIFICATE-----") {
        return Err(unusable(&"holds no PEM certificate"));
    }
    Ok(pem)
}

/// Checked here, so that a mistake is a mistake in the command.
fn rule(text: &str) -> Result<String, String> {
    match text.parse::<Rule>() {
        Ok(rule) => Ok(rule.to_string()),
        Err(error) => Err(error.problem),
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    rootstock_model::duration::parse(text)
        .filter(|interval| *interval >= Duration::from_secs(1))
        .ok_or_else(|| "it is a time of at least 1s, such as 90s, 5m or 1h30m".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Flags {
        #[command(flatten)]
        fields: Fields,
    }

    #[test]
    fn only_what_was_said_is_set() {
        let apply = |flags: &[&str], remote: &mut Remote| {
            let words = std::iter::once(&"test").chain(flags);
            Flags::parse_from(words).fields.apply(remote).unwrap()
        };
        let mut remote = Remote {
            include: vec!["os=alpine".into()],
            insecure: true,
            ..Remote::default()
        };
        assert!(apply(&[], &mut remote).is_empty());
        assert_eq!(
            apply(
                &[
                    "--include",
                    "os=debian",
                    "--insecure=false",
                    "--mode",
                    "on-demand"
                ],
                &mut remote
            ),
            ["mode", "include", "insecure"]
        );
        assert_eq!(remote.include, ["os=debian"]);
        assert!(!remote.insecure && remote.mode() == RemoteMode::OnDemand);
        assert_eq!(
            apply(
                &[
                    "--insecure",
                    "--root-preference",
                    "squashfs,root.tar.xz",
                    "--update-interval",
                    "90s",
                    "--protocol",
                    "simplestreams"
                ],
                &mut remote
            ),
            ["protocol", "root_preference", "update_interval", "insecure"]
        );
        assert_eq!(remote.protocol, "simplestreams");
        assert_eq!(remote.root_preference, ["squashfs", "root.tar.xz"]);
    }
    #[test]
    fn an_unknown_protocol_is_refused_with_those_that_are_known() {
        let refused = Flags::try_parse_from(["test", "--protocol", "oci"])
            .err()
            .unwrap();
        assert!(refused.to_string().contains("simplestreams"), "{refused}");
    }
}
