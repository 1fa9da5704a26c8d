//! Tables in Markdown, as they go into `docs/benchmarks.md`.

use std::time::Duration;

/// Rows of text under headings.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

/// A row's measurements of one thing.
#[derive(Debug, Clone)]
pub(crate) struct Spread(Vec<f64>);

impl Table {
    pub(crate) fn new(headings: &[&str]) -> Self {
        Self {
            rows: vec![headings.iter().map(|&heading| heading.to_owned()).collect()],
        }
    }

    pub(crate) fn add(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// A row that could not be measured.
    pub(crate) fn add_not_run(&mut self, name: &str, why: &anyhow::Error) {
        let why = format!("NOT RUN: {why:#}").replace(['\n', '|'], " ");
        self.rows.push(vec![name.to_owned(), why]);
    }

    pub(crate) fn print(&self) {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        // What was not run says so across the columns.
        let full = |row: &&Vec<String>| row.len() == columns;
        let width = |column: usize| {
            let widths = self
                .rows
                .iter()
                .filter(full)
                .map(|row| row[column].chars().count());
            widths.chain([3]).max().unwrap_or(3)
        };
        let line = |cells: &[String]| {
            let cells = (0..columns).map(|column| {
                let cell = cells.get(column).map_or("", String::as_str);
                format!(" {cell:<width$} |", width = width(column))
            });
            println!("|{}", cells.collect::<String>());
        };
        for (number, row) in self.rows.iter().enumerate() {
            line(row);
            if number == 0 {
                let dashes: Vec<String> = (0..columns).map(|column| "-".repeat(width(column))).collect();
                line(&dashes);
            }
        }
        println!();
    }
}

impl Spread {
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    pub(crate) fn seconds(times: impl IntoIterator<Item = Duration>) -> Self {
        Self::of(times.into_iter().map(|time| time.as_secs_f64()))
    }

    pub(crate) fn milliseconds(times: impl IntoIterator<Item = Duration>) -> Self {
        Self::of(times.into_iter().map(|time| time.as_secs_f64() * 1000.0))
    }

    /// The middle one; of an even number, the upper of the two.
    pub(crate) fn median(&self) -> f64 {
        self.0.get(self.0.len() / 2).copied().unwrap_or(f64::NAN)
    }

    /// The mean of all.
    pub(crate) fn mean(&self) -> f64 {
        self.0.iter().sum::<f64>() / self.0.len() as f64
    }

    /// The value that this share of all is not above, from 0 to 1.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        // A position within a vector, as a share of it.
        let position = (self.0.len() as f64 * share) as usize;
        let last = self.0.len().saturating_sub(1);
        self.0.get(position.min(last)).copied().unwrap_or(f64::NAN)
    }

    /// The median alone.
    pub(crate) fn short(&self) -> String {
        digits(self.median())
    }

    /// The median, and in parentheses the least and the most.
    pub(crate) fn long(&self) -> String {
        match (self.0.first(), self.0.last()) {
            (Some(least), Some(most)) if self.0.len() > 1 => {
                format!("{} ({}–{})", self.short(), digits(*least), digits(*most))
            }
            _ => self.short(),
        }
    }
}

/// Three digits that mean something.
pub(crate) fn digits(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
