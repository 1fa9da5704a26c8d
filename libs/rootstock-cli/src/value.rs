//! What a program reads: values by the field names of the API, in the order of the contract.
//!
//! Messages are read by their descriptors. Numbers are numbers, times are RFC 3339, durations are as they are typed, enums
//! are words, and what is not set is null. Secrets, which read back empty, are skipped.

use prost::{Message, Name};
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, ReflectMessage as _, Value as Field};
use rootstock_proto::descriptor::{self, DescriptorError};
use serde::{Serialize, Serializer, ser::SerializeMap as _};

use crate::{failure::Failure, human, word};

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// Not set.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(serde_json::Number),
    /// Text; a time or a word of an enum too.
    Text(String),
    /// Several.
    List(Vec<Value>),
    /// Fields by name, in order.
    Fields(Vec<(String, Value)>),
}

impl Value {
    /// A message of the API.
    ///
    /// # Errors
    /// The message is of another API.
    pub(crate) fn of<M: Message + Name>(message: &M) -> Result<Self, Failure> {
        descriptor::dynamic(message)
            .map(|dynamic| fields(&dynamic))
            .map_err(|error: DescriptorError| Failure::failed(error.to_string()))
    }

    /// Several messages of the API.
    ///
    /// # Errors
    /// As [`Value::of`].
    pub(crate) fn list<'a, M: Message + Name + 'a>(
        messages: impl IntoIterator<Item = &'a M>,
    ) -> Result<Self, Failure> {
        let values: Result<_, _> = messages.into_iter().map(Self::of).collect();
        values.map(Self::List)
    }

    /// Fields by name.
    pub(crate) fn fields<const N: usize>(fields: [(&str, Self); N]) -> Self {
        Self::Fields(fields.map(|(name, value)| (name.to_owned(), value)).into())
    }

    /// The value at a path of names with dots between them; `None` where there is no such field.
    pub(crate) fn get(&self, path: &str) -> Option<&Self> {
        path.split('.').try_fold(self, |value, name| match value {
            Self::Fields(fields) => fields
                .iter()
                .find(|(field, _)| field == name)
                .map(|(_, value)| value),
            _ => None,
        })
    }

    /// Adds a field at the end, in place of one of that name.
    pub(crate) fn set(&mut self, name: &str, value: Self) {
        self.remove(name);
        if let Self::Fields(fields) = self {
            fields.push((name.to_owned(), value));
        }
    }

    /// A field, to be changed.
    pub(crate) fn field_mut(&mut self, name: &str) -> Option<&mut Self> {
        match self {
            Self::Fields(fields) => fields
                .iter_mut()
                .find(|(field, _)| field == name)
                .map(|(_, value)| value),
            _ => None,
        }
    }

    /// Takes a field away.
    pub(crate) fn remove(&mut self, name: &str) {
        if let Self::Fields(fields) = self {
            fields.retain(|(field, _)| field != name);
        }
    }

    /// As a cell of CSV: words and numbers as they are, what is not set as nothing, a list of words with spaces between
    /// them, and the rest as JSON.
    ///
    /// # Errors
    /// It cannot be written as JSON.
    pub(crate) fn cell(&self) -> serde_json::Result<String> {
        Ok(match self {
            Self::Null => String::new(),
            Self::Text(text) => text.clone(),
            Self::List(items) if items.iter().all(|item| matches!(item, Self::Text(_))) => {
                let words: Result<Vec<_>, _> = items.iter().map(Self::cell).collect();
                words?.join(" ")
            }
            other => serde_json::to_string(other)?,
        })
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number(value) => value.serialize(serializer),
            Self::Text(value) => serializer.serialize_str(value),
            Self::List(items) => serializer.collect_seq(items),
            Self::Fields(fields) => {
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                for (name, value) in fields {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
        }
    }
}

macro_rules! from_number {
    ($($number:ty),*) => {$(
        impl From<$number> for Value {
            fn from(value: $number) -> Self {
                Self::Number(value.into())
            }
        }
    )*};
}

from_number!(i32, i64, u32, u64, usize);

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl<T: Into<Value>> FromIterator<T> for Value {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        Self::List(values.into_iter().map(Into::into).collect())
    }
}

fn fields(message: &DynamicMessage) -> Value {
    let descriptor = message.descriptor();
    let shown = descriptor.fields().filter(|field| {
        let is_of_a_choice = field
            .containing_oneof()
            .is_some_and(|oneof| !oneof.is_synthetic());
        let is_chosen = !is_of_a_choice || message.has_field(field);
        is_chosen && !is_secret(field)
    });
    Value::Fields(
        shown
            .map(|field| {
                let value = match field.supports_presence() && !message.has_field(&field) {
                    true => Value::Null,
                    false => value(&field, &message.get_field(&field)),
                };
                (field.name().to_owned(), value)
            })
            .collect(),
    )
}

/// Whether the contract marks it as a secret.
fn is_secret(field: &FieldDescriptor) -> bool {
    let options = field.options();
    let mark = options.get_field_by_name("debug_redact");
    mark.and_then(|mark| mark.as_bool()) == Some(true)
}

