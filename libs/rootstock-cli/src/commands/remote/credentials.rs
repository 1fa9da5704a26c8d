//! Credentials of a remote.

use crate::{failure::Failure, secret};

/// Where credentials are.
#[derive(Debug, Clone, clap::Args)]
#[group(id = "credentials", multiple = false)]
pub(super) struct CredentialArgs {
    /// File that holds "user:password" or "bearer:TOKEN"; - reads standard input
    #[arg(long, value_name = "FILE")]
    auth_file: Option<String>,

    /// Environment variable that holds the same
    #[arg(long, value_name = "VARIABLE")]
    auth_env: Option<String>,
}

impl CredentialArgs {
    /// The credentials, if some were named.
    ///
    /// # Errors
    /// They cannot be read, or are none.
    pub(super) fn read(&self) -> Result<Option<String>, Failure> {
        let credentials = secret::read(self.auth_file.as_deref(), self.auth_env.as_deref())?;
        match credentials {
            Some(text) if !text.contains(':') => {
                Err(Failure::usage("credentials are user:password or bearer:TOKEN"))
            }
            credentials => Ok(credentials),
        }
    }
}
