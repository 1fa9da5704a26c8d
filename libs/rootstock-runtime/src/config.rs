//! One checked configuration out of four sources.
//!
//! Defaults ← TOML file ← environment ← flags: each wins over those before it, key by key. What is
//! unknown is refused, and every mistake of every source is in one report, so that an operator
//! mends a configuration once instead of once per mistake.
//!
//! A configuration is a struct that is `Default + Serialize + Deserialize`, best with
//! `#[serde(default, deny_unknown_fields)]`, and sections are fields that are such structs.
//! Its keys are spelled the same in every source: the field `pool_size` of the section `catalog` is
//!
//! ```toml
//! [catalog]
//! pool_size = 10
//! ```
//!
//! and `ROOTSTOCK_CATALOG__POOL_SIZE=10`.

use std::{ffi::OsString, fmt, path::PathBuf};

use figment::value::Dict;
use serde::{Serialize, de::DeserializeOwned};

mod layer;
mod resolve;

pub use layer::Origin;
pub use rootstock_secret::Secret;

use layer::Layer;

/// What the names of all our variables begin with.
pub const ENV_PREFIX: &str = "ROOTSTOCK_";

/// Gathers the sources of a configuration, then reads them.
///
/// ```no_run
/// # use rootstock_runtime::config::{ConfigErrors, Loader, Problems, Validate};
/// #[derive(Default, serde::Serialize, serde::Deserialize)]
/// #[serde(default, deny_unknown_fields)]
/// struct Config {
///     data_dir: std::path::PathBuf,
/// }
///
/// impl Validate for Config {
///     fn validate(&self, problems: &mut Problems) {
///         if self.data_dir.as_os_str().is_empty() {
///             problems.add("data_dir", "must be set");
///         }
///     }
/// }
///
/// # fn example() -> Result<Config, ConfigErrors> {
/// Loader::new()
///     .file(Some("rootstock.toml".into()))
///     .process_env(&["ROOTSTOCK_SERVER"])
///     .flags(&serde_json::json!({ "data_dir": "/srv/data" }))
///     .load()
/// # }
/// ```
#[derive(Debug, Default)]
pub struct Loader {
    file: Option<PathBuf>,
    env: Vec<(OsString, OsString)>,
    not_ours: &'static [&'static str],
    flags: Option<Result<Dict, String>>,
}

impl Loader {
    /// Nothing but the defaults yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a TOML file. A file that is named must be there.
    pub fn file(mut self, file: Option<PathBuf>) -> Self {
        self.file = file;
        self
    }

    /// Adds the variables of this process that begin with `ROOTSTOCK_`.
    ///
    /// `__` separates a section from a key. An empty variable is one that is not set. Text is taken
    /// as it is where text is wanted; anything else is read as in the file (`true`, `10`,
    /// `["a", "b"]`). Those in `others` belong to other parts of the product and are left alone;
    /// any that names no key is refused.
    pub fn process_env(self, others: &'static [&'static str]) -> Self {
        self.env(std::env::vars_os(), others)
    }

    /// As [`Loader::process_env`], of these variables instead of the process's.
    pub fn env(
        mut self,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
        others: &'static [&'static str],
    ) -> Self {
        self.env = variables.into_iter().collect();
        self.not_ours = others;
        self
    }

    /// Adds what was given on the command line: anything that serialises to the shape of the
    /// configuration. `None` and what is left out stay as they were. Never a [`Secret`]: everybody
    /// on the machine can read command lines.
    pub fn flags(mut self, overlay: &impl Serialize) -> Self {
        self.flags = Some(layer::dict_of(overlay));
        self
    }

    /// Reads the sources, checks them against `T` and [`Validate`]s the outcome.
    ///
    /// # Errors
    /// Every mistake that was found. Of a list only the first mistake is; the values that have no
    /// mistake are validated all the same, with the wrong ones left out.
    pub fn load<T>(self) -> Result<T, ConfigErrors>
    where
        T: DeserializeOwned + Serialize + Default + Validate,
    {
        let mut mistakes = Vec::new();
        let file = self
            .file
            .as_deref()
            .and_then(|path| Layer::of_file(path, &mut mistakes));
        let env = Layer::of_env(self.env, self.not_ours, &mut mistakes);
        let flags = self.flags.and_then(|flags| Layer::of_flags(flags, &mut mistakes));
        let layers = file.into_iter().chain([env]).chain(flags).collect();
        resolve::resolve(layers, mistakes)
    }
}

/// A configuration that can say what is wrong with it beyond the types of its values.
pub trait Validate {
    /// Adds everything that is wrong.
    fn validate(&self, problems: &mut Problems);
}

/// What [`Validate`] found.
#[derive(Debug, Default)]
pub struct Problems {
    section: Vec<String>,
    found: Vec<(Vec<String>, String)>,
}

impl Problems {
    /// All the problems of `config`, as key and message.
    pub fn of(config: &impl Validate) -> Vec<(String, String)> {
        let mut problems = Self::default();
        config.validate(&mut problems);
        problems
            .found
            .into_iter()
            .map(|(key, message)| (key.join("."), message))
            .collect()
    }

    /// Adds a problem of one key of the current section: what is wrong and what it may be. The
    /// report says where the value came from.
    pub fn add(&mut self, key: &str, message: impl Into<String>) {
        let mut path = self.section.clone();
        path.push(key.to_owned());
        self.found.push((path, message.into()));
    }

    /// Adds a problem of `key` unless `holds`.
    pub fn require(&mut self, holds: bool, key: &str, message: impl Into<String>) {
        if !holds {
            self.add(key, message);
        }
    }

    /// Validates a section.
    pub fn section(&mut self, name: &str, section: &impl Validate) {
        self.section.push(name.to_owned());
        section.validate(self);
        self.section.pop();
    }
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Where the value came from.
    pub origin: Origin,
    /// The key, with its sections before it; empty when the source as a whole cannot be used.
    pub key: Vec<String>,
    /// What is wrong, without the value of any secret.
    pub message: String,
}

/// Everything that is wrong with a configuration. Prints one line per mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors {
    /// The mistakes, in the order of their keys.
    pub mistakes: Vec<Mistake>,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, key, message } = self;
        match origin {
            _ if key.is_empty() => write!(f, "{origin}: {message}"),
            Origin::Env => write!(f, "{}: {message} ({})", key.join("."), layer::variable(key)),
            _ => write!(f, "{}: {message} ({origin})", key.join(".")),
        }
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mistakes.as_slice() {
            [only] => write!(f, "the configuration has a mistake: {only}"),
            several => {
                write!(f, "the configuration has {} mistakes:", several.len())?;
                several.iter().try_for_each(|mistake| write!(f, "\n  {mistake}"))
            }
        }
    }
}

impl std::error::Error for ConfigErrors {}

#[cfg(test)]
mod tests;
