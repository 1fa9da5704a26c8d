//! How the generated Rust code names what the contracts name.

use protox::prost_reflect::{FieldDescriptor, MessageDescriptor, OneofDescriptor};

/// What our own packages begin with.
pub(crate) const OURS: &str = "rootstock.";

/// `Remote` of `rootstock.catalog.v1` as `crate::catalog::v1::Remote`.
pub(crate) fn path(message: &MessageDescriptor) -> String {
    format!("{}::{}", module(message), message.name())
}

/// The enum that a oneof becomes.
pub(crate) fn oneof_path(oneof: &OneofDescriptor) -> String {
    let message = oneof.parent_message();
    format!(
        "{}::{}::{}",
        module(message),
        snake(message.name()),
        camel(oneof.name())
    )
}

/// A field of a struct.
pub(crate) fn field(field: &FieldDescriptor) -> String {
    match field.name() {
        name @ ("type" | "ref" | "match" | "move" | "use" | "where" | "in" | "for" | "as") => {
            format!("r#{name}")
        }
        name => name.to_owned(),
    }
}

/// `application` as `Application`: the variant of a field in its oneof, or of a value in its enum.
pub(crate) fn camel(name: &str) -> String {
    let words = name.split('_').map(|word| {
        let mut letters = word.chars();
        let first = letters
            .next()
            .map(|letter| letter.to_ascii_uppercase())
            .into_iter();
        first
            .chain(letters.map(|letter| letter.to_ascii_lowercase()))
            .collect::<String>()
    });
    words.collect()
}

fn module(message: &MessageDescriptor) -> String {
    let package = message.package_name().trim_start_matches(OURS);
    let mut module = format!("crate::{}", package.replace('.', "::"));
    let mut parents = vec![];
    let mut parent = message.parent_message();
    while let Some(message) = parent {
        parents.push(snake(message.name()));
        parent = message.parent_message();
    }
    for parent in parents.into_iter().rev() {
        module = format!("{module}::{parent}");
    }
    module
}

fn snake(name: &str) -> String {
    let mut snake = String::new();
    for (index, letter) in name.char_indices() {
        if letter.is_ascii_uppercase() && index > 0 {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}
