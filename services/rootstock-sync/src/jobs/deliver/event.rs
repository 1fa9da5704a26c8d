//! Events: changes in the form of CloudEvents 1.0.

use rootstock_proto::{
    catalog::v1::{Change, ChangeOperation, change::Resource},
    convert, json,
};
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// An event as it is posted: the same bytes at every attempt.
#[derive(Debug, Clone)]
pub(super) struct Event {
    /// Unique for the webhook; the same whenever the same event is sent again.
    pub(super) id: String,
    /// What became of what, e.g. `image.updated`.
    pub(super) what: String,
    /// When it happened.
    pub(super) time: OffsetDateTime,
    /// The structured form.
    pub(super) body: Vec<u8>,
}

/// What an event says besides its data.
struct Head<'a> {
    id: String,
    what: String,
    subject: Option<&'a str>,
    time: OffsetDateTime,
}

impl Event {
    /// The event of a change; `None` of one that this worker does not know.
    ///
    /// # Errors
    /// The change cannot be written as JSON: a fault of ours.
    pub(super) fn of(webhook: &str, change: &Change) -> Result<Option<Self>, String> {
        let Some(resource) = &change.resource else {
            return Ok(None);
        };
        let subject = subject(resource);
        let operation = match change.operation() {
            ChangeOperation::Created => "created",
            ChangeOperation::Updated => "updated",
            ChangeOperation::Deleted => "deleted",
            ChangeOperation::State | ChangeOperation::Unspecified => return Ok(None),
        };
        let data = json::to_json(change).map_err(|error| error.to_string())?;
        let changed_at = change.changed_at.as_ref().and_then(convert::moment);
        let head = Head {
            id: change.revision.to_string(),
            what: format!("{}.{operation}", resource.kind().label()),
            subject: Some(&subject),
            time: changed_at.unwrap_or_else(OffsetDateTime::now_utc),
        };
        Ok(Some(Self::new(webhook, head, data)))
    }

    /// The event that says nothing but that events arrive.
    pub(super) fn ping(webhook: &str) -> Self {
        let time = OffsetDateTime::now_utc();
        let head = Head {
            id: format!("ping-{}", time.unix_timestamp_nanos()),
            what: "ping".to_owned(),
            subject: None,
            time,
        };
        Self::new(webhook, head, json!({}))
    }

    /// The event that says: changes were lost to the receiver, from one revision to before another.
    pub(super) fn compacted(webhook: &str, wanted: i64, oldest: i64) -> Self {
        let head = Head {
            id: format!("compacted-{oldest}"),
            what: "history.compacted".to_owned(),
            subject: None,
            time: OffsetDateTime::now_utc(),
        };
        let data = json!({"wanted_revision": wanted.to_string(), "oldest_revision": oldest.to_string()});
        Self::new(webhook, head, data)
    }

    fn new(webhook: &str, head: Head<'_>, data: Value) -> Self {
        let mut body = json!({
            "specversion": "1.0",
            "id": head.id,
            "source": format!("urn:rootstock:webhook:{webhook}"),
            "type": format!("io.rootstock.{}", head.what),
            // A moment within four digits of years can always be written.
            "time": head.time.format(&Rfc3339).unwrap_or_default(),
            "datacontenttype": "application/json",
            "data": data,
        });
        if let Some(subject) = head.subject {
            body["subject"] = subject.into();
        }
        Self {
            id: head.id,
            what: head.what,
            time: head.time,
            body: body.to_string().into_bytes(),
        }
    }
}

/// What the event is about, as people know it: a resource's name, and which version of an image.
fn subject(resource: &Resource) -> String {
    match resource {
        Resource::Version(change) => {
            let serial = change
                .version
                .as_ref()
                .map_or("", |version| version.serial.as_str());
            format!("{}@{serial}", change.image)
        }
        resource => resource.name().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use rootstock_proto::catalog::v1::{Alias, Setting};

    use super::*;

    #[test]
    fn a_change_becomes_an_event_of_its_kind() {
        let change = |operation: ChangeOperation, resource| Change {
            revision: 42,
            operation: operation.into(),
            changed_at: Some(prost_types::Timestamp {
                seconds: 1_800_000_000,
                nanos: 0,
            }),
            resource: Some(resource),
        };
        let alias = Resource::Alias(Alias {
            name: "debian/12".into(),
            ..Alias::default()
        });
        let event = Event::of("ci", &change(ChangeOperation::Deleted, alias))
            .unwrap()
            .unwrap();
        let body: Value = serde_json::from_slice(&event.body).unwrap();
        assert_eq!(body["id"], "42");
        assert_eq!(body["type"], "io.rootstock.alias.deleted");
        assert_eq!(body["subject"], "debian/12");
        assert_eq!(body["source"], "urn:rootstock:webhook:ci");
        assert_eq!(body["time"], "2027-01-15T08:00:00Z");
        assert_eq!(body["data"]["alias"]["name"], "debian/12");
        assert_eq!((event.id.as_str(), event.what.as_str()), ("42", "alias.deleted"));
        let state = Resource::Setting(Setting::default());
        assert!(
            Event::of("ci", &change(ChangeOperation::State, state))
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn what_was_lost_is_told() {
        let body: Value = serde_json::from_slice(&Event::compacted("ci", 7, 100).body).unwrap();
        assert_eq!(body["type"], "io.rootstock.history.compacted");
        assert_eq!(
            body["data"],
            json!({"wanted_revision": "7", "oldest_revision": "100"})
        );
        assert!(body.get("subject").is_none());
    }
}
