//! Aliases in the log.

use rootstock_proto::catalog::v1::Alias;
use sqlx::PgConnection;

use super::{Keyed, Logged};
use crate::{
    failure::Failure,
    queries::aliases::{self, OwnedKey},
};

impl Logged for Alias {
    type Key = OwnedKey;

    async fn load(connection: &mut PgConnection, keys: &[OwnedKey]) -> Result<Keyed<Self>, Failure> {
        aliases::by_keys(connection, keys).await
    }

    async fn page(
        connection: &mut PgConnection,
        after: Option<&OwnedKey>,
        limit: i64,
    ) -> Result<Keyed<Self>, Failure> {
        aliases::page(connection, after, limit).await
    }
}
