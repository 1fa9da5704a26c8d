//! Watching a part: what is wanted comes whole, in order and once, and revisions go on all the same.

use futures::future::join_all;
use rootstock_proto::{
    Error,
    catalog::v1::{
        Change, ChangeKind, ChangeOperation, UpdateSettingRequest, WatchRequest, change::Resource,
    },
};
use rootstock_tests::catalog::{TestCatalog, config};
use sqlx::{Connection as _, PgConnection};

use super::{
    offers::{fingerprint, image, snapshot},
    remote, start,
};

/// The revision of the first change of a catalog.
const FIRST: i64 = 2;

#[derive(Debug, Clone, Copy)]
struct Wanted {
    kinds: &'static [ChangeKind],
    name: &'static str,
}

const EVERYTHING: Wanted = Wanted { kinds: &[], name: "" };

impl Wanted {
    /// By the contract's words, and no code of the catalog's.
    fn wants(&self, change: &Change) -> bool {
        let (kind, name) = match change.resource.as_ref().unwrap() {
            Resource::Image(image) => (ChangeKind::Image, image.name.as_str()),
            Resource::Version(version) => (ChangeKind::Version, version.image.as_str()),
            Resource::Alias(alias) => (ChangeKind::Alias, alias.name.as_str()),
            Resource::Remote(remote) => (ChangeKind::Remote, remote.name.as_str()),
            Resource::Setting(setting) => (ChangeKind::Setting, setting.key.as_str()),
            other => (other.kind(), other.name()),
        };
        let named = match self.name.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => self.name.is_empty() || self.name == name,
        };
        named && (self.kinds.is_empty() || self.kinds.contains(&kind))
    }
}

/// Reads until everything up to `revision` was sent; checks that revisions only grow on the way.
async fn watch(
    catalog: &TestCatalog,
    wanted: Wanted,
    from_revision: i64,
    initial_state: bool,
    revision: i64,
) -> Vec<Change> {
    let request = WatchRequest {
        from_revision,
        initial_state,
        kinds: wanted.kinds.iter().map(|kind| (*kind).into()).collect(),
        name: wanted.name.to_owned(),
    };
    let mut stream = catalog.watches().watch(request).await.unwrap().into_inner();
    let (mut changes, mut told) = (vec![], 0);
    while told < revision {
        let response = stream.message().await.unwrap().unwrap();
        changes.extend(response.changes);
        if response.revision > 0 {
            assert!(response.revision >= told, "{} after {told}", response.revision);
            told = response.revision;
        }
    }
    changes
}

/// The revision of a state that is read just now.
async fn newest(catalog: &TestCatalog) -> i64 {
    let request = WatchRequest {
        initial_state: true,
        ..WatchRequest::default()
    };
    let mut stream = catalog.watches().watch(request).await.unwrap().into_inner();
    loop {
        let response = stream.message().await.unwrap().unwrap();
        if response.revision > 0 {
            return response.revision;
        }
    }
}

async fn set(catalog: &TestCatalog, value: u32) {
    let request = UpdateSettingRequest {
        key: "images.default_keep_versions".to_owned(),
        value: value.to_string(),
    };
    catalog.settings().update_setting(request).await.unwrap();
}

#[tokio::test]
async fn many_watchers_of_concurrent_writers_see_what_they_want_once_and_in_order() {
    let (_database, catalog) = start().await;
    catalog.add_remote(remote("images")).await.unwrap();
    let filters = [
        EVERYTHING,
        Wanted {
            kinds: &[ChangeKind::Remote],
            ..EVERYTHING
        },
        Wanted {
            kinds: &[ChangeKind::Setting, ChangeKind::Version],
            ..EVERYTHING
        },
        Wanted {
            name: "remote-1-*",
            ..EVERYTHING
        },
        Wanted {
            kinds: &[ChangeKind::Image],
            name: "product:3",
        },
        Wanted {
            kinds: &[ChangeKind::Application],
            ..EVERYTHING
        },
    ];
    let writers = async {
        let products = (0..6).map(|number| image(&format!("product:{number}"), &[], &["20260101"]));
        catalog.offer(&snapshot(products.collect())).await.unwrap();
        join_all((0..4).map(|writer| {
            let catalog = &catalog;
            async move {
                for number in 0..4_u32 {
                    match writer {
                        0 => set(catalog, number + 3).await,
                        1 | 2 => {
                            let name = format!("remote-{writer}-{number}");
                            catalog.add_remote(remote(&name)).await.unwrap();
                        }
                        _ => drop(catalog.transfer().await.unwrap()),
                    }
                }
            }
        }))
        .await;
        newest(&catalog).await
    };
    // What is to be seen is known at the end; watchers that began long before are to have seen it.
    let (tell, told) = tokio::sync::watch::channel(0);
    let live = join_all((0..120).map(|number| {
        let (catalog, mut told) = (&catalog, told.clone());
        let wanted = filters[number % filters.len()];
        async move {
            let request = WatchRequest {
                from_revision: FIRST,
                kinds: wanted.kinds.iter().map(|kind| (*kind).into()).collect(),
                name: wanted.name.to_owned(),
                ..WatchRequest::default()
            };
            let mut stream = catalog.watches().watch(request).await.unwrap().into_inner();
            let (mut changes, mut at) = (vec![], 0);
            loop {
                tokio::select! {
                    biased;
                    response = stream.message() => {
                        let response = response.unwrap().unwrap();
                        changes.extend(response.changes);
                        at = at.max(response.revision);
                    }
                    _ = told.changed() => {}
                }
                let end = *told.borrow();
                if end > 0 && at >= end {
                    return (wanted, changes);
                }
            }
        }
    }));
    let writers = async {
        let end = writers.await;
        tell.send(end).unwrap();
        end
    };
    let (seen, end) = tokio::join!(live, writers);
    let all = watch(&catalog, EVERYTHING, FIRST, false, end).await;
    let revisions: Vec<i64> = all.iter().map(|change| change.revision).collect();
    assert_eq!(revisions, (FIRST..=end).collect::<Vec<_>>());
    for (wanted, mut changes) in seen {
        changes.retain(|change| change.revision <= end);
        let expected: Vec<Change> = all
            .iter()
            .filter(|change| wanted.wants(change))
            .cloned()
            .collect();
        assert_eq!(changes, expected, "{wanted:?}");
    }
    // From anywhere: by the ring, and by the log, which a catalog reads that began just now.
    for (index, wanted) in filters.into_iter().enumerate() {
        let from = FIRST + index as i64 * 3;
        let replayed = watch(&catalog, wanted, from, false, end).await;
        let expected = all
            .iter()
            .filter(|change| change.revision >= from && wanted.wants(change));
        assert_eq!(replayed, expected.cloned().collect::<Vec<_>>(), "{wanted:?}");
    }
    assert!(all.iter().any(|change| filters[3].wants(change)));
    assert!(all.iter().any(|change| filters[4].wants(change)));
}

