//! Names of remotes, images and aliases, and what they may hold.

use std::{borrow::Borrow, fmt, str::FromStr};

/// Why a name was refused. Prints as what is wrong and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {name:?} {problem}")]
pub struct InvalidName {
    /// `remote name`, `webhook name`, `image name` or `alias`.
    pub kind: &'static str,
    /// The refused text.
    pub name: String,
    /// What is wrong with it.
    pub problem: &'static str,
}

fn check(
    kind: &'static str,
    name: &str,
    allowed: fn(char) -> bool,
    max_chars: usize,
) -> Result<(), InvalidName> {
    let problem = if name.is_empty() {
        "is empty"
    } else if name.chars().count() > max_chars {
        "is too long"
    } else if !name.chars().all(allowed) {
        "holds a character that is not allowed there"
    } else if !name.starts_with(char::is_alphanumeric) || !name.ends_with(char::is_alphanumeric) {
        "must begin and end with a letter or a digit"
    } else if name.split(['/', ':']).any(|part| part == ".." || part == ".") {
        "has a part that is . or .."
    } else {
        return Ok(());
    };
    Err(InvalidName {
        kind,
        name: name.to_owned(),
        problem,
    })
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $kind:literal, $max:literal, $allowed:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
        #[serde(transparent)]
        pub struct $type(String);

        impl $type {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = InvalidName;

            fn from_str(name: &str) -> Result<Self, InvalidName> {
                check($kind, name, $allowed, $max)?;
                Ok(Self(name.to_owned()))
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.0
            }
        }

        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// The name of a remote: at most 64 letters, digits, `-`, `_` and `.`.
    RemoteName, "remote name", 64, |c| c.is_ascii_alphanumeric() || "-_.".contains(c)
);
name!(
    /// The name of a webhook: at most 64 letters, digits, `-`, `_` and `.`.
    WebhookName, "webhook name", 64, |c| c.is_ascii_alphanumeric() || "-_.".contains(c)
);
name!(
    /// The name of an image, e.g. `debian:bookworm:amd64:default`: at most 255 characters, no
    /// spaces, commas or control characters.
    ImageName, "image name", 255, |c| !c.is_whitespace() && !c.is_control() && !",?#%&\\\"'`*$".contains(c)
);
name!(
    /// An alias, e.g. `debian/12`: at most 255 characters; `/` allowed; no spaces, commas or
    /// characters that clients refuse (incus-protocol §2.4).
    AliasName, "alias", 255, |c| !c.is_whitespace() && !c.is_control() && !",?#%&\\\"'`*$+".contains(c)
);
name!(
    /// The name of an application: at most 255 characters, no spaces, commas or control characters.
    ApplicationName, "application name", 255, |c| !c.is_whitespace() && !c.is_control() && !",?#%&\\\"'`*$".contains(c)
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_real_servers_use_are_allowed() {
        for name in [
            "alpine:edge:amd64:default",
            "com.ubuntu.cloud:minimal:16.04:amd64",
            "jammy:android13:arm64",
        ] {
            assert!(name.parse::<ImageName>().is_ok(), "{name}");
        }
        for alias in ["debian/12/default", "16.04", "x", "opensuse/15.5"] {
            assert!(alias.parse::<AliasName>().is_ok(), "{alias}");
        }
    }

    #[test]
    fn what_could_leave_its_place_is_refused() {
        for name in [
            "",
            "a b",
            "a,b",
            "../../../evil:amd64",
            "a/../b",
            "a\nb",
            "x/",
            "/x",
            "a?b",
            &"x".repeat(256),
        ] {
            assert!(name.parse::<AliasName>().is_err(), "{name}");
            assert!(name.parse::<ImageName>().is_err(), "{name}");
        }
        assert!("a/b".parse::<RemoteName>().is_err());
    }
}
