//! The catalog's settings: keys, defaults, and what each may be (semantics §7).

use std::time::Duration;

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

/// A key that is none, or a value that the key cannot have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSetting {
    /// The key is none of ours.
    #[error("setting {0:?} not found")]
    UnknownKey(String),
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

    /// Every key with its value, as text that [`Settings::set`] takes.
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        vec![
            ("images.auto_update_cached", self.auto_update_cached.to_string()),
            (
                "images.auto_update_interval",
                format_duration(self.auto_update_interval),
            ),
            (
                "images.default_keep_versions",
                self.default_keep_versions.to_string(),
            ),
            ("images.deletion_grace", format_duration(self.deletion_grace)),
            ("images.max_removal_percent", self.max_removal_percent.to_string()),
            (
                "images.remote_cache_expiry",
                self.remote_cache_expiry_days.to_string(),
            ),
            ("images.update_interval", format_duration(self.update_interval)),
        ]
    }

    /// Sets one.
    ///
    /// # Errors
    /// An unknown key or a value that the key cannot have; nothing is changed then.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), InvalidSetting> {
        let bad = |key, expected| InvalidSetting::BadValue {
            key,
            value: value.to_owned(),
            expected,
        };
        match key {
            "images.update_interval" => {
                const EXPECTED: &str = "a duration of at least 1s, such as 5m";
                self.update_interval = parse_duration(value)
                    .filter(|interval| *interval >= Duration::from_secs(1))
                    .ok_or_else(|| bad("images.update_interval", EXPECTED))?;
            }
            "images.auto_update_interval" => {
                const EXPECTED: &str = "a duration of at least 1s, such as 6h";
                self.auto_update_interval = parse_duration(value)
                    .filter(|interval| *interval >= Duration::from_secs(1))
                    .ok_or_else(|| bad("images.auto_update_interval", EXPECTED))?;
            }
            "images.auto_update_cached" => {
                self.auto_update_cached = value
                    .parse()
                    .map_err(|_| bad("images.auto_update_cached", "true or false"))?;
            }
            "images.remote_cache_expiry" => {
                self.remote_cache_expiry_days =
                    value.parse().ok().filter(|days| *days <= 36_500).ok_or_else(|| {
                        bad("images.remote_cache_expiry", "a number of days from 0 to 36500")
                    })?;
            }
            "images.deletion_grace" => {
                const EXPECTED: &str = "a duration of at least 2h: clients cache indexes for an hour";
                self.deletion_grace = parse_duration(value)
                    .filter(|grace| *grace >= Duration::from_secs(2 * 60 * 60))
                    .ok_or_else(|| bad("images.deletion_grace", EXPECTED))?;
            }
            "images.max_removal_percent" => {
                self.max_removal_percent = value
                    .parse()
                    .ok()
                    .filter(|percent| *percent <= 100)
                    .ok_or_else(|| bad("images.max_removal_percent", "a number from 0 to 100"))?;
            }
            "images.default_keep_versions" => {
                self.default_keep_versions = value
                    .parse()
                    .ok()
                    .filter(|keep| (1..=1000).contains(keep))
                    .ok_or_else(|| bad("images.default_keep_versions", "a number from 1 to 1000"))?;
            }
            other => return Err(InvalidSetting::UnknownKey(other.to_owned())),
        }
        Ok(())
    }
}

/// Writes a duration in the largest unit that holds it whole: [`parse_duration`] reads it back, to
/// the millisecond.
pub fn format_duration(duration: Duration) -> String {
    let ms = duration.as_millis();
    // A day is written as 24h: that is how the settings are known.
    let units = [(60 * 60 * 1000, "h"), (60 * 1000, "m"), (1000, "s")];
    match units
        .iter()
        .find(|(unit_ms, _)| ms > 0 && ms.is_multiple_of(*unit_ms))
    {
        Some((unit_ms, unit)) => format!("{}{unit}", ms / unit_ms),
        None => format!("{ms}ms"),
    }
}

/// Reads a duration: a sum of numbers with a unit (`ms`, `s`, `m`, `h`, `d`), e.g. `1h30m`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        let unit_end = rest[digits..]
            .find(|c: char| c.is_ascii_digit())
            .map_or(rest.len(), |at| digits + at);
        let unit_ms = match &rest[digits..unit_end] {
            "ms" => 1,
            "s" => 1000,
            "m" => 60 * 1000,
            "h" => 60 * 60 * 1000,
            "d" => 24 * 60 * 60 * 1000,
            _ => return None,
        };
        total = total.checked_add(Duration::from_millis(number.checked_mul(unit_ms)?))?;
        rest = &rest[unit_end..];
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_their_units() {
        let cases = [
            ("5m", Some(300_000)),
            ("1h30m", Some(5_400_000)),
            ("250ms", Some(250)),
            ("2d", Some(172_800_000)),
            ("", None),
            ("5", None),
            ("m", None),
            ("5 m", None),
            ("-5m", None),
            ("99999999999999999999s", None),
            ("18446744073709551615d", None),
        ];
        for (text, expected_ms) in cases {
            assert_eq!(
                parse_duration(text),
                expected_ms.map(Duration::from_millis),
                "{text}"
            );
        }
    }

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
        settings.set("images.update_interval", "90s").unwrap();
        assert_eq!(settings.update_interval, Duration::from_secs(90));
    }
}
