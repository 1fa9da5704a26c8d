//! Paths as clients join them to the remote's URL, and what is wrong with some.

use super::{Code, Finding, Linter, Place};
use crate::{item_path, notes::quoted, plain_path};

/// Checks a path of an index entry or of an item; the path to ask for, when it can be asked for.
pub(super) fn check(linter: &mut Linter<'_>, place: &Place, path: &str, is_item: bool) -> Option<String> {
    let plain = if is_item {
        item_path(path)
    } else {
        plain_path(path)
    };
    match plain {
        Ok(plain) => {
            if *plain != *path {
                let detail = format!("the path {} holds repeated slashes", quoted(path));
                linter.add(Finding::new(Code::PathDoubleSlash, place.clone(), detail));
            }
            Some(plain.into_owned())
        }
        Err(error) => {
            linter.add(Finding::new(
                code(path, is_item),
                place.clone(),
                error.to_string(),
            ));
            None
        }
    }
}

fn code(path: &str, is_item: bool) -> Code {
    let is_url = path.split_once("://").is_some_and(|(scheme, _)| {
        !scheme.is_empty()
            && scheme
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    });
    let decoded = path.to_ascii_lowercase().replace("%2e", ".").replace("%2f", "/");
    if is_url {
        Code::PathIsUrl
    } else if decoded.split(['/', '\\']).any(|part| part == "..") {
        Code::PathLeavesTree
    } else if path.contains(['?', '#']) {
        Code::PathWithQuery
    } else if is_item && plain_path(path).is_ok() {
        Code::PathAmongIndexes
    } else if path.starts_with('/') && plain_path(path.trim_start_matches('/')).is_ok() {
        Code::PathAbsolute
    } else {
        Code::PathNotPlain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_has_its_own_trouble() {
        for (path, expected) in [
            ("images/../../outside", Code::PathLeavesTree),
            ("%2e%2e/%2e%2e/etc/shadow", Code::PathLeavesTree),
            ("/etc/passwd", Code::PathAbsolute),
            ("https://cdn.example/x", Code::PathIsUrl),
            ("file:///etc/passwd", Code::PathIsUrl),
            ("images/x?token=1", Code::PathWithQuery),
            ("images/x#y", Code::PathWithQuery),
            ("streams/v1/index.json", Code::PathAmongIndexes),
            (".", Code::PathNotPlain),
            ("images/alpine/", Code::PathNotPlain),
            ("images/a\nb", Code::PathNotPlain),
            ("images/\u{fffd}x", Code::PathNotPlain),
        ] {
            assert_eq!(code(path, true), expected, "{path}");
        }
    }
}
