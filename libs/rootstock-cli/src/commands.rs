//! The commands, by noun and verb.

mod application;
mod blob;
mod image;
mod lint;
mod man;
mod remote;
mod setting;
mod transfer;
mod watch;
mod webhook;

use std::{fmt, future::Future};

use crate::{client::ClientArgs, completion::CompletionArgs, failure::Failure};

/// Commands of the executable that run a process, or prepare one. They come first in the help, and take none of the flags
/// about servers and output.
pub trait ProcessCommand: clap::Subcommand + fmt::Debug {
    /// Runs the command.
    ///
    /// # Errors
    /// See [`Failure`].
    fn run(self) -> Result<(), Failure>;
}

/// Everything that can be typed after `rootstock`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command<P: ProcessCommand> {
    #[command(flatten)]
    Process(P),
    Image(image::ImageArgs),
    Remote(remote::RemoteArgs),
    Application(application::ApplicationArgs),
    Config(setting::ConfigArgs),
    Blob(blob::BlobArgs),
    Transfer(transfer::TransferArgs),
    Watch(watch::WatchArgs),
    Webhook(webhook::WebhookArgs),
    Lint(lint::LintArgs),
    Completion(CompletionArgs),
    Man(man::ManArgs),
}

impl<P: ProcessCommand> Command<P> {
    /// Which of the global flags about servers and output it ignores.
    pub(crate) fn ignored_flags(&self) -> &'static [&'static str] {
        match self {
            Self::Process(_) | Self::Completion(_) | Self::Man(_) => &["server", "server_ca", "format"],
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

    /// Runs it; `line` describes the whole command line.
    ///
    /// # Errors
    /// See [`Failure`].
    pub(crate) fn run(self, client: &ClientArgs, line: fn() -> clap::Command) -> Result<(), Failure> {
        match self {
            Self::Process(command) => command.run(),
            Self::Image(args) => block_on(args.run(client)),
            Self::Remote(args) => block_on(args.run(client)),
            Self::Application(args) => block_on(args.run(client)),
            Self::Config(args) => block_on(args.run(client)),
            Self::Blob(args) => block_on(args.run(client)),
            Self::Transfer(args) => block_on(args.run(client)),
            Self::Watch(args) => block_on(args.run(client)),
            Self::Webhook(args) => block_on(args.run(client)),
            Self::Lint(args) => block_on(args.run(client.format)),
            Self::Completion(args) => args.run(),
            Self::Man(args) => args.run(line()),
        }
    }
}

/// Runs a command that needs no more than one thread.
///
/// # Errors
/// The command's.
pub fn block_on(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start: {error}")))?
        .block_on(command)
}
