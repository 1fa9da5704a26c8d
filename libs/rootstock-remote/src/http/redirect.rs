//! Redirects: which are followed.

use reqwest::redirect;

/// Enough for a mirror network and its object store; a loop ends soon.
const MAX_REDIRECTS: usize = 5;

/// A redirect that is not followed.
#[derive(Debug, thiserror::Error)]
pub(super) enum RedirectRefused {
    #[error("it redirects more than {MAX_REDIRECTS} times")]
    TooMany,
    #[error("it redirects from https:// to {0}://")]
    Downgrade(String),
}

/// Follows a few, and none that gives up encryption.
pub(super) fn policy() -> redirect::Policy {
    redirect::Policy::custom(|attempt| {
        if attempt.previous().len() > MAX_REDIRECTS {
            return attempt.error(RedirectRefused::TooMany);
        }
        let was_https = attempt.previous().iter().any(|url| url.scheme() == "https");
        match attempt.url().scheme() {
            "https" => attempt.follow(),
            "http" if !was_https => attempt.follow(),
            other => {
                let refused = RedirectRefused::Downgrade(other.to_owned());
                attempt.error(refused)
            }
        }
    })
}
