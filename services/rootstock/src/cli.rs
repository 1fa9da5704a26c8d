//! The command line: what can be typed, and how the process ends.
//!
//! Standard output is for results, standard error for everything else. A failure is one line; see
//! [`Failure`] for the exit codes.

mod client;
mod failure;
mod human;
mod image;
mod interrupt;
mod left_out;
mod lint;
mod output;
mod process;
mod progress;
mod record;
mod remote;
mod table;
mod transfers;
mod watch;

use std::{future::Future, process::ExitCode};

use clap::Parser as _;

pub use failure::{Failure, Kind};

const EXAMPLES: &str = "\
Examples:
  rootstock standalone                  everything in one process, with its data in ./data
  rootstock remote add images https://images.linuxcontainers.org --include os=alpine
  rootstock remote sync images --wait   mirror it now
  rootstock image list                  what there is

Exit codes: 0 done, 1 refused or failed, 2 not understood, 3 not found, 4 server not reachable.";

/// An image catalog for Incus and LXD fleets
///
/// Rootstock mirrors image servers into a store of your own, keeps the catalog of names, versions and aliases, and
/// serves the images to unmodified incus and lxc clients and to programs over gRPC.
#[derive(Debug, clap::Parser)]
#[command(name = "rootstock", version, after_help = EXAMPLES, max_term_width = 110)]
#[command(subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Standalone(process::StandaloneArgs),
    Serve(process::ServeArgs),
    Migrate(process::MigrateArgs),
    CheckConfig(process::CheckConfigArgs),
    Healthcheck(process::HealthcheckArgs),
    Remote(remote::RemoteArgs),
    Image(image::ImageArgs),
    Watch(watch::WatchArgs),
    Lint(lint::LintArgs),
}

/// Runs what this process was called with.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(problem) => {
            // Help goes to standard output and ends well; nobody may be there to read either.
            let _ = problem.print();
            return exit_code(problem.exit_code());
        }
    };
    // Every TLS connection of this process uses it. That one is installed already cannot be.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let debug = match &cli.command {
        Command::Remote(args) => args.client().debug,
        Command::Image(args) => args.client().debug,
        Command::Watch(args) => args.client().debug,
        _ => false,
    };
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tell(&failure, debug);
            ExitCode::from(failure.kind().exit_code())
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Standalone(args) => args.run(),
        Command::Serve(args) => args.run(),
        Command::Migrate(args) => args.run(),
        Command::CheckConfig(args) => args.run(),
        Command::Healthcheck(args) => block_on(args.run()),
        Command::Remote(args) => block_on(args.run()),
        Command::Image(args) => block_on(args.run()),
        Command::Watch(args) => block_on(args.run()),
        Command::Lint(args) => block_on(args.run()),
    }
}

/// Runs a command that needs no more than one thread.
fn block_on(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start: {error}")))?
        .block_on(command)
}

/// Prints what a process has to say when it is ready.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    output::write(text)
}

fn tell(failure: &Failure, debug: bool) {
    let message = failure.to_string();
    if failure.kind() == Kind::NoReader || message.is_empty() {
        return;
    }
    output::note(&format!("rootstock: {message}"));
    match failure.details() {
        Some(details) if debug => output::note(details),
        _ => {}
    }
}

fn exit_code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_operators_type_is_understood() {
        for line in [
            "standalone",
            "standalone --data-dir /srv --grpc-listen 127.0.0.1:0 --http-listen [::]:8443 --admin-listen 127.0.0.1:0",
            "serve catalog --config rootstock.toml --log-format json --log-filter info,sqlx=warn",
            "serve sync",
            "serve gateway",
            "migrate",
            "check-config",
            "healthcheck --admin 127.0.0.1:9090",
            "remote add lab https://lab --include os=debian --include os=alp* --exclude type=virtual-machine \
             --mode on-demand --keep-versions 3 --update-interval 90s --ca ca.pem --insecure",
            "remote --server http://127.0.0.1:1 list --format yaml",
            "remote ls",
            "remote show lab --left-out",
            "remote remove lab",
            "remote sync lab --plan",
            "remote sync lab --wait --force",
            "image list --remote lab --type vm --status active debian*",
            "image show debian/12 --vm --format json",
            "image fetch debian/12 --version 3 --wait",
            "watch --from-revision 7 --format json",
            "watch --initial-state --debug",
            "lint https://lab/images --blobs --ca ca.pem --insecure --product debian:* --product alpine:* --format json",
            "lint ./tree --index-only",
        ] {
            let words = std::iter::once("rootstock").chain(line.split_whitespace());
            Cli::try_parse_from(words).unwrap_or_else(|problem| panic!("{line}: {problem}"));
        }
    }

    #[test]
    fn mistakes_are_told_as_usage() {
        for line in [
            "",
            "nonsense",
            "serve",
            "serve everything",
            "remote add lab",
            "remote add lab https://lab --include flavour=x",
            "remote add lab https://lab --keep-versions 0",
            "remote add lab https://lab --update-interval 5",
            "remote sync lab --plan --wait",
            "image list --status sleepy",
            "image list --type pod",
            "watch --from-revision 0",
            "watch --from-revision 1 --initial-state",
            "healthcheck --admin nowhere",
            "lint",
            "lint ./tree --blobs --index-only",
            "lint ./tree --product [",
        ] {
            let words = std::iter::once("rootstock").chain(line.split_whitespace());
            let problem = Cli::try_parse_from(words).expect_err(line);
            assert_eq!(problem.exit_code(), 2, "{line}");
        }
    }
}
