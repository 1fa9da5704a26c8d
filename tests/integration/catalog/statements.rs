//! What a poll costs the database: statements on whole sets, not one for each row.

use rootstock_proto::catalog::v1::SyncRemoteRequest;
use rootstock_tests::{
    catalog::{TestCatalog, config},
    postgres::Postgres,
    statements::StatementCounter,
};

use super::{
    offers::{image, snapshot},
    on_demand, remote,
};

/// Other statements meanwhile: the feed's looks at the log, and the catalog's own work.
const OTHERS: usize = 30;

/// The statements of the poll that offers `products` images of a remote, with two versions each.
async fn statements_of_poll(
    catalog: &TestCatalog,
    counter: &StatementCounter,
    name: &str,
    products: usize,
    serials: [&str; 2],
) -> usize {
    let images = (0..products).map(|number| {
        let (product, alias) = (format!("{name}:{number}"), format!("{name}/{number}"));
        image(&product, &[&alias], &serials)
    });
    let snapshot = snapshot(images.collect());
    let before = counter.count();
    catalog.offer(&snapshot).await.unwrap();
    counter.count() - before
}

#[tokio::test]
async fn a_poll_of_many_products_takes_as_many_statements_as_a_poll_of_few() {
    let database = Postgres::shared().await.unwrap().database().await.unwrap();
    let counter = StatementCounter::start(&database.url).unwrap();
    let catalog = TestCatalog::start(config(&counter.url)).await.unwrap();
    let first = ["20260101", "20260102"];
    let later = ["20260102", "20260103"];
    for (small, large) in [
        (on_demand("small", 2), on_demand("large", 2)),
        (remote("small-mirror"), remote("large-mirror")),
    ] {
        let (few, many) = (small.name.clone(), large.name.clone());
        // A poll is claimed before the next remote is added, so it is that of the remote added last.
        catalog.add_remote(small).await.unwrap();
        let of_few = statements_of_poll(&catalog, &counter, &few, 4, first).await;
        assert!(of_few > 10, "{few}: {of_few} statements: are they counted?");
        catalog.add_remote(large).await.unwrap();
        let of_many = statements_of_poll(&catalog, &counter, &many, 200, first).await;
        assert!(
            of_many < of_few + OTHERS,
            "{many}: {of_many} statements, {few}: {of_few}"
        );

        let request = SyncRemoteRequest {
            name: many.clone(),
            ..SyncRemoteRequest::default()
        };
        catalog.remotes().sync_remote(request).await.unwrap();
        let of_newer = statements_of_poll(&catalog, &counter, &many, 200, later).await;
        assert!(
            of_newer < of_few + OTHERS,
            "{many}: {of_newer} statements for newer versions, {few}: {of_few}"
        );
    }
    catalog.stop().await.unwrap();
}
