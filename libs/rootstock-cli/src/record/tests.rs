//! That CSV has the columns that it says, and that a program finds the names of the API.

use rootstock_proto::catalog::v1::{self as wire, change::Resource};
use serde_json::Value;

use super::*;
use crate::output::Record;

/// Every column is a field of the record; of one that may be null, its parent is.
fn has_its_columns<R: Record>(record: &R) {
    let fields = record.fields().unwrap();
    for column in R::COLUMNS {
        let mut value = &fields;
        for name in column.split('.') {
            if value.is_null() {
                break;
            }
            value = value
                .get(name)
                .unwrap_or_else(|| panic!("no field {column} in {fields}"));
        }
    }
}

fn image() -> wire::Image {
    wire::Image {
        source: Some(wire::ImageSource::default()),
        hold: Some(wire::Hold::default()),
        versions: vec![wire::Version::default()],
        ..wire::Image::default()
    }
}

#[test]
fn every_column_is_a_field() {
    has_its_columns(&ImageRecord::whole(image()));
    has_its_columns(&ImageRecord::listed(image()));
    has_its_columns(&ResolutionRecord::from(wire::ResolveImageResponse::default()));
    has_its_columns(&ExplanationRecord::from(wire::ExplainImageResponse::default()));
    has_its_columns(&AliasRecord::from(wire::Alias::default()));
    has_its_columns(&ApplicationRecord::from(wire::Application {
        version: Some(wire::Version::default()),
        ..wire::Application::default()
    }));
    has_its_columns(&SettingRecord::from(wire::Setting::default()));
    has_its_columns(&RemoteRecord::from(wire::Remote {
        status: Some(wire::RemoteStatus::default()),
        ..wire::Remote::default()
    }));
    has_its_columns(&BlobRecord::from(wire::Blob::default()));
    has_its_columns(&CollectionRecord::new(
        true,
        wire::CollectBlobsResponse::default(),
    ));
    has_its_columns(&NewWebhookRecord {
        webhook: WebhookRecord::from(wire::Webhook {
            status: Some(wire::WebhookStatus::default()),
            ..wire::Webhook::default()
        }),
        secret: String::new(),
    });
    has_its_columns(&WebhookRecord::from(wire::Webhook::default()));
    has_its_columns(&LeftOutRecord::from(wire::LeftOut::default()));
    has_its_columns(&TransferRecord::from(wire::Transfer::default()));
    has_its_columns(&ChangeRecord::from(change(Resource::Image(image()))));
}

fn change(resource: Resource) -> wire::Change {
    wire::Change {
        revision: 7,
        operation: wire::ChangeOperation::Updated.into(),
        resource: Some(resource),
        ..wire::Change::default()
    }
}

#[test]
fn changes_of_all_kinds_share_their_columns() {
    let row = |resource| {
        let fields = ChangeRecord::from(change(resource)).fields().unwrap();
        ["kind", "image_id", "name", "version", "status", "value"].map(|column| fields[column].clone())
    };
    let version = wire::Version {
        number: 3,
        status: wire::Status::Active.into(),
        ..wire::Version::default()
    };
    assert_eq!(
        row(Resource::Version(wire::VersionChange {
            image_id: "id".into(),
            image: "debian".into(),
            version: Some(version),
        })),
        [
            "version".into(),
            "id".into(),
            "debian".into(),
            3.into(),
            "active".into(),
            Value::Null
        ]
    );
    assert_eq!(
        row(Resource::Setting(wire::Setting {
            key: "images.deletion_grace".into(),
            value: "24h".into(),
            ..wire::Setting::default()
        })),
        [
            "setting".into(),
            Value::Null,
            "images.deletion_grace".into(),
            Value::Null,
            Value::Null,
            "24h".into()
        ]
    );
}

#[test]
fn what_is_not_set_is_null_and_a_version_may_be_zero() {
    let record = |version| {
        let alias = wire::Alias {
            version,
            ..wire::Alias::default()
        };
        serde_json::to_value(AliasRecord::from(alias)).unwrap()
    };
    assert_eq!(record(None)["version"], Value::Null);
    assert_eq!(record(Some(0))["version"], 0);
    let mut with_hold = image();
    with_hold.hold = Some(wire::Hold {
        version: 0,
        reason: "broken".into(),
        ..wire::Hold::default()
    });
    let record = serde_json::to_value(ImageRecord::whole(with_hold)).unwrap();
    assert_eq!(record["hold"]["reason"], "broken");
    assert_eq!(record["hold"]["until"], Value::Null);
    assert_eq!(record["current_version"], Value::Null);
    assert_eq!(record["versions"][0]["hidden"], false);
}
