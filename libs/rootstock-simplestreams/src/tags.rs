//! Tags and their inheritance: what an item does not say of itself, its version says, or the
//! product, or the document.

use serde_json::Value;

use crate::{
    document::{Object, kind},
    notes::{Problem, quoted},
};

/// The longest value of a property, in characters.
const MAX_PROPERTY_CHARS: usize = 1024;

/// The tags of one place in the tree, and of every level above it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tags<'a> {
    own: &'a Object,
    above: Option<&'a Tags<'a>>,
}

impl<'a> Tags<'a> {
    /// The tags of the whole document.
    pub(crate) fn of_document(document: &'a Object) -> Self {
        Self {
            own: document,
            above: None,
        }
    }

    /// The tags of an object one level below `above`.
    pub(crate) fn below(above: &'a Tags<'a>, own: &'a Object) -> Self {
        Self {
            own,
            above: Some(above),
        }
    }

    /// The nearest value of a tag. `null` says nothing.
    pub(crate) fn get(&self, tag: &str) -> Option<&'a Value> {
        match self.own.get(tag) {
            None | Some(Value::Null) => self.above?.get(tag),
            value => value,
        }
    }

    /// The nearest value of a tag that must be a text; `None` when there is none or an empty one.
    pub(crate) fn text(&self, tag: &str) -> Result<Option<&'a str>, Problem> {
        match self.get(tag) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
            Some(other) => Err(Problem::malformed(format!(
                "{tag} must be a text, but is {}",
                kind(other)
            ))),
        }
    }

    /// The nearest value of a tag that becomes a property. A whole number is taken as its digits
    /// (`"version": 12`); a fraction is not: `22.10` has already lost its zero.
    pub(crate) fn property(&self, tag: &str) -> Result<Option<String>, Problem> {
        match self.get(tag) {
            Some(Value::Number(number)) if !number.is_f64() => Ok(Some(number.to_string())),
            _ => property_text(tag, self.text(tag)?.unwrap_or_default()),
        }
    }
}

/// The value as a property holds it: trimmed, bounded, printable; `None` when nothing is left.
pub(crate) fn property_text(tag: &str, text: &str) -> Result<Option<String>, Problem> {
    let text = text.trim();
    if text.chars().any(char::is_control) {
        return Err(Problem::malformed(format!(
            "{tag} {} holds control characters",
            quoted(text)
        )));
    }
    if text.chars().count() > MAX_PROPERTY_CHARS {
        return Err(Problem::malformed(format!(
            "{tag} is longer than {MAX_PROPERTY_CHARS} characters"
        )));
    }
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

/// The value as an object. `what` begins the message.
pub(crate) fn object<'a>(what: &str, value: Option<&'a Value>) -> Result<&'a Object, Problem> {
    match value {
        Some(Value::Object(object)) => Ok(object),
        Some(other) => Err(Problem::malformed(format!(
            "{what} must be an object, but is {}",
            kind(other)
        ))),
        None => Err(Problem::malformed(format!("{what} is missing"))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object_of(value: &Value) -> &Object {
        value.as_object().unwrap()
    }

    #[test]
    fn the_nearest_level_wins_and_null_says_nothing() {
        let (document, product, item) = (
            json!({"a": "document", "b": "document", "c": "document"}),
            json!({"b": "product", "c": "product"}),
            json!({"c": "item", "b": null}),
        );
        let document = Tags::of_document(object_of(&document));
        let product = Tags::below(&document, object_of(&product));
        let item = Tags::below(&product, object_of(&item));
        for (tag, expected) in [
            ("a", Some("document")),
            ("b", Some("product")),
            ("c", Some("item")),
            ("d", None),
        ] {
            assert_eq!(item.text(tag), Ok(expected), "{tag}");
        }
    }

    #[test]
    fn properties_are_texts_or_whole_numbers() {
        for (value, expected) in [
            (json!("  3.17 "), Ok(Some("3.17".to_owned()))),
            (json!(""), Ok(None)),
            (json!(" "), Ok(None)),
            (json!(null), Ok(None)),
            (json!(12), Ok(Some("12".to_owned()))),
            (json!(22.10), Err(())),
            (json!(true), Err(())),
            (json!([]), Err(())),
            (json!("a\0b"), Err(())),
            (json!("x".repeat(1025)), Err(())),
        ] {
            let document = json!({ "version": value });
            let tags = Tags::of_document(object_of(&document));
            assert_eq!(tags.property("version").map_err(|_| ()), expected, "{document}");
        }
    }
}
