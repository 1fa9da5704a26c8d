//! Remotes: changed field by field, tried before they are there, left alone, and their secrets kept.

use std::time::Duration;

use rootstock_proto::{
    Error, ResourceKind,
    catalog::v1::{
        GetRemoteRequest, GetSyncRunRequest, ListLeftOutRequest, ListRemotesRequest, PlanAction, Remote,
        RemoteMode, Status as ImageStatus, SyncRemoteRequest, SyncRun, SyncRunState, TestRemoteRequest,
        UpdateRemoteRequest, WatchRequest, change::Resource,
    },
    sync::v1::{FailRequest, PollTask, Work, WorkKind, work::Task},
};
use rootstock_tests::catalog::{TestCatalog, content};
use sqlx::{Connection as _, PgConnection, Row as _};
use tonic::Status;

use super::{
    offers::{image, snapshot},
    on_demand, remote, start,
};

const SECRET: &str = "user:hunter2";

async fn update(catalog: &TestCatalog, remote: Remote, paths: &[&str]) -> Result<Remote, Status> {
    let request = UpdateRemoteRequest {
        remote: Some(remote),
        update_mask: Some(prost_types::FieldMask {
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        }),
    };
    Ok(catalog
        .remotes()
        .update_remote(request)
        .await?
        .into_inner()
        .remote
        .unwrap())
}

async fn get(catalog: &TestCatalog, name: &str) -> Remote {
    let request = GetRemoteRequest {
        name: name.to_owned(),
    };
    catalog
        .remotes()
        .get_remote(request)
        .await
        .unwrap()
        .into_inner()
        .remote
        .unwrap()
}

async fn run(catalog: &TestCatalog, id: &str) -> SyncRun {
    let request = GetSyncRunRequest { id: id.to_owned() };
    catalog
        .remotes()
        .get_sync_run(request)
        .await
        .unwrap()
        .into_inner()
        .run
        .unwrap()
}

fn poll_task(work: &Work) -> &PollTask {
    match &work.task {
        Some(Task::Poll(task)) => task,
        other => panic!("not a poll: {other:?}"),
    }
}

async fn nothing_due(catalog: &TestCatalog) -> bool {
    let wait = Duration::from_millis(300);
    catalog.claim_now(WorkKind::Poll, wait).await.unwrap().is_none()
}

#[tokio::test]
async fn every_field_but_the_name_can_be_changed_and_is_told_to_the_next_poll() {
    let (_database, catalog) = start().await;
    catalog.add_remote(remote("images")).await.unwrap();
    let offer = snapshot(vec![image("debian:12", &[], &["1.30.0"])]);
    catalog.offer(&offer).await.unwrap();
    assert!(nothing_due(&catalog).await);

    let wanted = Remote {
        name: "images".to_owned(),
        url: "https://other.example".to_owned(),
        protocol: "simplestreams".to_owned(),
        mode: RemoteMode::OnDemand.into(),
        include: vec!["os=debian".to_owned()],
        exclude: vec!["variant=cloud".to_owned()],
        root_preference: vec!["root.tar.xz".to_owned()],
        keep_versions: 7,
        update_interval: Some(prost_types::Duration {
            seconds: 90,
            nanos: 0,
        }),
        ca_pem: "certificate".to_owned(),
        insecure: true,
        version_constraint: "1.30".to_owned(),
        auth: SECRET.to_owned(),
        ..Remote::default()
    };
    let paths = [
        "url",
        "protocol",
        "mode",
        "include",
        "exclude",
        "root_preference",
        "keep_versions",
        "update_interval",
        "ca_pem",
        "insecure",
        "version_constraint",
        "auth",
    ];
    let before = get(&catalog, "images").await;
    let after = update(&catalog, wanted.clone(), &paths).await.unwrap();
    let expected = Remote {
        created_at: before.created_at,
        status: after.status.clone(),
        auth: String::new(),
        auth_set: true,
        etag: after.etag.clone(),
        ..wanted.clone()
    };
    assert_eq!(after, expected);
    assert_ne!(after.etag, before.etag);

    let poll = catalog.claim(WorkKind::Poll).await.unwrap();
    let task = poll_task(&poll);
    assert!(task.documents.is_empty(), "a changed rule forgets what was known");
    let told = task.remote.clone().unwrap();
    assert_eq!(
        (told.auth.as_str(), told.url.as_str()),
        (SECRET, wanted.url.as_str())
    );

    // The same again, as a client's stack does that heard no answer.
    let again = Remote {
        etag: before.etag,
        ..wanted
    };
    assert_eq!(update(&catalog, again, &paths).await.unwrap().etag, after.etag);
    let fields = Remote {
        name: "images".to_owned(),
        ..Remote::default()
    };
    let removed = update(&catalog, fields, &["auth"]).await.unwrap();
    assert!(!removed.auth_set);
    // It went by the old rules.
    let status = catalog.finish_poll(poll.lease).await.unwrap_err();
    assert_eq!(Error::from_status(&status), Some(Error::LeaseLost));
}

