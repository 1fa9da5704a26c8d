//! Webhooks: changes posted to a real receiver, in order, signed, at least once.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::StatusCode;
use rootstock_proto::{
    Error, ResourceKind,
    catalog::v1::{
        ChangeKind, CreateWebhookRequest, DeleteRemoteRequest, DeleteWebhookRequest, GetWebhookRequest,
        ListWebhooksRequest, Remote, TestWebhookRequest, UpdateWebhookRequest, Webhook, WebhookStatus,
        webhook_service_client::WebhookServiceClient,
    },
};
use rootstock_runtime::{
    Readiness, Shutdown,
    grpc::client::{ClientOptions, connect_lazy},
};
use rootstock_tests::{
    catalog::{TestCatalog, config},
    postgres::{Postgres, TestDatabase},
    receiver::Receiver,
};
use serde_json::Value;
use sha2::Sha256;
use sqlx::Connection as _;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tonic::{Code, Status, transport::Channel};

/// A catalog with a worker, and a receiver.
struct Site {
    catalog: TestCatalog,
    receiver: Receiver,
    database: TestDatabase<'static>,
    directory: TempDir,
    worker: Option<Worker>,
}

struct Worker {
    shutdown: Shutdown,
    task: JoinHandle<()>,
}

impl Site {
    async fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let database = Postgres::shared().await.unwrap().database().await.unwrap();
        let catalog = TestCatalog::start(config(&database.url)).await.unwrap();
        let mut site = Self {
            catalog,
            receiver: Receiver::start().unwrap(),
            database,
            directory: tempfile::tempdir().unwrap(),
            worker: None,
        };
        site.start_worker().await;
        site
    }

    async fn start_worker(&mut self) {
        let store = rootstock_blobs::StoreConfig::local(self.directory.path().join("blobs"));
        let store = rootstock_blobs::BlobStore::open(&store).await.unwrap();
        let options = rootstock_sync::client_options(ClientOptions::default());
        let catalog = connect_lazy(&format!("http://{}", self.catalog.address), options).unwrap();
        let shutdown = Shutdown::new();
        let task = tokio::spawn(rootstock_sync::run(
            rootstock_sync::SyncConfig::default(),
            catalog,
            store,
            Readiness::new(shutdown.clone()),
            shutdown.clone(),
        ));
        self.worker = Some(Worker { shutdown, task });
    }

    fn webhooks(&self) -> WebhookServiceClient<Channel> {
        self.catalog.webhooks()
    }

    fn webhook(&self) -> Webhook {
        Webhook {
            name: "ci".into(),
            url: self.receiver.url(),
            secret: "a secret of some length".replace(' ', "-"),
            ..Webhook::default()
        }
    }

    async fn add(&self, webhook: Webhook) -> Result<(Webhook, String), Status> {
        let request = CreateWebhookRequest {
            webhook: Some(webhook),
            from_revision: 0,
        };
        let answer = self.webhooks().create_webhook(request).await?.into_inner();
        Ok((answer.webhook.unwrap(), answer.secret))
    }

    async fn update(&self, webhook: Webhook, paths: &[&str]) -> Result<Webhook, Status> {
        let request = UpdateWebhookRequest {
            webhook: Some(webhook),
            update_mask: Some(prost_types::FieldMask {
                paths: paths.iter().map(|path| (*path).to_owned()).collect(),
            }),
        };
        let answer = self.webhooks().update_webhook(request).await?.into_inner();
        Ok(answer.webhook.unwrap())
    }

    async fn status(&self) -> WebhookStatus {
        let request = GetWebhookRequest { name: "ci".into() };
        let answer = self.webhooks().get_webhook(request).await.unwrap().into_inner();
        answer.webhook.unwrap().status.unwrap()
    }

    /// Makes a change: a remote more, which nobody polls.
    async fn change(&self, name: &str) {
        let remote = Remote {
            name: name.into(),
            url: "https://remote.invalid".into(),
            disabled: true,
            ..Remote::default()
        };
        self.catalog.add_remote(remote).await.unwrap();
    }

    /// Waits until the webhook's status is so.
    async fn wait_for_status(&self, what: &str, is_so: impl Fn(&WebhookStatus) -> bool) -> WebhookStatus {
        for _ in 0..3000 {
            let status = self.status().await;
            if is_so(&status) {
                return status;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        panic!("waited for {what} in vain: {:?}", self.status().await);
    }
}

fn revisions(events: &[Value]) -> Vec<i64> {
    let number = |event: &Value| event["id"].as_str().unwrap().parse().unwrap();
    events.iter().map(number).collect()
}

fn subjects(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .filter_map(|event| event["subject"].as_str())
        .collect()
}

#[tokio::test]
async fn changes_are_posted_in_order_as_signed_events() {
    let site = Site::start().await;
    let (created, secret) = site
        .add(Webhook {
            secret: String::new(),
            ..site.webhook()
        })
        .await
        .unwrap();
    assert_eq!(created.secret, "", "it is never shown");
    for index in 0..5 {
        site.change(&format!("n{index}")).await;
    }
    let request = DeleteRemoteRequest { name: "n0".into() };
    site.catalog.remotes().delete_remote(request).await.unwrap();
    let events = site.receiver.wait_for(6).await.unwrap();

    assert_eq!(subjects(&events), ["n0", "n1", "n2", "n3", "n4", "n0"]);
    let numbers = revisions(&events);
    assert!(
        numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]),
        "{numbers:?}"
    );
    assert_eq!(events[0]["specversion"], "1.0");
    assert_eq!(events[0]["type"], "io.rootstock.remote.created");
    assert_eq!(events[5]["type"], "io.rootstock.remote.deleted");
    assert_eq!(events[0]["source"], "urn:rootstock:webhook:ci");
    assert_eq!(events[1]["data"]["remote"]["name"], "n1");

    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    for posted in site.receiver.posted() {
        assert_eq!(
            posted.header("content-type"),
            "application/cloudevents+json; charset=utf-8"
        );
        let (id, timestamp) = (posted.header("webhook-id"), posted.header("webhook-timestamp"));
        assert_eq!(posted.json()["id"], id);
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(&posted.body);
        let signature = STANDARD
            .decode(posted.header("webhook-signature").strip_prefix("v1,").unwrap())
            .unwrap();
        mac.verify_slice(&signature).unwrap();
    }
    let last = *numbers.last().unwrap();
    let status = site
        .wait_for_status("everything to be known as delivered", |status| {
            status.delivered_revision >= last
        })
        .await;
    assert!(status.last_success_at.is_some() && status.failed_attempts == 0);
}

