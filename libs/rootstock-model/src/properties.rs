//! What properties that users give an image may be.

use std::collections::BTreeMap;

use crate::limits::MAX_PROPERTIES_BYTES;

/// The most properties that an image may have.
pub const MAX_COUNT: usize = 256;
/// The longest key, in bytes.
pub const MAX_KEY_BYTES: usize = 255;
/// The longest value, in bytes.
pub const MAX_VALUE_BYTES: usize = 16 * 1024;

/// A property that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct InvalidProperty {
    /// The key; empty when the matter is all of them together.
    pub key: String,
    /// What is wrong.
    pub problem: String,
}

/// Checks properties that a user gives an image.
///
/// # Errors
/// The first that cannot be.
pub fn check(properties: &BTreeMap<String, String>) -> Result<(), InvalidProperty> {
    check_size(properties)?;
    for (key, value) in properties {
        if key.is_empty() {
            return invalid(key, "a key is empty".to_owned());
        }
        if key
            .chars()
            .any(|c| c.is_whitespace() || c.is_control() || c == '=')
        {
            return invalid(key, "the key has a space, a control character or =".to_owned());
        }
        if value.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
            return invalid(key, "the value has a control character".to_owned());
        }
    }
    Ok(())
}

/// Checks how large an image's properties are, whoever gives them.
///
/// # Errors
/// The first that is too large, or all of them together.
pub fn check_size(properties: &BTreeMap<String, String>) -> Result<(), InvalidProperty> {
    let count = properties.len();
    if count > MAX_COUNT {
        return invalid(
            "",
            format!("are {count}; an image has at most {MAX_COUNT}: drop some"),
        );
    }
    let bytes = bytes(properties);
    if bytes > MAX_PROPERTIES_BYTES {
        let problem = format!(
            "have {bytes} bytes, keys and values together; an image has at most {MAX_PROPERTIES_BYTES}: shorten the \
             longest, or drop some"
        );
        return invalid("", problem);
    }
    for (key, value) in properties {
        if key.len() > MAX_KEY_BYTES {
            return invalid(key, format!("the key is longer than {MAX_KEY_BYTES} bytes"));
        }
        if value.len() > MAX_VALUE_BYTES {
            return invalid(key, format!("the value is longer than {MAX_VALUE_BYTES} bytes"));
        }
    }
    Ok(())
}

fn invalid(key: &str, problem: String) -> Result<(), InvalidProperty> {
    Err(InvalidProperty {
        key: key.to_owned(),
        problem,
    })
}

/// Bytes of keys and values together.
pub fn bytes(properties: &BTreeMap<String, String>) -> usize {
    properties
        .iter()
        .map(|(key, value)| key.len() + value.len())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_words_and_values_are_text() {
        for (key, value, fits) in [
            ("os", "Debian", true),
            ("requirements.secureboot", "false", true),
            ("user.note", "two\nlines", true),
            ("empty", "", true),
            ("", "x", false),
            ("a b", "x", false),
            ("a=b", "x", false),
            ("nul", "\0", false),
            (&"k".repeat(256), "x", false),
            ("long", &"v".repeat(MAX_VALUE_BYTES + 1), false),
        ] {
            let properties = [(key.to_owned(), value.to_owned())].into();
            assert_eq!(check(&properties).is_ok(), fits, "{key:?} {value:?}");
        }
        let many = (0..=MAX_COUNT)
            .map(|index| (format!("k{index}"), String::new()))
            .collect();
        assert_eq!(check(&many).unwrap_err().key, "");
    }

    #[test]
    fn all_of_them_together_are_bounded() {
        let of_bytes = |last: usize| -> BTreeMap<String, String> {
            let full = (0..3).map(|index| (format!("k{index}"), "v".repeat(MAX_VALUE_BYTES)));
            full.chain([("k3".to_owned(), "v".repeat(last))]).collect()
        };
        let fitting = of_bytes(MAX_VALUE_BYTES - 8);
        assert_eq!(bytes(&fitting), MAX_PROPERTIES_BYTES);
        assert_eq!(check(&fitting), Ok(()));
        let invalid = check(&of_bytes(MAX_VALUE_BYTES - 7)).unwrap_err();
        assert_eq!(invalid.key, "");
        assert!(
            invalid.problem.starts_with("have 65537 bytes"),
            "{}",
            invalid.problem
        );
    }
}
