//! Remotes, how polling them goes, and what their offers lack.

use std::time::Duration;

use rootstock_model::{Credentials, Digest, LeftOut, Reason, limits, selection::Mode};
use rootstock_proto::{catalog::v1 as wire, convert, convert::RemoteSpec, sync::v1::Document};
use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::failure::Failure;

/// A remote and its row.
#[derive(Debug, Clone)]
pub(crate) struct RemoteRow {
    pub id: i64,
    /// Without its status, and with its credentials: callers must not see those.
    pub remote: wire::Remote,
}

struct Row {
    id: i64,
    name: String,
    url: String,
    protocol: String,
    mode: String,
    include: Vec<String>,
    exclude: Vec<String>,
    root_preference: Vec<String>,
    keep_versions: i32,
    update_interval_ms: Option<i64>,
    ca_pem: String,
    insecure: bool,
    created_at: OffsetDateTime,
    disabled: bool,
    version_constraint: String,
    auth: String,
    generation: i64,
}

macro_rules! select_remotes {
    ($rest:literal $(, $argument:expr)* $(,)?) => {
        sqlx::query_as!(
            Row,
            "SELECT id, name, url, protocol, mode, include, exclude, root_preference, keep_versions,
                update_interval_ms, ca_pem, insecure, created_at, disabled, version_constraint, auth, generation
             FROM remotes " + $rest
            $(, $argument)*
        )
    };
}

impl From<Row> for RemoteRow {
    fn from(row: Row) -> Self {
        let mode = if row.mode == Mode::OnDemand.as_str() {
            wire::RemoteMode::OnDemand
        } else {
            wire::RemoteMode::Mirror
        };
        let update_interval = row.update_interval_ms.map(|ms| prost_types::Duration {
            seconds: ms / 1000,
            // Less than a second of milliseconds fits.
            nanos: (ms % 1000) as i32 * 1_000_000,
        });
        let remote = wire::Remote {
            name: row.name,
            url: row.url,
            protocol: row.protocol,
            mode: mode.into(),
            include: row.include,
            exclude: row.exclude,
            root_preference: row.root_preference,
            keep_versions: row.keep_versions,
            update_interval,
            ca_pem: row.ca_pem,
            insecure: row.insecure,
            created_at: Some(convert::timestamp(row.created_at)),
            status: None,
            disabled: row.disabled,
            version_constraint: row.version_constraint,
            auth_set: !row.auth.is_empty(),
            auth: row.auth,
            etag: row.generation.to_string(),
        };
        Self { id: row.id, remote }
    }
}

/// The remote of this name.
pub(crate) async fn by_name(connection: &mut PgConnection, name: &str) -> Result<Option<RemoteRow>, Failure> {
    let row = select_remotes!("WHERE name = $1", name)
        .fetch_optional(connection)
        .await?;
    Ok(row.map(Into::into))
}

