//! What has run out ends, and what follows by checks takes its newest version: the catalog does both itself.

use rootstock_model::snapshot::OfferedImage;
use rootstock_proto::{
    catalog::v1::{
        AddImageRequest, BlobFilter, ChangeOperation, FetchImageRequest, Image, RemoteMode,
        RollbackImageRequest, Status, SyncRemoteRequest, WatchRequest, change::Resource,
    },
    sync::v1::WorkKind,
};
use rootstock_tests::catalog::{TestCatalog, config};

use super::{AUTO_UPDATE, COMPACT, DEBIAN, EXPIRE, Site, remote};
use crate::catalog::offers::{image, snapshot};

fn debian(serials: &[&str]) -> OfferedImage {
    image(DEBIAN, &["debian/12"], serials)
}

impl Site {
    /// An on-demand remote's image, fetched and active.
    async fn cached() -> Self {
        let site = Self::start().await;
        let mut on_demand = remote("images");
        on_demand.mode = RemoteMode::OnDemand.into();
        site.catalog.add_remote(on_demand).await.unwrap();
        site.catalog
            .offer(&snapshot(vec![debian(&["20260101"])]))
            .await
            .unwrap();
        site.fetch().await;
        site.transfer_all(2, 1).await;
        let image = site.debian().await;
        assert_eq!((image.status(), image.cached), (Status::Active, true));
        site
    }

    async fn debian(&self) -> Image {
        self.catalog.image(DEBIAN).await.unwrap()
    }

    async fn fetch(&self) {
        let request = FetchImageRequest {
            image: DEBIAN.to_owned(),
            ..FetchImageRequest::default()
        };
        self.catalog.images().fetch_image(request).await.unwrap();
    }

    /// A round of expiry; returns what it ended.
    async fn expire(&self) -> Ended {
        let before = self.kept().await;
        self.round(EXPIRE).await;
        self.put_off().await;
        let after = self.kept().await;
        Ended {
            expired_images: before.cached_images - after.cached_images,
            ended_holds: before.holds - after.holds,
            purged_rows: before.rows - after.rows,
        }
    }

    async fn kept(&self) -> Kept {
        let mut rows = 0;
        for table in ["versions", "images", "sync_runs", "combinations"] {
            rows += self.count(table).await;
        }
        Kept {
            cached_images: self.count("images WHERE cached").await,
            holds: self.count("images WHERE hold_version IS NOT NULL").await,
            rows,
        }
    }

    /// A check for newer versions; returns how many images took one.
    async fn auto_update(&self) -> i64 {
        let images = "(SELECT DISTINCT image_id FROM versions WHERE status = 6) AS queued";
        let before = self.count(images).await;
        self.round(AUTO_UPDATE).await;
        self.put_off().await;
        self.count(images).await - before
    }
}

/// What a round of expiry ended.
#[derive(Debug)]
struct Ended {
    expired_images: i64,
    ended_holds: i64,
    purged_rows: i64,
}

/// What expiry may end.
struct Kept {
    cached_images: i64,
    holds: i64,
    rows: i64,
}

