//! Versions in the log.

use rootstock_proto::catalog::v1::VersionChange;
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::{Keyed, Logged};
use crate::{
    failure::Failure,
    queries::{
        settings,
        versions::{self, VersionRow},
    },
};

impl Logged for VersionChange {
    /// The id of its row.
    type Key = i64;

    async fn load(connection: &mut PgConnection, ids: &[i64]) -> Result<Keyed<Self>, Failure> {
        Ok(keyed(versions::by_ids(connection, ids).await?))
    }

    /// Deleted ones too while their blobs are readable: a gateway has to serve these.
    async fn page(
        connection: &mut PgConnection,
        after: Option<&i64>,
        limit: i64,
    ) -> Result<Keyed<Self>, Failure> {
        let grace = settings::load(connection).await?.deletion_grace;
        let deleted_since = OffsetDateTime::now_utc() - grace;
        let after = after.copied().unwrap_or_default();
        Ok(keyed(
            versions::page_by_id(connection, after, deleted_since, limit).await?,
        ))
    }
}

fn keyed(rows: Vec<VersionRow>) -> Keyed<VersionChange> {
    rows.into_iter().map(|row| (row.id, row.into())).collect()
}