#[tokio::test]
async fn a_receiver_that_was_away_misses_nothing() {
    let site = Site::start().await;
    site.add(site.webhook()).await.unwrap();
    site.change("before").await;
    site.receiver.wait_for(1).await.unwrap();
    site.receiver.answer_always(StatusCode::SERVICE_UNAVAILABLE);
    site.change("first").await;
    site.change("second").await;
    let status = site
        .wait_for_status("failures", |status| status.failed_attempts >= 2)
        .await;
    assert!(status.last_error.contains("503"), "{status:?}");
    assert!(status.next_attempt_at.is_some());
    assert_eq!(
        site.receiver.taken().len(),
        1,
        "nothing overtakes what was not taken"
    );
    site.receiver.answer_always(StatusCode::OK);
    let events = site.receiver.wait_for(3).await.unwrap();
    assert_eq!(subjects(&events), ["before", "first", "second"]);
    let status = site
        .wait_for_status("the failures to be forgotten", |status| {
            status.failed_attempts == 0
        })
        .await;
    assert_eq!(status.last_error, "");
}

#[tokio::test]
async fn another_worker_goes_on_where_one_was_killed() {
    let mut site = Site::start().await;
    site.add(site.webhook()).await.unwrap();
    site.change("a").await;
    let first = revisions(&site.receiver.wait_for(1).await.unwrap())[0];
    site.wait_for_status("the first to be known as delivered", |status| {
        status.delivered_revision >= first
    })
    .await;
    // Killed: nothing is given back, the lease runs out.
    site.worker.take().unwrap().task.abort();
    site.change("b").await;
    site.start_worker().await;
    let events = site.receiver.wait_for(2).await.unwrap();
    assert_eq!(subjects(&events), ["a", "b"]);
    // In order: what is known as delivered is not sent again, and the work is given back at once.
    let worker = site.worker.take().unwrap();
    worker.shutdown.trigger();
    worker.task.await.unwrap();
    let last = *revisions(&events).last().unwrap();
    assert!(site.status().await.delivered_revision >= last);
    site.change("c").await;
    site.start_worker().await;
    let events = site.receiver.wait_for(3).await.unwrap();
    assert_eq!(subjects(&events), ["a", "b", "c"]);
}

#[tokio::test]
async fn only_what_was_asked_for_is_posted() {
    let site = Site::start().await;
    site.add(Webhook {
        kinds: vec![ChangeKind::Remote.into()],
        name_glob: "prod-*".into(),
        ..site.webhook()
    })
    .await
    .unwrap();
    site.add(Webhook {
        name: "settings".into(),
        kinds: vec![ChangeKind::Setting.into()],
        ..site.webhook()
    })
    .await
    .unwrap();
    for name in ["test-a", "prod-a", "test-b", "prod-b"] {
        site.change(name).await;
    }
    let events = site.receiver.wait_for(2).await.unwrap();
    assert_eq!(subjects(&events), ["prod-a", "prod-b"]);
}

