//! Collection against everything that may want a blob meanwhile. The tests play the worker.

use std::time::Duration;

use rootstock_model::{Digest, snapshot::OfferedImage};
use rootstock_proto::{
    Error,
    catalog::v1::{BlobFilter, FetchImageRequest, RemoteMode, Status as ImageStatus},
    convert::digest_bytes,
    sync::v1::{Lease, ReportObjectsRequest, StoredObject, WorkKind},
};
use rootstock_tests::catalog::transfer_task;

use super::{DEBIAN, Site, files, remote};
use crate::catalog::offers::{fingerprint, image, snapshot, version};

const ACTIVE_WITHOUT_BYTES: &str = "versions v JOIN artifacts a ON a.version_id = v.id
    WHERE v.status = 3 AND NOT EXISTS (SELECT FROM blobs b WHERE b.sha256 = a.sha256)";

/// A version that was retired three days ago, and the lease of the collection that is due.
async fn retired() -> (Site, Lease) {
    let site = Site::start().await;
    site.catalog.add_remote(remote("images")).await.unwrap();
    for serial in ["20260101", "20260102"] {
        site.make_due(WorkKind::Poll).await;
        site.catalog
            .offer(&snapshot(vec![image(DEBIAN, &[], &[serial])]))
            .await
            .unwrap();
        site.transfer_all(2, 1).await;
    }
    site.three_days_later().await;
    let lease = site.collection().await;
    (site, lease)
}

/// Another remote offers, under a name of its own, the very files of the retired version.
async fn offer_again(site: &Site) {
    site.catalog.add_remote(remote("other")).await.unwrap();
    let again = OfferedImage {
        versions: vec![version(DEBIAN, "20260101")],
        ..image("other:12:amd64:default", &[], &[])
    };
    let recorded = site.catalog.offer(&snapshot(vec![again])).await.unwrap();
    assert_eq!(recorded.queued_transfers, 2, "the files count as stored no more");
}

async fn nothing_is_fetched(site: &Site) {
    let wait = Duration::from_millis(300);
    let claimed = site.catalog.claim_now(WorkKind::Transfer, wait).await.unwrap();
    assert!(
        claimed.is_none(),
        "a blob was to be stored while it was being removed"
    );
}

async fn is_fetched_and_active(site: &Site) {
    // The fingerprint is a fact that is still known.
    site.transfer_all(2, 0).await;
    let other = site.catalog.image("other:12:amd64:default").await.unwrap();
    assert_eq!(other.status(), ImageStatus::Active);
    assert_eq!(site.count(ACTIVE_WITHOUT_BYTES).await, 0);
}

fn lease_lost(result: Result<(), tonic::Status>) -> bool {
    let status = result.unwrap_err();
    matches!(Error::from_status(&status), Some(Error::LeaseLost))
}

#[tokio::test]
async fn a_transfer_of_what_is_being_removed_waits_and_goes_on_afterwards() {
    let (site, lease) = retired().await;
    let taken = site.take(lease).await.unwrap();
    assert_eq!(taken, files(DEBIAN, "20260101"));
    assert_eq!(site.list(BlobFilter::Unspecified).await.1.removing_blobs, 2);
    offer_again(&site).await;
    nothing_is_fetched(&site).await;
    site.confirm(lease, &taken).await.unwrap();
    site.confirm(lease, &taken).await.unwrap();
    is_fetched_and_active(&site).await;
    site.finish_collection(lease).await.unwrap();
    assert!(lease_lost(site.finish_collection(lease).await));
}

#[tokio::test]
async fn what_is_wanted_again_before_it_is_handed_out_stays() {
    let (site, lease) = retired().await;
    site.catalog.add_remote(remote("other")).await.unwrap();
    let again = OfferedImage {
        versions: vec![version(DEBIAN, "20260101")],
        ..image("other:12:amd64:default", &[], &[])
    };
    let recorded = site.catalog.offer(&snapshot(vec![again])).await.unwrap();
    assert_eq!(recorded.queued_transfers, 0, "it was here all along");
    assert_eq!(site.take(lease).await.unwrap(), []);
    let other = site.catalog.image("other:12:amd64:default").await.unwrap();
    assert_eq!(other.status(), ImageStatus::Active);
}

#[tokio::test]
async fn what_a_lost_answer_handed_out_is_handed_out_again() {
    let (site, lease) = retired().await;
    let taken = site.take(lease).await.unwrap();
    assert_eq!(site.take(lease).await.unwrap(), taken);
    site.confirm(lease, &taken).await.unwrap();
    assert_eq!(site.count("blob_removals").await, 0);
    assert_eq!(site.take(lease).await.unwrap(), []);
}

#[tokio::test]
async fn a_blob_is_not_stored_again_while_a_worker_that_lost_its_lease_may_yet_delete_it() {
    let (site, stalled) = retired().await;
    let taken = site.take(stalled).await.unwrap();
    let next = site.collection().await;
    assert!(next.epoch > stalled.epoch);
    assert!(lease_lost(site.confirm(stalled, &taken).await));
    assert!(lease_lost(site.take(stalled).await.map(drop)));
    assert_eq!(site.take(next).await.unwrap(), taken, "the next worker has them");
    offer_again(&site).await;
    site.confirm(next, &taken).await.unwrap();
    nothing_is_fetched(&site).await;
    assert_eq!(site.count("blob_removals WHERE removed").await, 2);
    // It is due again when the stalled worker can do no more harm.
    site.finish_collection(next).await.unwrap();
    assert_eq!(
        site.count("work WHERE kind = 7 AND due_at <= now() + interval '10 minutes'")
            .await,
        1
    );
    site.sql("UPDATE blob_removals SET safe_at = now() - interval '1 second'")
        .await;
    let last = site.collection().await;
    assert_eq!(site.take(last).await.unwrap(), []);
    is_fetched_and_active(&site).await;
}

