//! How large things may be: what the catalog accepts, every reader can take.
//!
//! gRPC clients refuse messages of more than 4 MiB unless they are told otherwise. So a message holds at
//! most [`MAX_MESSAGE_BYTES`] of resources, and no resource is larger than that by itself: an image with
//! every field at its limit has 0.7 MiB, a remote 0.3 MiB. `docs/limits.md` lists these numbers for users.

/// Bytes of resources in one message: a quarter of what every client takes, so that the one resource
/// that a message always holds fits as well.
pub const MAX_MESSAGE_BYTES: usize = 1024 * 1024;

/// Keys and values of an image's properties together. Real indexes have less than 1 KiB of them.
pub const MAX_PROPERTIES_BYTES: usize = 64 * 1024;

/// Aliases of an image that its remote gives it, and as many that users make: each has up to 1020 bytes.
/// Real indexes have fewer than 20.
pub const MAX_ALIASES: usize = 256;

/// Versions of an image: as many as the largest `keep_versions` keeps.
pub const MAX_VERSIONS: usize = 1000;

/// Texts that users write for people: the description of an alias, the reason of a hold.
pub const MAX_TEXT_BYTES: usize = 1024;

/// What is recorded of an error; the log has the rest.
pub const MAX_ERROR_BYTES: usize = 1024;

/// A version's label. Real ones are `release` or `daily`.
pub const MAX_LABEL_BYTES: usize = 128;

/// URLs of remotes and webhooks. Longer ones are refused by many servers.
pub const MAX_URL_BYTES: usize = 2048;

/// Trusted certificates of a remote or a webhook, PEM: some thirty of them.
pub const MAX_PEM_BYTES: usize = 64 * 1024;

/// Rules of a remote of one kind (`include`, `exclude`); each is a key and a pattern of at most
/// [`MAX_PATTERN_BYTES`](crate::pattern::MAX_PATTERN_BYTES).
pub const MAX_RULES: usize = 256;

/// Elements of lists whose values are few: kinds of changes, file types.
pub const MAX_CHOICES: usize = 32;

/// A remote's credentials. Tokens of identity providers have up to 2 KiB.
pub const MAX_CREDENTIALS_BYTES: usize = 4096;

/// A text that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidText {
    /// Longer than it may be.
    #[error("has {bytes} bytes; shorten it to at most {max_bytes}")]
    TooLong {
        /// What it has.
        bytes: usize,
        /// What it may have.
        max_bytes: usize,
    },
    /// A database refuses NUL, and a terminal obeys the rest.
    #[error("holds a control character; only line ends and tabs are allowed")]
    ControlCharacter,
}

/// Checks the length of a text.
///
/// # Errors
/// It is longer.
pub fn check_length(text: &str, max_bytes: usize) -> Result<(), InvalidText> {
    let bytes = text.len();
    match bytes > max_bytes {
        true => Err(InvalidText::TooLong { bytes, max_bytes }),
        false => Ok(()),
    }
}

/// Checks a text that users write for people.
///
/// # Errors
/// It is longer than [`MAX_TEXT_BYTES`], or holds what cannot be shown.
pub fn check_text(text: &str) -> Result<(), InvalidText> {
    check_length(text, MAX_TEXT_BYTES)?;
    match text.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
        true => Err(InvalidText::ControlCharacter),
        false => Ok(()),
    }
}

/// The beginning of an error's text that is recorded: at most [`MAX_ERROR_BYTES`].
pub fn cut_error(text: &str) -> &str {
    let end = text.floor_char_boundary(MAX_ERROR_BYTES);
    text.get(..end).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_bounded_and_printable() {
        assert_eq!(check_text("two\nlines\tand a tab: é"), Ok(()));
        assert_eq!(check_text("a\0b"), Err(InvalidText::ControlCharacter));
        assert_eq!(check_text(&"x".repeat(MAX_TEXT_BYTES)), Ok(()));
        let problem = check_text(&"x".repeat(MAX_TEXT_BYTES + 1)).unwrap_err();
        assert_eq!(problem.to_string(), "has 1025 bytes; shorten it to at most 1024");
    }

    #[test]
    fn an_error_is_cut_between_characters() {
        assert_eq!(cut_error("short"), "short");
        let long = "é".repeat(MAX_ERROR_BYTES);
        let cut = cut_error(&long);
        assert_eq!((cut.len(), cut.chars().count()), (1024, 512));
        assert_eq!(cut_error(&format!("x{}", "é".repeat(600))).len(), 1023);
    }
}
