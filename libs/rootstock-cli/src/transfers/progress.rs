//! How transfers come along, on standard error: a bar for each on a terminal, plain lines elsewhere.

use std::{
    collections::HashMap,
    io::{self, IsTerminal as _},
};

use indicatif::{MultiProgress, ProgressBar};
use rootstock_proto::catalog::v1::Transfer;

use super::events::{Event, name};
use crate::{bar, human, output};

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
                    .or_insert_with(|| all.add(transfer_bar(&transfer)));
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
                let known = running.contains(sha256);
                match &event {
                    // Bytes that come in are no news to a log.
                    Event::Runs(_) if known => return,
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
    let name = name(transfer);
    let size = human::size(transfer.size_bytes);
    match event {
        Event::Runs(_) => format!("fetching {name} ({size})"),
        Event::Retries(_) => format!("retrying {name}: {}", transfer.last_error),
        Event::Failed(_) => format!("failed   {name}: {}", transfer.last_error),
        Event::Stored(_) => format!("stored   {name} ({size})"),
    }
}

fn transfer_bar(transfer: &Transfer) -> ProgressBar {
    bar::bytes(&name(transfer), transfer.size_bytes.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

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
