//! Secrets: from where nobody else reads them, never from the command line itself.

use std::{
    env, fs,
    io::{self, IsTerminal as _, Read as _},
};

use crate::{failure::Failure, output};

/// More than any token.
const MOST_BYTES: u64 = 64 * 1024;

/// Reads a secret of one line from a file (`-`: standard input) or an environment variable; nothing when neither is
/// named. It is never said back: what is wrong with it may be all that is secret.
///
/// # Errors
/// It cannot be read, or is not one line.
pub(super) fn read(file: Option<&str>, variable: Option<&str>) -> Result<Option<String>, Failure> {
    let (place, text) = match (file, variable) {
        (Some("-"), _) => ("standard input".to_owned(), read_stdin()),
        (Some(path), _) => (path.to_owned(), fs::read_to_string(path)),
        (None, Some(name)) => (
            format!("the variable {name}"),
            env::var(name).map_err(|error| match error {
                env::VarError::NotPresent => io::Error::other("it is not set"),
                env::VarError::NotUnicode(_) => io::Error::other("it is not text"),
            }),
        ),
        (None, None) => return Ok(None),
    };
    let text = text.map_err(|error| Failure::usage(format!("cannot read a secret from {place}: {error}")))?;
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.is_empty() || secret.contains(['\r', '\n']) {
        return Err(Failure::usage(format!("{place} holds no secret of one line")));
    }
    Ok(Some(secret.to_owned()))
}

fn read_stdin() -> io::Result<String> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        output::note("the secret, in one line, then Ctrl-D:");
    }
    let mut text = String::new();
    stdin.lock().take(MOST_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

/// Where the secret of a webhook is.
#[derive(Debug, Clone, clap::Args)]
#[group(id = "secrets", multiple = false)]
pub(super) struct SecretArgs {
    /// File that holds what events are signed with; - reads standard input
    #[arg(long, value_name = "FILE")]
    secret_file: Option<String>,

    /// Environment variable that holds the same
    #[arg(long, value_name = "VARIABLE")]
    secret_env: Option<String>,
}

impl SecretArgs {
    /// The secret, if one was named.
    ///
    /// # Errors
    /// See [`read`].
    pub(super) fn read(&self) -> Result<Option<String>, Failure> {
        read(self.secret_file.as_deref(), self.secret_env.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_file(content: &str) -> Result<Option<String>, Failure> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        fs::write(&path, content).unwrap();
        read(path.to_str(), None)
    }

    #[test]
    fn a_secret_is_one_line_and_never_said_back() {
        assert_eq!(of_file("bearer:abc\n"), Ok(Some("bearer:abc".into())));
        assert_eq!(of_file("user:p a:ss\r\n"), Ok(Some("user:p a:ss".into())));
        for wrong in ["", "\n", "hush\nhush\n"] {
            let said = of_file(wrong).unwrap_err();
            assert_eq!(said.kind().exit_code(), 2);
            assert!(!said.to_string().contains("hush"), "{said}");
        }
        assert_eq!(read(None, None), Ok(None));
        let missing = read(None, Some("ROOTSTOCK_TEST_NO_SUCH_VARIABLE")).unwrap_err();
        assert!(
            missing.to_string().contains("ROOTSTOCK_TEST_NO_SUCH_VARIABLE"),
            "{missing}"
        );
    }
}
