//! `rootstock remote add`.

use rootstock_proto::catalog::v1::{CreateRemoteRequest, Remote};

use super::fields::Fields;
use crate::{
    client::Client,
    failure::Failure,
    output::{self, Format},
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
        --update-interval 1m

  One that wants credentials, which stay out of the shell's history:
    rootstock remote add anbox https://images.anbox-cloud.io/stable \\
        --auth-file token.txt --version-constraint 1.30";

/// Add an image server, and begin to mirror it
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct AddArgs {
    /// A name for it: at most 64 letters, digits, "-", "_" and "."
    name: String,

    /// Its address, without "streams/v1/…"
    url: String,

    #[command(flatten)]
    fields: Fields,

    /// Leave it alone until it is enabled
    #[arg(long)]
    disabled: bool,
}

pub(super) async fn run(client: &Client, format: Format, args: AddArgs) -> Result<(), Failure> {
    let mut remote = Remote {
        name: args.name,
        url: args.url,
        disabled: args.disabled,
        ..Remote::default()
    };
    args.fields.apply(&mut remote)?;
    let request = CreateRemoteRequest { remote: Some(remote) };
    let answer = client.call(client.remotes().create_remote(request)).await?;
    let remote = answer.remote.unwrap_or_default();
    let (name, disabled) = (remote.name.clone(), remote.disabled);
    output::print(format, &remote, |_| {
        if disabled {
            return format!(
                "added remote {name}; it is left alone until \"rootstock remote enable {name}\"\n"
            );
        }
        format!(
            "added remote {name}, and began to poll it\n\
             \"rootstock remote sync {name} --wait\" follows its images in; \
             \"rootstock remote show {name}\" tells how it goes\n"
        )
    })
}
