//! Webhooks, and how delivery to them goes.

use rootstock_proto::{catalog::v1 as wire, convert};
use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::{
    failure::Failure,
    work::{Kind, Subject, schedule},
};

/// A webhook and its row.
pub(crate) struct WebhookRow {
    pub id: i64,
    /// With its status, and with its secret: only workers may see that.
    pub webhook: wire::Webhook,
}

struct Row {
    id: i64,
    name: String,
    url: String,
    secret: String,
    kinds: Vec<i32>,
    name_glob: String,
    ca_pem: String,
    disabled: bool,
    created_at: OffsetDateTime,
    generation: i64,
    delivered_revision: i64,
    last_success_at: Option<OffsetDateTime>,
    ping: bool,
    last_error: Option<String>,
    failed_attempts: Option<i32>,
    due_at: Option<OffsetDateTime>,
}

/// Webhooks with the work that delivers to them; the argument is what follows the join.
macro_rules! select_webhooks {
    ($rest:literal $(, $argument:expr)* $(,)?) => {
        sqlx::query_as!(
            Row,
            r#"SELECT h.id, h.name, h.url, h.secret, h.kinds, h.name_glob, h.ca_pem, h.disabled, h.created_at,
                h.generation, h.delivered_revision, h.last_success_at, h.ping, w.last_error AS "last_error?",
                w.failed_attempts AS "failed_attempts?", w.due_at
               FROM webhooks h LEFT JOIN work w ON w.kind = 8 AND w.subject = h.id::text "# + $rest
            $(, $argument)*
        )
    };
}

impl From<Row> for WebhookRow {
    fn from(row: Row) -> Self {
        let failed_attempts = row.failed_attempts.unwrap_or(0);
        let status = wire::WebhookStatus {
            delivered_revision: row.delivered_revision,
            last_success_at: row.last_success_at.map(convert::timestamp),
            last_error: row.last_error.unwrap_or_default(),
            failed_attempts,
            next_attempt_at: row.due_at.filter(|_| failed_attempts > 0).map(convert::timestamp),
            ping_pending: row.ping,
        };
        let webhook = wire::Webhook {
            name: row.name,
            url: row.url,
            secret: row.secret,
            kinds: row.kinds,
            name_glob: row.name_glob,
            ca_pem: row.ca_pem,
            disabled: row.disabled,
            created_at: Some(convert::timestamp(row.created_at)),
            status: Some(status),
            etag: row.generation.to_string(),
        };
        Self { id: row.id, webhook }
    }
}

/// The webhook of this name; locked until the transaction ends, so that its state is not changed
/// by two at once.
pub(crate) async fn lock_by_name(
    connection: &mut PgConnection,
    name: &str,
) -> Result<Option<WebhookRow>, Failure> {
    let row = select_webhooks!("WHERE h.name = $1 FOR UPDATE OF h", name)
        .fetch_optional(connection)
        .await?;
    Ok(row.map(Into::into))
}

/// The webhook of this name.
pub(crate) async fn by_name(
    connection: &mut PgConnection,
    name: &str,
) -> Result<Option<WebhookRow>, Failure> {
    let row = select_webhooks!("WHERE h.name = $1", name)
        .fetch_optional(connection)
        .await?;
    Ok(row.map(Into::into))
}

/// The webhook of this row.
pub(crate) async fn by_id(connection: &mut PgConnection, id: i64) -> Result<Option<WebhookRow>, Failure> {
    let row = select_webhooks!("WHERE h.id = $1", id)
        .fetch_optional(connection)
        .await?;
    Ok(row.map(Into::into))
}

/// At most `rows` webhooks in the order of their names, after `after`.
pub(crate) async fn list(
    connection: &mut PgConnection,
    after: &str,
    rows: usize,
) -> Result<Vec<WebhookRow>, Failure> {
    let limit = i64::try_from(rows).unwrap_or(i64::MAX);
    let rows = select_webhooks!("WHERE h.name > $1 ORDER BY h.name LIMIT $2", after, limit)
        .fetch_all(connection)
        .await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// Adds a webhook; answers its row, or `None` when the name is taken.
pub(crate) async fn create(
    connection: &mut PgConnection,
    webhook: &wire::Webhook,
    delivered_revision: i64,
) -> Result<Option<i64>, Failure> {
    let id = sqlx::query_scalar!(
        "INSERT INTO webhooks (name, url, secret, kinds, name_glob, ca_pem, disabled, delivered_revision)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (name) DO NOTHING RETURNING id",
        webhook.name,
        webhook.url,
        webhook.secret,
        &webhook.kinds,
        webhook.name_glob,
        webhook.ca_pem,
        webhook.disabled,
        delivered_revision,
    )
    .fetch_optional(connection)
    .await?;
    Ok(id)
}

/// Records what a webhook is now.
pub(crate) async fn update(
    connection: &mut PgConnection,
    id: i64,
    webhook: &wire::Webhook,
) -> Result<(), Failure> {
    sqlx::query!(
        "UPDATE webhooks SET url = $2, secret = $3, kinds = $4, name_glob = $5, ca_pem = $6, disabled = $7,
             generation = generation + 1
         WHERE id = $1",
        id,
        webhook.url,
        webhook.secret,
        &webhook.kinds,
        webhook.name_glob,
        webhook.ca_pem,
        webhook.disabled,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Removes a webhook.
pub(crate) async fn delete(connection: &mut PgConnection, id: i64) -> Result<(), Failure> {
    sqlx::query!("DELETE FROM webhooks WHERE id = $1", id)
        .execute(connection)
        .await?;
    Ok(())
}

/// Notes that a ping was asked for.
pub(crate) async fn ask_for_ping(connection: &mut PgConnection, id: i64) -> Result<(), Failure> {
    sqlx::query!("UPDATE webhooks SET ping = true WHERE id = $1", id)
        .execute(connection)
        .await?;
    Ok(())
}

/// Records how far delivery is. Never goes back: what is told late changes nothing.
pub(crate) async fn delivered(
    connection: &mut PgConnection,
    id: i64,
    revision: i64,
    took_one: bool,
    pinged: bool,
) -> Result<(), Failure> {
    sqlx::query!(
        "UPDATE webhooks SET delivered_revision = greatest(delivered_revision, $2), ping = ping AND NOT $4,
             last_success_at = CASE WHEN $3 THEN now() ELSE last_success_at END
         WHERE id = $1",
        id,
        revision,
        took_one,
        pinged,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Has delivery begun anew with what the webhook is now; whoever was at it loses the lease.
pub(crate) async fn restart_delivery(
    connection: &mut PgConnection,
    id: i64,
    disabled: bool,
) -> Result<(), Failure> {
    sqlx::query!(
        "DELETE FROM work WHERE kind = $1 AND subject = $2::bigint::text",
        Kind::Deliver.code(),
        id,
    )
    .execute(&mut *connection)
    .await?;
    if disabled {
        return Ok(());
    }
    schedule::wake(connection, Kind::Deliver, &Subject::Webhook(id), "").await
}
