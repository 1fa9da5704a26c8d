//! How a command ends that does not end well: one line for people, a code for scripts.

use std::{fmt, io};

use rootstock_proto::{Error, ResourceKind};
use tonic::{Code, Status};

/// What a command failed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    kind: Kind,
    message: String,
    details: Option<String>,
}

/// The kinds of failure, each with its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Refused by the server, or failed here.
    Failed,
    /// What was typed, or configured, cannot be.
    Usage,
    /// What was named is not there.
    NotFound,
    /// The server cannot be reached, or not now.
    Unreachable,
    /// The user pressed Ctrl-C.
    Interrupted,
    /// Whoever read our output has gone: no failure of ours, and nobody to tell.
    NoReader,
}

impl Kind {
    /// The exit code.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::NoReader => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Unreachable => 4,
            // What shells say of a program that Ctrl-C ended: 128 and the number of the signal.
            Self::Interrupted => 130,
        }
    }
}

impl Failure {
    fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            details: None,
        }
    }

    /// A failure of the command itself.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Kind::Failed, message)
    }

    /// Something typed that cannot be.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// Something named that is not there.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, message)
    }

    /// A server that cannot be reached.
    pub fn unreachable(message: impl Into<String>) -> Self {
        Self::new(Kind::Unreachable, message)
    }

    /// The user did not want to wait.
    pub fn interrupted(message: impl Into<String>) -> Self {
        Self::new(Kind::Interrupted, message)
    }

    /// What the server at `server` answered, or that it did not.
    pub fn of_status(status: &Status, server: &str) -> Self {
        let (kind, message) = match Error::from_status(status) {
            Some(error) => explain(&error),
            None => explain_foreign(status, server),
        };
        Self {
            kind,
            message: one_line(&message),
            details: Some(format!("{status:?}")),
        }
    }

    /// Which kind it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// More than the one line, for `--debug`.
    pub fn details(&self) -> Option<&str> {
        self.details.as_deref()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<io::Error> for Failure {
    /// Of writing to standard output.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::new(Kind::NoReader, "nobody reads the output"),
            _ => Self::failed(format!("cannot write the output: {error}")),
        }
    }
}

/// Our own errors, with what to do next where the server's words do not say it.
fn explain(error: &Error) -> (Kind, String) {
    match error {
        Error::NotFound { kind, .. } => {
            let next = match kind {
                ResourceKind::Image | ResourceKind::Version => {
                    ": \"rootstock image list\" shows what there is"
                }
                ResourceKind::Remote => ": \"rootstock remote list\" shows what there is",
                ResourceKind::Alias => ": \"rootstock image alias list\" shows what there is",
                ResourceKind::Application => ": \"rootstock application list\" shows what there is",
                ResourceKind::Setting => ": \"rootstock config show\" shows what there is",
                ResourceKind::Webhook => ": \"rootstock webhook list\" shows what there is",
                ResourceKind::Product => {
                    ": \"rootstock image list --status available\" and \"rootstock remote show\" tell what is offered"
                }
                ResourceKind::Blob | ResourceKind::SyncRun | ResourceKind::Work => "",
            };
            (Kind::NotFound, format!("{error}{next}"))
        }
        Error::UnknownRelease { .. } => (Kind::NotFound, error.to_string()),
        Error::AlreadyExists {
            kind: ResourceKind::Remote,
            name,
        } => (
            Kind::Failed,
            format!("{error} and is not the same: \"rootstock remote remove {name}\" makes room for another"),
        ),
        Error::Unavailable(_) => (Kind::Unreachable, format!("{error}; try again in a while")),
        Error::RevisionOutOfRange { .. } => (Kind::Failed, format!("{error} (--initial-state)")),
        Error::Invalid(_)
        | Error::AlreadyExists { .. }
        | Error::Refused { .. }
        | Error::RequirementsNotMet { .. }
        | Error::StaleEtag { .. }
        | Error::LeaseLost
        | Error::Internal => (Kind::Failed, error.to_string()),
    }
}

