//! How transfers come along, on standard error: a bar for each on a terminal, plain lines elsewhere.

use std::{
    collections::HashMap,
    io::{self, IsTerminal as _},
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use rootstock_proto::catalog::v1::Transfer;

use super::{
    human, output,
    transfers::{self, Event},
};

const BAR: &str =
    "[{bar:20}] {binary_bytes:>10}/{binary_total_bytes:<10} {binary_bytes_per_sec:>12} {eta:>4}  {wide_msg}";

/// Shows events.
#[derive(Debug)]
pub(super) enum Progress {
    /// To a terminal.
    Bars {
        /// All bars.
        all: MultiProgress,
        /// That of each running transfer, by digest.
        running: HashMap<String, ProgressBar>,
    },
    /// To a log.
    Lines {
        /// The digests that were told of.
        running: Vec<String>,
    },
}

impl Progress {
    /// Bars if standard error is a terminal.
    pub(super) fn new() -> Self {
        if io::stderr().is_terminal() {
            Self::Bars {
                all: MultiProgress::new(),
                running: HashMap::new(),
            }
        } else {
            Self::Lines { running: Vec::new() }
        }
    }

    /// Shows what happened.
    pub(super) fn show(&mut self, event: Event) {
        match (self, event) {
            (Self::Bars { all, running }, Event::Runs(transfer)) => {
                let bar = running
                    .entry(transfer.sha256.clone())
                    .or_insert_with(|| all.add(bar(&transfer)));
                bar.set_position(transfer.done_bytes.unsigned_abs());
            }
            (Self::Bars { all, running }, ended) => {
                let transfer = transfer_of(&ended);
                if let Some(bar) = running.remove(&transfer.sha256) {
                    bar.finish_and_clear();
                    all.remove(&bar);
                }
                if let Err(error) = all.println(line(&ended)) {
                    tracing::debug!(%error, "the terminal is gone");
                }
            }
            (Self::Lines { running }, event) => {
                let sha256 = &transfer_of(&event).sha256;
                let told = running.contains(sha256);
                match &event {
                    // Bytes that come in are no news to a log.
                    Event::Runs(_) if told => return,
                    Event::Runs(_) => running.push(sha256.clone()),
                    Event::Retries(_) | Event::Failed(_) | Event::Stored(_) => {
                        running.retain(|other| other != sha256)
                    }
                }
                output::note(&line(&event));
            }
        }
    }
}

fn transfer_of(event: &Event) -> &Transfer {
    match event {
        Event::Runs(transfer)
        | Event::Retries(transfer)
        | Event::Failed(transfer)
        | Event::Stored(transfer) => transfer,
    }
}

fn line(event: &Event) -> String {
    let transfer = transfer_of(event);
    let name = transfers::name(transfer);
    let size = human::size(transfer.size_bytes);
    match event {
        Event::Runs(_) => format!("fetching {name} ({size})"),
        Event::Retries(_) => format!("retrying {name}: {}", transfer.last_error),
        Event::Failed(_) => format!("failed   {name}: {}", transfer.last_error),
        Event::Stored(_) => format!("stored   {name} ({size})"),
    }
}

fn bar(transfer: &Transfer) -> ProgressBar {
    let style = ProgressStyle::with_template(BAR).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(transfer.size_bytes.unsigned_abs())
        .with_style(style.progress_chars("=> "))
        .with_message(transfers::name(transfer))
}

/// How one file comes along, on standard error: a bar on a terminal, lines elsewhere.
#[derive(Debug)]
pub(super) struct Bar {
    bar: Option<ProgressBar>,
    verb: &'static str,
    name: String,
    size_bytes: u64,
    began: std::cell::Cell<bool>,
}

impl Bar {
    /// Shows nothing yet: a file that need not be moved is no news.
    pub(super) fn new(verb: &'static str, name: &str, size_bytes: u64) -> Self {
        Self {
            bar: io::stderr().is_terminal().then(|| {
                let style =
                    ProgressStyle::with_template(BAR).unwrap_or_else(|_| ProgressStyle::default_bar());
                ProgressBar::new(size_bytes)
                    .with_style(style.progress_chars("=> "))
                    .with_message(name.to_owned())
            }),
            verb,
            name: name.to_owned(),
            size_bytes,
            began: std::cell::Cell::new(false),
        }
    }

    /// So many bytes are done.
    pub(super) fn position(&self, done_bytes: u64) {
        let first = !self.began.replace(true);
        match &self.bar {
            Some(bar) => bar.set_position(done_bytes),
            None if first => {
                let size = |bytes| human::size(i64::try_from(bytes).unwrap_or(i64::MAX));
                let from = match done_bytes {
                    0 => String::new(),
                    done => format!(", from {} on", size(done)),
                };
                let (verb, name) = (self.verb, &self.name);
                output::note(&format!("{verb} {name} ({}{from})", size(self.size_bytes)));
            }
            None => {}
        }
    }

    /// Says something beside it.
    pub(super) fn say(&self, text: &str) {
        self.began.set(false);
        match &self.bar {
            Some(bar) => bar.println(text),
            None => output::note(text),
        }
    }

    /// Takes it away.
    pub(super) fn done(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_has_a_valid_template() {
        ProgressStyle::with_template(BAR).unwrap();
    }

    #[test]
    fn lines_name_the_file_and_what_became_of_it() {
        let transfer = Transfer {
            image: "alpine".into(),
            serial: "20261122".into(),
            ftype: "squashfs".into(),
            size_bytes: 3 << 20,
            last_error: "reset".into(),
            ..Transfer::default()
        };
        assert_eq!(
            line(&Event::Stored(transfer.clone())),
            "stored   alpine 20261122 squashfs (3.00 MiB)"
        );
        assert_eq!(
            line(&Event::Retries(transfer)),
            "retrying alpine 20261122 squashfs: reset"
        );
    }
}