fn value(field: &FieldDescriptor, of: &Field) -> Value {
    match of {
        Field::List(items) => Value::List(items.iter().map(|item| value(field, item)).collect()),
        Field::Map(entries) => {
            let of_entry = match field.kind() {
                Kind::Message(entry) => entry.map_entry_value_field(),
                _ => field.clone(),
            };
            let mut entries: Vec<_> = entries
                .iter()
                .map(|(key, item)| (map_key(key), value(&of_entry, item)))
                .collect();
            entries.sort_by(|(one, _), (other, _)| one.cmp(other));
            Value::Fields(entries)
        }
        Field::Message(message) => well_known(message).unwrap_or_else(|| fields(message)),
        Field::EnumNumber(number) => enum_word(&field.kind(), *number),
        Field::Bool(value) => (*value).into(),
        Field::I32(value) => (*value).into(),
        Field::I64(value) => (*value).into(),
        Field::U32(value) => (*value).into(),
        Field::U64(value) => (*value).into(),
        Field::F32(value) => float((*value).into()),
        Field::F64(value) => float(*value),
        Field::String(text) => text.as_str().into(),
        Field::Bytes(bytes) => bytes.iter().map(|byte| u32::from(*byte)).collect(),
    }
}

fn float(value: f64) -> Value {
    serde_json::Number::from_f64(value).map_or(Value::Null, Value::Number)
}

fn map_key(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}

/// Times and durations; `None` for every other message.
fn well_known(message: &DynamicMessage) -> Option<Value> {
    let text = match message.descriptor().full_name() {
        "google.protobuf.Timestamp" => human::rfc3339(&message.transcode_to().ok()?),
        "google.protobuf.Duration" => Some(human::duration(&message.transcode_to().ok()?)),
        _ => return None,
    };
    Some(text.map_or(Value::Null, Value::Text))
}

/// `IMAGE_TYPE_VIRTUAL_MACHINE` of `ImageType` is `virtual-machine`, and what is unspecified is null. A number that this
/// version does not know stays one.
fn enum_word(kind: &Kind, number: i32) -> Value {
    let known = match kind {
        Kind::Enum(descriptor) => descriptor.get_value(number).zip(descriptor.get_value(0)),
        _ => None,
    };
    let Some((value, unspecified)) = known else {
        return number.into();
    };
    match word::of(value.name(), unspecified.name()) {
        word if word.is_empty() => Value::Null,
        word => word.into(),
    }
}

#[cfg(test)]
mod tests {
    use rootstock_proto::catalog::v1 as wire;
    use serde_json::json;

    use super::*;

    fn json_of<M: Message + Name>(message: &M) -> serde_json::Value {
        serde_json::to_value(Value::of(message).unwrap()).unwrap()
    }

    #[test]
    fn a_message_reads_as_programs_were_promised() {
        let remote = wire::Remote {
            name: "lab".into(),
            mode: wire::RemoteMode::OnDemand.into(),
            auth: "user:hunter2".into(),
            update_interval: Some(prost_types::Duration {
                seconds: 90,
                nanos: 0,
            }),
            created_at: Some(prost_types::Timestamp {
                seconds: 1_800_000_000,
                nanos: 0,
            }),
            ..wire::Remote::default()
        };
        assert_eq!(
            json_of(&remote),
            json!({
                "name": "lab",
                "url": "",
                "protocol": "",
                "mode": "on-demand",
                "include": [],
                "exclude": [],
                "root_preference": [],
                "keep_versions": 0,
                "update_interval": "1m30s",
                "ca_pem": "",
                "insecure": false,
                "created_at": "2027-01-15T08:00:00Z",
                "status": null,
                "disabled": false,
                "version_constraint": "",
                "auth_set": false,
                "etag": "",
            })
        );
    }

    #[test]
    fn fields_come_in_the_order_of_the_contract() {
        let Value::Fields(fields) = Value::of(&wire::Artifact::default()).unwrap() else {
            panic!("fields");
        };
        let names: Vec<_> = fields.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["ftype", "sha256", "size_bytes"]);
    }

    #[test]
    fn of_a_choice_only_the_chosen_is_there() {
        let change = wire::Change {
            operation: wire::ChangeOperation::Deleted.into(),
            resource: Some(wire::change::Resource::Setting(wire::Setting::default())),
            ..wire::Change::default()
        };
        let json = json_of(&change);
        assert_eq!(json["operation"], "deleted");
        assert_eq!(json["setting"]["key"], "");
        assert_eq!(json.get("image"), None);
    }

    #[test]
    fn a_map_is_in_order_and_an_enum_of_a_newer_server_is_its_number() {
        let image = wire::Image {
            properties: [("b", "2"), ("a", "1")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            status: 99,
            ..wire::Image::default()
        };
        let value = Value::of(&image).unwrap();
        assert_eq!(
            value.get("properties"),
            Some(&Value::fields([("a", "1".into()), ("b", "2".into())]))
        );
        assert_eq!(value.get("status"), Some(&99.into()));
        assert_eq!(value.get("type"), Some(&Value::Null));
    }
}
