//! Secrets: given once, and read by nobody but the workers that need them.

use prost::Message;
use rootstock_proto::catalog::v1::{
    CreateRemoteRequest, CreateWebhookRequest, DeleteRemoteRequest, GetRemoteRequest, GetWebhookRequest,
    ListRemotesRequest, ListWebhooksRequest, Remote, TestWebhookRequest, UpdateRemoteRequest,
    UpdateWebhookRequest, WatchRequest, Webhook,
};
use rootstock_proto::sync::v1::{WorkKind, work::Task};
use sqlx::{Connection as _, PgConnection};

use super::{remote, start};

/// In every secret of this test.
const SECRET: &str = "hunter2-hunter2-hunter2";

fn check<M: Message>(answer: &tonic::Response<M>) {
    let bytes = answer.get_ref().encode_to_vec();
    let found = bytes
        .windows(SECRET.len())
        .any(|bytes| bytes == SECRET.as_bytes());
    assert!(!found, "{}", std::any::type_name::<M>());
}

#[tokio::test]
async fn no_answer_and_no_change_carries_a_secret() {
    let (database, catalog) = start().await;
    let (mut remotes, mut webhooks) = (catalog.remotes(), catalog.webhooks());
    let remote = Remote {
        auth: format!("user:{SECRET}"),
        ..remote("images")
    };
    let webhook = Webhook {
        name: "ci".to_owned(),
        url: "https://ci.example/".to_owned(),
        secret: SECRET.to_owned(),
        ..Webhook::default()
    };
    // Twice: the same again is answered from what is there.
    for _ in 0..2 {
        let request = CreateRemoteRequest {
            remote: Some(remote.clone()),
        };
        check(&remotes.create_remote(request).await.unwrap());
        let request = CreateWebhookRequest {
            webhook: Some(webhook.clone()),
            ..CreateWebhookRequest::default()
        };
        check(&webhooks.create_webhook(request).await.unwrap());
    }
    let request = UpdateRemoteRequest {
        remote: Some(Remote {
            keep_versions: 3,
            ..remote.clone()
        }),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["keep_versions".to_owned(), "auth".to_owned()],
        }),
    };
    check(&remotes.update_remote(request).await.unwrap());
    let request = UpdateWebhookRequest {
        webhook: Some(Webhook {
            secret: format!("{SECRET}-2"),
            ..webhook
        }),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["secret".to_owned()],
        }),
    };
    check(&webhooks.update_webhook(request).await.unwrap());
    let name = "images".to_owned();
    check(&remotes.get_remote(GetRemoteRequest { name }).await.unwrap());
    check(&remotes.list_remotes(ListRemotesRequest::default()).await.unwrap());
    let name = "ci".to_owned();
    check(
        &webhooks
            .get_webhook(GetWebhookRequest { name: name.clone() })
            .await
            .unwrap(),
    );
    check(
        &webhooks
            .list_webhooks(ListWebhooksRequest::default())
            .await
            .unwrap(),
    );
    check(&webhooks.test_webhook(TestWebhookRequest { name }).await.unwrap());

    // Workers have them.
    let poll = catalog.claim(WorkKind::Poll).await.unwrap();
    let Some(Task::Poll(task)) = poll.task else {
        panic!("{poll:?}")
    };
    assert_eq!(task.remote.unwrap().auth, remote.auth);

    let request = WatchRequest {
        initial_state: true,
        ..WatchRequest::default()
    };
    let mut state = catalog.watches().watch(request).await.unwrap().into_inner();
    loop {
        let message = tonic::Response::new(state.message().await.unwrap().unwrap());
        check(&message);
        if message.get_ref().revision > 0 {
            break;
        }
    }
    let name = "images".to_owned();
    check(&remotes.delete_remote(DeleteRemoteRequest { name }).await.unwrap());
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    let sql = "SELECT count(*), count(*) FILTER (WHERE position($1::bytea IN payload) > 0) FROM changes";
    let (all, with_secret): (i64, i64) = sqlx::query_as(sql)
        .bind(SECRET.as_bytes())
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert!(all >= 3, "{all} changes");
    assert_eq!(with_secret, 0);
}