#[tokio::test]
async fn objects_that_nothing_knows_are_removed_and_all_others_stay() {
    let (site, lease) = retired().await;
    site.finish_collection(lease).await.unwrap();
    let waiting = "wanted:12:amd64:default";
    site.make_due(WorkKind::Poll).await;
    let offered = [DEBIAN, waiting].map(|product| image(product, &[], &["20260102"]));
    site.catalog.offer(&snapshot(offered.to_vec())).await.unwrap();
    let orphan = Digest::of(b"left by a worker that died");
    let found = [
        files(DEBIAN, "20260102"),
        files(waiting, "20260102"),
        vec![orphan],
    ]
    .concat();
    let sweep = site.catalog.claim(WorkKind::Sweep).await.unwrap().lease;
    let report = async |lease| {
        let objects = found.iter().map(|digest| StoredObject {
            sha256: digest_bytes(digest),
            size_bytes: 7,
        });
        let request = ReportObjectsRequest {
            lease,
            objects: objects.collect(),
        };
        site.catalog.work().report_objects(request).await
    };
    assert_eq!(report(sweep).await.unwrap().into_inner().orphans, 1);
    assert_eq!(
        report(sweep).await.unwrap().into_inner().orphans,
        0,
        "it is known now"
    );
    assert!(
        report(Some(lease)).await.is_err(),
        "a report bears the sweep's lease"
    );
    // It is due at once, and the first to have it can store it again as soon as it is confirmed.
    let lease = site
        .catalog
        .claim(WorkKind::Collect)
        .await
        .unwrap()
        .lease
        .unwrap();
    assert_eq!(site.take(lease).await.unwrap(), [orphan]);
    site.confirm(lease, &[orphan]).await.unwrap();
    assert_eq!(site.count("blob_removals").await, 0);
}

#[tokio::test]
async fn whatever_comes_at_the_same_time_no_active_version_lacks_its_bytes() {
    const IMAGES: usize = 12;
    let site = Site::start().await;
    let mut on_demand = remote("images");
    on_demand.mode = RemoteMode::OnDemand.into();
    site.catalog.add_remote(on_demand).await.unwrap();
    let names: Vec<String> = (0..IMAGES).map(|number| format!("product:{number}")).collect();
    let offered = names.iter().map(|name| image(name, &[], &["20260101"])).collect();
    site.catalog.offer(&snapshot(offered)).await.unwrap();
    let fetch = |name: &str| FetchImageRequest {
        image: name.to_owned(),
        ..FetchImageRequest::default()
    };
    for round in 0..3 {
        // All of them were stored once and left the store, so long ago that nothing needs their blobs.
        site.sql(
            "UPDATE versions SET status = 5, delisted_at = now() - interval '3 days';
             UPDATE images SET status = 5, newest_version = NULL, is_default = false;
             DELETE FROM blobs; DELETE FROM work WHERE kind IN (2, 3);
             INSERT INTO blobs (sha256, size_bytes, stored_at)
                 SELECT DISTINCT sha256, size_bytes, now() - interval '3 days' FROM artifacts",
        )
        .await;
        let lease = site.collection().await;
        let collecting = async {
            for _ in 0..6 {
                let taken = site.take(lease).await.unwrap();
                tokio::task::yield_now().await;
                site.confirm(lease, &taken).await.unwrap();
            }
            site.finish_collection(lease).await.unwrap();
        };
        let fetching = async {
            for name in names.iter().skip(round) {
                site.catalog.images().fetch_image(fetch(name)).await.unwrap();
            }
        };
        let transferring = async {
            let wait = Duration::from_millis(100);
            let mut idle = 0;
            while idle < 5 {
                match site.catalog.claim_now(WorkKind::Transfer, wait).await.unwrap() {
                    Some(work) => {
                        let digest = Digest::from_slice(&transfer_task(&work).unwrap().sha256).unwrap();
                        let hex = digest.to_hex();
                        let removing = site
                            .count(&format!("blob_removals WHERE encode(sha256, 'hex') = '{hex}'"))
                            .await;
                        assert_eq!(removing, 0, "it is stored while it is removed");
                        site.catalog.finish_transfer(&work).await.unwrap();
                    }
                    None => idle += 1,
                }
            }
        };
        tokio::join!(collecting, fetching, transferring);
        // What waited for the end of a removal.
        while let Some(work) = site
            .catalog
            .claim_now(WorkKind::Transfer, Duration::ZERO)
            .await
            .unwrap()
        {
            site.catalog.finish_transfer(&work).await.unwrap();
        }
        let queued = site.count("work WHERE kind = 3").await;
        for _ in 0..queued {
            site.catalog.verify(fingerprint).await.unwrap();
        }
        assert_eq!(site.count(ACTIVE_WITHOUT_BYTES).await, 0, "round {round}");
        let active = site.count("versions WHERE status = 3").await;
        assert_eq!(active, (IMAGES - round) as i64, "round {round}");
        assert_eq!(site.count("blob_removals").await, 0);
    }
}