#[tokio::test]
async fn an_update_that_cannot_be_changes_nothing() {
    let (database, catalog) = start().await;
    catalog
        .add_remote(Remote {
            auth: SECRET.to_owned(),
            ..remote("images")
        })
        .await
        .unwrap();
    let before = content(&database.url).await.unwrap();
    let asked = |change: fn(&mut Remote)| {
        let mut asked = Remote {
            name: "images".to_owned(),
            ..Remote::default()
        };
        change(&mut asked);
        asked
    };
    for (remote, paths, field) in [
        (asked(|_| ()), &[][..], "update_mask"),
        (asked(|_| ()), &["name"], "update_mask.paths[0]"),
        (asked(|_| ()), &["disabled", "status"], "update_mask.paths[1]"),
        (asked(|_| ()), &["etag"], "update_mask.paths[0]"),
        (
            asked(|remote| remote.url = "ftp://x".into()),
            &["url"],
            "remote.url",
        ),
        (
            asked(|remote| remote.auth = "hunter2".into()),
            &["auth"],
            "remote.auth",
        ),
        (
            asked(|remote| remote.version_constraint = "1".into()),
            &["version_constraint"],
            "remote.version_constraint",
        ),
        (
            asked(|remote| remote.url = "https://elsewhere.example".into()),
            &["url"],
            "remote.auth",
        ),
    ] {
        let status = update(&catalog, remote, paths).await.unwrap_err();
        let Some(Error::Invalid(violations)) = Error::from_status(&status) else {
            panic!("{field}: {status:?}")
        };
        assert_eq!(violations[0].field, field);
        assert!(!status.message().contains("hunter2"), "{status:?}");
    }
    let stale = asked(|remote| (remote.etag, remote.keep_versions) = ("0".into(), 3));
    let status = update(&catalog, stale, &["keep_versions"]).await.unwrap_err();
    let name = "images".to_owned();
    assert_eq!(
        Error::from_status(&status),
        Some(Error::StaleEtag {
            kind: ResourceKind::Remote,
            name
        })
    );
    let nobody = Remote {
        name: "nobody".to_owned(),
        ..Remote::default()
    };
    let status = update(&catalog, nobody, &["disabled"]).await.unwrap_err();
    assert_eq!(
        Error::from_status(&status),
        Some(Error::not_found(ResourceKind::Remote, "nobody"))
    );
    assert_eq!(content(&database.url).await.unwrap(), before);

    let current = get(&catalog, "images").await.etag;
    let fresh = Remote {
        etag: current,
        keep_versions: 3,
        ..asked(|_| ())
    };
    assert_eq!(
        update(&catalog, fresh, &["keep_versions"])
            .await
            .unwrap()
            .keep_versions,
        3
    );
}

#[tokio::test]
async fn credentials_are_told_to_workers_and_to_nobody_else() {
    let (_database, catalog) = start().await;
    let request = WatchRequest {
        from_revision: 2,
        ..WatchRequest::default()
    };
    let mut watch = catalog.watches().watch(request).await.unwrap().into_inner();
    let with_secret = Remote {
        auth: SECRET.to_owned(),
        ..remote("images")
    };
    for _ in 0..2 {
        let added = catalog.add_remote(with_secret.clone()).await.unwrap();
        assert!(added.auth_set && added.auth.is_empty(), "{added:?}");
    }
    let other = Remote {
        auth: "user:other".to_owned(),
        ..remote("images")
    };
    let status = catalog.add_remote(other).await.unwrap_err();
    assert!(
        matches!(Error::from_status(&status), Some(Error::AlreadyExists { .. })),
        "{status:?}"
    );
    let listed = catalog
        .remotes()
        .list_remotes(ListRemotesRequest::default())
        .await
        .unwrap();
    assert!(
        listed
            .into_inner()
            .remotes
            .iter()
            .all(|one| one.auth_set && one.auth.is_empty())
    );
    let Some(Resource::Remote(told)) = watch.message().await.unwrap().unwrap().changes.remove(0).resource
    else {
        panic!("no remote")
    };
    assert!(told.auth.is_empty() && told.auth_set);
    let request = WatchRequest {
        initial_state: true,
        ..WatchRequest::default()
    };
    let mut state = catalog.watches().watch(request).await.unwrap().into_inner();
    loop {
        let response = state.message().await.unwrap().unwrap();
        for change in response.changes {
            if let Some(Resource::Remote(remote)) = change.resource {
                assert!(remote.auth.is_empty());
            }
        }
        if response.revision > 0 {
            break;
        }
    }
    let poll = catalog.claim(WorkKind::Poll).await.unwrap();
    assert_eq!(poll_task(&poll).remote.as_ref().unwrap().auth, SECRET);
    assert!(!format!("{poll:?}").contains("hunter2"));
}

