//! Secrets in messages: blanked, and never printed.
//!
//! A secret is a field that the contract marks with `debug_redact`. Everything here is generated
//! from these marks, so a new secret needs its mark and nothing else.

/// A message that can lose its secrets.
pub trait Redact {
    /// Blanks every secret in it.
    fn redact(&mut self) {}

    /// Blanks every secret that an answer of the public API must not carry: those of the resources in
    /// it. A secret among an answer's own fields is the answer, shown this once to the caller who asked
    /// for it. Nothing for messages that are no answers of the public API.
    fn redact_answer(&mut self) {}
}

include!(concat!(env!("OUT_DIR"), "/redact.rs"));

#[cfg(test)]
mod tests {
    use prost_reflect::{DescriptorPool, Kind};

    use super::*;
    use crate::{
        ALL_DESCRIPTORS,
        catalog::v1::{
            Change, CreateWebhookResponse, GetRemoteResponse, Remote, WatchResponse, Webhook,
            change::Resource,
        },
        sync::v1::{ClaimResponse, DeliverTask, Work, work},
    };

    /// What the name of a secret has in it.
    const SUSPICIOUS: [&str; 8] = [
        "secret",
        "password",
        "passphrase",
        "token",
        "auth",
        "credential",
        "private_key",
        "api_key",
    ];
    /// Opaque positions in a listing.
    const HARMLESS: [&str; 2] = ["page_token", "next_page_token"];

    #[test]
    fn every_field_that_looks_like_a_secret_is_marked() {
        let pool = DescriptorPool::decode(ALL_DESCRIPTORS).unwrap();
        let mut marked = vec![];
        for message in pool.all_messages() {
            for field in message.fields() {
                let name = field.name();
                let is_text = matches!(field.kind(), Kind::String | Kind::Bytes);
                let is_suspicious = SUSPICIOUS.iter().any(|word| name.contains(word));
                let is_marked = field
                    .options()
                    .get_field_by_name("debug_redact")
                    .and_then(|mark| mark.as_bool())
                    == Some(true);
                assert!(
                    is_marked || !is_text || !is_suspicious || HARMLESS.contains(&name),
                    "{} looks like a secret and is not marked with debug_redact",
                    field.full_name()
                );
                marked.extend(is_marked.then(|| field.full_name().to_owned()));
            }
        }
        for known in [
            "rootstock.catalog.v1.Remote.auth",
            "rootstock.catalog.v1.Webhook.secret",
        ] {
            assert!(marked.iter().any(|field| field == known), "{known} in {marked:?}");
        }
    }

    fn remote() -> Remote {
        Remote {
            name: "lab".into(),
            auth: "user:hunter2".into(),
            ..Remote::default()
        }
    }

    fn webhook() -> Webhook {
        Webhook {
            name: "ci".into(),
            secret: "hunter2".into(),
            ..Webhook::default()
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        let created = CreateWebhookResponse {
            webhook: Some(webhook()),
            secret: "hunter2".into(),
        };
        for shown in [format!("{:?}", remote()), format!("{created:?}")] {
            assert!(
                shown.contains("[hidden]") && !shown.contains("hunter2"),
                "{shown}"
            );
        }
        assert!(format!("{:?}", remote()).contains("lab"));
        assert!(!format!("{:?}", Remote::default()).contains("[hidden]"));
    }

    #[test]
    fn an_answer_carries_no_secret_but_the_one_that_it_is_about() {
        let mut answer = GetRemoteResponse {
            remote: Some(remote()),
        };
        answer.redact_answer();
        let expected = Remote {
            auth: String::new(),
            ..remote()
        };
        assert_eq!(answer.remote, Some(expected));
        let mut watched = WatchResponse {
            changes: vec![Change {
                resource: Some(Resource::Remote(remote())),
                ..Change::default()
            }],
            revision: 1,
        };
        watched.redact_answer();
        assert!(watched.changes.iter().all(|change| match &change.resource {
            Some(Resource::Remote(remote)) => remote.auth.is_empty(),
            _ => false,
        }));
        let mut created = CreateWebhookResponse {
            webhook: Some(webhook()),
            secret: "hunter2".into(),
        };
        created.redact_answer();
        assert_eq!(created.secret, "hunter2");
        assert_eq!(created.webhook.unwrap().secret, "");
    }

    #[test]
    fn a_worker_is_sent_the_secrets_that_it_needs() {
        let mut claimed = ClaimResponse {
            work: vec![Work {
                task: Some(work::Task::Deliver(DeliverTask {
                    webhook: Some(webhook()),
                    ..DeliverTask::default()
                })),
                ..Work::default()
            }],
        };
        let before = claimed.clone();
        claimed.redact_answer();
        assert_eq!(claimed, before);
        claimed.redact();
        assert_ne!(claimed, before, "and it can lose them");
    }
}
