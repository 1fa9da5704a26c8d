//! What was left out, and why: collected while reading, in words that fit on a screen and in a
//! database.

use std::fmt::Write as _;

use rootstock_model::{LeftOut, Reason};

/// The longest text of a remote that is quoted, in characters.
const MAX_QUOTED_CHARS: usize = 255;

/// One rule that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) reason: Reason,
    pub(crate) message: String,
}

impl Problem {
    pub(crate) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }

    pub(crate) fn malformed(message: impl Into<String>) -> Self {
        Self::new(Reason::Malformed, message)
    }

    /// The record of it; each of the names may be empty, see [`LeftOut`].
    pub(crate) fn at(self, product: &str, serial: &str, item: &str) -> LeftOut {
        LeftOut {
            product: readable(product),
            serial: readable(serial),
            item: readable(item),
            reason: self.reason,
            message: self.message,
        }
    }
}

/// What is left out of one product.
#[derive(Debug)]
pub(crate) struct Notes<'a> {
    product: &'a str,
    left_out: Vec<LeftOut>,
}

impl<'a> Notes<'a> {
    pub(crate) fn of_product(product: &'a str) -> Self {
        Self {
            product,
            left_out: vec![],
        }
    }

    /// The whole product.
    pub(crate) fn product(&mut self, problem: Problem) {
        self.item("", "", problem);
    }

    /// One tag of the product, or one value of a tag; the product is kept without it.
    pub(crate) fn tag(&mut self, tag: &str, problem: Problem) {
        self.item("", tag, problem);
    }

    /// One version.
    pub(crate) fn version(&mut self, serial: &str, problem: Problem) {
        self.item(serial, "", problem);
    }

    /// One item of a version.
    pub(crate) fn item(&mut self, serial: &str, item: &str, problem: Problem) {
        self.left_out.push(problem.at(self.product, serial, item));
    }

    pub(crate) fn into_left_out(self) -> Vec<LeftOut> {
        self.left_out
    }
}

/// The text without control characters (a database refuses NUL, a terminal obeys the rest) and of
/// bounded length.
pub(crate) fn readable(text: &str) -> String {
    let mut readable = String::with_capacity(text.len().min(MAX_QUOTED_CHARS));
    for (position, character) in text.chars().enumerate() {
        if position == MAX_QUOTED_CHARS {
            readable.push('…');
            break;
        }
        if character.is_control() {
            // Writing into a String cannot fail.
            let _ = write!(readable, "{}", character.escape_default());
        } else {
            readable.push(character);
        }
    }
    readable
}

/// The text in quotes, as [`readable`].
pub(crate) fn quoted(text: &str) -> String {
    format!("{:?}", readable(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_text_is_plain_and_short() {
        assert_eq!(readable("a\0b\u{1b}[31mc\nd"), "a\\u{0}b\\u{1b}[31mc\\nd");
        assert_eq!(readable("debian:bookworm"), "debian:bookworm");
        assert_eq!(readable(&"é".repeat(300)).chars().count(), MAX_QUOTED_CHARS + 1);
    }
}