/// Answers that no server of ours gives: the connection's, a proxy's, or another program's.
fn explain_foreign(status: &Status, server: &str) -> (Kind, String) {
    let said = status.message();
    match status.code() {
        Code::Unavailable => (Kind::Unreachable, unreachable_message(server, said)),
        Code::DeadlineExceeded => (
            Kind::Unreachable,
            format!("{server} does not answer: {said}; try again in a while"),
        ),
        Code::Unimplemented => (
            Kind::Failed,
            format!(
                "{server} does not know this call: it is older than this command ({}), or not Rootstock",
                env!("CARGO_PKG_VERSION")
            ),
        ),
        code => (Kind::Failed, format!("{server} answered {code:?}: {said}")),
    }
}

fn unreachable_message(server: &str, said: &str) -> String {
    let said = said.strip_prefix(server).unwrap_or(said).trim_start();
    let said = if said.is_empty() {
        "cannot be reached"
    } else {
        said
    };
    format!(
        "{server} {said}; start one with \"rootstock standalone\", or name another with --server or ROOTSTOCK_SERVER"
    )
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use rootstock_proto::Refusal;

    use super::*;

    const SERVER: &str = "http://127.0.0.1:7443";

    #[test]
    fn exit_codes_tell_scripts_what_happened() {
        let own = |error: Error| Failure::of_status(&error.into(), SERVER).kind().exit_code();
        assert_eq!(own(Error::not_found(ResourceKind::Image, "x")), 3);
        assert_eq!(own(Error::not_found(ResourceKind::Remote, "x")), 3);
        assert_eq!(own(Error::invalid("remote.url", "is bad")), 1);
        assert_eq!(own(Error::refused(Refusal::Ambiguous, "two of them")), 1);
        assert_eq!(
            own(Error::AlreadyExists {
                kind: ResourceKind::Remote,
                name: "x".into()
            }),
            1
        );
        assert_eq!(own(Error::Unavailable("the catalog is away".into())), 4);
        assert_eq!(own(Error::Internal), 1);
        let foreign = |status: Status| Failure::of_status(&status, SERVER).kind().exit_code();
        assert_eq!(foreign(Status::unavailable("connection refused")), 4);
        assert_eq!(foreign(Status::deadline_exceeded("no answer")), 4);
        assert_eq!(foreign(Status::unimplemented("")), 1);
        assert_eq!(foreign(Status::not_found("a proxy's own page")), 1);
        assert_eq!(Failure::usage("").kind().exit_code(), 2);
        assert_eq!(Failure::interrupted("").kind().exit_code(), 130);
        assert_eq!(
            Failure::from(io::Error::from(io::ErrorKind::BrokenPipe))
                .kind()
                .exit_code(),
            0
        );
        assert_eq!(
            Failure::from(io::Error::from(io::ErrorKind::StorageFull))
                .kind()
                .exit_code(),
            1
        );
    }

    #[test]
    fn a_failure_is_one_line_that_says_what_to_do() {
        for (status, expected) in [
            (
                Error::not_found(ResourceKind::Remote, "lab").into(),
                "remote \"lab\" not found: \"rootstock remote list\" shows what there is",
            ),
            (
                Status::unavailable(format!(
                    "{SERVER} cannot be reached: Connection refused\n(os error 111)"
                )),
                "http://127.0.0.1:7443 cannot be reached: Connection refused (os error 111); start one with \
                 \"rootstock standalone\", or name another with --server or ROOTSTOCK_SERVER",
            ),
            (
                Error::invalid("remote.url", "must begin with https:// or http://").into(),
                "remote.url: must begin with https:// or http://",
            ),
        ] {
            assert_eq!(Failure::of_status(&status, SERVER).to_string(), expected);
        }
    }
}
