//! `rootstock lint`: whether a simplestreams tree is what Incus and LXD clients want.
//!
//! The checks are `rootstock_simplestreams::lint`'s; here is where documents and files come from
//! (`source`), how the files are held against what is said of them (`files`), and what is printed
//! (`show`).

mod files;
mod show;
mod source;

use std::path::PathBuf;

use rootstock_model::NamePattern;
use rootstock_remote::http::FetchErrorKind;
use rootstock_simplestreams::lint::{Code, Finding, Linter, Place, Report, Severity};

use self::source::Source;
use crate::{failure::Failure, human, interrupt::or_interrupted, output::Format};

const EXAMPLES: &str = "\
Examples:
  rootstock lint https://images.linuxcontainers.org --product 'alpine:*'
  rootstock lint ./tree --blobs         every byte of a tree on this machine
  rootstock lint https://images.lab --ca ca.pem --format json

Exit codes: 0 no errors (there may be warnings), 1 errors were found, 2 not understood, 3 no such directory,
4 server not reachable. docs/lint.md lists what can be found.";

/// Check an image server, or a tree on this machine, as strictly as clients read it
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct LintArgs {
    /// The base of the tree: https://HOST/PREFIX, or a directory
    #[arg(value_name = "URL|DIR")]
    target: String,

    /// Read every file, and check its SHA-256, its size and the images' fingerprints
    #[arg(long, conflicts_with = "index_only")]
    blobs: bool,

    /// Read the documents alone, and ask for no file
    #[arg(long)]
    index_only: bool,

    /// Look only at products whose name matches; may be repeated
    #[arg(long = "product", value_name = "PATTERN")]
    products: Vec<NamePattern>,

    /// Trust the certificates in this file, PEM, besides the system's
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,

    /// Trust any certificate of the server
    #[arg(long)]
    insecure: bool,
}

impl LintArgs {
    pub(crate) async fn run(self, format: Format) -> Result<(), Failure> {
        or_interrupted(self.check(format), "stopped before everything was looked at").await
    }

    async fn check(self, format: Format) -> Result<(), Failure> {
        let (source, index) = Source::open(&self.target, self.ca.as_deref(), self.insecure).await?;
        let wanted = |product: &str| {
            self.products.is_empty() || self.products.iter().any(|pattern| pattern.matches(product))
        };
        let mut report = self.documents(&source, index, &wanted).await?;
        let seen = match (self.index_only, self.blobs) {
            (true, _) => files::Seen::default(),
            (false, false) => files::look(&source, &mut report).await?,
            (false, true) => files::read(&source, &mut report).await?,
        };
        report.sort();
        show::print(format, &self.target, &report, &seen)?;
        match report.count(Severity::Error) {
            0 => Ok(()),
            errors => {
                let errors = human::count(i64::try_from(errors).unwrap_or(i64::MAX), "error");
                Err(Failure::failed(format!("{errors} found in {}", self.target)))
            }
        }
    }

    async fn documents(
        &self,
        source: &Source,
        index: Result<Vec<u8>, source::Trouble>,
        wanted: &dyn Fn(&str) -> bool,
    ) -> Result<Report, Failure> {
        let mut linter = Linter::new(wanted);
        for finding in source.findings() {
            linter.add(finding);
        }
        match index {
            Ok(index) => {
                for path in linter.index(&index) {
                    match source.document(&path).await {
                        Ok(bytes) => linter.products(&path, &bytes),
                        Err(trouble) => linter.without_document(missing(&path, trouble)?),
                    }
                }
            }
            Err(trouble) => linter.without_document(missing(source.index_path(), trouble)?),
        }
        Ok(linter.finish())
    }
}

/// A document that cannot be had; a failure of the command when nothing can be had of the server.
fn missing(path: &str, trouble: source::Trouble) -> Result<Finding, Failure> {
    match trouble.kind {
        FetchErrorKind::Unreachable => Err(Failure::unreachable(trouble.text)),
        FetchErrorKind::Gone | FetchErrorKind::Failed => Ok(Finding::new(
            Code::MissingDocument,
            Place::document(path),
            trouble.text,
        )),
    }
}