/// The remotes of these rows.
pub(crate) async fn by_ids(connection: &mut PgConnection, ids: &[i64]) -> Result<Vec<RemoteRow>, Failure> {
    let rows = select_remotes!("WHERE id = ANY($1)", ids)
        .fetch_all(connection)
        .await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// The remotes of these names.
pub(crate) async fn by_names(
    connection: &mut PgConnection,
    names: &[String],
) -> Result<Vec<RemoteRow>, Failure> {
    let rows = select_remotes!("WHERE name = ANY($1) ORDER BY name", names)
        .fetch_all(connection)
        .await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// A page of remotes in the order of their names, after `after`.
pub(crate) async fn page(
    connection: &mut PgConnection,
    after: &str,
    limit: i64,
) -> Result<Vec<RemoteRow>, Failure> {
    let rows = select_remotes!("WHERE name > $1 ORDER BY name LIMIT $2", after, limit)
        .fetch_all(connection)
        .await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// At most `rows` remotes in the order of their names, after `after`.
pub(crate) async fn list(
    connection: &mut PgConnection,
    after: &str,
    rows: usize,
) -> Result<Vec<RemoteRow>, Failure> {
    page(connection, after, i64::try_from(rows).unwrap_or(i64::MAX)).await
}

/// The columns that a description of a remote fills, but its name.
struct Columns {
    include: Vec<String>,
    exclude: Vec<String>,
    root_preference: Vec<String>,
    keep_versions: i32,
    update_interval_ms: Option<i64>,
    version_constraint: String,
    auth: String,
}

impl Columns {
    fn of(spec: &RemoteSpec) -> Self {
        fn texts(of: &[impl ToString]) -> Vec<String> {
            of.iter().map(ToString::to_string).collect()
        }
        let selection = &spec.selection;
        let interval = spec.update_interval;
        Self {
            include: texts(&selection.include),
            exclude: texts(&selection.exclude),
            root_preference: texts(&selection.root_preference),
            keep_versions: i32::try_from(selection.keep_versions).unwrap_or(i32::MAX),
            update_interval_ms: interval
                .map(|interval| i64::try_from(interval.as_millis()).unwrap_or(i64::MAX)),
            version_constraint: selection
                .version_constraint
                .map_or_else(String::new, |constraint| constraint.to_string()),
            auth: spec
                .endpoint
                .credentials
                .as_ref()
                .map_or_else(String::new, Credentials::to_text),
        }
    }
}

/// Adds a remote that is not there; answers its row.
pub(crate) async fn create(connection: &mut PgConnection, spec: &RemoteSpec) -> Result<i64, Failure> {
    let columns = Columns::of(spec);
    let id = sqlx::query_scalar!(
        "INSERT INTO remotes (name, url, protocol, mode, include, exclude, root_preference, keep_versions,
             update_interval_ms, ca_pem, insecure, disabled, version_constraint, auth)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) RETURNING id",
        spec.name.as_str(),
        spec.endpoint.url,
        spec.endpoint.protocol.as_str(),
        spec.selection.mode.as_str(),
        &columns.include,
        &columns.exclude,
        &columns.root_preference,
        columns.keep_versions,
        columns.update_interval_ms,
        spec.endpoint.ca_pem,
        spec.endpoint.insecure,
        spec.disabled,
        columns.version_constraint,
        columns.auth,
    )
    .fetch_one(&mut *connection)
    .await?;
    sqlx::query!("INSERT INTO remote_polls (remote_id) VALUES ($1)", id)
        .execute(connection)
        .await?;
    Ok(id)
}

/// Has a remote be as described, under its name.
pub(crate) async fn update(connection: &mut PgConnection, id: i64, spec: &RemoteSpec) -> Result<(), Failure> {
    let columns = Columns::of(spec);
    sqlx::query!(
        "UPDATE remotes SET url = $2, protocol = $3, mode = $4, include = $5, exclude = $6, root_preference = $7,
             keep_versions = $8, update_interval_ms = $9, ca_pem = $10, insecure = $11, disabled = $12,
             version_constraint = $13, auth = $14, generation = generation + 1
         WHERE id = $1",
        id,
        spec.endpoint.url,
        spec.endpoint.protocol.as_str(),
        spec.selection.mode.as_str(),
        &columns.include,
        &columns.exclude,
        &columns.root_preference,
        columns.keep_versions,
        columns.update_interval_ms,
        spec.endpoint.ca_pem,
        spec.endpoint.insecure,
        spec.disabled,
        columns.version_constraint,
        columns.auth,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Removes a remote and all that hangs on it alone. Its images must be without it already.
pub(crate) async fn delete(connection: &mut PgConnection, id: i64) -> Result<(), Failure> {
    sqlx::query!("DELETE FROM remotes WHERE id = $1", id)
        .execute(connection)
        .await?;
    Ok(())
}

/// How polling a remote goes.
pub(crate) async fn status(
    connection: &mut PgConnection,
    remote_id: i64,
) -> Result<wire::RemoteStatus, Failure> {
    let row = sqlx::query!(
        r#"WITH transfers AS (
               SELECT DISTINCT w.id, w.due_at IS NULL AND NOT w.held AND w.worker IS NULL AS gave_up
               FROM images i
               JOIN versions v ON v.image_id = i.id AND v.status IN (-1, 6)
               JOIN artifacts a ON a.version_id = v.id
               JOIN work w ON w.kind = 2 AND w.subject = encode(a.sha256, 'hex')
               WHERE i.remote_id = $1
           )
           SELECT p.last_attempt_at, p.last_success_at, p.last_error,
                CASE WHEN w.worker IS NULL THEN w.due_at END AS next_poll_at,
                (SELECT count(*) FROM images i WHERE i.remote_id = p.remote_id AND i.status <> 4) AS "images!",
                (SELECT count(*) FROM images i JOIN versions v ON v.image_id = i.id
                 WHERE i.remote_id = p.remote_id AND v.status = 3) AS "active_versions!",
                (SELECT count(*) FROM left_out l WHERE l.remote_id = p.remote_id) AS "left_out!",
                (SELECT count(*) FROM transfers t WHERE NOT t.gave_up) AS "pending!",
                (SELECT count(*) FROM transfers t WHERE t.gave_up) AS "failed!"
           FROM remote_polls p
           LEFT JOIN work w ON w.kind = 1 AND w.subject = p.remote_id::text
           WHERE p.remote_id = $1"#,
        remote_id,
    )
    .fetch_one(connection)
    .await?;
    Ok(wire::RemoteStatus {
        last_attempt_at: row.last_attempt_at.map(convert::timestamp),
        last_success_at: row.last_success_at.map(convert::timestamp),
        last_error: row.last_error,
        next_poll_at: row.next_poll_at.map(convert::timestamp),
        image_count: row.images,
        active_version_count: row.active_versions,
        left_out_count: row.left_out,
        pending_transfer_count: row.pending,
        failed_transfer_count: row.failed,
    })
}

/// Records how a poll went: an empty error is success.
pub(crate) async fn record_poll(
    connection: &mut PgConnection,
    remote_id: i64,
    error: &str,
) -> Result<(), Failure> {
    sqlx::query!(
        "UPDATE remote_polls SET last_attempt_at = now(), last_error = $2,
             last_success_at = CASE WHEN $2 = '' THEN now() ELSE last_success_at END
         WHERE remote_id = $1",
        remote_id,
        limits::cut_error(error),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What the last recorded snapshot was made of.
pub(crate) async fn documents(
    connection: &mut PgConnection,
    remote_id: i64,
) -> Result<Vec<Document>, Failure> {
    let rows = sqlx::query!(
        "SELECT path, etag, last_modified, sha256 FROM remote_documents WHERE remote_id = $1 ORDER BY path",
        remote_id,
    )
    .fetch_all(connection)
    .await?;
    let document = |path, etag, last_modified, sha256: Vec<u8>| Document {
        path,
        etag,
        last_modified,
        sha256: sha256.into(),
    };
    Ok(rows
        .into_iter()
        .map(|row| document(row.path, row.etag, row.last_modified, row.sha256))
        .collect())
}

/// Records what a snapshot was made of, in place of what was.
pub(crate) async fn set_documents(
    connection: &mut PgConnection,
    remote_id: i64,
    documents: &[(String, String, String, Digest)],
) -> Result<(), Failure> {
    sqlx::query!("DELETE FROM remote_documents WHERE remote_id = $1", remote_id)
        .execute(&mut *connection)
        .await?;
    for (path, etag, last_modified, sha256) in documents {
        sqlx::query!(
            "INSERT INTO remote_documents (remote_id, path, etag, last_modified, sha256) VALUES ($1, $2, $3, $4, $5)",
            remote_id,
            path,
            etag,
            last_modified,
            sha256.as_bytes(),
        )
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// Forgets what snapshots were made of: the next polls of these remotes begin anew.
pub(crate) async fn forget_documents(
    connection: &mut PgConnection,
    remote_ids: &[i64],
) -> Result<(), Failure> {
    sqlx::query!(
        "DELETE FROM remote_documents WHERE remote_id = ANY($1)",
        remote_ids
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The remotes that are polled.
pub(crate) async fn enabled(connection: &mut PgConnection) -> Result<Vec<i64>, Failure> {
    Ok(sqlx::query_scalar!("SELECT id FROM remotes WHERE NOT disabled")
        .fetch_all(connection)
        .await?)
}

/// The remotes that leave it to the setting how many versions are kept.
pub(crate) async fn with_default_keep_versions(connection: &mut PgConnection) -> Result<Vec<i64>, Failure> {
    Ok(
        sqlx::query_scalar!("SELECT id FROM remotes WHERE keep_versions = 0")
            .fetch_all(connection)
            .await?,
    )
}

/// Whether `index.json` was not asked for within `interval`.
pub(crate) async fn index_check_due(
    connection: &mut PgConnection,
    remote_id: i64,
    interval: Duration,
) -> Result<bool, Failure> {
    let due = sqlx::query_scalar!(
        r#"SELECT coalesce(index_checked_at < now() - $2 * interval '1 ms', true) AS "due!"
           FROM remote_polls WHERE remote_id = $1"#,
        remote_id,
        interval.as_secs_f64() * 1000.0,
    )
    .fetch_one(connection)
    .await?;
    Ok(due)
}

/// Records that `index.json` was asked for.
pub(crate) async fn index_checked(connection: &mut PgConnection, remote_id: i64) -> Result<(), Failure> {
    sqlx::query!(
        "UPDATE remote_polls SET index_checked_at = now() WHERE remote_id = $1",
        remote_id
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// At most `rows` things that the last poll left out, after the position `after`; each with its position.
pub(crate) async fn left_out_page(
    connection: &mut PgConnection,
    remote_id: i64,
    after: Option<i32>,
    rows: usize,
) -> Result<Vec<(i32, LeftOut)>, Failure> {
    let rows = sqlx::query!(
        "SELECT position, product, serial, item, reason, message FROM left_out
         WHERE remote_id = $1 AND position > $2 ORDER BY position LIMIT $3",
        remote_id,
        after.unwrap_or(-1),
        i64::try_from(rows).unwrap_or(i64::MAX),
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let reason = Reason::from_name(&row.reason)
                .ok_or_else(|| Failure::Corrupt(format!("reason {:?}", row.reason)))?;
            let left_out = LeftOut {
                product: row.product,
                serial: row.serial,
                item: row.item,
                reason,
                message: row.message,
            };
            Ok((row.position, left_out))
        })
        .collect()
}

/// What the last poll left out of one product, at most 1000 things.
pub(crate) async fn left_out_of_product(
    connection: &mut PgConnection,
    remote_id: i64,
    product: &str,
) -> Result<Vec<wire::LeftOut>, Failure> {
    let rows = sqlx::query_as!(
        wire::LeftOut,
        "SELECT product, serial, item, reason, message FROM left_out
         WHERE remote_id = $1 AND product = $2 ORDER BY position LIMIT 1000",
        remote_id,
        product,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows)
}

/// Records what a poll left out, in place of what was. The same again writes nothing.
pub(crate) async fn set_left_out(
    connection: &mut PgConnection,
    remote_id: i64,
    left_out: &[LeftOut],
) -> Result<(), Failure> {
    let before = left_out_page(connection, remote_id, None, usize::MAX).await?;
    if before.iter().map(|(_, left_out)| left_out).eq(left_out) {
        return Ok(());
    }
    sqlx::query!("DELETE FROM left_out WHERE remote_id = $1", remote_id)
        .execute(&mut *connection)
        .await?;
    let column =
        |of: fn(&LeftOut) -> &str| -> Vec<String> { left_out.iter().map(|one| of(one).to_owned()).collect() };
    sqlx::query!(
        "INSERT INTO left_out (remote_id, position, product, serial, item, reason, message)
         SELECT $1, position, product, serial, item, reason, message
         FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[])
             WITH ORDINALITY AS new (product, serial, item, reason, message, position)",
        remote_id,
        &column(|one| &one.product),
        &column(|one| &one.serial),
        &column(|one| &one.item),
        &column(|one| one.reason.as_str()),
        &column(|one| &one.message),
    )
    .execute(connection)
    .await?;
    Ok(())
}
