//! The catalog's settings: keys, defaults, and what each may be (semantics §7).

use std::time::Duration;

use crate::duration;

/// The settings in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `images.update_interval`: how often a remote is polled that has no interval of its own.
    pub update_interval: Duration,
    /// `images.auto_update_interval`: how often newer versions are looked for of images that follow by checks.
    pub auto_update_interval: Duration,
    /// `images.auto_update_cached`: whether an image that was fetched by its name follows from then on.
    pub auto_update_cached: bool,
    /// `images.remote_cache_expiry`: days after which a cached image leaves the store that nobody used.
    pub remote_cache_expiry_days: u32,
    /// `images.deletion_grace`: how long the blobs of a retired version stay readable.
    pub deletion_grace: Duration,
    /// `images.max_removal_percent`: a poll that would remove more of a remote's products is refused.
    pub max_removal_percent: u8,
    /// `images.default_keep_versions`: versions kept of each image whose remote does not say.
    pub default_keep_versions: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            update_interval: Duration::from_secs(5 * 60),
            auto_update_interval: Duration::from_secs(6 * 60 * 60),
            auto_update_cached: true,
            remote_cache_expiry_days: 10,
            deletion_grace: Duration::from_secs(24 * 60 * 60),
            max_removal_percent: 50,
            default_keep_versions: 2,
        }
    }
}

/// One setting: what names it, what it decides, and what it may be. Everything that deals with settings
/// goes by [`ALL`].
pub struct Definition {
    /// As users know it, e.g. `images.deletion_grace`.
    pub key: &'static str,
    /// What it decides, for people.
    pub description: &'static str,
    /// What it may be, to follow "it is".
    pub expected: &'static str,
    read: fn(&Settings) -> String,
    write: fn(&mut Settings, &str) -> Option<()>,
}

/// Every setting, in the order of their keys.
pub static ALL: [Definition; 7] = [
    Definition {
        key: "images.auto_update_cached",
        description: "Whether an image of an on-demand remote that was fetched by name or alias follows newer \
                      versions from then on",
        expected: "true or false",
        read: |settings| settings.auto_update_cached.to_string(),
        write: |settings, value| {
            settings.auto_update_cached = value.parse().ok()?;
            Some(())
        },
    },
    Definition {
        key: "images.auto_update_interval",
        description: "How often newer versions are looked for of added and cached images with auto-update",
        expected: "a duration of at least 1s, such as 6h",
        read: |settings| duration::format(settings.auto_update_interval),
        write: |settings, value| {
            settings.auto_update_interval = duration_from(value, Duration::from_secs(1))?;
            Some(())
        },
    },
    Definition {
        key: "images.default_keep_versions",
        description: "Newest versions kept of each image whose remote does not say how many",
        expected: "a number from 1 to 1000",
        read: |settings| settings.default_keep_versions.to_string(),
        write: |settings, value| {
            settings.default_keep_versions = number(value, 1, 1000)?;
            Some(())
        },
    },
    Definition {
        key: "images.deletion_grace",
        description: "How long the blobs of a retired or deleted version stay readable",
        expected: "a duration of at least 2h: clients cache indexes for an hour",
        read: |settings| duration::format(settings.deletion_grace),
        write: |settings, value| {
            settings.deletion_grace = duration_from(value, Duration::from_secs(2 * 60 * 60))?;
            Some(())
        },
    },
    Definition {
        key: "images.max_removal_percent",
        description: "A poll that would remove more than this share of a remote's products is refused until forced",
        expected: "a number from 0 to 100",
        read: |settings| settings.max_removal_percent.to_string(),
        write: |settings, value| {
            settings.max_removal_percent = u8::try_from(number(value, 0, 100)?).ok()?;
            Some(())
        },
    },
    Definition {
        key: "images.remote_cache_expiry",
        description: "Days after which a cached image leaves the store that nobody used",
        expected: "a number of days from 0 to 36500",
        read: |settings| settings.remote_cache_expiry_days.to_string(),
        write: |settings, value| {
            settings.remote_cache_expiry_days = number(value, 0, 36_500)?;
            Some(())
        },
    },
    Definition {
        key: "images.update_interval",
        description: "How often a remote is polled that has no interval of its own",
        expected: "a duration of at least 1s, such as 5m",
        read: |settings| duration::format(settings.update_interval),
        write: |settings, value| {
            settings.update_interval = duration_from(value, Duration::from_secs(1))?;
            Some(())
        },
    },
];

fn duration_from(value: &str, least: Duration) -> Option<Duration> {
    duration::parse(value).filter(|duration| *duration >= least)
}

fn number(value: &str, least: u32, most: u32) -> Option<u32> {
    value
        .parse()
        .ok()
        .filter(|number| (least..=most).contains(number))
}

