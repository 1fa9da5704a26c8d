//! From bytes to a JSON object, or to an error that a person can act on.

use std::borrow::Cow;

use serde_json::{Map, Value, error::Category};

/// A JSON object.
pub(crate) type Object = Map<String, Value>;

/// The whole document is of no use. The message says what was found and what was wanted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// Nothing, or nothing but white space.
    #[error("the document is empty")]
    Empty,
    /// Not JSON, but something well known.
    #[error("the document is not JSON but looks like {0}: check the remote's URL and what its server sends")]
    LooksLike(&'static str),
    /// Not JSON, or JSON that ends too early or is nested too deeply.
    #[error("the document is not valid JSON: {problem} at line {line}, column {column}")]
    NotJson {
        /// What is wrong there.
        problem: String,
        /// Counted from 1.
        line: usize,
        /// In bytes, counted from 1.
        column: usize,
    },
    /// A format, or a version of the format, that is not understood.
    #[error("the document's format is {found}; only {wanted:?} is understood")]
    UnsupportedFormat {
        /// What the document says.
        found: String,
        /// What it should say.
        wanted: &'static str,
    },
    /// A part that everything else hangs on is missing or of the wrong type.
    #[error("{part} must be an object, but is {found}")]
    NotAnObject {
        /// The part, e.g. `products`.
        part: &'static str,
        /// What is there instead.
        found: &'static str,
    },
    /// The index is well formed, but none of its entries leads to images.
    #[error("the index names no usable products file: {reasons}")]
    NoProductsFile {
        /// Why each entry was refused.
        reasons: String,
    },
}

/// Reads the document as one JSON object. A byte order mark is skipped. Bytes that are not UTF-8
/// and lone surrogate escapes become U+FFFD, as in Go's decoder, so that one bad text does not
/// cost the whole document.
pub(crate) fn parse_object(bytes: &[u8]) -> Result<Object, DocumentError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if bytes.trim_ascii().is_empty() {
        return Err(DocumentError::Empty);
    }
    let text = String::from_utf8_lossy(bytes);
    match serde_json::from_str(&replace_lone_surrogates(&text)) {
        Ok(Value::Object(document)) => Ok(document),
        Ok(other) => Err(DocumentError::NotAnObject {
            part: "the document",
            found: kind(&other),
        }),
        Err(error) => Err(explain(bytes, &error)),
    }
}

/// The member that everything else hangs on.
pub(crate) fn object_member<'a>(
    document: &'a Object,
    member: &'static str,
) -> Result<&'a Object, DocumentError> {
    match document.get(member) {
        Some(Value::Object(object)) => Ok(object),
        other => Err(DocumentError::NotAnObject {
            part: member,
            found: other.map_or("missing", kind),
        }),
    }
}

/// Refuses another format than `wanted`. A document that names none is taken: clients do not look.
pub(crate) fn check_format(document: &Object, wanted: &'static str) -> Result<(), DocumentError> {
    match document.get("format") {
        None | Some(Value::Null) => Ok(()),
        Some(Value::String(format)) if format == wanted => Ok(()),
        Some(other) => Err(DocumentError::UnsupportedFormat {
            found: crate::notes::readable(&other.to_string()),
            wanted,
        }),
    }
}

/// What a value is, for messages.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn explain(bytes: &[u8], error: &serde_json::Error) -> DocumentError {
    let start = bytes.trim_ascii_start();
    if start.starts_with(b"<") {
        DocumentError::LooksLike("an HTML or XML page")
    } else if start.starts_with(b"-----BEGIN PGP") {
        DocumentError::LooksLike("a signed document (.sjson)")
    } else if start.starts_with(b"\x1f\x8b") {
        DocumentError::LooksLike("a gzip file")
    } else if error.classify() == Category::Eof {
        DocumentError::NotJson {
            problem: "it ends too early".to_owned(),
            line: error.line(),
            column: error.column(),
        }
    } else {
        let text = error.to_string();
        // The position is told in our own words.
        let problem = text
            .rsplit_once(" at line ")
            .map_or(&*text, |(problem, _)| problem);
        DocumentError::NotJson {
            problem: problem.to_owned(),
            line: error.line(),
            column: error.column(),
        }
    }
}

