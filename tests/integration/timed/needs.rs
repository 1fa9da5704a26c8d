//! The one rule of which blobs are needed.

use rootstock_proto::catalog::v1::{BlobFilter, BlobNeedReason, CollectBlobsRequest};

use super::{DEBIAN, Site, files, remote};
use crate::catalog::offers::{image, snapshot};

/// An image whose first version was retired, three days ago.
async fn with_a_retired_version() -> Site {
    let site = Site::start().await;
    site.catalog.add_remote(remote("images")).await.unwrap();
    for serial in ["20260101", "20260102"] {
        site.sql("UPDATE work SET due_at = now() WHERE kind = 1").await;
        site.catalog
            .offer(&snapshot(vec![image(DEBIAN, &[], &[serial])]))
            .await
            .unwrap();
        site.transfer_all(2, 1).await;
    }
    site.three_days_later().await;
    site
}

#[tokio::test]
async fn a_blob_is_needed_for_as_long_as_the_rule_says() {
    use BlobNeedReason::{Application, Grace, Recent, Transfer, Version};
    let site = with_a_retired_version().await;
    let first = "(SELECT id FROM versions WHERE serial = '20260101')";
    let status = |code: i32, then: &str| {
        format!("UPDATE versions SET status = {code}, deleted_at = NULL, {then} WHERE id = {first}")
    };
    let cases = [
        ("nothing".to_owned(), vec![]),
        (status(3, "delisted_at = NULL"), vec![Version]),
        (status(3, "hidden = true"), vec![Version]),
        (status(6, "delisted_at = NULL"), vec![Version]),
        (status(2, "delisted_at = NULL"), vec![Version]),
        (status(1, "delisted_at = NULL"), vec![Version]),
        (status(5, "delisted_at = NULL"), vec![]),
        (status(-1, "delisted_at = NULL"), vec![]),
        (
            status(5, "delisted_at = now() - interval '23 hours'"),
            vec![Grace],
        ),
        (status(5, "delisted_at = now() - interval '25 hours'"), vec![]),
        (
            format!("UPDATE versions SET deleted_at = now() - interval '23 hours' WHERE id = {first}"),
            vec![Grace],
        ),
        (
            format!(
                "INSERT INTO applications (name, version_id, auto_update) VALUES ('shop', {first}, false)"
            ),
            vec![Application],
        ),
        (
            "UPDATE blobs SET stored_at = now() - interval '23 hours'".to_owned(),
            vec![Recent],
        ),
        (
            format!(
                "INSERT INTO work (kind, subject) SELECT 2, encode(sha256, 'hex') FROM artifacts WHERE version_id = {first}"
            ),
            vec![Transfer],
        ),
        (
            format!(
                "INSERT INTO work (kind, subject) SELECT 9, encode(sha256, 'hex') FROM artifacts WHERE version_id = {first}"
            ),
            vec![Transfer],
        ),
        (
            "INSERT INTO settings (key, value) VALUES ('images.deletion_grace', '73h')".to_owned(),
            vec![Grace, Recent],
        ),
    ];
    for (change, expected) in cases {
        let undo = "DELETE FROM applications; DELETE FROM work WHERE kind IN (2, 9); DELETE FROM settings;
            UPDATE blobs SET stored_at = now() - interval '3 days';
            UPDATE versions SET status = 4, deleted_at = now() - interval '3 days', delisted_at = NULL, hidden = false
            WHERE serial = '20260101'";
        site.sql(undo).await;
        if change != "nothing" {
            assert!(site.sql(&change).await > 0, "{change}");
        }
        let (blobs, totals) = site.list(BlobFilter::Unspecified).await;
        assert_eq!((blobs.len(), totals.blobs, totals.size_bytes), (4, 4, 21_400));
        let wanted = files(DEBIAN, "20260101");
        for blob in &blobs {
            let reasons: Vec<_> = blob.needs.iter().map(|need| need.reason()).collect();
            if wanted.iter().any(|digest| digest.to_hex() == blob.sha256) {
                assert_eq!(reasons, expected, "{change}");
                assert_eq!(blob.reason.is_empty(), !expected.is_empty(), "{change}: {blob:?}");
                assert_eq!(blob.need_count, expected.len() as i64);
            } else {
                // The other version's are needed, whatever becomes of this one.
                assert!(reasons.contains(&Version), "{change}: {blob:?}");
            }
        }
        let gone = if expected.is_empty() { 2 } else { 0 };
        assert_eq!(totals.unneeded_blobs, gone, "{change}");
        assert_eq!(
            site.list(BlobFilter::Unneeded).await.0.len() as i64,
            gone,
            "{change}"
        );
        assert_eq!(
            site.list(BlobFilter::Needed).await.0.len() as i64,
            4 - gone,
            "{change}"
        );
    }
}

#[tokio::test]
async fn a_dry_run_says_what_would_go_and_removes_nothing() {
    let site = with_a_retired_version().await;
    // The collection of the start is over.
    let lease = site.collection().await;
    site.sql("UPDATE blobs SET stored_at = now()").await;
    assert_eq!(site.take(lease).await.unwrap(), []);
    site.finish_collection(lease).await.unwrap();
    site.sql("UPDATE blobs SET stored_at = now() - interval '3 days'")
        .await;
    for dry_run in [true, true, false] {
        let request = CollectBlobsRequest { dry_run };
        let shown = site.blobs().collect_blobs(request).await.unwrap().into_inner();
        let mut digests: Vec<_> = shown.blobs.iter().map(|blob| blob.sha256.clone()).collect();
        digests.sort();
        let expected = files(DEBIAN, "20260101");
        assert_eq!(
            digests,
            expected.iter().map(|digest| digest.to_hex()).collect::<Vec<_>>()
        );
        assert!(
            shown.blobs[0].reason.contains("version 0, was deleted on"),
            "{shown:?}"
        );
        assert_eq!(shown.totals.unwrap().unneeded_size_bytes, 10_700);
        let due = site.count("work WHERE kind = 7 AND due_at <= now()").await;
        assert_eq!(due, i64::from(!dry_run));
        assert_eq!(site.count("blobs").await, 4);
    }
}

#[tokio::test]
async fn a_listing_comes_in_pages_that_miss_nothing() {
    let site = Site::start().await;
    site.sql(
        "INSERT INTO blobs (sha256, size_bytes, stored_at)
         SELECT sha256(number::text::bytea), number, now() - interval '3 days' FROM generate_series(1, 25) AS number",
    )
    .await;
    let mut seen = vec![];
    let mut request = rootstock_proto::catalog::v1::ListBlobsRequest {
        page_size: 10,
        filter: BlobFilter::Unneeded.into(),
        ..Default::default()
    };
    loop {
        let page = site
            .blobs()
            .list_blobs(request.clone())
            .await
            .unwrap()
            .into_inner();
        assert_eq!(
            page.totals.is_some(),
            seen.is_empty(),
            "sums come with the first page"
        );
        seen.extend(page.blobs.into_iter().map(|blob| blob.sha256));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(seen.len(), 25);
    assert!(seen.is_sorted());
    request.page_token = "nonsense".to_owned();
    let refused = site.blobs().list_blobs(request).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
}
