//! The types that the clients' decoders want, and what in a document is of another.
//!
//! Go decodes a document into records of fixed types as a whole. A field that it does not know may be
//! anything; `null` fits everywhere; names of fields are told without regard to case; an integer has
//! no fraction, exponent or overflow. The first mistake refuses the document.

use serde_json::Value;

use super::{Code, Finding, Minds, Place};
use crate::{
    document::{Object, kind},
    notes::readable,
};

/// What a value must be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Type {
    Text,
    Flag,
    Integer,
    List(&'static Type),
    Map(&'static Type),
    Record(&'static [Field]),
}

/// A field of a record, and who reads it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    name: &'static str,
    wanted: Type,
    minds: &'static [Minds],
}

const BOTH: &[Minds] = &[Minds::Incus, Minds::Lxd];

const fn field(name: &'static str, wanted: Type) -> Field {
    Field {
        name,
        wanted,
        minds: BOTH,
    }
}

const fn only(minds: &'static [Minds], name: &'static str, wanted: Type) -> Field {
    Field { name, wanted, minds }
}

/// `streams/v1/index.json`.
pub(super) const INDEX: Type = Type::Record(&[
    field("format", Type::Text),
    field("updated", Type::Text),
    field(
        "index",
        Type::Map(&Type::Record(&[
            field("datatype", Type::Text),
            field("path", Type::Text),
            field("format", Type::Text),
            field("updated", Type::Text),
            field("products", Type::List(&Type::Text)),
        ])),
    ),
]);

/// A products file.
pub(super) const PRODUCTS: Type = Type::Record(&[
    field("content_id", Type::Text),
    field("datatype", Type::Text),
    field("format", Type::Text),
    field("license", Type::Text),
    field("updated", Type::Text),
    field("products", Type::Map(&PRODUCT)),
]);

const PRODUCT: Type = Type::Record(&[
    field("aliases", Type::Text),
    field("arch", Type::Text),
    field("os", Type::Text),
    field("release", Type::Text),
    field("release_codename", Type::Text),
    field("release_title", Type::Text),
    field("requirements", Type::Map(&Type::Text)),
    only(&[Minds::Lxd], "lxd_requirements", Type::Map(&Type::Text)),
    field("supported", Type::Flag),
    field("support_eol", Type::Text),
    field("version", Type::Text),
    field("variant", Type::Text),
    field("versions", Type::Map(&VERSION)),
]);

const VERSION: Type = Type::Record(&[
    field("items", Type::Map(&ITEM)),
    field("label", Type::Text),
    field("pubname", Type::Text),
]);

const ITEM: Type = Type::Record(&[
    field("ftype", Type::Text),
    field("path", Type::Text),
    field("size", Type::Integer),
    field("sha256", Type::Text),
    field("md5", Type::Text),
    field("delta_base", Type::Text),
    field("combined_sha256", Type::Text),
    field("combined_rootxz_sha256", Type::Text),
    field("combined_squashfs_sha256", Type::Text),
    field("combined_disk1-img_sha256", Type::Text),
    field("combined_disk-kvm-img_sha256", Type::Text),
    field("combined_uefi1-img_sha256", Type::Text),
    only(&[Minds::Incus], "combined_type", Type::Text),
]);

/// A value of a wrong type, and the names that lead to it.
#[derive(Debug)]
pub(super) struct Mistake {
    path: Vec<String>,
    minds: &'static [Minds],
    wanted: &'static str,
    found: String,
}

/// Everything in the document that is of a wrong type.
pub(super) fn mistakes(document: &Object, schema: Type) -> Vec<Mistake> {
    let mut found = Vec::new();
    if let Type::Record(fields) = schema {
        record(document, fields, BOTH, &mut Vec::new(), &mut found);
    }
    found
}

/// The value of a record's field, as a decoder finds it.
pub(super) fn value<'a>(record: &'a Object, name: &str) -> Option<&'a Value> {
    let any_case = || record.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
    let value = record.get(name).or_else(|| any_case().map(|(_, value)| value));
    value.filter(|value| !value.is_null())
}

