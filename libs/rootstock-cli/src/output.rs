//! What a command prints: for people or for programs, on standard output, which may go away.

use std::{
    fmt::Display,
    io::{self, IsTerminal as _, Write as _},
};

use serde::Serialize;
use time::OffsetDateTime;

use crate::{failure::Failure, value::Value};

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
pub(crate) trait Record {
    /// The columns of CSV: fields, those of a nested record after a dot.
    const COLUMNS: &'static [&'static str];

    /// All of it.
    ///
    /// # Errors
    /// A message of another API.
    fn value(&self) -> Result<Value, Failure>;

    /// What the columns are looked up in.
    ///
    /// # Errors
    /// As [`Record::value`].
    fn row(&self) -> Result<Value, Failure> {
        self.value()
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
        Format::Json => write(&format!("{}\n", json(&record.value()?, true)?)),
        Format::Yaml => write(&yaml(&record.value()?)?),
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
        Format::Json => write(&format!("{}\n", json(&values(records)?, true)?)),
        Format::Yaml => write(&yaml(&values(records)?)?),
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
        Format::Json => write(&format!("{}\n", json(&record.value()?, false)?)),
        Format::Yaml => write(&format!("---\n{}", yaml(&record.value()?)?)),
        Format::Csv => write(&csv(None, std::slice::from_ref(record))?),
    }
}

/// Writes text to standard output, now.
///
/// # Errors
/// It cannot be written to; nobody reading it any more is [`crate::failure::Kind::NoReader`].
pub(super) fn write(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    Ok(stdout.flush()?)
}

/// Says something on the side, on standard error. Nobody may be there to read it.
pub(super) fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

fn values<R: Record>(records: &[R]) -> Result<Vec<Value>, Failure> {
    records.iter().map(Record::value).collect()
}

fn json(value: &impl Serialize, pretty: bool) -> Result<String, Failure> {
    let text = if pretty {
        serde_json::to_string_pretty(value)
    } else {
        serde_json::to_string(value)
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
        let row = record.row()?;
        let cells = R::COLUMNS
            .iter()
            .map(|column| row.get(column).map_or(Ok(String::new()), Value::cell));
        let cells: Vec<_> = cells.collect::<Result<_, _>>().map_err(|error| cannot(&error))?;
        writer.write_record(cells).map_err(|error| cannot(&error))?;
    }
    let bytes = writer.into_inner().map_err(|error| cannot(&error))?;
    String::from_utf8(bytes).map_err(|error| cannot(&error))
}

fn yaml(value: &impl Serialize) -> Result<String, Failure> {
    serde_yaml_ng::to_string(value).map_err(|error| Failure::failed(format!("cannot write YAML: {error}")))
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
    use super::*;

    struct Thing(Value);

    impl Record for Thing {
        const COLUMNS: &'static [&'static str] =
            &["name", "source.remote", "aliases", "versions", "size_bytes"];

        fn value(&self) -> Result<Value, Failure> {
            Ok(self.0.clone())
        }
    }

    #[test]
    fn csv_has_a_header_and_a_line_for_each() {
        let things = [
            Thing(Value::fields([
                ("name", "a, \"b\"".into()),
                ("source", Value::fields([("remote", "lab".into())])),
                ("aliases", ["x", "y/z"].into_iter().collect()),
                ("versions", [1, 2].into_iter().collect()),
                ("size_bytes", 1024.into()),
            ])),
            Thing(Value::fields([
                ("name", "".into()),
                ("source", Value::Null),
                ("aliases", Value::List(vec![])),
                ("versions", Value::List(vec![])),
                ("size_bytes", 0.into()),
            ])),
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
