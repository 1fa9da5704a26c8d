//! What is said of a root that comes alone, and the metadata that this makes.

use std::collections::BTreeMap;

use rootstock_archive::Metadata;
use rootstock_model::Architecture;
use time::OffsetDateTime;

use crate::failure::Failure;

/// What to say of a root that comes alone.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "For a root alone")]
pub(super) struct About {
    /// Operating system, e.g. Debian
    #[arg(long, requires = "release")]
    pub(super) os: Option<String>,

    /// Its release, e.g. 12
    #[arg(long, requires = "os")]
    pub(super) release: Option<String>,

    /// Variant [default: default]
    #[arg(long, requires = "os")]
    pub(super) variant: Option<String>,

    /// Architecture [default: this machine's]
    #[arg(long, requires = "os", value_parser = architecture)]
    pub(super) architecture: Option<Architecture>,

    /// Description [default: made of the others]
    #[arg(long, requires = "os")]
    pub(super) description: Option<String>,
}

fn architecture(text: &str) -> Result<Architecture, String> {
    text.parse()
        .map_err(|error: rootstock_model::architecture::UnknownArchitecture| error.to_string())
}

impl About {
    /// Metadata for a root that was made at that time. `None` when nothing was said.
    pub(super) fn metadata(&self, created: OffsetDateTime) -> Result<Option<Metadata>, Failure> {
        let (Some(os), Some(release)) = (&self.os, &self.release) else {
            return Ok(None);
        };
        let architecture = self.architecture.or_else(Architecture::native).ok_or_else(|| {
            Failure::usage("this machine's architecture is none that Incus knows: say --architecture")
        })?;
        let variant = self.variant.clone().unwrap_or_else(|| "default".to_owned());
        let name = architecture.simplestreams_name();
        let description = self
            .description
            .clone()
            .unwrap_or_else(|| format!("{os} {release} {name}"));
        let properties = BTreeMap::from([
            ("architecture".to_owned(), name.to_owned()),
            ("description".to_owned(), description),
            ("os".to_owned(), os.clone()),
            ("release".to_owned(), release.clone()),
            ("variant".to_owned(), variant),
        ]);
        Ok(Some(Metadata {
            architecture,
            creation_date: created,
            expiry_date: None,
            properties,
        }))
    }
}