#[tokio::test]
async fn what_happens_while_it_is_disabled_is_posted_later() {
    let site = Site::start().await;
    let disabled = Webhook {
        disabled: true,
        ..site.webhook()
    };
    let (webhook, _) = site.add(disabled).await.unwrap();
    let narrowed = Webhook {
        kinds: vec![ChangeKind::Remote.into()],
        ..webhook.clone()
    };
    site.update(narrowed.clone(), &["kinds"]).await.unwrap();
    let stale = site.update(narrowed, &["kinds"]).await.unwrap_err();
    assert_eq!(
        Error::from_status(&stale),
        Some(Error::StaleEtag {
            kind: ResourceKind::Webhook,
            name: "ci".into()
        })
    );
    site.change("meanwhile").await;
    let request = TestWebhookRequest { name: "ci".into() };
    let refused = site.webhooks().test_webhook(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert_eq!(site.receiver.posted().len(), 0);
    site.update(
        Webhook {
            etag: String::new(),
            disabled: false,
            ..webhook
        },
        &["disabled"],
    )
    .await
    .unwrap();
    let events = site.receiver.wait_for(1).await.unwrap();
    assert_eq!(subjects(&events), ["meanwhile"]);
}

#[tokio::test]
async fn a_ping_is_posted_at_once() {
    let site = Site::start().await;
    site.add(site.webhook()).await.unwrap();
    let request = TestWebhookRequest { name: "ci".into() };
    site.webhooks().test_webhook(request).await.unwrap();
    let events = site.receiver.wait_for(1).await.unwrap();
    assert_eq!(events[0]["type"], "io.rootstock.ping");
    site.wait_for_status("the ping to be done", |status| !status.ping_pending)
        .await;
    site.change("after").await;
    let events = site.receiver.wait_for(2).await.unwrap();
    assert_eq!(events[1]["subject"], "after", "and the changes go on");
}

#[tokio::test]
async fn a_receiver_is_told_what_it_can_no_longer_have() {
    let site = Site::start().await;
    let (webhook, _) = site
        .add(Webhook {
            disabled: true,
            ..site.webhook()
        })
        .await
        .unwrap();
    for name in ["lost-1", "lost-2", "kept"] {
        site.change(name).await;
    }
    let mut database = sqlx::PgConnection::connect(&site.database.url).await.unwrap();
    // What compaction does when the history is long.
    sqlx::query("DELETE FROM changes WHERE revision < (SELECT revision FROM catalog_revision)")
        .execute(&mut database)
        .await
        .unwrap();
    let enabled = Webhook {
        disabled: false,
        etag: String::new(),
        ..webhook
    };
    site.update(enabled, &["disabled"]).await.unwrap();
    let events = site.receiver.wait_for(2).await.unwrap();
    assert_eq!(events[0]["type"], "io.rootstock.history.compacted");
    assert_eq!(events[0]["data"]["oldest_revision"], events[1]["id"]);
    assert_eq!(events[1]["subject"], "kept");
}

#[tokio::test]
async fn webhooks_are_made_changed_listed_and_removed() {
    let site = Site::start().await;
    let (created, made_up) = site.add(site.webhook()).await.unwrap();
    assert_eq!((created.secret.as_str(), made_up.as_str()), ("", ""));
    let (again, _) = site.add(site.webhook()).await.unwrap();
    assert_eq!(again.etag, created.etag, "the same again is a retry");
    let other = Webhook {
        url: "https://elsewhere.invalid".into(),
        ..site.webhook()
    };
    assert_eq!(
        site.add(other.clone()).await.unwrap_err().code(),
        Code::AlreadyExists
    );
    let wrong = Webhook {
        name: "a b".into(),
        url: "nowhere".into(),
        secret: "short".into(),
        ..Webhook::default()
    };
    let Some(Error::Invalid(violations)) = Error::from_status(&site.add(wrong).await.unwrap_err()) else {
        panic!("it was taken");
    };
    assert_eq!(violations.len(), 3, "{violations:?}");

    let updated = site
        .update(
            Webhook {
                url: other.url.clone(),
                ..created.clone()
            },
            &["url"],
        )
        .await
        .unwrap();
    assert_eq!(updated.url, other.url);
    assert_ne!(updated.etag, created.etag);
    let no_such_field = site.update(updated.clone(), &["name"]).await.unwrap_err();
    assert_eq!(no_such_field.code(), Code::InvalidArgument);
    let nothing = site.update(updated, &[]).await.unwrap_err();
    assert_eq!(nothing.code(), Code::InvalidArgument);

    for name in ["a", "b"] {
        let webhook = Webhook {
            name: name.into(),
            ..site.webhook()
        };
        site.add(webhook).await.unwrap();
    }
    let page = |page_token| ListWebhooksRequest {
        page_size: 2,
        page_token,
    };
    let first = site
        .webhooks()
        .list_webhooks(page(String::new()))
        .await
        .unwrap()
        .into_inner();
    let second = site
        .webhooks()
        .list_webhooks(page(first.next_page_token))
        .await
        .unwrap()
        .into_inner();
    let names: Vec<_> = first
        .webhooks
        .iter()
        .chain(&second.webhooks)
        .map(|hook| hook.name.as_str())
        .collect();
    assert_eq!(names, ["a", "b", "ci"]);
    assert!(first.webhooks.iter().all(|hook| hook.secret.is_empty()));

    let request = DeleteWebhookRequest { name: "ci".into() };
    site.webhooks().delete_webhook(request.clone()).await.unwrap();
    let gone = site.webhooks().delete_webhook(request).await.unwrap_err();
    assert_eq!(
        Error::from_status(&gone),
        Some(Error::not_found(ResourceKind::Webhook, "ci"))
    );
}