/// A field that is an object; `None` when there is none.
pub(super) fn object<'a>(record: &'a Object, name: &str) -> Option<&'a Object> {
    value(record, name)?.as_object()
}

/// A field that is a text; empty when there is none.
pub(super) fn text<'a>(record: &'a Object, name: &str) -> &'a str {
    value(record, name).and_then(Value::as_str).unwrap_or_default()
}

impl Mistake {
    /// `products.<product>.versions.<serial>.items.<item>.…`, or `index.<entry>.…`.
    pub(super) fn finding(self, document: &Place) -> Finding {
        let part = |at: usize| self.path.get(at).map(String::as_str).unwrap_or_default();
        let mut place = document.clone();
        if matches!(part(0), "products" | "index") {
            place = place.product(part(1));
        }
        if part(2) == "versions" {
            place = place.serial(part(3));
        }
        if part(4) == "items" {
            place = place.item(part(5));
        }
        let names: Vec<&str> = self.path.iter().map(String::as_str).collect();
        // The place tells where; of the path only what is beyond it.
        let known = [&place.product, &place.serial, &place.item];
        let known = 2 * known.iter().filter(|part| !part.is_empty()).count();
        let what = match names.get(known..) {
            Some(rest) if !rest.is_empty() => readable(&rest.join(".")),
            _ => "it".to_owned(),
        };
        let detail = format!("{what} must be {}, but is {}", self.wanted, self.found);
        Finding {
            minds: self.minds.to_vec(),
            ..Finding::new(Code::WrongType, place, detail)
        }
    }
}

fn check(
    value: &Value,
    wanted: Type,
    minds: &'static [Minds],
    path: &mut Vec<String>,
    found: &mut Vec<Mistake>,
) {
    match (wanted, value) {
        (_, Value::Null) | (Type::Text, Value::String(_)) | (Type::Flag, Value::Bool(_)) => {}
        (Type::Integer, Value::Number(number)) if number.is_i64() => {}
        (Type::List(of), Value::Array(values)) => {
            for (position, value) in values.iter().enumerate() {
                within(&position.to_string(), value, *of, minds, path, found);
            }
        }
        (Type::Map(of), Value::Object(values)) => {
            for (key, value) in values {
                within(key, value, *of, minds, path, found);
            }
        }
        (Type::Record(fields), Value::Object(values)) => record(values, fields, minds, path, found),
        (wanted, other) => found.push(Mistake {
            path: path.clone(),
            minds,
            wanted: wanted.name(),
            found: shown(other),
        }),
    }
}

fn record(
    values: &Object,
    fields: &'static [Field],
    minds: &'static [Minds],
    path: &mut Vec<String>,
    found: &mut Vec<Mistake>,
) {
    for (key, value) in values {
        if let Some(field) = fields.iter().find(|field| field.name.eq_ignore_ascii_case(key)) {
            // Who does not read a field does not read what is in it.
            let minds = if field.minds.len() < minds.len() {
                field.minds
            } else {
                minds
            };
            within(key, value, field.wanted, minds, path, found);
        }
    }
}

fn within(
    key: &str,
    value: &Value,
    wanted: Type,
    minds: &'static [Minds],
    path: &mut Vec<String>,
    found: &mut Vec<Mistake>,
) {
    path.push(key.to_owned());
    check(value, wanted, minds, path, found);
    path.pop();
}

fn shown(value: &Value) -> String {
    match value {
        Value::Number(number) => format!("the number {number}"),
        Value::Bool(flag) => flag.to_string(),
        Value::String(text) => format!("the text {:?}", readable(text)),
        other => kind(other).to_owned(),
    }
}

impl Type {
    const fn name(self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::Flag => "true or false",
            Self::Integer => "a whole number",
            Self::List(_) => "a list",
            Self::Map(_) | Self::Record(_) => "an object",
        }
    }
}
