//! What a command prints: for people or for programs, on standard output, which may go away.

use std::{
    fmt::Display,
    io::{self, IsTerminal as _, Write as _},
};

use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;

use crate::Failure;

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
    /// One line per thing under a header.
    Csv,
}

/// What a program reads: fields with the names of the API.
pub(super) trait Record: Serialize {
    /// The columns of CSV: fields, those of a nested record after a dot.
    const COLUMNS: &'static [&'static str];

    /// What the columns are looked up in.
    ///
    /// # Errors
    /// The record cannot be written.
    fn fields(&self) -> serde_json::Result<Value> {
        serde_json::to_value(self)
    }
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
pub(super) fn print<R: Record>(
    format: Format,
    record: &R,
    text: impl FnOnce(Screen) -> String,
) -> Result<(), Failure> {
    match format {
        Format::Table => write(&text(Screen::current())),
        Format::Json => write(&format!("{}\n", json(record, true)?)),
        Format::Yaml => write(&yaml(record)?),
        Format::Csv => write(&csv(Some(R::COLUMNS), std::slice::from_ref(record))?),
    }
}

/// Prints a list: `text` for people, `records` for programs.
///
/// # Errors
/// Standard output cannot be written to.
pub(super) fn print_list<R: Record>(
    format: Format,
    records: &[R],
    text: impl FnOnce(Screen) -> String,
) -> Result<(), Failure> {
    match format {
        Format::Table => write(&text(Screen::current())),
        Format::Json => write(&format!("{}\n", json(&records, true)?)),
        Format::Yaml => write(&yaml(&records)?),
        Format::Csv => write(&csv(Some(R::COLUMNS), records)?),
    }
}

/// What comes before the first of a sequence: the header of CSV.
///
/// # Errors
/// Standard output cannot be written to.
pub(super) fn begin_sequence<R: Record>(format: Format) -> Result<(), Failure> {
    match format {
        Format::Csv => write(&csv::<R>(Some(R::COLUMNS), &[])?),
        Format::Table | Format::Json | Format::Yaml => Ok(()),
    }
}

/// Prints one of a sequence that has no end: a line of JSON or CSV, a document of YAML.
///
/// # Errors
/// Standard output cannot be written to.
pub(super) fn print_next<R: Record>(
    format: Format,
    record: &R,
    text: impl FnOnce() -> String,
) -> Result<(), Failure> {
    match format {
        Format::Table => write(&format!("{}\n", text())),
        Format::Json => write(&format!("{}\n", json(record, false)?)),
        Format::Yaml => write(&format!("---\n{}", yaml(record)?)),
        Format::Csv => write(&csv(None, std::slice::from_ref(record))?),
    }
}

/// Writes text to standard output, now.
///
/// # Errors
/// It cannot be written to; nobody reading it any more is [`crate::Kind::NoReader`].
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

fn csv<R: Record>(header: Option<&[&str]>, records: &[R]) -> Result<String, Failure> {
    let cannot = |problem: &dyn Display| Failure::failed(format!("cannot write CSV: {problem}"));
    let mut writer = csv::Writer::from_writer(Vec::new());
    if let Some(header) = header {
        writer.write_record(header).map_err(|error| cannot(&error))?;
    }
    for record in records {
        let fields = record.fields().map_err(|error| cannot(&error))?;
        let cells = R::COLUMNS.iter().map(|column| cell(&fields, column));
        writer.write_record(cells).map_err(|error| cannot(&error))?;
    }
    let bytes = writer.into_inner().map_err(|error| cannot(&error))?;
    String::from_utf8(bytes).map_err(|error| cannot(&error))
}

/// Words and numbers as they are, what is not set as nothing, a list of words with spaces between them, and the rest
/// as JSON.
fn cell(fields: &Value, column: &str) -> String {
    let value = column
        .split('.')
        .try_fold(fields, |value, name| value.get(name))
        .unwrap_or(&Value::Null);
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.iter().all(Value::is_string) => items
            .iter()
            .filter_map(Value::as_str)
            .collect::<Vec<_>>()
            .join(" "),
        other => other.to_string(),
    }
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Serialize)]
    struct Thing {
        name: &'static str,
        source: Option<Value>,
        aliases: Vec<&'static str>,
        versions: Vec<i32>,
        size_bytes: i64,
    }

    impl Record for Thing {
        const COLUMNS: &'static [&'static str] =
            &["name", "source.remote", "aliases", "versions", "size_bytes"];
    }

    #[test]
    fn csv_has_a_header_and_a_line_for_each() {
        let things = [
            Thing {
                name: "a, \"b\"",
                source: Some(json!({"remote": "lab"})),
                aliases: vec!["x", "y/z"],
                versions: vec![1, 2],
                size_bytes: 1024,
            },
            Thing {
                name: "",
                source: None,
                aliases: vec![],
                versions: vec![],
                size_bytes: 0,
            },
        ];
        assert_eq!(
            csv(Some(Thing::COLUMNS), &things).unwrap(),
            "name,source.remote,aliases,versions,size_bytes\n\
             \"a, \"\"b\"\"\",lab,x y/z,\"[1,2]\",1024\n\
             ,,,,0\n"
        );
        assert_eq!(
            csv::<Thing>(Some(Thing::COLUMNS), &[]).unwrap(),
            "name,source.remote,aliases,versions,size_bytes\n"
        );
        assert!(!csv(None, &things).unwrap().contains("size_bytes"));
    }
}
