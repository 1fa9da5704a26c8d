//! Secrets: the fields that the contracts mark with `debug_redact`.
//!
//! Generates, for every message, how its secrets are blanked, and for those that hold one
//! themselves, how they print. So a field is kept from the log, from answers and from printing by
//! its mark alone.

use std::{collections::BTreeMap, fmt::Write as _};

use protox::prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor};

use crate::names;

/// The package whose answers go to everybody; those to workers carry what these need.
const PUBLIC_PACKAGE: &str = "rootstock.catalog.v1";

/// The full names of the messages that have a secret among their own fields.
pub(crate) fn messages_with_secrets(pool: &DescriptorPool) -> Vec<String> {
    let messages = messages(pool).filter(|message| message.fields().any(|field| is_secret(&field)));
    messages.map(|message| message.full_name().to_owned()).collect()
}

/// The code: an implementation of `Redact` for every message, and of `Debug` for those with secrets.
pub(crate) fn generate(pool: &DescriptorPool) -> Result<String, String> {
    let mut reaches = Reaches::default();
    let answers = answers(pool);
    let mut code = String::new();
    for message in messages(pool) {
        let nested = nested(&message, &mut reaches);
        let own = own_secrets(&message)?;
        let name = names::path(&message);
        let mut methods = String::new();
        if !own.is_empty() || !nested.is_empty() {
            methods += &format!("fn redact(&mut self) {{ {own} {nested} }}\n");
        }
        if answers.contains(&message.full_name().to_owned()) && !nested.is_empty() {
            methods += &format!("fn redact_answer(&mut self) {{ {nested} }}\n");
        }
        writeln!(code, "impl Redact for {name} {{ {methods} }}").map_err(|error| error.to_string())?;
        if !own.is_empty() {
            code += &debug(&message);
        }
    }
    Ok(code)
}

fn messages(pool: &DescriptorPool) -> impl Iterator<Item = MessageDescriptor> + '_ {
    pool.all_messages()
        .filter(|message| message.package_name().starts_with(names::OURS) && !message.is_map_entry())
}

/// The messages that the public services answer with.
fn answers(pool: &DescriptorPool) -> Vec<String> {
    pool.services()
        .filter(|service| service.package_name() == PUBLIC_PACKAGE)
        .flat_map(|service| {
            service
                .methods()
                .map(|method| method.output().full_name().to_owned())
                .collect::<Vec<_>>()
        })
        .collect()
}

fn is_secret(field: &FieldDescriptor) -> bool {
    let options = field.options();
    let mark = options.get_field_by_name("debug_redact");
    mark.and_then(|mark| mark.as_bool()) == Some(true)
}

/// Blanks the secrets among the fields of the message itself.
fn own_secrets(message: &MessageDescriptor) -> Result<String, String> {
    let mut code = String::new();
    for field in message.fields().filter(is_secret) {
        let is_text = matches!(field.kind(), Kind::String | Kind::Bytes);
        if !is_text || field.is_list() || field.supports_presence() {
            return Err(format!(
                "{}: only a plain string or bytes can be a secret",
                field.full_name()
            ));
        }
        // `bytes::Bytes` cannot be cleared in place.
        code += &format!("self.{} = Default::default();\n", names::field(&field));
    }
    Ok(code)
}

/// Blanks the secrets in the messages that the message holds.
fn nested(message: &MessageDescriptor, reaches: &mut Reaches) -> String {
    let mut code = String::new();
    for field in message.fields() {
        let Some(held) = held(&field).filter(|held| reaches.secret(held)) else {
            continue;
        };
        debug_assert!(!held.is_map_entry());
        let name = names::field(&field);
        code += &match field.containing_oneof() {
            Some(oneof) if !oneof.is_synthetic() => format!(
                "if let Some({}::{}(held)) = &mut self.{} {{ held.redact(); }}\n",
                names::oneof_path(&oneof),
                names::camel(field.name()),
                oneof.name(),
            ),
            _ if field.is_map() => format!("for held in self.{name}.values_mut() {{ held.redact(); }}\n"),
            _ if field.is_list() => format!("for held in &mut self.{name} {{ held.redact(); }}\n"),
            _ => format!("if let Some(held) = &mut self.{name} {{ held.redact(); }}\n"),
        };
    }
    code
}

/// The message that a field holds, as values of a map too.
fn held(field: &FieldDescriptor) -> Option<MessageDescriptor> {
    let Kind::Message(held) = field.kind() else {
        return None;
    };
    if !field.is_map() {
        return Some(held);
    }
    match held.map_entry_value_field().kind() {
        Kind::Message(value) => Some(value),
        _ => None,
    }
}

/// Whether messages hold a secret, themselves or deeper down.
#[derive(Default)]
struct Reaches(BTreeMap<String, bool>);

impl Reaches {
    fn secret(&mut self, message: &MessageDescriptor) -> bool {
        if let Some(known) = self.0.get(message.full_name()) {
            return *known;
        }
        // A message that holds itself adds nothing to what it reaches.
        self.0.insert(message.full_name().to_owned(), false);
        let found = message
            .fields()
            .any(|field| is_secret(&field) || held(&field).is_some_and(|held| self.secret(&held)));
        self.0.insert(message.full_name().to_owned(), found);
        found
    }
}

/// Prints a message without its secrets.
fn debug(message: &MessageDescriptor) -> String {
    let fields: String = message
        .fields()
        .filter(|field| field.containing_oneof().is_none())
        .map(|field| {
            let name = names::field(&field);
            match is_secret(&field) {
                true => format!(
                    "if !self.{name}.is_empty() {{ shown.field(\"{}\", &format_args!(\"[hidden]\")); }}\n",
                    field.name()
                ),
                false => format!("shown.field(\"{}\", &self.{name});\n", field.name()),
            }
        })
        .collect();
    format!(
        "impl ::core::fmt::Debug for {} {{
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {{
                let mut shown = f.debug_struct(\"{}\");
                {fields}
                shown.finish()
            }}
        }}\n",
        names::path(message),
        message.name(),
    )
}
