//! Changes of a small catalog, for tests.

use rootstock_model::Digest;
use rootstock_proto::{catalog::v1 as wire, convert::timestamp};
use time::macros::datetime;
use wire::{Change, ChangeOperation, change::Resource};

/// A change; its transaction was made at 05:24.
pub(crate) fn change(revision: i64, operation: ChangeOperation, resource: Resource) -> Change {
    Change {
        revision,
        operation: operation.into(),
        changed_at: Some(timestamp(datetime!(2026-11-22 05:24 UTC))),
        resource: Some(resource),
    }
}

/// A public container image.
pub(crate) fn image(id: &str, name: &str) -> wire::Image {
    wire::Image {
        id: id.to_owned(),
        name: name.to_owned(),
        r#type: wire::ImageType::Container.into(),
        architecture: "x86_64".to_owned(),
        public: true,
        ..wire::Image::default()
    }
}

/// An active version of a metadata tarball and a squashfs root with these contents.
pub(crate) fn version(image_id: &str, number: i32, serial: &str, contents: [&str; 2]) -> wire::VersionChange {
    let artifact = |ftype: &str, content: &str| wire::Artifact {
        ftype: ftype.to_owned(),
        sha256: Digest::of(content.as_bytes()).to_hex(),
        size_bytes: content.len() as i64,
    };
    let version = wire::Version {
        number,
        serial: serial.to_owned(),
        fingerprint: Digest::of(contents.concat().as_bytes()).to_hex(),
        created_at: Some(timestamp(datetime!(2026-11-20 10:00 UTC))),
        status: wire::Status::Active.into(),
        artifacts: vec![
            artifact("incus.tar.xz", contents[0]),
            artifact("squashfs", contents[1]),
        ],
        ..wire::Version::default()
    };
    wire::VersionChange {
        image_id: image_id.to_owned(),
        version: Some(version),
        ..wire::VersionChange::default()
    }
}