/// Keys that users of AMS know and that are something else here: what to use instead.
const ELSEWHERE: [(&str, &str); 4] = [
    (
        "images.url",
        "there may be several image servers here: add each with `rootstock remote add`",
    ),
    (
        "images.auth",
        "credentials belong to a remote here: see `rootstock remote --help`",
    ),
    (
        "images.version_lockstep",
        "give a remote a version constraint instead, such as 1.30: see `rootstock remote --help`",
    ),
    (
        "images.allow_insecure",
        "each remote says by itself whether its certificate goes unchecked: see `rootstock remote --help`",
    ),
];

/// What to use instead of a key that is a setting of AMS and none of ours.
pub fn elsewhere(key: &str) -> Option<&'static str> {
    ELSEWHERE
        .iter()
        .find(|(known, _)| *known == key)
        .map(|(_, instead)| *instead)
}

/// A key that is none, or a value that the key cannot have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSetting {
    /// The key is none of ours.
    #[error("setting {key:?} not found: {}", elsewhere(.key).map_or_else(known_keys, str::to_owned))]
    UnknownKey {
        /// The refused key.
        key: String,
    },
    /// The value does not fit the key.
    #[error("{key} cannot be {value:?}: it is {expected}")]
    BadValue {
        /// The key.
        key: &'static str,
        /// The refused value.
        value: String,
        /// What it may be.
        expected: &'static str,
    },
}

fn known_keys() -> String {
    format!(
        "the settings are {}",
        ALL.each_ref().map(|known| known.key).join(", ")
    )
}

/// The setting of this key.
///
/// # Errors
/// There is none.
pub fn definition(key: &str) -> Result<&'static Definition, InvalidSetting> {
    let found = ALL.iter().find(|known| known.key == key);
    found.ok_or_else(|| InvalidSetting::UnknownKey { key: key.to_owned() })
}

impl Settings {
    /// The default settings with the given ones over them.
    ///
    /// # Errors
    /// The first setting that cannot be.
    pub fn from_pairs<'a>(
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, InvalidSetting> {
        let mut settings = Self::default();
        for (key, value) in pairs {
            settings.set(key, value)?;
        }
        Ok(settings)
    }

    /// One setting as text that [`Settings::set`] takes.
    pub fn value(&self, definition: &Definition) -> String {
        (definition.read)(self)
    }

    /// Every key with its value, in the order of the keys.
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        ALL.iter().map(|known| (known.key, self.value(known))).collect()
    }

    /// Sets one.
    ///
    /// # Errors
    /// An unknown key or a value that the key cannot have; nothing is changed then.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), InvalidSetting> {
        let known = definition(key)?;
        (known.write)(self, value).ok_or_else(|| InvalidSetting::BadValue {
            key: known.key,
            value: value.to_owned(),
            expected: known.expected,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_written_as_they_are_read() {
        let settings = Settings::default();
        let pairs = settings.pairs();
        assert!(pairs.contains(&("images.deletion_grace", "24h".to_owned())));
        let read = Settings::from_pairs(pairs.iter().map(|(key, value)| (*key, value.as_str())));
        assert_eq!(read, Ok(settings));
    }

    #[test]
    fn a_bad_value_changes_nothing_and_says_what_it_may_be() {
        let mut settings = Settings::default();
        for (key, value) in [
            ("images.update_interval", "0s"),
            ("images.deletion_grace", "1h"),
            ("images.max_removal_percent", "101"),
            ("images.default_keep_versions", "0"),
            ("images.nonesuch", "1"),
        ] {
            assert!(settings.set(key, value).is_err(), "{key}={value}");
        }
        assert_eq!(settings, Settings::default());
        for value in ["1", "yes", "True", ""] {
            let refused = settings.set("images.auto_update_cached", value).unwrap_err();
            assert!(refused.to_string().contains("true or false"), "{refused}");
        }
        settings.set("images.update_interval", "90s").unwrap();
        assert_eq!(settings.update_interval, Duration::from_secs(90));
    }

    #[test]
    fn settings_are_told_apart_explained_and_in_order() {
        assert!(ALL.is_sorted_by(|a, b| a.key < b.key));
        assert!(ALL.iter().all(|known| !known.description.is_empty()));
        // Each reads what it writes, and nothing of its neighbours.
        for (known, value) in ALL.iter().zip(["false", "7h", "9", "30h", "49", "11", "6m"]) {
            let mut settings = Settings::default();
            settings.set(known.key, value).unwrap();
            let changed: Vec<_> = ALL
                .iter()
                .filter(|other| settings.value(other) != Settings::default().value(other))
                .map(|other| other.key)
                .collect();
            assert_eq!(changed, [known.key]);
            assert_eq!(settings.value(known), value);
        }
    }

    #[test]
    fn what_users_of_ams_look_for_is_named() {
        for key in [
            "images.url",
            "images.auth",
            "images.version_lockstep",
            "images.allow_insecure",
        ] {
            let refused = Settings::default().set(key, "x").unwrap_err().to_string();
            assert!(refused.contains("rootstock remote"), "{refused}");
        }
        let refused = Settings::default()
            .set("images.nonesuch", "x")
            .unwrap_err()
            .to_string();
        assert!(refused.contains("images.update_interval"), "{refused}");
    }
}
