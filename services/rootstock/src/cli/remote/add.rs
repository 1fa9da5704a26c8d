//! `rootstock remote add`.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use rootstock_model::selection::Rule;
use rootstock_proto::catalog::v1::{CreateRemoteRequest, Remote, RemoteMode};

use crate::cli::{
    Failure,
    client::Client,
    output::{self, Format},
    record::RemoteRecord,
};

const EXAMPLES: &str = "\
Examples:
  Debian and Alpine for one architecture, the newest three versions of each:
    rootstock remote add images https://images.linuxcontainers.org \\
        --include 'os={debian,alpine}' --include architecture=x86_64 \\
        --keep-versions 3

  Everything of a server, listed at once and fetched when asked for:
    rootstock remote add ubuntu https://cloud-images.ubuntu.com/minimal/releases \\
        --mode on-demand

  A server of your own, with your own authority:
    rootstock remote add lab https://images.lab.example:8443 --ca lab-ca.pem \\
        --update-interval 1m";

/// Add an image server, and begin to mirror it
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct AddArgs {
    /// A name for it: at most 64 letters, digits, "-", "_" and "."
    name: String,

    /// Its address, without "streams/v1/…"
    url: String,

    /// mirror: store new versions as they appear; on-demand: list them, and store what is fetched
    #[arg(long, value_enum, default_value_t = Mode::Mirror)]
    mode: Mode,

    /// Take only what matches; given several times, one of each KEY must match
    ///
    /// KEY is product, alias, os, release, variant, architecture or type. GLOB knows *, ?, […] and
    /// {a,b}; case does not matter.
    #[arg(long, value_name = "KEY=GLOB", value_parser = rule)]
    include: Vec<String>,

    /// Leave out what matches; may be given several times
    #[arg(long, value_name = "KEY=GLOB", value_parser = rule)]
    exclude: Vec<String>,

    /// Newest versions to keep of each image [default: the setting images.default_keep_versions, 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=1000))]
    keep_versions: Option<i32>,

    /// Time between two polls, such as 5m or 1h30m [default: the setting images.update_interval, 5m]
    #[arg(long, value_name = "TIME", value_parser = interval)]
    update_interval: Option<Duration>,

    /// PEM file of an authority to trust for this remote, besides the system's
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,

    /// Do not check the remote's certificate (its images are verified all the same)
    #[arg(long)]
    insecure: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Mode {
    Mirror,
    OnDemand,
}

pub(super) async fn run(client: &Client, format: Format, args: AddArgs) -> Result<(), Failure> {
    let ca_pem = args.ca.as_deref().map(read_ca).transpose()?.unwrap_or_default();
    let update_interval = args
        .update_interval
        .map(prost_types::Duration::try_from)
        .transpose();
    let remote = Remote {
        name: args.name.clone(),
        url: args.url,
        mode: match args.mode {
            Mode::Mirror => RemoteMode::Mirror,
            Mode::OnDemand => RemoteMode::OnDemand,
        }
        .into(),
        include: args.include,
        exclude: args.exclude,
        keep_versions: args.keep_versions.unwrap_or_default(),
        update_interval: update_interval
            .map_err(|_| Failure::usage("--update-interval is longer than can be"))?,
        ca_pem,
        insecure: args.insecure,
        ..Remote::default()
    };
    let request = CreateRemoteRequest { remote: Some(remote) };
    let answer = client
        .remotes()
        .create_remote(request)
        .await
        .map_err(|status| client.failure(&status))?;
    let remote = answer.into_inner().remote.unwrap_or_default();
    let name = remote.name.clone();
    output::print(format, &RemoteRecord::from(remote), |_| {
        format!(
            "added remote {name}, and began to poll it\n\
             \"rootstock remote sync {name} --wait\" follows its images in; \
             \"rootstock remote show {name}\" tells how it goes\n"
        )
    })
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
    rootstock_model::settings::parse_duration(text)
        .filter(|interval| *interval >= Duration::from_secs(1))
        .ok_or_else(|| "it is a time of at least 1s, such as 90s, 5m or 1h30m".to_owned())
}
