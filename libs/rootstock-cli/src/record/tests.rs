//! That CSV has the columns that it says, and that a program finds the names of the API.

use rootstock_proto::catalog::v1::{self as wire, change::Resource};

use super::*;

/// Every column is a field of the record; of one that may be null, its parent is.
fn has_its_columns<R: Record>(record: &R) {
    let row = record.row().unwrap();
    for column in R::COLUMNS {
        let mut value = &row;
        for name in column.split('.') {
            if *value == Value::Null {
                break;
            }
            value = value
                .get(name)
                .unwrap_or_else(|| panic!("no field {column} in {row:?}"));
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
    has_its_columns(&image());
    has_its_columns(&Listed(&image()));
    has_its_columns(&wire::ResolveImageResponse {
        image: Some(image()),
        version: Some(wire::Version::default()),
        ..wire::ResolveImageResponse::default()
    });
    has_its_columns(&wire::ExplainImageResponse {
        image: Some(image()),
        ..wire::ExplainImageResponse::default()
    });
    has_its_columns(&wire::Alias::default());
    has_its_columns(&wire::Application {
        version: Some(wire::Version::default()),
        ..wire::Application::default()
    });
    has_its_columns(&wire::Setting::default());
    let remote = wire::Remote {
        status: Some(wire::RemoteStatus::default()),
        ..wire::Remote::default()
    };
    has_its_columns(&remote);
    has_its_columns(&RemoteDetails {
        remote: &remote,
        failed: &[],
        left_out: &[],
    });
    has_its_columns(&wire::Blob::default());
    has_its_columns(&Collection {
        dry_run: true,
        answer: &wire::CollectBlobsResponse {
            totals: Some(wire::BlobTotals::default()),
            ..wire::CollectBlobsResponse::default()
        },
    });
    let webhook = wire::Webhook {
        status: Some(wire::WebhookStatus::default()),
        ..wire::Webhook::default()
    };
    has_its_columns(&webhook);
    has_its_columns(&NewWebhook(&wire::CreateWebhookResponse {
        webhook: Some(webhook),
        secret: String::new(),
    }));
    has_its_columns(&wire::LeftOut::default());
    has_its_columns(&wire::Transfer::default());
    has_its_columns(&Synced {
        run: &wire::SyncRun {
            plan: Some(wire::Plan::default()),
            ..wire::SyncRun::default()
        },
        failed: &[],
    });
    for resource in [
        Resource::Image(image()),
        Resource::Version(wire::VersionChange::default()),
        Resource::Alias(wire::Alias::default()),
        Resource::Remote(wire::Remote::default()),
        Resource::Setting(wire::Setting::default()),
        Resource::Application(wire::Application::default()),
    ] {
        has_its_columns(&change(resource));
    }
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
    let cells = |resource| {
        let row = change(resource).row().unwrap();
        ["kind", "image_id", "name", "version", "status", "value"]
            .map(|column| row.get(column).unwrap().cell().unwrap())
    };
    let version = wire::Version {
        number: 3,
        status: wire::Status::Active.into(),
        ..wire::Version::default()
    };
    assert_eq!(
        cells(Resource::Version(wire::VersionChange {
            image_id: "id".into(),
            image: "debian".into(),
            version: Some(version),
        })),
        ["version", "id", "debian", "3", "active", ""]
    );
    assert_eq!(
        cells(Resource::Setting(wire::Setting {
            key: "images.deletion_grace".into(),
            value: "24h".into(),
            ..wire::Setting::default()
        })),
        ["setting", "", "images.deletion_grace", "", "", "24h"]
    );
}

#[test]
fn what_is_not_set_is_null_and_a_version_may_be_zero() {
    let version = |version| {
        let alias = wire::Alias {
            version,
            ..wire::Alias::default()
        };
        alias.value().unwrap().get("version").cloned()
    };
    assert_eq!(version(None), Some(Value::Null));
    assert_eq!(version(Some(0)), Some(0.into()));
    let mut held = image();
    held.hold = Some(wire::Hold {
        version: 0,
        reason: "broken".into(),
        ..wire::Hold::default()
    });
    let value = held.value().unwrap();
    let hidden = serde_json::to_value(value.get("versions")).unwrap()[0]["hidden"].clone();
    assert_eq!(hidden, false);
    assert_eq!(value.get("hold.reason"), Some(&"broken".into()));
    assert_eq!(value.get("hold.until"), Some(&Value::Null));
    assert_eq!(value.get("current_version"), Some(&Value::Null));
}

#[test]
fn what_lists_do_not_say_is_not_there() {
    let listed = image();
    assert_eq!(Listed(&listed).value().unwrap().get("versions"), None);
    let change = change(Resource::Image(image())).value().unwrap();
    assert_eq!(change.get("image.versions"), None);
    assert!(change.get("image.name").is_some());
}
