//! One source of a configuration: where it came from and the values it holds.

use std::{ffi::OsString, fmt, path::Path, path::PathBuf};

use figment::{
    providers::{Format as _, Toml},
    value::{Dict, Value},
};
use serde::Serialize;

use super::{ENV_PREFIX, Mistake};

/// What separates a section from a key in the name of a variable.
const ENV_SEPARATOR: &str = "__";

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The default.
    Default,
    /// The file at this path.
    File(PathBuf),
    /// A variable.
    Env,
    /// The command line.
    Flags,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("not set"),
            Self::File(path) => write!(f, "in {}", path.display()),
            Self::Env => f.write_str("environment"),
            Self::Flags => f.write_str("on the command line"),
        }
    }
}

/// The name of the variable that sets a key.
pub(super) fn variable(key: &[String]) -> String {
    format!("{ENV_PREFIX}{}", key.join(ENV_SEPARATOR).to_uppercase())
}

/// The values of one source.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) origin: Origin,
    pub(super) values: Dict,
}

impl Layer {
    pub(super) fn of_file(path: &Path, mistakes: &mut Vec<Mistake>) -> Option<Self> {
        let origin = Origin::File(path.to_owned());
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                mistakes.push(Mistake {
                    origin,
                    key: Vec::new(),
                    message: format!("cannot be read: {error}"),
                });
                return None;
            }
        };
        match Toml::from_str::<Dict>(&text) {
            Ok(values) => Some(Self { origin, values }),
            Err(error) => {
                // Not the whole error: it quotes the line, and the line may hold a secret.
                let line = error
                    .span()
                    .and_then(|span| text.get(..span.start))
                    .map_or(1, |before| 1 + before.matches('\n').count());
                let message = format!("line {line}: {}", error.message().trim_end());
                mistakes.push(Mistake {
                    origin,
                    key: Vec::new(),
                    message,
                });
                None
            }
        }
    }

    /// The variables that are ours. Their values stay text here; what is wanted as something else is
    /// read by [`reread`] once that is known.
    pub(super) fn of_env(
        variables: Vec<(OsString, OsString)>,
        not_ours: &[&str],
        mistakes: &mut Vec<Mistake>,
    ) -> Self {
        let mut layer = Self {
            origin: Origin::Env,
            values: Dict::new(),
        };
        for (name, value) in variables {
            let Some(name) = name.to_str().filter(|name| name.starts_with(ENV_PREFIX)) else {
                continue;
            };
            if not_ours.contains(&name) || value.is_empty() {
                continue;
            }
            let key: Vec<String> = name[ENV_PREFIX.len()..]
                .split(ENV_SEPARATOR)
                .map(str::to_lowercase)
                .collect();
            let refused = match value.into_string() {
                Ok(text) if insert(&mut layer.values, &key, &text) => continue,
                Ok(_) => "another variable sets this section or a part of this key",
                Err(_) => "is no UTF-8 text",
            };
            mistakes.push(Mistake {
                origin: Origin::Env,
                key,
                message: refused.to_owned(),
            });
        }
        layer
    }

    pub(super) fn of_flags(flags: Result<Dict, String>, mistakes: &mut Vec<Mistake>) -> Option<Self> {
        match flags {
            Ok(mut values) => {
                drop_unset(&mut values);
                Some(Self {
                    origin: Origin::Flags,
                    values,
                })
            }
            Err(message) => {
                mistakes.push(Mistake {
                    origin: Origin::Flags,
                    key: Vec::new(),
                    message,
                });
                None
            }
        }
    }

    /// How many parts of `key` lead to a value of this layer: all of them, fewer when the value is
    /// one that the rest of the key points into (a list), 0 when there is none.
    pub(super) fn reach(&self, key: &[String]) -> usize {
        let mut values = &self.values;
        for (depth, part) in key.iter().enumerate() {
            match values.get(part) {
                None => return 0,
                Some(Value::Dict(_, inner)) => values = inner,
                Some(_) => return depth + 1,
            }
        }
        key.len()
    }

    /// Takes the value of a key out.
    pub(super) fn remove(&mut self, key: &[String]) -> Option<Value> {
        let (last, sections) = key.split_last()?;
        section(&mut self.values, sections)?.remove(last)
    }

    /// Reads a value that is still text as it would be read in a file; `false` when it is no text,
    /// or means the same text again.
    pub(super) fn reread(&mut self, key: &[String]) -> bool {
        let Some((last, sections)) = key.split_last() else {
            return false;
        };
        let Some(Value::String(_, text)) =
            section(&mut self.values, sections).and_then(|values| values.get(last))
        else {
            return false;
        };
        match text.parse::<Value>() {
            Ok(Value::String(..)) | Err(_) => false,
            Ok(value) => match section(&mut self.values, sections) {
                Some(values) => values.insert(last.clone(), value).is_some(),
                None => false,
            },
        }
    }
}

/// Anything that serialises to a table.
pub(super) fn dict_of(value: &impl Serialize) -> Result<Dict, String> {
    match Value::serialize(value) {
        Ok(Value::Dict(_, values)) => Ok(values),
        Ok(_) => Err("is no table of keys".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn section<'a>(values: &'a mut Dict, sections: &[String]) -> Option<&'a mut Dict> {
    sections
        .iter()
        .try_fold(values, |values, name| match values.get_mut(name) {
            Some(Value::Dict(_, inner)) => Some(inner),
            _ => None,
        })
}

/// Inserts text at `key`; `false` when something else stands in its way.
fn insert(values: &mut Dict, key: &[String], text: &str) -> bool {
    match key {
        [] => false,
        [last] => {
            let free = !values.contains_key(last);
            if free {
                values.insert(last.clone(), text.into());
            }
            free
        }
        [first, rest @ ..] => match values.entry(first.clone()).or_insert_with(|| Dict::new().into()) {
            Value::Dict(_, inner) => insert(inner, rest, text),
            _ => false,
        },
    }
}

/// Takes out what was not given: `None`, and sections of nothing but that.
fn drop_unset(values: &mut Dict) {
    values.retain(|_, value| match value {
        Value::Empty(..) => false,
        Value::Dict(_, inner) => {
            drop_unset(inner);
            !inner.is_empty()
        }
        _ => true,
    });
}
