//! Remote image servers: what they speak, and how they are reached.

use std::{fmt, str::FromStr};

use crate::Credentials;

/// What a remote's server speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Simplestreams over HTTP: an index, products files, and files by path.
    #[default]
    Simplestreams,
}

impl Protocol {
    /// Every protocol.
    pub const ALL: [Self; 1] = [Self::Simplestreams];

    /// The name, as callers and the database spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Simplestreams => "simplestreams",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names no protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is none of: {known}", known = Protocol::ALL.map(Protocol::as_str).join(", "))]
pub struct UnknownProtocol(pub String);

impl FromStr for Protocol {
    type Err = UnknownProtocol;

    fn from_str(text: &str) -> Result<Self, UnknownProtocol> {
        Self::ALL
            .into_iter()
            .find(|protocol| protocol.as_str() == text)
            .ok_or_else(|| UnknownProtocol(text.to_owned()))
    }
}

/// How a remote's server is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// Its base URL, without a trailing `/`.
    pub url: String,
    /// What it speaks.
    pub protocol: Protocol,
    /// Certificates that are trusted besides the system's, PEM; may be empty.
    pub ca_pem: String,
    /// Whether its certificate goes unchecked.
    pub insecure: bool,
    /// What it wants to see before it lets a worker in.
    pub credentials: Option<Credentials>,
}

impl Endpoint {
    /// A server that speaks simplestreams, is trusted as the system does, and lets everyone in.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_read_back_and_others_are_refused_with_the_list() {
        for protocol in Protocol::ALL {
            assert_eq!(protocol.as_str().parse(), Ok(protocol));
        }
        let refused = "oci".parse::<Protocol>().unwrap_err();
        assert!(
            refused
                .to_string()
                .starts_with(r#""oci" is none of: simplestreams"#),
            "{refused}"
        );
    }
}