#[tokio::test]
async fn a_cached_image_leaves_the_store_when_the_rule_says_so() {
    let hold =
        "INSERT INTO applications (name, version_id, auto_update) SELECT 'shop', id, false FROM versions";
    let unused = "UPDATE images SET cached_at = now() - interval '11 days'";
    let cases: [(&[&str], bool); 10] = [
        (&[], false),
        (
            &["UPDATE images SET cached_at = now() - interval '9 days'"],
            false,
        ),
        (&[unused], true),
        (
            &[
                unused,
                "INSERT INTO image_uses SELECT id, now() - interval '9 days' FROM images",
            ],
            false,
        ),
        (
            &[
                unused,
                "INSERT INTO image_uses SELECT id, now() - interval '10 days' FROM images",
            ],
            true,
        ),
        (&[unused, hold], false),
        (
            &[
                unused,
                "INSERT INTO settings VALUES ('images.remote_cache_expiry', '0')",
            ],
            false,
        ),
        (
            &[
                unused,
                "INSERT INTO settings VALUES ('images.remote_cache_expiry', '12')",
            ],
            false,
        ),
        (
            &[
                "UPDATE images SET cached_at = now() - interval '2 seconds', expires_at = now() - interval '1 second'",
            ],
            true,
        ),
        // It was over when it was fetched: whoever did wanted it all the same.
        (
            &["UPDATE images SET expires_at = cached_at - interval '1 day'"],
            false,
        ),
    ];
    let site = Site::cached().await;
    for (changes, leaves) in cases {
        site.sql(
            "DELETE FROM applications; DELETE FROM settings; DELETE FROM image_uses;
             UPDATE images SET cached_at = now(), expires_at = NULL",
        )
        .await;
        for change in changes {
            site.sql(change).await;
        }
        let ended = site.expire().await;
        assert_eq!(ended.expired_images, i64::from(leaves), "{changes:?}");
        let image = site.debian().await;
        assert_eq!(image.cached, !leaves, "{changes:?}");
        if leaves {
            assert_eq!((image.status(), image.current_version), (Status::Available, None));
            assert!(!image.default && image.versions[0].delisted_at.is_some());
            // Its bytes are readable for the grace, and so it is here again at once.
            assert_eq!(site.list(BlobFilter::Needed).await.0.len(), 2);
            site.fetch().await;
            assert_eq!(site.debian().await.status(), Status::Active, "{changes:?}");
        }
    }
}

#[tokio::test]
async fn the_bytes_of_a_cached_image_are_collected_when_the_grace_is_over() {
    let site = Site::cached().await;
    site.sql("UPDATE images SET cached_at = now() - interval '11 days'")
        .await;
    site.expire().await;
    site.three_days_later().await;
    let lease = site.collection().await;
    let taken = site.take(lease).await.unwrap();
    assert_eq!(taken.len(), 2);
    site.confirm(lease, &taken).await.unwrap();
    site.finish_collection(lease).await.unwrap();
    // The fact about the two goes with them.
    assert_eq!(site.expire().await.purged_rows, 1);
    site.fetch().await;
    assert_eq!(site.debian().await.status(), Status::Queued);
    site.transfer_all(2, 1).await;
    assert_eq!(site.debian().await.status(), Status::Active);
}

#[tokio::test]
async fn a_version_that_left_the_store_and_is_offered_no_more_keeps_its_grace() {
    let site = Site::cached().await;
    site.sql("UPDATE images SET cached_at = now() - interval '11 days'; UPDATE blobs SET stored_at = now() - interval '3 days'")
        .await;
    site.expire().await;
    site.make_due(WorkKind::Poll).await;
    site.catalog
        .offer(&snapshot(vec![debian(&["20260102"])]))
        .await
        .unwrap();
    assert_eq!(site.list(BlobFilter::Unneeded).await.0, []);
    assert_eq!(site.count("versions WHERE status = 4").await, 1);
}

