//! What a remote asks of whom it lets in.

use std::str::FromStr;

use rootstock_secret::Secret;

/// A remote's credentials. What is secret of them is never printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A user and a password.
    Basic {
        /// Without `:`.
        user: String,
        /// Anything.
        password: Secret,
    },
    /// A token.
    Bearer(Secret),
}

const BEARER: &str = "bearer:";

/// The text is no credentials. It does not repeat them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCredentials {
    /// Neither form.
    #[error("must be user:password or bearer:<token>")]
    Form,
    /// A header could not hold it.
    #[error(
        "holds a character that credentials cannot have: line ends, control characters, or white space in a token"
    )]
    Character,
}

impl Credentials {
    /// As it is stored and read: `user:password` or `bearer:<token>`.
    pub fn to_text(&self) -> String {
        match self {
            Self::Basic { user, password } => format!("{user}:{}", password.expose()),
            Self::Bearer(token) => format!("{BEARER}{}", token.expose()),
        }
    }
}

impl FromStr for Credentials {
    type Err = InvalidCredentials;

    fn from_str(text: &str) -> Result<Self, InvalidCredentials> {
        if text.chars().any(char::is_control) {
            return Err(InvalidCredentials::Character);
        }
        if let Some(token) = text.strip_prefix(BEARER) {
            return match token {
                "" => Err(InvalidCredentials::Form),
                token if !token.bytes().all(|byte| byte.is_ascii_graphic()) => {
                    Err(InvalidCredentials::Character)
                }
                token => Ok(Self::Bearer(Secret::new(token))),
            };
        }
        match text.split_once(':') {
            Some((user, password)) if !user.is_empty() => Ok(Self::Basic {
                user: user.to_owned(),
                password: Secret::new(password),
            }),
            _ => Err(InvalidCredentials::Form),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_read_back_and_are_not_printed() {
        for text in ["user:hunter2", "user:", "user:hunter2:more", "bearer:hunter2"] {
            let credentials: Credentials = text.parse().unwrap();
            assert_eq!(credentials.to_text(), text);
            assert!(!format!("{credentials:?}").contains("hunter2"));
        }
        for text in [
            "",
            "hunter2",
            ":hunter2",
            "bearer:",
            "bearer:a b",
            "user:a\nb",
            "bearer:é",
        ] {
            let refused = text.parse::<Credentials>().unwrap_err();
            assert!(!refused.to_string().contains("hunter2"), "{text}");
        }
    }
}
