//! Why an image is at its version.

use rootstock_model::{Digest, LeftOut, Reason};
use rootstock_proto::catalog::v1::{
    CreateAliasRequest, ExplainImageRequest, ExplainImageResponse, Remote, SyncRemoteRequest,
};
use rootstock_tests::catalog::TestCatalog;

use super::{
    offers::{fingerprint, image, snapshot},
    on_demand, remote, start,
};

const DEBIAN: &str = "debian:12";

async fn explain(catalog: &TestCatalog) -> ExplainImageResponse {
    let request = ExplainImageRequest {
        image: DEBIAN.to_owned(),
        ..ExplainImageRequest::default()
    };
    catalog
        .images()
        .explain_image(request)
        .await
        .unwrap()
        .into_inner()
}

/// (serial, reason) of the versions, newest first.
fn reasons(explained: &ExplainImageResponse) -> Vec<(&str, &str)> {
    explained
        .versions
        .iter()
        .map(|version| {
            let serial = version.version.as_ref().unwrap().serial.as_str();
            assert!(!version.message.is_empty());
            (serial, version.reason.as_str())
        })
        .collect()
}

async fn sync_again(catalog: &TestCatalog) {
    let request = SyncRemoteRequest {
        name: "images".to_owned(),
        ..SyncRemoteRequest::default()
    };
    catalog.remotes().sync_remote(request).await.unwrap();
}

#[tokio::test]
async fn an_image_says_what_it_is_at_what_decides_and_what_stands_in_the_way() {
    let (_database, catalog) = start().await;
    let keeping = Remote {
        keep_versions: 1,
        ..remote("images")
    };
    catalog.add_remote(keeping).await.unwrap();
    let mut offer = snapshot(vec![image(DEBIAN, &["debian/12"], &["1.8", "1.9"])]);
    offer.left_out.push(LeftOut {
        product: DEBIAN.to_owned(),
        serial: "1.7".to_owned(),
        item: String::new(),
        reason: Reason::Unverifiable,
        message: "no SHA-256".to_owned(),
    });
    catalog.offer(&offer).await.unwrap();
    let waiting = explain(&catalog).await;
    assert_eq!(reasons(&waiting), [("1.9", "queued")]);
    assert_eq!(waiting.transfers.len(), 2);
    assert!(
        waiting.summary.contains("no version that can be used"),
        "{}",
        waiting.summary
    );

    catalog.store_all(fingerprint).await.unwrap();
    let settled = explain(&catalog).await;
    assert_eq!(reasons(&settled), [("1.9", "current")]);
    assert_eq!(settled.transfers, vec![]);
    assert!(
        settled.summary.contains("is at version 0 (1.9)"),
        "{}",
        settled.summary
    );
    let left_out: Vec<_> = settled
        .left_out
        .iter()
        .map(|left_out| (left_out.serial.as_str(), left_out.reason.as_str()))
        .collect();
    assert_eq!(
        left_out,
        [("1.7", "unverifiable"), ("1.8", "beyond-keep-versions")]
    );
    let status = settled.remote_status.unwrap();
    assert!(status.last_success_at.is_some() && status.next_poll_at.is_some());
    assert_eq!(
        settled.next_check_at, None,
        "a mirrored image comes with its remote's polls"
    );
    assert!(
        settled
            .rules
            .iter()
            .any(|rule| rule.contains("newest 1 versions")),
        "{:?}",
        settled.rules
    );

    // A newer one is tried and turns out wrong; the stored one is untouched, and says why.
    let pinned = CreateAliasRequest {
        name: "stable".to_owned(),
        image: DEBIAN.to_owned(),
        version: Some(0),
        ..CreateAliasRequest::default()
    };
    catalog.aliases().create_alias(pinned).await.unwrap();
    sync_again(&catalog).await;
    let offer = snapshot(vec![image(DEBIAN, &["debian/12"], &["1.9", "1.10"])]);
    catalog.offer(&offer).await.unwrap();
    catalog.store_all(|_, _| Digest::of(b"else")).await.unwrap();
    let failed = explain(&catalog).await;
    assert_eq!(reasons(&failed), [("1.10", "failed"), ("1.9", "current")]);
    assert!(
        failed
            .summary
            .contains("1.10) could not be had: the remote claims"),
        "{}",
        failed.summary
    );
    let rule = "alias stable is pinned to version 0";
    assert!(failed.rules.iter().any(|told| told == rule), "{:?}", failed.rules);

    sync_again(&catalog).await;
    let offer = snapshot(vec![image(DEBIAN, &["debian/12"], &["1.11"])]);
    catalog.offer(&offer).await.unwrap();
    catalog.store_all(fingerprint).await.unwrap();
    let later = explain(&catalog).await;
    let found = reasons(&later);
    assert!(
        found.contains(&("1.11", "current")) && found.contains(&("1.9", "retired")),
        "{found:?}"
    );
}

#[tokio::test]
async fn what_is_only_known_says_how_it_is_had() {
    let (_database, catalog) = start().await;
    catalog.add_remote(on_demand("images", 2)).await.unwrap();
    let offer = snapshot(vec![image(DEBIAN, &[], &["20260101"])]);
    catalog.offer(&offer).await.unwrap();
    let explained = explain(&catalog).await;
    assert_eq!(reasons(&explained), [("20260101", "available")]);
    assert!(explained.versions[0].message.contains("rootstock image fetch"));
    assert!(
        explained.rules.iter().any(|rule| rule.contains("on-demand")),
        "{:?}",
        explained.rules
    );
    let request = ExplainImageRequest {
        image: "nothing".to_owned(),
        ..ExplainImageRequest::default()
    };
    let status = catalog.images().explain_image(request).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::NotFound);
}
