//! The calls that tests of writes make, short.

use rootstock_proto::{
    Error, Refusal,
    catalog::v1::{
        DeleteImageRequest, DeleteVersionRequest, Image, ReleaseImageRequest, RollbackImageRequest, Status,
        SwitchDefaultImageRequest,
    },
};
use rootstock_tests::catalog::TestCatalog;

use super::offers::{fingerprint, image, snapshot};

/// A mirrored remote's offer of products with one version each, stored.
pub(crate) async fn offer_and_store(catalog: &TestCatalog, products: &[&str], serials: &[&str]) {
    let images = products
        .iter()
        .map(|product| image(product, &[], serials))
        .collect();
    let recorded = catalog.offer(&snapshot(images)).await.unwrap();
    store(catalog, recorded.queued_transfers).await;
}

/// Does this many transfers, and the verification after each second one.
pub(crate) async fn store(catalog: &TestCatalog, transfers: i64) {
    for _ in 0..transfers {
        catalog.transfer().await.unwrap();
    }
    for _ in 0..transfers / 2 {
        catalog.verify(fingerprint).await.unwrap();
    }
}

pub(crate) async fn delete(catalog: &TestCatalog, image: &str, force: bool) -> Result<Image, tonic::Status> {
    let request = DeleteImageRequest {
        image: image.to_owned(),
        force,
        ..DeleteImageRequest::default()
    };
    let response = catalog.images().delete_image(request).await?.into_inner();
    Ok(response.image.unwrap())
}

pub(crate) async fn delete_version(
    catalog: &TestCatalog,
    image: &str,
    version: i32,
) -> Result<Image, tonic::Status> {
    let request = DeleteVersionRequest {
        image: image.to_owned(),
        version,
        ..DeleteVersionRequest::default()
    };
    let response = catalog.images().delete_version(request).await?.into_inner();
    Ok(response.image.unwrap())
}

pub(crate) async fn switch(catalog: &TestCatalog, image: &str) -> Result<Image, tonic::Status> {
    let request = SwitchDefaultImageRequest {
        image: image.to_owned(),
        r#type: 0,
    };
    let response = catalog.images().switch_default_image(request).await?.into_inner();
    Ok(response.image.unwrap())
}

pub(crate) async fn rollback(
    catalog: &TestCatalog,
    image: &str,
    version: Option<i32>,
    reason: &str,
) -> Result<Image, tonic::Status> {
    let request = RollbackImageRequest {
        image: image.to_owned(),
        version,
        reason: reason.to_owned(),
        ..RollbackImageRequest::default()
    };
    let response = catalog.images().rollback_image(request).await?.into_inner();
    Ok(response.image.unwrap())
}

pub(crate) async fn release(catalog: &TestCatalog, image: &str) -> Result<Image, tonic::Status> {
    let request = ReleaseImageRequest {
        image: image.to_owned(),
        r#type: 0,
    };
    let response = catalog.images().release_image(request).await?.into_inner();
    Ok(response.image.unwrap())
}

/// The reason and the text of a refusal.
pub(crate) fn refusal<T: std::fmt::Debug>(result: Result<T, tonic::Status>) -> (Refusal, String) {
    let status = result.unwrap_err();
    match Error::from_status(&status) {
        Some(Error::Refused { reason, message }) => (reason, message),
        other => panic!("{status:?} is {other:?}"),
    }
}

/// (serial, status) of an image's versions, newest first.
pub(crate) async fn versions(catalog: &TestCatalog, name: &str) -> Vec<(String, Status)> {
    let image = catalog.image(name).await.unwrap();
    let versions = image.versions.into_iter();
    versions
        .map(|version| (version.serial.clone(), version.status()))
        .collect()
}
