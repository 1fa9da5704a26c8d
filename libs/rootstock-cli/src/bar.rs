//! A bar for bytes that come along, on standard error.

use std::io::{self, IsTerminal as _};

use indicatif::{ProgressBar, ProgressStyle};

use crate::{human, output};

const BAR: &str =
    "[{bar:20}] {binary_bytes:>10}/{binary_total_bytes:<10} {binary_bytes_per_sec:>12} {eta:>4}  {wide_msg}";

/// A bar that fills as bytes come in.
pub(crate) fn bytes(name: &str, size_bytes: u64) -> ProgressBar {
    let style = ProgressStyle::with_template(BAR).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(size_bytes)
        .with_style(style.progress_chars("=> "))
        .with_message(name.to_owned())
}

/// How one file comes along, on standard error: a bar on a terminal, lines elsewhere.
#[derive(Debug)]
pub(crate) struct Bar {
    bar: Option<ProgressBar>,
    verb: &'static str,
    name: String,
    size_bytes: u64,
    began: std::cell::Cell<bool>,
}

impl Bar {
    /// Shows nothing yet: a file that need not be moved is no news.
    pub(crate) fn new(verb: &'static str, name: &str, size_bytes: u64) -> Self {
        Self {
            bar: io::stderr().is_terminal().then(|| bytes(name, size_bytes)),
            verb,
            name: name.to_owned(),
            size_bytes,
            began: std::cell::Cell::new(false),
        }
    }

    /// So many bytes are done.
    pub(crate) fn position(&self, done_bytes: u64) {
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
    pub(crate) fn say(&self, text: &str) {
        self.began.set(false);
        match &self.bar {
            Some(bar) => bar.println(text),
            None => output::note(text),
        }
    }

    /// Takes it away.
    pub(crate) fn done(&self) {
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
}
