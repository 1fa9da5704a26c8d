//! Settings: checked on write, told to watchers, and effective at once.

use std::time::Duration;

use rootstock_proto::{
    Error, ResourceKind,
    catalog::v1::{
        ChangeKind, ChangeOperation, GetSettingRequest, ListSettingsRequest, ResetSettingRequest, Setting,
        UpdateSettingRequest, WatchRequest, change::Resource,
    },
    sync::v1::WorkKind,
};
use rootstock_tests::catalog::{TestCatalog, config};
use sqlx::{Connection as _, PgConnection, Row as _};
use tonic::Status;

use super::{
    offers::{image, snapshot},
    remote, start,
};

async fn set(catalog: &TestCatalog, key: &str, value: &str) -> Result<Setting, Status> {
    let request = UpdateSettingRequest {
        key: key.to_owned(),
        value: value.to_owned(),
    };
    let answer = catalog.settings().update_setting(request).await?;
    Ok(answer.into_inner().setting.unwrap())
}

async fn get(catalog: &TestCatalog, key: &str) -> Result<String, Status> {
    let request = GetSettingRequest { key: key.to_owned() };
    Ok(catalog
        .settings()
        .get_setting(request)
        .await?
        .into_inner()
        .setting
        .unwrap()
        .value)
}

async fn reset(catalog: &TestCatalog, key: &str) -> Result<Setting, Status> {
    let request = ResetSettingRequest { key: key.to_owned() };
    Ok(catalog
        .settings()
        .reset_setting(request)
        .await?
        .into_inner()
        .setting
        .unwrap())
}

async fn stored(url: &str) -> Vec<(String, String)> {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let rows = sqlx::query("SELECT key, value FROM settings ORDER BY key")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

#[tokio::test]
async fn settings_are_listed_set_and_reset_and_only_what_was_set_is_stored() {
    let (database, catalog) = start().await;
    let listed = catalog
        .settings()
        .list_settings(ListSettingsRequest {})
        .await
        .unwrap();
    let listed = listed.into_inner().settings;
    assert_eq!(listed.len(), 7);
    assert!(
        listed
            .iter()
            .all(|one| one.value == one.default_value && !one.description.is_empty())
    );
    assert!(listed.is_sorted_by_key(|one| one.key.clone()));

    let after = set(&catalog, "images.update_interval", "300s").await.unwrap();
    assert_eq!(after.value, "5m", "as it is written, whatever it was written as");
    set(&catalog, "images.auto_update_cached", "false").await.unwrap();
    assert_eq!(get(&catalog, "images.auto_update_cached").await.unwrap(), "false");
    let rows = [
        ("images.auto_update_cached", "false"),
        ("images.update_interval", "5m"),
    ];
    let rows = rows.map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(stored(&database.url).await, rows);
    for _ in 0..2 {
        let after = reset(&catalog, "images.auto_update_cached").await.unwrap();
        assert_eq!(
            (after.value.as_str(), after.default_value.as_str()),
            ("true", "true")
        );
    }
    assert_eq!(stored(&database.url).await, rows[1..]);
}

#[tokio::test]
async fn what_cannot_be_is_refused_by_its_field_and_the_old_value_stays() {
    let (_database, catalog) = start().await;
    set(&catalog, "images.deletion_grace", "30h").await.unwrap();
    for (key, value, field, says) in [
        ("images.deletion_grace", "1h", "value", "at least 2h"),
        ("images.auto_update_cached", "1", "value", "true or false"),
        ("images.nonesuch", "1", "key", "not found"),
        (
            "images.url",
            "https://images.example",
            "key",
            "rootstock remote add",
        ),
        ("images.auth", "user:password", "key", "rootstock remote"),
    ] {
        let status = set(&catalog, key, value).await.unwrap_err();
        let Some(Error::Invalid(violations)) = Error::from_status(&status) else {
            panic!("{key}: {status:?}")
        };
        assert_eq!(violations[0].field, field, "{key}");
        assert!(violations[0].description.contains(says), "{violations:?}");
    }
    assert_eq!(get(&catalog, "images.deletion_grace").await.unwrap(), "30h");
    let status = get(&catalog, "images.nonesuch").await.unwrap_err();
    let expected = Error::not_found(ResourceKind::Setting, "images.nonesuch");
    assert_eq!(Error::from_status(&status), Some(expected));
    let status = get(&catalog, "images.auth").await.unwrap_err();
    assert!(
        matches!(Error::from_status(&status), Some(Error::Invalid(_))),
        "{status:?}"
    );
    assert!(reset(&catalog, "images.nonesuch").await.is_err());
}

#[tokio::test]
async fn a_change_is_told_once_and_every_catalog_goes_by_it() {
    let (database, catalog) = start().await;
    let other = TestCatalog::start(config(&database.url)).await.unwrap();
    let request = WatchRequest {
        kinds: vec![ChangeKind::Setting.into()],
        ..WatchRequest::default()
    };
    let mut watch = other.watches().watch(request).await.unwrap().into_inner();
    for value in ["30h", "30h", "1800m"] {
        set(&catalog, "images.deletion_grace", value).await.unwrap();
        assert_eq!(get(&other, "images.deletion_grace").await.unwrap(), "30h");
    }
    reset(&catalog, "images.deletion_grace").await.unwrap();
    let mut told = vec![];
    while told.len() < 2 {
        for change in watch.message().await.unwrap().unwrap().changes {
            assert_eq!(change.operation(), ChangeOperation::Updated);
            let Some(Resource::Setting(setting)) = change.resource else {
                panic!("no setting")
            };
            assert!(!setting.description.is_empty());
            assert_eq!(setting.default_value, "24h");
            told.push(setting.value);
        }
    }
    assert_eq!(told, ["30h", "24h"]);
}

#[tokio::test]
async fn polls_and_timed_work_fall_due_at_once() {
    let (database, catalog) = start().await;
    catalog.add_remote(remote("images")).await.unwrap();
    let offer = snapshot(vec![image(
        "debian:12",
        &[],
        &["20260101", "20260102", "20260103"],
    )]);
    catalog.offer(&offer).await.unwrap();
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    sqlx::query("UPDATE work SET due_at = now() + interval '1 hour' WHERE kind = 7")
        .execute(&mut connection)
        .await
        .unwrap();
    let none = catalog.claim_now(WorkKind::Poll, Duration::ZERO).await.unwrap();
    assert!(none.is_none(), "it was polled just now");

    set(&catalog, "images.max_removal_percent", "60").await.unwrap();
    let due: i64 = sqlx::query_scalar("SELECT count(*) FROM work WHERE kind = 7 AND due_at <= now()")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(due, 1);
    let poll = catalog.claim(WorkKind::Poll).await.unwrap();
    // This one goes by what was said before.
    set(&catalog, "images.default_keep_versions", "3").await.unwrap();
    let status = catalog.finish_poll(poll.lease).await.unwrap_err();
    assert_eq!(Error::from_status(&status), Some(Error::LeaseLost));
    let again = catalog.claim(WorkKind::Poll).await.unwrap();
    let Some(rootstock_proto::sync::v1::work::Task::Poll(task)) = &again.task else {
        panic!("{again:?}")
    };
    assert!(
        task.documents.is_empty(),
        "an unchanged index means something else now"
    );
    catalog.submit(again.lease, &offer).await.unwrap();
    assert_eq!(catalog.image("debian:12").await.unwrap().versions.len(), 3);
}
