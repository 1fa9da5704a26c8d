//! A receiver: one POST per event, signed as Standard Webhooks are.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::{Certificate, StatusCode, redirect};
use rootstock_proto::catalog::v1::Webhook;
use rootstock_remote::http::{retry_after, root_cause};
use sha2::Sha256;

use super::event::Event;
use crate::telemetry;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// From the request to the head of the answer: a receiver takes an event, and works on it later.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(20);
/// What a secret begins with whose rest is Base64.
const BASE64_SECRET: &str = "whsec_";

/// Where events are posted to.
pub(super) struct Receiver {
    name: String,
    url: String,
    key: Vec<u8>,
    client: reqwest::Client,
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// An event that was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    /// What happened, for people. Does not name the URL: it may hold a token.
    pub(super) message: String,
    /// When the receiver wants to be asked again.
    pub(super) retry_after: Option<Duration>,
}

impl Receiver {
    /// # Errors
    /// Its certificates cannot be used.
    pub(super) fn new(webhook: &Webhook) -> Result<Self, String> {
        let own = Certificate::from_pem_bundle(webhook.ca_pem.as_bytes())
            .map_err(|error| format!("ca_pem: {error}"))?;
        let client = reqwest::Client::builder()
            .user_agent(concat!("rootstock/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(ATTEMPT_TIMEOUT)
            // A redirect of a POST is no delivery, and where it leads nobody vouched for.
            .redirect(redirect::Policy::none())
            .tls_certs_merge(own)
            .build()
            .map_err(|error| format!("no client can be made: {error}"))?;
        Ok(Self {
            name: webhook.name.clone(),
            url: webhook.url.clone(),
            key: key(&webhook.secret),
            client,
        })
    }

    /// Posts an event.
    ///
    /// # Errors
    /// The receiver could not be reached, or did not say that it has the event.
    pub(super) async fn post(&self, event: &Event) -> Result<(), Refused> {
        let outcome = self.try_post(event).await;
        telemetry::event(&self.name, outcome.is_ok(), event.time);
        outcome
    }

    async fn try_post(&self, event: &Event) -> Result<(), Refused> {
        let now = SystemTime::now();
        let timestamp = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let answer = self
            .client
            .post(&self.url)
            .header("content-type", "application/cloudevents+json; charset=utf-8")
            .header("webhook-id", &event.id)
            .header("webhook-timestamp", timestamp)
            .header(
                "webhook-signature",
                sign(&self.key, &event.id, timestamp, &event.body),
            )
            .body(event.body.clone())
            .send()
            .await;
        let answer = answer.map_err(|error| Refused {
            message: format!(
                "{}: the receiver cannot be reached: {}",
                event.what,
                root_cause(&error)
            ),
            retry_after: None,
        })?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        Err(Refused {
            message: format!("{}: the receiver answered {}", event.what, explain(status)),
            retry_after: retry_after(answer.headers(), now),
        })
    }
}

fn explain(status: StatusCode) -> String {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            format!("{status}: does it have the webhook's secret?")
        }
        status if status.is_redirection() => {
            format!("{status}: redirects are not followed, set the URL that it leads to")
        }
        status => status.to_string(),
    }
}

/// The key that a secret stands for.
fn key(secret: &str) -> Vec<u8> {
    let decoded = secret
        .strip_prefix(BASE64_SECRET)
        .and_then(|text| STANDARD.decode(text).ok());
    decoded.unwrap_or_else(|| secret.as_bytes().to_vec())
}

/// `v1,` and the Base64 of the HMAC-SHA256 of `id.timestamp.body`.
fn sign(key: &[u8], id: &str, timestamp: u64, body: &[u8]) -> String {
    // HMAC takes keys of every length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return String::new();
    };
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_of_standard_webhooks() {
        // The example of the specification's own libraries.
        let key = key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let signature = sign(
            &key,
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_that_is_no_base64_is_taken_as_it_is() {
        assert_eq!(key("sixteen characters"), b"sixteen characters");
        assert_eq!(key("whsec_!!!!!!!!!!!!!!!!"), b"whsec_!!!!!!!!!!!!!!!!");
    }
}