#[tokio::test]
async fn the_initial_state_and_a_catalog_that_reads_the_log_go_by_the_filter_too() {
    let (database, catalog) = start().await;
    catalog.add_remote(remote("images")).await.unwrap();
    let products = ["debian:12", "debian:13", "fedora:40"];
    let offer = products.map(|name| image(name, &[&name.replace(':', "/")], &["20260101"]));
    catalog.offer(&snapshot(offer.to_vec())).await.unwrap();
    for _ in 0..6 {
        catalog.transfer().await.unwrap();
    }
    for _ in 0..3 {
        catalog.verify(fingerprint).await.unwrap();
    }
    let end = newest(&catalog).await;
    let other = TestCatalog::start(config(&database.url)).await.unwrap();
    let all = watch(&other, EVERYTHING, FIRST, false, end).await;
    let state = watch(&other, EVERYTHING, 0, true, end).await;
    for wanted in [
        Wanted {
            name: "debian*",
            ..EVERYTHING
        },
        Wanted {
            kinds: &[ChangeKind::Version, ChangeKind::Alias],
            name: "debian*",
        },
        Wanted {
            kinds: &[ChangeKind::Setting],
            ..EVERYTHING
        },
        Wanted {
            kinds: &[ChangeKind::Image],
            name: "fedora:40",
        },
        Wanted {
            kinds: &[ChangeKind::Remote],
            name: "nonesuch",
        },
    ] {
        let part = |of: &[Change]| {
            of.iter()
                .filter(|one| wanted.wants(one))
                .cloned()
                .collect::<Vec<_>>()
        };
        assert_eq!(
            watch(&other, wanted, FIRST, false, end).await,
            part(&all),
            "{wanted:?}"
        );
        assert_eq!(
            watch(&other, wanted, 0, true, end).await,
            part(&state),
            "{wanted:?}"
        );
    }
    let images = Wanted {
        kinds: &[ChangeKind::Image],
        name: "fedora:40",
    };
    let found = watch(&other, images, 0, true, end).await;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].operation(), ChangeOperation::State);
}

#[tokio::test]
async fn a_watch_that_begins_after_a_state_that_was_read_misses_nothing() {
    let (_database, catalog) = start().await;
    let writer = async {
        for number in 0..10 {
            catalog
                .add_remote(remote(&format!("remote-{number}")))
                .await
                .unwrap();
        }
    };
    let reader = async {
        let mut seen = vec![];
        for _ in 0..5 {
            let listed = newest(&catalog).await;
            seen.push(listed);
            tokio::task::yield_now().await;
        }
        seen
    };
    let ((), listed) = tokio::join!(writer, reader);
    let end = newest(&catalog).await;
    for revision in listed.into_iter().chain([end - 1]) {
        let after = watch(&catalog, EVERYTHING, revision + 1, false, end).await;
        let revisions: Vec<i64> = after.iter().map(|change| change.revision).collect();
        assert_eq!(revisions, (revision + 1..=end).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_filter_that_cannot_be_is_refused_and_a_compacted_revision_says_what_is_kept() {
    let (database, catalog) = start().await;
    for (request, field) in [
        (
            WatchRequest {
                kinds: vec![1, 0],
                ..WatchRequest::default()
            },
            "kinds[1]",
        ),
        (
            WatchRequest {
                kinds: vec![99],
                ..WatchRequest::default()
            },
            "kinds[0]",
        ),
        (
            WatchRequest {
                name: "x".repeat(257),
                ..WatchRequest::default()
            },
            "name",
        ),
    ] {
        let status = catalog.watches().watch(request).await.unwrap_err();
        let Some(Error::Invalid(violations)) = Error::from_status(&status) else {
            panic!("{status:?}")
        };
        assert_eq!(violations[0].field, field);
    }
    for number in 0..5 {
        catalog
            .add_remote(remote(&format!("remote-{number}")))
            .await
            .unwrap();
    }
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    sqlx::query("DELETE FROM changes WHERE revision < 4")
        .execute(&mut connection)
        .await
        .unwrap();
    let request = WatchRequest {
        from_revision: FIRST,
        kinds: vec![ChangeKind::Setting.into()],
        ..WatchRequest::default()
    };
    let status = catalog.watches().watch(request).await.unwrap_err();
    let expected = Error::RevisionOutOfRange { oldest: 4, newest: 6 };
    assert_eq!(Error::from_status(&status), Some(expected));
}
