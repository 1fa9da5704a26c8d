//! The rule for paths that a remote names.

use std::borrow::Cow;

/// A longer path is no path of an image server.
const MAX_PATH_BYTES: usize = 1024;

/// The path is not plain. Prints as the path and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the path {path} {problem}")]
pub struct UnsafePath {
    /// The refused path, quoted and cut to a readable length.
    pub path: String,
    /// What is wrong with it.
    pub problem: &'static str,
}

/// Checks that a path is plain: relative to the remote's URL, inside its tree, and the name of one
/// file wherever it is joined to. Answers the path to use.
///
/// Repeated slashes are taken for one: clients join the path the same way, so what a server names
/// `images//x` is fetched as `images/x` by all. Percent escapes stay as they are (clients take them
/// for escapes too); but none may stand for a dot, a slash, a backslash, a percent sign, a letter,
/// a digit or a control character: nobody writes those but to hide something. A colon is fine
/// (`20230424_13:01/rootfs.squashfs`) unless what precedes it would read as a URL's scheme.
///
/// # Errors
/// Empty, longer than 1024 bytes, absolute, with a scheme, with a `.` or `..` part, with a slash
/// or white space at the end or white space at the start, with `?`, `#`, `\`, a control or a
/// replacement character, or with a percent sign that is no harmless escape.
pub fn plain_path(path: &str) -> Result<Cow<'_, str>, UnsafePath> {
    if let Some(problem) = problem_of(path) {
        return Err(UnsafePath {
            path: crate::notes::quoted(path),
            problem,
        });
    }
    if !path.contains("//") {
        return Ok(Cow::Borrowed(path));
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    Ok(Cow::Owned(parts.join("/")))
}

/// [`plain_path`] for an item: it may not lie under `streams/`, where the indexes are.
///
/// # Errors
/// Those of [`plain_path`], and a path under `streams/`.
pub fn item_path(path: &str) -> Result<Cow<'_, str>, UnsafePath> {
    let plain = plain_path(path)?;
    match plain.split('/').next() {
        Some(first) if first.eq_ignore_ascii_case("streams") => Err(UnsafePath {
            path: crate::notes::quoted(path),
            problem: "lies under streams/, the place of the indexes",
        }),
        _ => Ok(plain),
    }
}

fn problem_of(path: &str) -> Option<&'static str> {
    if path.is_empty() {
        Some("is empty")
    } else if path.len() > MAX_PATH_BYTES {
        Some("is longer than 1024 bytes")
    } else if path.starts_with('/') {
        Some("is absolute")
    } else if path.ends_with('/') {
        Some("ends with a slash: it names no file")
    } else if path.starts_with(char::is_whitespace) || path.ends_with(char::is_whitespace) {
        Some("begins or ends with white space")
    } else if path
        .chars()
        .any(|c| c.is_control() || matches!(c, '?' | '#' | '\\' | char::REPLACEMENT_CHARACTER))
    {
        Some("holds a character that is not allowed there")
    } else if has_scheme(path) {
        Some("has a scheme: it must be relative to the remote's URL")
    } else if path.split('/').any(|part| part == "." || part == "..") {
        Some("has a part that is . or ..")
    } else if !path
        .split('%')
        .skip(1)
        .all(|rest| is_harmless_escape(rest.as_bytes()))
    {
        Some("holds a percent sign that is no escape, or an escape that hides something")
    } else {
        None
    }
}

/// Whether a URL parser would read the path as a URL of its own: `http://…`, `file:…`, `C:…`.
fn has_scheme(path: &str) -> bool {
    path.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    })
}

/// Whether the two hex digits after a percent sign stand for something harmless.
fn is_harmless_escape(rest: &[u8]) -> bool {
    let digit = |position: usize| {
        let byte = *rest.get(position)?;
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    match (digit(0), digit(1)) {
        (Some(high), Some(low)) => {
            let byte = high * 16 + low;
            !(byte.is_ascii_control() || byte.is_ascii_alphanumeric() || b"./\\%".contains(&byte))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn real_paths_are_plain() {
        for path in [
            "images/alpine/3.17/amd64/default/20230424_13:01/rootfs.squashfs",
            "20230424_13:01/rootfs.squashfs",
            "xenial/release-20180705/ubuntu-16.04-minimal-cloudimg-amd64-disk1.img",
            "images/a b/.hidden/...",
            "IMAGES/X",
            "x",
            "images/20230424_13%3A01/x",
            "images/déjà",
        ] {
            assert_eq!(plain_path(path), Ok(Cow::Borrowed(path)), "{path}");
            assert_eq!(item_path(path), Ok(Cow::Borrowed(path)), "{path}");
        }
    }

    #[test]
    fn repeated_slashes_are_one() {
        assert_eq!(plain_path("images//alpine///x").unwrap(), "images/alpine/x");
    }

    #[test]
    fn everything_that_could_leave_the_tree_is_refused() {
        for path in [
            "",
            ".",
            "..",
            "/etc/passwd",
            "//host/x",
            "images/../../outside",
            "images/..",
            "./images/x",
            "images/./x",
            "images/alpine/",
            "file:///etc/passwd",
            "https://example.org/x",
            "mailto:x",
            "C:x",
            "a\\..\\b",
            "images/a\nb",
            "images/a\0b",
            "images/x?y=1",
            "images/x#frag",
            "images/\u{fffd}x",
            " images/x",
            "images/x ",
            "%2e%2e/%2E%2E/etc/shadow",
            "images/%2fetc",
            "images/%5cetc",
            "images/%252e%252e/x",
            "images/%00",
            "%73treams/v1/index.json",
            "images/100%",
            "images/%zz",
            "images/%é",
            &"x".repeat(1025),
        ] {
            assert!(plain_path(path).is_err(), "{path:?}");
        }
    }

    #[test]
    fn items_do_not_lie_among_the_indexes() {
        for path in ["streams/v1/index.json", "streams//x", "Streams/v1/images.json"] {
            assert!(plain_path(path).is_ok(), "{path}");
            assert!(item_path(path).is_err(), "{path}");
        }
        assert!(item_path("streams-of/x").is_ok());
        assert!(item_path("images/streams/x").is_ok());
    }

    proptest! {
        #[test]
        fn what_passes_stays_inside(path in "[a./%:\\\\ 2eE?é]{0,16}") {
            if let Ok(plain) = plain_path(&path) {
                prop_assert!(plain.split('/').all(|part| !matches!(part, "" | "." | "..")), "{}", plain);
                prop_assert_eq!(plain_path(&plain).unwrap(), &*plain, "not stable");
            }
        }
    }
}
