//! The read model against sequences of changes.

use rootstock_proto::convert::timestamp;
use time::{Duration, macros::datetime};
use wire::{Change, ChangeOperation as Operation, change::Resource};

use super::*;
use crate::{
    listing::{audience, entries::Entries},
    test_catalog::{change, image, version},
};

const NOW: OffsetDateTime = datetime!(2026-11-22 05:24 UTC);
const DAY: Duration = Duration::DAY;

fn digest(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

/// One public image with one active version, whose blobs are "metadata" and "root".
fn model() -> ReadModel {
    let state = vec![
        change(5, Operation::State, Resource::Image(image("i1", "debian"))),
        change(
            5,
            Operation::State,
            Resource::Version(version("i1", 0, "20261122", ["metadata", "root"])),
        ),
    ];
    ReadModel::from_state(state, 5, NOW)
}

fn reads(model: &ReadModel, text: &str, now: OffsetDateTime) -> bool {
    audience::public().grants(model, &digest(text), now).is_some()
}

/// The names of the images that everyone is shown.
fn listed(model: &ReadModel) -> Vec<String> {
    let names = model.resources().names();
    let images = names.flat_map(|name| model.resources().images_named(name));
    let ids = images.map(|image| Arc::clone(&image.id));
    let entries = Entries::of(model, audience::public(), ids).entries;
    entries.into_iter().map(|entry| entry.name.to_string()).collect()
}

fn state_of(model: &ReadModel) -> Vec<Change> {
    model.resources().snapshot().changes().collect()
}

fn deleted(mut change: wire::VersionChange, at: Option<OffsetDateTime>) -> Resource {
    if let Some(version) = &mut change.version {
        version.set_status(wire::Status::Deleted);
        version.deleted_at = at.map(timestamp);
    }
    Resource::Version(change)
}

#[test]
fn blobs_of_listed_versions_can_be_read_and_no_others() {
    let model = model();
    let size_bytes = "root".len() as u64;
    assert_eq!(
        audience::public().grants(&model, &digest("root"), NOW),
        Some(size_bytes)
    );
    assert!(!reads(&model, "other", NOW));
    assert_eq!((model.revision(), model.blob_count()), (5, 2));
}

#[test]
fn a_version_that_is_not_stored_is_not_known() {
    let mut model = model();
    let mut queued = version("i1", 1, "20261123", ["metadata 2", "root 2"]);
    queued.version.as_mut().unwrap().set_status(wire::Status::Queued);
    model.apply(
        vec![change(6, Operation::Created, Resource::Version(queued))],
        6,
        NOW,
    );
    assert!(!reads(&model, "root 2", NOW));
    assert_eq!(model.resources().listed_versions("i1").count(), 1);
}

#[test]
fn what_went_off_the_list_stays_readable_for_the_grace() {
    let gone = |resource, operation| {
        let mut model = model();
        model.apply(vec![change(6, operation, resource)], 6, NOW);
        model
    };
    let one = || version("i1", 0, "20261122", ["metadata", "root"]);
    let mut available = one();
    available
        .version
        .as_mut()
        .unwrap()
        .set_status(wire::Status::Available);
    for (what, mut model) in [
        ("retired", gone(deleted(one(), Some(NOW)), Operation::Updated)),
        (
            "retired without a time",
            gone(deleted(one(), None), Operation::Updated),
        ),
        ("removed", gone(Resource::Version(one()), Operation::Deleted)),
        (
            "not stored any more",
            gone(Resource::Version(available), Operation::Updated),
        ),
        (
            "removed with its image",
            gone(Resource::Image(image("i1", "debian")), Operation::Deleted),
        ),
    ] {
        assert_eq!(listed(&model), [""; 0], "{what}");
        assert!(reads(&model, "root", NOW + DAY - Duration::SECOND), "{what}");
        assert!(!reads(&model, "root", NOW + DAY), "{what}");
        model.prune(NOW + DAY - Duration::SECOND);
        assert_eq!(model.blob_count(), 2, "{what}");
        model.prune(NOW + DAY);
        assert_eq!(model.blob_count(), 0, "{what}");
    }
}

#[test]
fn the_grace_is_the_settings() {
    let mut model = model();
    let setting = |key: &str, value: &str| {
        Resource::Setting(wire::Setting {
            key: key.to_owned(),
            value: value.to_owned(),
            ..wire::Setting::default()
        })
    };
    let retired = deleted(version("i1", 0, "20261122", ["metadata", "root"]), Some(NOW));
    let changes = vec![
        change(6, Operation::Updated, setting("images.deletion_grace", "3h")),
        change(7, Operation::Updated, setting("images.unheard_of", "x")),
        change(8, Operation::Updated, retired),
    ];
    model.apply(changes, 8, NOW);
    assert!(reads(&model, "root", NOW + Duration::hours(3) - Duration::SECOND));
    assert!(!reads(&model, "root", NOW + Duration::hours(3)));
    model.apply(
        vec![change(
            9,
            Operation::Deleted,
            setting("images.deletion_grace", "3h"),
        )],
        9,
        NOW,
    );
    assert!(
        reads(&model, "root", NOW + Duration::hours(3)),
        "the default again"
    );
}

#[test]
fn what_is_not_public_cannot_be_read_at_once() {
    let mut model = model();
    let private = wire::Image {
        public: false,
        ..image("i1", "debian")
    };
    model.apply(
        vec![change(6, Operation::Updated, Resource::Image(private))],
        6,
        NOW,
    );
    assert!(!reads(&model, "root", NOW));
    // Another image that is public holds the same blob.
    let changes = vec![
        change(7, Operation::Created, Resource::Image(image("i2", "copy"))),
        change(
            8,
            Operation::Created,
            Resource::Version(version("i2", 0, "20261122", ["metadata", "root"])),
        ),
    ];
    model.apply(changes, 8, NOW);
    assert!(reads(&model, "root", NOW));
}

#[test]
fn a_shared_blob_outlives_the_first_of_its_versions() {
    let mut model = model();
    let changes = vec![
        change(
            6,
            Operation::Created,
            Resource::Version(version("i1", 1, "20261123", ["metadata", "root 2"])),
        ),
        change(
            7,
            Operation::Updated,
            deleted(version("i1", 0, "20261122", ["metadata", "root"]), Some(NOW)),
        ),
    ];
    model.apply(changes, 7, NOW);
    model.prune(NOW + DAY);
    assert!(reads(&model, "metadata", NOW + DAY));
    assert!(!reads(&model, "root", NOW + DAY));
}

#[test]
fn being_told_twice_does_no_harm() {
    let mut model = model();
    let retired = deleted(version("i1", 0, "20261122", ["metadata", "root"]), Some(NOW));
    model.apply(vec![change(6, Operation::Updated, retired)], 6, NOW);
    let late = version("i1", 0, "20261122", ["metadata", "root"]);
    model.apply(
        vec![change(5, Operation::Created, Resource::Version(late))],
        6,
        NOW,
    );
    assert_eq!(model.resources().listed_versions("i1").count(), 0);
    assert_eq!(model.revision(), 6);
}

#[test]
fn a_new_state_takes_the_place_but_what_was_listed_can_still_be_read() {
    let mut model = model();
    let state = vec![
        change(90, Operation::State, Resource::Image(image("i2", "alpine"))),
        change(
            90,
            Operation::State,
            Resource::Version(version("i2", 3, "20261201", ["metadata 3", "root 3"])),
        ),
    ];
    model.replace(ReadModel::from_state(state, 90, NOW), NOW);
    assert_eq!(listed(&model), ["alpine"]);
    assert!(reads(&model, "root 3", NOW + DAY));
    assert!(reads(&model, "root", NOW + DAY - Duration::SECOND));
    assert!(!reads(&model, "root", NOW + DAY));
    model.prune(NOW + DAY);
    assert_eq!(model.blob_count(), 2);
    assert_eq!(
        state_of(&model).len(),
        2,
        "the image that is gone is forgotten with its versions"
    );
}

#[test]
fn a_version_that_cannot_be_understood_spoils_nothing() {
    let mut model = model();
    let mut broken = version("i1", 1, "20261123", ["metadata 2", "root 2"]);
    broken.version.as_mut().unwrap().artifacts[1].sha256 = "x".to_owned();
    model.apply(
        vec![change(6, Operation::Created, Resource::Version(broken))],
        6,
        NOW,
    );
    assert!(reads(&model, "root", NOW));
    assert!(!reads(&model, "metadata 2", NOW));
}

#[test]
fn a_state_survives_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    assert!(state_file::load(&path, NOW).unwrap().is_none());
    let mut model = model();
    let alias = wire::Alias {
        name: "d/12".into(),
        r#type: 1,
        architecture: "x86_64".into(),
        image_id: "i1".into(),
        version: Some(1),
        ..wire::Alias::default()
    };
    let changes = vec![
        change(6, Operation::Created, Resource::Alias(alias)),
        change(
            7,
            Operation::Created,
            Resource::Version(version("i1", 1, "20261123", ["metadata", "root 2"])),
        ),
        change(
            8,
            Operation::Updated,
            deleted(version("i1", 0, "20261122", ["metadata", "root"]), Some(NOW)),
        ),
        change(9, Operation::Created, Resource::Image(image("i2", "gone"))),
        change(
            10,
            Operation::Created,
            Resource::Version(version("i2", 0, "20261122", ["m", "r"])),
        ),
        change(11, Operation::Deleted, Resource::Image(image("i2", "gone"))),
    ];
    model.apply(changes, 11, NOW);
    state_file::write(&path, &state_file::encode(&model.resources().snapshot())).unwrap();
    let loaded = state_file::load(&path, NOW + Duration::HOUR).unwrap().unwrap();
    assert_eq!(loaded.revision(), 11);
    // The moment of de-listing is kept with the version, nothing else may differ.
    assert_eq!(state_of(&loaded), state_of(&model));
    for blob in ["root", "root 2", "m"] {
        assert!(reads(&loaded, blob, NOW + DAY - Duration::SECOND), "{blob}");
    }
    assert!(!reads(&loaded, "m", NOW + DAY));
    assert!(reads(&loaded, "root 2", NOW + DAY));

    let mut bytes = std::fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    for (bytes, problem) in [
        (bytes.as_slice(), "damaged"),
        (&bytes[..40], "damaged"),
        (b"x", "another version"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let error = state_file::load(&path, NOW).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
}

#[test]
fn changes_without_a_time_or_of_unknown_things_are_no_matter() {
    let mut model = model();
    let unknown = Change {
        revision: 6,
        ..Change::default()
    };
    let removed = Change {
        changed_at: None,
        ..change(
            7,
            Operation::Deleted,
            Resource::Version(version("i1", 0, "20261122", ["metadata", "root"])),
        )
    };
    model.apply(vec![unknown, removed], 7, NOW);
    assert!(reads(&model, "root", NOW + DAY - Duration::SECOND));
    assert!(!reads(&model, "root", NOW + DAY));
}

#[test]
fn a_hidden_version_is_not_listed_and_stays_readable() {
    let mut model = model();
    let mut hidden = version("i1", 0, "20261122", ["metadata", "root"]);
    hidden.version.as_mut().unwrap().hidden = true;
    hidden.version.as_mut().unwrap().delisted_at = Some(timestamp(NOW));
    model.apply(
        vec![change(6, Operation::Updated, Resource::Version(hidden))],
        6,
        NOW,
    );
    assert_eq!(model.resources().listed_versions("i1").count(), 0);
    model.prune(NOW + 2 * DAY);
    assert!(reads(&model, "root", NOW + 2 * DAY));
    let reloaded = ReadModel::from_state(state_of(&model), 6, NOW);
    assert_eq!(reloaded.resources().listed_versions("i1").count(), 0);
    assert!(reads(&reloaded, "root", NOW + 2 * DAY));
}

#[test]
fn a_version_that_left_the_store_is_readable_from_when_the_catalog_says() {
    let mut available = version("i1", 0, "20261122", ["metadata", "root"]);
    let message = available.version.as_mut().unwrap();
    message.set_status(wire::Status::Available);
    message.delisted_at = Some(timestamp(NOW - Duration::HOUR));
    let state = vec![
        change(5, Operation::State, Resource::Image(image("i1", "debian"))),
        change(5, Operation::State, Resource::Version(available)),
    ];
    let model = ReadModel::from_state(state, 5, NOW);
    assert_eq!(model.resources().listed_versions("i1").count(), 0);
    assert!(reads(
        &model,
        "root",
        NOW + DAY - Duration::HOUR - Duration::SECOND
    ));
    assert!(!reads(&model, "root", NOW + DAY - Duration::HOUR));
}

#[test]
fn what_an_application_holds_is_readable_for_as_long_whatever_becomes_of_its_image() {
    let application = |digests: [&str; 2]| wire::Application {
        name: "shop".to_owned(),
        version: version("", 0, "20261122", digests).version,
        ..wire::Application::default()
    };
    let held = Resource::Application(application(["metadata", "root"]));
    let mut model = model();
    let gone = deleted(version("i1", 0, "20261122", ["metadata", "root"]), Some(NOW));
    model.apply(
        vec![
            change(6, Operation::Created, held),
            change(7, Operation::Updated, gone),
            change(8, Operation::Deleted, Resource::Image(image("i1", "debian"))),
        ],
        8,
        NOW,
    );
    let later = NOW + 30 * DAY;
    model.prune(later);
    assert!(reads(&model, "root", later));
    assert_eq!(listed(&model), [""; 0]);
    // After a restart too.
    let mut model = ReadModel::from_state(state_of(&model), 8, NOW);
    model.prune(later);
    assert!(reads(&model, "root", later));
    // It moves on, and lets go.
    let moved = Resource::Application(application(["metadata 2", "root 2"]));
    model.apply(vec![change(9, Operation::Updated, moved)], 9, later);
    assert!(!reads(&model, "root", later));
    model.prune(later);
    assert_eq!(model.blob_count(), 0);
}

#[test]
fn a_download_of_a_root_is_a_use_and_one_of_metadata_is_none() {
    let mut model = model();
    assert_eq!(
        audience::public().used_by_download_of(&model, &digest("root")),
        ["i1"]
    );
    assert!(
        audience::public()
            .used_by_download_of(&model, &digest("metadata"))
            .is_empty()
    );
    let mut private = image("i1", "debian");
    private.public = false;
    model.apply(
        vec![change(6, Operation::Updated, Resource::Image(private))],
        6,
        NOW,
    );
    assert!(
        audience::public()
            .used_by_download_of(&model, &digest("root"))
            .is_empty()
    );
}
