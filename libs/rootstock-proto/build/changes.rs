//! Logged resources: what follows from the fields of `Change.resource`.
//!
//! A resource joins the log with a field there and a value of `ChangeKind` of the same name. Its
//! kind, its label and the name that filters go by are generated from these.

use protox::prost_reflect::{DescriptorPool, Kind, MessageDescriptor};

use crate::names;

const MODULE: &str = "crate::catalog::v1";
const PREFIX: &str = "CHANGE_KIND_";
/// What people know a resource by: the first of these fields that it has.
const NAME_FIELDS: [&str; 3] = ["name", "key", "image"];

/// The code: conversions, kinds, labels and names.
pub(crate) fn generate(pool: &DescriptorPool) -> Result<String, String> {
    let change = pool
        .get_message_by_name("rootstock.catalog.v1.Change")
        .ok_or("there is no message Change")?;
    let kinds = pool
        .get_enum_by_name("rootstock.catalog.v1.ChangeKind")
        .ok_or("there is no enum ChangeKind")?;
    let oneof = change
        .oneofs()
        .find(|oneof| oneof.name() == "resource")
        .ok_or("Change has no oneof resource")?;
    let resource = names::oneof_path(&oneof);
    let (mut conversions, mut kind_arms, mut name_arms) = (String::new(), String::new(), String::new());
    let mut known = vec![];
    for field in oneof.fields() {
        let Kind::Message(message) = field.kind() else {
            return Err(format!("{} is no message", field.full_name()));
        };
        let value = format!("{PREFIX}{}", field.name().to_ascii_uppercase());
        if !kinds.values().any(|kind| kind.name() == value) {
            return Err(format!("ChangeKind has no value {value}"));
        }
        let (variant, path) = (names::camel(field.name()), names::path(&message));
        conversions += &format!(
            "impl From<{path}> for {resource} {{
                fn from(resource: {path}) -> Self {{ Self::{variant}(resource) }}
            }}
            impl ChangeResource for {path} {{
                const KIND: {MODULE}::ChangeKind = {MODULE}::ChangeKind::{variant};
            }}\n"
        );
        kind_arms += &format!("Self::{variant}(_) => {MODULE}::ChangeKind::{variant},\n");
        name_arms += &format!("Self::{variant}(resource) => &resource.{},\n", name(&message)?);
        known.push((variant, field.name().to_owned(), value));
    }
    if let Some(lost) = kinds
        .values()
        .find(|kind| kind.number() != 0 && !known.iter().any(|(.., value)| value == kind.name()))
    {
        return Err(format!("{} is the kind of no resource of Change", lost.name()));
    }
    let (labels, all): (String, String) = known
        .iter()
        .map(|(variant, label, _)| {
            (
                format!("Self::{variant} => \"{label}\",\n"),
                format!("Self::{variant},"),
            )
        })
        .unzip();
    Ok(format!(
        "{conversions}
        impl {resource} {{
            /// Its kind.
            pub fn kind(&self) -> {MODULE}::ChangeKind {{ match self {{ {kind_arms} }} }}
            /// The name that people know it by, and that filters go by.
            pub fn name(&self) -> &str {{ match self {{ {name_arms} }} }}
        }}
        impl {MODULE}::ChangeKind {{
            /// Every kind that there is.
            pub const ALL: &'static [Self] = &[{all}];
            /// Its name in `Change`, e.g. `image`.
            pub fn label(self) -> &'static str {{ match self {{ Self::Unspecified => \"unknown\", {labels} }} }}
        }}\n"
    ))
}

fn name(message: &MessageDescriptor) -> Result<&'static str, String> {
    let found = NAME_FIELDS.into_iter().find(|name| {
        message
            .get_field_by_name(name)
            .is_some_and(|field| field.kind() == Kind::String && !field.is_list())
    });
    found.ok_or_else(|| format!("{} has no name: none of {NAME_FIELDS:?}", message.full_name()))
}
