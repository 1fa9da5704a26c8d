//! Text that must not be seen: the one type for passwords, tokens and keys.
//!
//! Owns: that a secret is read like any text and never written. Refuses to know: what it is the
//! secret of. Secrets in messages are fields that the contracts mark (`rootstock_proto::redact`).

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// What stands where a secret would.
const HIDDEN: &str = "[hidden]";

/// A password, a token, a URL with a password in it. It is read from a configuration like any text
/// and never written: debugging and serialising give `[hidden]`, or nothing when it is empty. It has no
/// `Display`: text made of it by mistake would look like the secret to the compiler, and be none.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps the text.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The text, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether none is set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn shown(&self) -> &'static str {
        if self.is_empty() { "" } else { HIDDEN }
    }
}

impl From<String> for Secret {
    fn from(secret: String) -> Self {
        Self(secret)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.shown())
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.shown())
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SecretVisitor)
    }
}

struct SecretVisitor;

/// Takes text and nothing else, and says so itself: serde's own message would quote the value.
impl<'de> de::Visitor<'de> for SecretVisitor {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Secret, E> {
        if text == HIDDEN {
            return Err(E::custom(
                "[hidden] is what is printed for a secret, not the secret itself",
            ));
        }
        Ok(Secret::new(text))
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Secret, E> {
        Err(no_text())
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Secret, E> {
        Err(no_text())
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Secret, E> {
        Err(no_text())
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Secret, E> {
        Err(no_text())
    }
}

fn no_text<E: de::Error>() -> E {
    E::custom("expected text in quotes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_but_never_written() {
        let secret: Secret = serde_json::from_str("\"hunter2\"").unwrap();
        assert_eq!(secret.expose(), "hunter2");
        for shown in [format!("{secret:?}"), serde_json::to_string(&secret).unwrap()] {
            assert!(shown.contains(HIDDEN) && !shown.contains("hunter2"), "{shown}");
        }
        assert_eq!(serde_json::to_string(&Secret::default()).unwrap(), "\"\"");
    }

    #[test]
    fn a_refusal_does_not_quote_it() {
        for text in ["12345", "true", "-12345", "12345.5"] {
            let refused = serde_json::from_str::<Secret>(text).unwrap_err().to_string();
            assert!(!refused.contains(text), "{refused}");
        }
        assert!(serde_json::from_str::<Secret>("\"[hidden]\"").is_err());
    }
}