#[tokio::test]
async fn a_disabled_remote_is_polled_by_hand_only() {
    let (_database, catalog) = start().await;
    catalog
        .add_remote(Remote {
            disabled: true,
            ..remote("images")
        })
        .await
        .unwrap();
    assert!(nothing_due(&catalog).await);
    assert_eq!(get(&catalog, "images").await.status.unwrap().next_poll_at, None);

    let by_hand = SyncRemoteRequest {
        name: "images".to_owned(),
        ..SyncRemoteRequest::default()
    };
    for fails in [false, true] {
        let asked = catalog.remotes().sync_remote(by_hand.clone()).await.unwrap();
        let id = asked.into_inner().run.unwrap().id;
        let poll = catalog.claim(WorkKind::Poll).await.unwrap();
        if fails {
            let request = FailRequest {
                lease: poll.lease,
                error: "broken".to_owned(),
                retry_after: None,
            };
            catalog.work().fail(request).await.unwrap();
        } else {
            let offer = snapshot(vec![image("debian:12", &[], &["20260101"])]);
            catalog.submit(poll.lease, &offer).await.unwrap();
        }
        let state = if fails {
            SyncRunState::Failed
        } else {
            SyncRunState::Succeeded
        };
        assert_eq!(run(&catalog, &id).await.state(), state);
        assert!(nothing_due(&catalog).await);
    }
    let name = || Remote {
        name: "images".to_owned(),
        ..Remote::default()
    };
    let enabled = update(&catalog, name(), &["disabled"]).await.unwrap();
    assert!(!enabled.disabled);
    let poll = catalog.claim(WorkKind::Poll).await.unwrap();
    let disabled = update(
        &catalog,
        Remote {
            disabled: true,
            ..name()
        },
        &["disabled"],
    )
    .await
    .unwrap();
    assert!(disabled.disabled && disabled.status.unwrap().next_poll_at.is_none());
    assert!(
        catalog.finish_poll(poll.lease).await.is_err(),
        "it was taken away"
    );
    assert!(nothing_due(&catalog).await);
}

#[tokio::test]
async fn a_remote_is_tried_without_being_there() {
    let (database, catalog) = start().await;
    let before = content(&database.url).await.unwrap();
    let request = TestRemoteRequest {
        remote: Some(Remote {
            auth: SECRET.to_owned(),
            ..on_demand("lab", 1)
        }),
    };
    let asked = catalog
        .remotes()
        .test_remote(request)
        .await
        .unwrap()
        .into_inner()
        .run
        .unwrap();
    assert_eq!(
        (asked.remote.as_str(), asked.state(), asked.plan_only),
        ("lab", SyncRunState::Pending, true)
    );
    let poll = catalog.claim(WorkKind::Poll).await.unwrap();
    let task = poll_task(&poll);
    assert_eq!(
        (
            task.plan_run_id.as_str(),
            task.remote.as_ref().unwrap().auth.as_str()
        ),
        (&*asked.id, SECRET)
    );
    let offer = snapshot(vec![image("debian:12", &[], &["20260101", "20260102"])]);
    catalog.submit(poll.lease, &offer).await.unwrap();
    let done = run(&catalog, &asked.id).await;
    assert_eq!(done.state(), SyncRunState::Succeeded);
    let plan = done.plan.unwrap();
    let steps: Vec<_> = plan
        .steps
        .iter()
        .map(|step| (step.action(), step.serial.as_str()))
        .collect();
    assert_eq!(steps, [(PlanAction::List, "20260102")]);
    assert_eq!(plan.left_out[0].reason, "beyond-keep-versions");
    assert_eq!(
        content(&database.url).await.unwrap(),
        before,
        "a try writes nothing"
    );
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    let kept: Vec<u8> = sqlx::query("SELECT remote FROM sync_runs")
        .fetch_one(&mut connection)
        .await
        .unwrap()
        .get(0);
    assert!(
        !kept.windows(7).any(|bytes| bytes == b"hunter2"),
        "nobody needs them any more"
    );

    // One that fails, one that cannot be, and one that is there as it is.
    let request = TestRemoteRequest {
        remote: Some(remote("lab")),
    };
    let asked = catalog
        .remotes()
        .test_remote(request)
        .await
        .unwrap()
        .into_inner()
        .run
        .unwrap();
    let poll = catalog.claim(WorkKind::Poll).await.unwrap();
    let request = FailRequest {
        lease: poll.lease,
        error: "no such host".to_owned(),
        retry_after: None,
    };
    catalog.work().fail(request).await.unwrap();
    let failed = run(&catalog, &asked.id).await;
    assert_eq!(
        (failed.state(), failed.error.as_str()),
        (SyncRunState::Failed, "no such host")
    );
    assert!(nothing_due(&catalog).await);
    let request = TestRemoteRequest {
        remote: Some(Remote {
            url: "x".to_owned(),
            ..remote("lab")
        }),
    };
    assert!(catalog.remotes().test_remote(request).await.is_err());
    let named = TestRemoteRequest {
        remote: Some(Remote {
            name: "lab".to_owned(),
            ..Remote::default()
        }),
    };
    let status = catalog.remotes().test_remote(named.clone()).await.unwrap_err();
    assert_eq!(
        Error::from_status(&status),
        Some(Error::not_found(ResourceKind::Remote, "lab"))
    );
    catalog
        .add_remote(Remote {
            disabled: true,
            ..remote("lab")
        })
        .await
        .unwrap();
    let asked = catalog
        .remotes()
        .test_remote(named)
        .await
        .unwrap()
        .into_inner()
        .run
        .unwrap();
    let poll = catalog.claim(WorkKind::Poll).await.unwrap();
    assert_eq!(poll_task(&poll).plan_run_id, asked.id);
}