/// Writes `\ufffd` over each surrogate escape that has no partner: the parser refuses the whole
/// document for one. The length stays, and with it every position in messages.
fn replace_lone_surrogates(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let mut mended = String::new();
    let mut copied = 0;
    let mut at = 0;
    while let Some(offset) = bytes
        .get(at..)
        .and_then(|rest| rest.iter().position(|byte| *byte == b'\\'))
    {
        let escape = at + offset;
        at = match (surrogate_at(bytes, escape), surrogate_at(bytes, escape + 6)) {
            (Some(Surrogate::High), Some(Surrogate::Low)) => escape + 12,
            (Some(_), _) => {
                mended.push_str(&text[copied..escape]);
                mended.push_str("\\ufffd");
                copied = escape + 6;
                copied
            }
            (None, _) => escape + 2,
        };
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    mended.push_str(&text[copied..]);
    Cow::Owned(mended)
}

enum Surrogate {
    High,
    Low,
}

fn surrogate_at(bytes: &[u8], at: usize) -> Option<Surrogate> {
    match bytes.get(at..at + 6)? {
        [b'\\', b'u', b'd' | b'D', third, rest @ ..] if rest.iter().all(u8::is_ascii_hexdigit) => match third
        {
            b'8' | b'9' | b'a' | b'b' | b'A' | b'B' => Some(Surrogate::High),
            b'c'..=b'f' | b'C'..=b'F' => Some(Surrogate::Low),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn errors_say_what_was_found() {
        for (bytes, expected) in [
            (&b""[..], "the document is empty"),
            (b" \n\t", "the document is empty"),
            (b"\xef\xbb\xbf", "the document is empty"),
            (b"<!DOCTYPE html><html>", "looks like an HTML or XML page"),
            (b"\n <Error>", "looks like an HTML or XML page"),
            (
                b"-----BEGIN PGP SIGNED MESSAGE-----",
                "looks like a signed document",
            ),
            (b"\x1f\x8b\x08\0", "looks like a gzip file"),
            (b"{\"a\": 1,}", "trailing comma at line 1, column 9"),
            (b"{\"a\":\n NaN}", "at line 2, column 2"),
            (b"{\"a\": [1", "it ends too early at line 1, column 8"),
            (b"{} {}", "trailing characters at line 1, column 4"),
            (b"[]", "the document must be an object, but is a list"),
            (b"\"meh\"", "the document must be an object, but is a text"),
        ] {
            let message = parse_object(bytes).unwrap_err().to_string();
            assert!(
                message.contains(expected),
                "{message:?} should contain {expected:?}"
            );
        }
    }

    #[test]
    fn nesting_beyond_all_measure_is_an_error() {
        let deep = [b"{\"a\":".repeat(200_000), b"1".to_vec(), b"}".repeat(200_000)].concat();
        let message = parse_object(&deep).unwrap_err().to_string();
        assert!(message.contains("recursion limit exceeded"), "{message}");
        assert!(parse_object(&b"[".repeat(1_000_000)).is_err());
    }

    #[test]
    fn only_lone_surrogates_are_replaced() {
        for (text, expected) in [
            (r#"{"a":"\ud800x"}"#, "\u{fffd}x"),
            (r#"{"a":"\uDFFF"}"#, "\u{fffd}"),
            (r#"{"a":"\ud83d\ude00"}"#, "😀"),
            (r#"{"a":"\ud83d\ud83d\ude00"}"#, "\u{fffd}😀"),
            (r#"{"a":"\ude00\ud83d"}"#, "\u{fffd}\u{fffd}"),
            (r#"{"a":"\\ud800"}"#, r"\ud800"),
            (r#"{"a":"\\\ud800"}"#, "\\\u{fffd}"),
            (r#"{"a":"\ud7ff é"}"#, "\u{d7ff} é"),
        ] {
            let document = parse_object(text.as_bytes()).unwrap();
            assert_eq!(document["a"], expected, "{text}");
        }
        assert!(parse_object(br#"{"a":"\ud80"}"#).is_err());
        assert!(parse_object(br#"{"a":"\u"#).is_err());
    }

    #[test]
    fn bytes_that_are_no_utf8_cost_only_their_own_text() {
        let document = parse_object(b"{\"a\":\"caf\xe9\",\"b\":\"good\"}").unwrap();
        assert_eq!(document["a"], "caf\u{fffd}");
        assert_eq!(document["b"], "good");
    }

    #[test]
    fn the_format_is_the_one_we_know_or_absent() {
        let document = |json: &str| parse_object(json.as_bytes()).unwrap();
        for good in ["{}", r#"{"format":null}"#, r#"{"format":"products:1.0"}"#] {
            assert_eq!(check_format(&document(good), "products:1.0"), Ok(()));
        }
        for bad in [
            r#"{"format":"products:2.0"}"#,
            r#"{"format":1}"#,
            r#"{"format":"index:1.0"}"#,
        ] {
            assert!(check_format(&document(bad), "products:1.0").is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn the_mended_text_is_as_long_and_holds_no_lone_surrogate(
            parts in prop::collection::vec(
                prop::sample::select(vec!["\\", "\\u", "\\ud800", "\\uDC00", "d8", "00", "é", "u", "x"]), 0..12),
        ) {
            let text = parts.concat();
            let mended = replace_lone_surrogates(&text);
            prop_assert_eq!(mended.len(), text.len());
            prop_assert_eq!(replace_lone_surrogates(&mended), &*mended);
        }
    }
}
