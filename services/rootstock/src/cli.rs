//! The command line: what can be typed, and how the process ends.
//!
//! Standard output is for results, standard error for everything else. A failure is one line; see
//! [`Failure`] for the exit codes.

mod application;
mod blob;
mod change;
mod client;
mod completion;
mod confirm;
mod failure;
mod human;
mod image;
mod input;
mod interrupt;
mod left_out;
mod lint;
mod man;
mod output;
mod process;
mod progress;
mod record;
mod remote;
mod secret;
mod setting;
mod table;
mod transfer;
mod transfers;
mod watch;
mod webhook;

use std::{future::Future, process::ExitCode};

use clap::{CommandFactory as _, FromArgMatches as _, parser::ValueSource};

use client::ClientArgs;
pub use failure::{Failure, Kind};

const EXAMPLES: &str = "\
Examples:
  rootstock standalone                  everything in one process, with its data in ./data
  rootstock remote add images https://images.linuxcontainers.org --include os=alpine
  rootstock remote sync images --wait   mirror it now
  rootstock image list                  what there is
  rootstock image rollback alpine/3.24 --reason 'broken DNS'
  rootstock completion bash             a script that completes commands and names

Exit codes: 0 done, 1 refused or failed, 2 not understood, 3 not found, 4 server not reachable,
130 ended with Ctrl-C.";

/// An image catalog for Incus and LXD fleets
///
/// Rootstock mirrors image servers into a store of your own, keeps the catalog of names, versions and aliases, and
/// serves the images to unmodified incus and lxc clients and to programs over gRPC.
#[derive(Debug, clap::Parser)]
#[command(name = "rootstock", version, after_help = EXAMPLES, max_term_width = 110)]
#[command(subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    client: ClientArgs,
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
    Image(image::ImageArgs),
    Remote(remote::RemoteArgs),
    Application(application::ApplicationArgs),
    Config(setting::ConfigArgs),
    Blob(blob::BlobArgs),
    Transfer(transfer::TransferArgs),
    Watch(watch::WatchArgs),
    Webhook(webhook::WebhookArgs),
    Lint(lint::LintArgs),
    Completion(completion::CompletionArgs),
    Man(man::ManArgs),
}

impl Command {
    /// Which of the global flags about servers and output it does not heed.
    fn unheeded(&self) -> &'static [&'static str] {
        match self {
            Self::Standalone(_)
            | Self::Serve(_)
            | Self::Migrate(_)
            | Self::CheckConfig(_)
            | Self::Healthcheck(_)
            | Self::Completion(_)
            | Self::Man(_) => &["server", "server_ca", "format"],
            Self::Lint(_) => &["server", "server_ca"],
            Self::Image(_)
            | Self::Remote(_)
            | Self::Application(_)
            | Self::Config(_)
            | Self::Blob(_)
            | Self::Transfer(_)
            | Self::Watch(_)
            | Self::Webhook(_) => &[],
        }
    }
}

/// Runs what this process was called with.
pub fn main() -> ExitCode {
    if completion::answer() {
        return ExitCode::SUCCESS;
    }
    let cli = match parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(problem) => {
            // Help goes to standard output and ends well; nobody may be there to read either.
            let _ = problem.print();
            return exit_code(problem.exit_code());
        }
    };
    // Every TLS connection of this process uses it. That one is installed already cannot be.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let debug = cli.client.debug;
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tell(&failure, debug);
            ExitCode::from(failure.kind().exit_code())
        }
    }
}

/// Reads the words of a command line.
fn parse<I>(words: I) -> Result<Cli, clap::Error>
where
    I: IntoIterator,
    I::Item: Into<std::ffi::OsString> + Clone,
{
    let mut command = Cli::command();
    let matches = command.try_get_matches_from_mut(words)?;
    let cli = Cli::from_arg_matches(&matches).map_err(|problem| problem.format(&mut command))?;
    // Global flags are taken everywhere: one that would do nothing is a mistake.
    for flag in cli.command.unheeded() {
        if given(&matches, flag) {
            let problem = format!("--{} does nothing to this command", flag.replace('_', "-"));
            return Err(command.error(clap::error::ErrorKind::ArgumentConflict, problem));
        }
    }
    Ok(cli)
}

fn given(matches: &clap::ArgMatches, flag: &str) -> bool {
    matches.value_source(flag) == Some(ValueSource::CommandLine)
        || matches.subcommand().is_some_and(|(_, of)| given(of, flag))
}

fn run(Cli { client, command }: Cli) -> Result<(), Failure> {
    match command {
        Command::Standalone(args) => args.run(),
        Command::Serve(args) => args.run(),
        Command::Migrate(args) => args.run(),
        Command::CheckConfig(args) => args.run(),
        Command::Healthcheck(args) => block_on(args.run()),
        Command::Image(args) => block_on(args.run(&client)),
        Command::Remote(args) => block_on(args.run(&client)),
        Command::Application(args) => block_on(args.run(&client)),
        Command::Config(args) => block_on(args.run(&client)),
        Command::Blob(args) => block_on(args.run(&client)),
        Command::Transfer(args) => block_on(args.run(&client)),
        Command::Watch(args) => block_on(args.run(&client)),
        Command::Webhook(args) => block_on(args.run(&client)),
        Command::Lint(args) => block_on(args.run(client.format)),
        Command::Completion(args) => args.run(),
        Command::Man(args) => args.run(),
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
mod tests;