#[tokio::test]
async fn a_version_constraint_takes_its_release_and_lists_why_others_are_not_there() {
    let (_database, catalog) = start().await;
    let constrained = Remote {
        version_constraint: "1.10".to_owned(),
        ..on_demand("anbox", 2)
    };
    catalog.add_remote(constrained).await.unwrap();
    let serials = ["1.9.1", "1.10.0", "1.10.1", "1.11.0"];
    let offer = snapshot(vec![image("jammy:android13:amd64", &[], &serials)]);
    catalog.offer(&offer).await.unwrap();
    let image = catalog.image("jammy:android13:amd64").await.unwrap();
    let mut taken: Vec<_> = image
        .versions
        .iter()
        .map(|version| version.serial.as_str())
        .collect();
    taken.sort_unstable();
    assert_eq!(taken, ["1.10.0", "1.10.1"]);
    let request = ListLeftOutRequest {
        remote: "anbox".to_owned(),
        ..ListLeftOutRequest::default()
    };
    let left_out = catalog
        .remotes()
        .list_left_out(request)
        .await
        .unwrap()
        .into_inner()
        .left_out;
    let left_out: Vec<_> = left_out
        .iter()
        .map(|one| (one.serial.as_str(), one.reason.as_str()))
        .collect();
    assert_eq!(
        left_out,
        [
            ("1.11.0", "beyond-version-constraint"),
            ("1.9.1", "beyond-version-constraint")
        ]
    );

    // Another constraint, and the same index: what counts has changed.
    let moved = Remote {
        name: "anbox".to_owned(),
        version_constraint: "1.11".to_owned(),
        ..Remote::default()
    };
    update(&catalog, moved, &["version_constraint"]).await.unwrap();
    catalog.offer(&offer).await.unwrap();
    let image = catalog.image("jammy:android13:amd64").await.unwrap();
    let taken: Vec<_> = image
        .versions
        .iter()
        .filter(|version| version.status() == ImageStatus::Available)
        .collect();
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0].serial, "1.11.0");
}

#[tokio::test]
async fn the_protocol_is_stored_sent_to_workers_and_changed_by_its_mask() {
    let (database, catalog) = start().await;
    catalog.add_remote(remote("images")).await.unwrap();
    assert_eq!(get(&catalog, "images").await.protocol, "simplestreams");
    // As a newer version may have left it, before an operator went back to this one.
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    sqlx::query("UPDATE remotes SET protocol = 'oci'")
        .execute(&mut connection)
        .await
        .unwrap();
    let poll = catalog.claim(WorkKind::Poll).await.unwrap();
    assert_eq!(poll_task(&poll).remote.as_ref().unwrap().protocol, "oci");

    let with = |protocol: &str| Remote {
        name: "images".to_owned(),
        protocol: protocol.to_owned(),
        insecure: true,
        ..Remote::default()
    };
    for (wanted, path) in [(with("oci"), "protocol"), (with(""), "insecure")] {
        let refused = update(&catalog, wanted, &[path]).await.unwrap_err();
        let text = refused.message();
        assert!(text.contains(r#""oci" is none of: simplestreams"#), "{text}");
    }
    let after = update(&catalog, with("simplestreams"), &["protocol"])
        .await
        .unwrap();
    assert_eq!(after.protocol, "simplestreams");
    assert_eq!(get(&catalog, "images").await.protocol, "simplestreams");
}
