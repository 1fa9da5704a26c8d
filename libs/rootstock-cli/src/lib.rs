//! The operator's command line: what can be typed, what it asks of a server, and what it prints.
//!
//! Owns: the commands (`commands`), how results look for people and for programs (`output`, `table`, `record`), and how
//! a command ends ([`Failure`]). Refuses to know: any service, the database, and how a process with services in it is run.
//! Commands that run such processes are handed in ([`ProcessCommand`]).
//!
//! Standard output is for results, standard error for everything else. A failure is one line; see [`Failure`] for the exit
//! codes.
//!
//! Where to start: `commands` for what there is, `commands/remote/add.rs` for a command from its flags to its output.

mod bar;
mod client;
mod commands;
mod completion;
mod confirm;
mod failure;
mod human;
mod input;
mod interrupt;
mod left_out;
mod output;
mod pages;
mod record;
mod secret;
mod table;
mod transfers;
mod update;
mod value;
mod word;

use std::{ffi::OsString, process::ExitCode};

use clap::{CommandFactory as _, FromArgMatches as _, parser::ValueSource};

use client::ClientArgs;
use commands::Command;
pub use commands::{ProcessCommand, block_on};
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
pub struct Cli<P: ProcessCommand> {
    #[command(flatten)]
    client: ClientArgs,
    #[command(subcommand)]
    command: Command<P>,
}

/// Runs what this process was called with.
pub fn main<P: ProcessCommand>() -> ExitCode {
    if completion::answer(<Cli<P> as clap::CommandFactory>::command) {
        return ExitCode::SUCCESS;
    }
    let cli = match Cli::<P>::read(std::env::args_os()) {
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
    match cli
        .command
        .run(&cli.client, <Cli<P> as clap::CommandFactory>::command)
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            report(&failure, debug);
            ExitCode::from(failure.kind().exit_code())
        }
    }
}

impl<P: ProcessCommand> Cli<P> {
    /// Reads the words of a command line, the name of the program first.
    ///
    /// # Errors
    /// What clap says of them; a flag that the command ignores.
    pub fn read<I>(words: I) -> Result<Self, clap::Error>
    where
        I: IntoIterator,
        I::Item: Into<OsString> + Clone,
    {
        let mut command = Self::command();
        let matches = command.try_get_matches_from_mut(words)?;
        let cli = Self::from_arg_matches(&matches).map_err(|problem| problem.format(&mut command))?;
        // Global flags are taken everywhere: one that would do nothing is a mistake.
        for flag in cli.command.ignored_flags() {
            if given(&matches, flag) {
                let problem = format!("--{} does nothing to this command", flag.replace('_', "-"));
                return Err(command.error(clap::error::ErrorKind::ArgumentConflict, problem));
            }
        }
        Ok(cli)
    }
}

fn given(matches: &clap::ArgMatches, flag: &str) -> bool {
    matches.value_source(flag) == Some(ValueSource::CommandLine)
        || matches.subcommand().is_some_and(|(_, of)| given(of, flag))
}

/// Prints a result, to standard output.
///
/// # Errors
/// It cannot be written to; nobody reading it any more is [`Kind::NoReader`].
pub fn print(text: &str) -> Result<(), Failure> {
    output::write(text)
}

fn report(failure: &Failure, debug: bool) {
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
