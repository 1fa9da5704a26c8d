//! What a command prints: for people or for programs, on standard output, which may go away.

use std::io::{self, IsTerminal as _, Write as _};

use serde::Serialize;
use time::OffsetDateTime;

use super::Failure;

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(super) enum Format {
    /// For people.
    #[default]
    Table,
    /// JSON, with the field names of the API.
    Json,
    /// YAML, the same.
    Yaml,
}

/// What text for people is fitted to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Screen {
    /// Columns of the terminal; `None` when the output goes elsewhere.
    pub(super) width: Option<u16>,
    /// What "3 min ago" is counted from.
    pub(super) now: OffsetDateTime,
}

impl Screen {
    /// That of this process.
    pub(super) fn current() -> Self {
        let width = if io::stdout().is_terminal() {
            comfy_table::Table::new().width()
        } else {
            None
        };
        Self {
            width,
            now: OffsetDateTime::now_utc(),
        }
    }
}

/// Prints a result: `text` for people, `record` for programs.
///
/// # Errors
/// Standard output cannot be written to.
pub(super) fn print<R: Serialize>(
    format: Format,
    record: &R,
    text: impl FnOnce(Screen) -> String,
) -> Result<(), Failure> {
    match format {
        Format::Table => write(&text(Screen::current())),
        Format::Json => write(&format!("{}\n", json(record, true)?)),
        Format::Yaml => write(&yaml(record)?),
    }
}

/// Prints one of a sequence that has no end: a line of JSON, a document of YAML.
///
/// # Errors
/// Standard output cannot be written to.
pub(super) fn print_next<R: Serialize>(
    format: Format,
    record: &R,
    text: impl FnOnce() -> String,
) -> Result<(), Failure> {
    match format {
        Format::Table => write(&format!("{}\n", text())),
        Format::Json => write(&format!("{}\n", json(record, false)?)),
        Format::Yaml => write(&format!("---\n{}", yaml(record)?)),
    }
}

/// Writes text to standard output, now.
///
/// # Errors
/// It cannot be written to; nobody reading it any more is [`super::Kind::NoReader`].
pub(super) fn write(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    Ok(stdout.flush()?)
}

/// Says something on the side, on standard error. Nobody may be there to read it.
pub(super) fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

fn json<R: Serialize>(record: &R, pretty: bool) -> Result<String, Failure> {
    let text = if pretty {
        serde_json::to_string_pretty(record)
    } else {
        serde_json::to_string(record)
    };
    text.map_err(|error| Failure::failed(format!("cannot write JSON: {error}")))
}

fn yaml<R: Serialize>(record: &R) -> Result<String, Failure> {
    serde_yaml_ng::to_string(record).map_err(|error| Failure::failed(format!("cannot write YAML: {error}")))
}

/// `key: value` lines with the values below each other; those with an empty value left out.
#[derive(Debug, Default)]
pub(super) struct Lines {
    lines: Vec<(String, String)>,
}

impl Lines {
    /// Adds a line, unless the value is empty.
    pub(super) fn add(&mut self, key: &str, value: impl Into<String>) -> &mut Self {
        let value = value.into();
        if !value.is_empty() {
            self.lines.push((key.to_owned(), value));
        }
        self
    }

    /// The lines as text, each ended.
    pub(super) fn render(&self) -> String {
        let width = self
            .lines
            .iter()
            .map(|(key, _)| key.chars().count() + 1)
            .max()
            .unwrap_or(0);
        self.lines
            .iter()
            .map(|(key, value)| format!("{:width$} {value}\n", format!("{key}:")))
            .collect()
    }
}
