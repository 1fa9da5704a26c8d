//! `rootstock man`: the help as manual pages.

use std::{fs, path::PathBuf};

use crate::{failure::Failure, output};

const EXAMPLES: &str = "\
Example:
  rootstock man ~/.local/share/man/man1     then: man rootstock-image-rollback";

/// Write manual pages, one for each command, into a directory
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ManArgs {
    /// The directory; made if it is not there
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

impl ManArgs {
    /// Writes those of `command`, and of all below it.
    ///
    /// # Errors
    /// The directory cannot be written to.
    pub(crate) fn run(self, command: clap::Command) -> Result<(), Failure> {
        let directory = &self.directory;
        let cannot = |error: std::io::Error| {
            Failure::failed(format!(
                "cannot write manual pages to {}: {error}",
                directory.display()
            ))
        };
        fs::create_dir_all(directory).map_err(cannot)?;
        clap_mangen::generate_to(command, directory).map_err(cannot)?;
        output::note(&format!("wrote manual pages to {}", directory.display()));
        Ok(())
    }
}
