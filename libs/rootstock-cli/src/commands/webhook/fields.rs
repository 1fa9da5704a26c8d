//! What is said of a webhook: the flags that `add` and `update` share.

use std::{fs, path::PathBuf};

use rootstock_proto::catalog::v1::Webhook;

use crate::{failure::Failure, input::ChangeKinds, secret::SecretArgs};

/// Flags about a webhook.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Fields {
    #[command(flatten)]
    kinds: ChangeKinds,

    /// Only changes of what has a name like this (*, ?, [a-z], {a,b}; case does not matter)
    #[arg(long, value_name = "PATTERN")]
    name_glob: Option<String>,

    /// PEM file of an authority to trust for this receiver, besides the system's
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,

    #[command(flatten)]
    secret: SecretArgs,
}

impl Fields {
    /// Sets what was said; which fields that are.
    ///
    /// # Errors
    /// A file cannot be read or used.
    pub(super) fn apply(&self, webhook: &mut Webhook) -> Result<Vec<&'static str>, Failure> {
        let mut paths = Vec::new();
        let kinds = self.kinds.wire();
        if !kinds.is_empty() {
            webhook.kinds = kinds;
            paths.push("kinds");
        }
        if let Some(glob) = &self.name_glob {
            webhook.name_glob.clone_from(glob);
            paths.push("name_glob");
        }
        if let Some(path) = &self.ca {
            webhook.ca_pem = fs::read_to_string(path)
                .map_err(|error| Failure::usage(format!("--ca {}: {error}", path.display())))?;
            paths.push("ca_pem");
        }
        if let Some(secret) = self.secret.read()? {
            webhook.secret = secret;
            paths.push("secret");
        }
        Ok(paths)
    }
}
