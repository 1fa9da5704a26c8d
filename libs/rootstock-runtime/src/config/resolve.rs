//! From layers to one value, past every mistake.
//!
//! Serde stops at the first mistake. So the layers are read again and again: each time the mistake
//! is noted and its value taken out of the layer that it came from, until what is left can be read.

use figment::{
    Figment,
    error::{Actual, Error, Kind},
    providers::Serialized,
    value::{Dict, Value},
};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    ConfigErrors, Mistake, Problems, Validate,
    layer::{self, Layer, Origin},
};

/// Merges `layers` (the later wins) over the defaults of `T`; `mistakes` are those that were found
/// while the layers were made.
pub(super) fn resolve<T>(mut layers: Vec<Layer>, mut mistakes: Vec<Mistake>) -> Result<T, ConfigErrors>
where
    T: DeserializeOwned + Serialize + Default + Validate,
{
    let defaults = match layer::dict_of(&T::default()) {
        Ok(defaults) => defaults,
        Err(message) => {
            mistakes.push(Mistake {
                origin: Origin::Default,
                key: Vec::new(),
                message,
            });
            return Err(ConfigErrors { mistakes });
        }
    };
    for layer in &mut layers {
        refuse_unknown(layer, &defaults, &mut mistakes);
    }
    let config = read::<T>(&defaults, &mut layers, &mut mistakes);
    if let Some(config) = &config {
        mistakes.extend(validate(config, &layers, &mistakes));
    }
    match config {
        Some(config) if mistakes.is_empty() => Ok(config),
        _ => {
            mistakes.sort_by(|a, b| (&a.key, &a.origin).cmp(&(&b.key, &b.origin)));
            Err(ConfigErrors { mistakes })
        }
    }
}

/// Takes out every key that `T` does not have. The defaults show which it has; where a default is
/// not a table, or an empty one (a map), serde knows better.
fn refuse_unknown(layer: &mut Layer, defaults: &Dict, mistakes: &mut Vec<Mistake>) {
    let mut unknown = Vec::new();
    collect_unknown(&layer.values, defaults, &mut Vec::new(), &mut unknown);
    for key in unknown {
        layer.remove(&key);
        let message = "unknown key".to_owned();
        mistakes.push(Mistake {
            origin: layer.origin.clone(),
            key,
            message,
        });
    }
}

fn collect_unknown(values: &Dict, known: &Dict, section: &mut Vec<String>, unknown: &mut Vec<Vec<String>>) {
    for (name, value) in values {
        section.push(name.clone());
        match (value, known.get(name)) {
            (_, None) => unknown.push(section.clone()),
            (Value::Dict(_, values), Some(Value::Dict(_, known))) if !known.is_empty() => {
                collect_unknown(values, known, section, unknown);
            }
            _ => {}
        }
        section.pop();
    }
}

/// Reads `T`, taking out what cannot be read; `None` when it is the defaults that cannot.
fn read<T: DeserializeOwned>(
    defaults: &Dict,
    layers: &mut [Layer],
    mistakes: &mut Vec<Mistake>,
) -> Option<T> {
    loop {
        let merged = layers
            .iter()
            .fold(Figment::from(Serialized::defaults(defaults)), |merged, layer| {
                merged.merge(Serialized::defaults(&layer.values))
            });
        // Each turn rereads or removes one value, so there is a last one.
        match merged.extract::<T>() {
            Ok(config) => return Some(config),
            Err(error) => take_out(error, layers, mistakes)?,
        }
    }
}

/// Mends or removes the value that an error is about; `None` when no layer holds it.
fn take_out(error: Error, layers: &mut [Layer], mistakes: &mut Vec<Mistake>) -> Option<()> {
    let message = describe(&error.kind);
    let key = error.path;
    // The last layer that has it is the one that was read.
    let holder = layers.iter_mut().rev().find_map(|layer| match layer.reach(&key) {
        0 => None,
        reach => Some((reach, layer)),
    });
    match holder {
        Some((reach, layer)) => {
            let held = &key[..reach];
            if layer.origin == Origin::Env && layer.reread(held) {
                return Some(());
            }
            layer.remove(held);
            mistakes.push(Mistake {
                origin: layer.origin.clone(),
                key,
                message,
            });
            Some(())
        }
        None => {
            mistakes.push(Mistake {
                origin: Origin::Default,
                key,
                message,
            });
            None
        }
    }
}

fn describe(kind: &Kind) -> String {
    match kind {
        Kind::InvalidType(found, expected) | Kind::InvalidValue(found, expected) => {
            format!("found {}, expected {expected}", shown(found))
        }
        Kind::UnknownField(..) => "unknown key".to_owned(),
        Kind::UnknownVariant(found, expected) => {
            format!("{found:?} is none of the choices: {}", expected.join(", "))
        }
        Kind::MissingField(name) => format!("{name} is missing"),
        other => other.to_string(),
    }
}

/// A value as an operator wrote it, where figment would name its type.
fn shown(found: &Actual) -> String {
    match found {
        Actual::Bool(value) => value.to_string(),
        Actual::Unsigned(value) => value.to_string(),
        Actual::Signed(value) => value.to_string(),
        Actual::Float(value) => value.to_string(),
        Actual::Str(value) => format!("{value:?}"),
        Actual::Seq => "a list".to_owned(),
        Actual::Map => "a table".to_owned(),
        other => other.to_string(),
    }
}

/// What [`Validate`] finds, except of keys whose mistake is known: they hold a stand-in now.
fn validate(config: &impl Validate, layers: &[Layer], known: &[Mistake]) -> Vec<Mistake> {
    let mut problems = Problems::default();
    config.validate(&mut problems);
    problems
        .found
        .into_iter()
        .filter(|(key, _)| !known.iter().any(|mistake| mistake.key.starts_with(key)))
        .map(|(key, message)| {
            let origin = layers
                .iter()
                .rev()
                .find(|layer| layer.reach(&key) == key.len())
                .map_or(Origin::Default, |layer| layer.origin.clone());
            Mistake { origin, key, message }
        })
        .collect()
}