#[tokio::test]
async fn rows_of_what_was_deleted_go_after_the_grace_and_watchers_hear_of_it() {
    let site = Site::start().await;
    site.catalog.add_remote(remote("images")).await.unwrap();
    for serial in ["20260101", "20260102"] {
        site.make_due(WorkKind::Poll).await;
        site.catalog
            .offer(&snapshot(vec![debian(&[serial])]))
            .await
            .unwrap();
        site.transfer_all(2, 1).await;
    }
    assert_eq!(site.expire().await.purged_rows, 0, "it is readable yet");
    site.three_days_later().await;
    for kept in [
        "INSERT INTO applications (name, version_id, auto_update) SELECT 'shop', id, false FROM versions WHERE status = 4",
        "DELETE FROM applications; UPDATE versions SET ignored = true WHERE status = 4",
    ] {
        site.sql(kept).await;
        assert_eq!(site.expire().await.purged_rows, 0, "{kept}");
    }
    site.sql("UPDATE versions SET ignored = false").await;
    let mut watch = site
        .catalog
        .watches()
        .watch(WatchRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(site.expire().await.purged_rows, 1);
    let mut heard = vec![];
    while heard.is_empty() {
        heard.extend(watch.message().await.unwrap().unwrap().changes);
    }
    let [change] = &heard[..] else { panic!("{heard:?}") };
    assert_eq!(change.operation(), ChangeOperation::Deleted);
    let Some(Resource::Version(version)) = &change.resource else {
        panic!("{change:?}")
    };
    assert_eq!(version.version.as_ref().unwrap().serial, "20260101");
    assert_eq!(site.debian().await.versions.len(), 1);

    // The rest of the image, as a deletion leaves it.
    site.sql(
        "UPDATE versions SET status = 4, deleted_at = now() - interval '3 days';
         UPDATE images SET status = 4, is_default = false, newest_version = NULL, version_count = 0",
    )
    .await;
    assert_eq!(
        site.expire().await.purged_rows,
        2,
        "the last version, and its image"
    );
    assert_eq!(site.count("images").await, 0);
}

#[tokio::test]
async fn runs_that_ended_long_ago_are_forgotten() {
    let site = Site::start().await;
    site.catalog.add_remote(remote("images")).await.unwrap();
    for (id, state, days) in [
        ("old", 2, 8),
        ("failed", 3, 8),
        ("young", 2, 6),
        ("pending", 1, 8),
    ] {
        site.sql(&format!(
            "INSERT INTO sync_runs (id, remote_id, plan_only, force, state, requested_at)
             SELECT '{id}', id, false, false, {state}, now() - interval '{days} days' FROM remotes"
        ))
        .await;
    }
    assert_eq!(site.expire().await.purged_rows, 2);
    assert_eq!(site.count("sync_runs WHERE id IN ('young', 'pending')").await, 2);
}

#[tokio::test]
async fn of_several_catalogs_one_does_a_round_and_what_a_dead_one_had_is_taken_over() {
    let site = Site::cached().await;
    let second = TestCatalog::start(config(&site.database.url)).await.unwrap();
    second.image(DEBIAN).await.unwrap();
    let rounds = format!("generate_series(1, (SELECT epoch FROM work WHERE kind = {EXPIRE}))");
    let before = site.count(&rounds).await;
    site.sql("UPDATE images SET cached_at = now() - interval '11 days'")
        .await;
    assert_eq!(site.expire().await.expired_images, 1);
    assert_eq!(site.count(&rounds).await, before + 1, "both did it");

    site.fetch().await;
    site.sql(&format!(
        "UPDATE images SET cached_at = now() - interval '11 days';
         UPDATE work SET worker = 'a catalog that died', epoch = epoch + 1, due_at = now() WHERE kind = {EXPIRE};
         SELECT pg_notify('rootstock_work', '{EXPIRE}')"
    ))
    .await;
    site.until("another catalog takes it over", async || {
        site.count("images WHERE cached").await == 0
    })
    .await;
    second.stop().await.unwrap();
}

#[tokio::test]
async fn the_log_keeps_its_newest_changes_alone() {
    let site = Site::start_with(|config| config.change_history = 3).await;
    for name in ["one", "two", "three", "four", "five"] {
        site.catalog.add_remote(remote(name)).await.unwrap();
    }
    site.round(COMPACT).await;
    let newest = "changes WHERE revision > (SELECT revision FROM catalog_revision) - 3";
    assert_eq!((site.count("changes").await, site.count(newest).await), (3, 3));
}

#[tokio::test]
async fn the_next_round_is_due_when_the_next_thing_runs_out_and_within_a_minute() {
    let site = Site::cached().await;
    let due_within = async |seconds: i32| {
        site.count(&format!(
            "work WHERE kind = 6 AND due_at <= now() + interval '{seconds} seconds'"
        ))
        .await
    };
    site.round(EXPIRE).await;
    assert_eq!((due_within(61).await, due_within(30).await), (1, 0));
    site.sql("UPDATE images SET expires_at = now() + interval '20 seconds'")
        .await;
    site.round(EXPIRE).await;
    assert_eq!(due_within(25).await, 1);
}

#[tokio::test]
async fn a_cached_image_that_follows_takes_the_newest_version_and_others_do_not() {
    let site = Site::cached().await;
    site.make_due(WorkKind::Poll).await;
    site.catalog
        .offer(&snapshot(vec![debian(&["20260101", "20260102"])]))
        .await
        .unwrap();
    site.sql("UPDATE images SET auto_update = false").await;
    assert_eq!(site.auto_update().await, 0);
    site.sql("UPDATE images SET auto_update = true").await;
    assert_eq!(site.auto_update().await, 1);
    assert_eq!(site.auto_update().await, 0, "it is on its way");
    site.transfer_all(2, 1).await;
    let image = site.debian().await;
    let serials: Vec<_> = image
        .versions
        .iter()
        .filter(|version| version.status() == Status::Active)
        .map(|version| version.serial.as_str())
        .collect();
    assert_eq!(
        serials,
        ["20260102"],
        "the new one is shown, and the old one made room"
    );
    // It is no use of it: a cached image that only follows runs out all the same.
    site.sql("UPDATE images SET cached_at = now() - interval '11 days'")
        .await;
    assert_eq!(site.auto_update().await, 0);
    assert_eq!(site.expire().await.expired_images, 1);
}

#[tokio::test]
async fn a_hold_ends_when_its_time_is_over() {
    let site = Site::start().await;
    let mut keeping = remote("images");
    keeping.keep_versions = 2;
    site.catalog.add_remote(keeping).await.unwrap();
    let offered = snapshot(vec![debian(&["20260101", "20260102"])]);
    site.catalog.offer(&offered).await.unwrap();
    site.transfer_all(4, 2).await;
    let rounds = format!("generate_series(1, (SELECT epoch FROM work WHERE kind = {EXPIRE}))");
    let rounds_before = site.count(&rounds).await;
    let until = std::time::SystemTime::now() + std::time::Duration::from_secs(3600);
    let request = RollbackImageRequest {
        image: DEBIAN.to_owned(),
        reason: "its resolver is broken".to_owned(),
        until: Some(until.into()),
        ..RollbackImageRequest::default()
    };
    site.catalog.images().rollback_image(request).await.unwrap();
    assert_eq!(site.debian().await.current_version, Some(0));
    site.until("the hold asks for a round", async || {
        site.count(&rounds).await > rounds_before
    })
    .await;
    site.put_off().await;
    assert_eq!(site.expire().await.ended_holds, 0, "it is not over yet");
    assert_eq!(site.debian().await.current_version, Some(0));

    site.sql("UPDATE images SET hold_until = now() - interval '1 second'")
        .await;
    assert_eq!(site.expire().await.ended_holds, 1);
    let released = site.debian().await;
    assert_eq!((released.current_version, released.hold), (Some(1), None));
    assert!(released.versions.iter().all(|version| !version.hidden));
}

#[tokio::test]
async fn an_added_image_takes_what_its_on_demand_remote_offers_anew() {
    let site = Site::start().await;
    let mut on_demand = remote("images");
    on_demand.mode = RemoteMode::OnDemand.into();
    site.catalog.add_remote(on_demand).await.unwrap();
    let first = snapshot(vec![debian(&["20260101"])]);
    site.catalog.offer(&first).await.unwrap();
    for (name, release) in [("follows", ""), ("stays", "20260101")] {
        let request = AddImageRequest {
            name: name.to_owned(),
            source: DEBIAN.to_owned(),
            release: release.to_owned(),
            ..AddImageRequest::default()
        };
        site.catalog.images().add_image(request).await.unwrap();
    }
    site.transfer_all(2, 1).await;
    assert_eq!(site.auto_update().await, 0, "there is nothing newer");
    let request = SyncRemoteRequest {
        name: "images".to_owned(),
        ..SyncRemoteRequest::default()
    };
    site.catalog.remotes().sync_remote(request).await.unwrap();
    let both = snapshot(vec![debian(&["20260101", "20260102"])]);
    site.catalog.offer(&both).await.unwrap();
    assert_eq!(site.auto_update().await, 1);
    assert_eq!(site.auto_update().await, 0, "it is on its way");
    site.transfer_all(2, 1).await;
    let serials = async |name: &str| {
        let image = site.catalog.image(name).await.unwrap();
        let current = image
            .versions
            .iter()
            .find(|version| Some(version.number) == image.current_version);
        current.unwrap().serial.clone()
    };
    assert_eq!(serials("follows").await, "20260102");
    assert_eq!(serials("stays").await, "20260101");
}
