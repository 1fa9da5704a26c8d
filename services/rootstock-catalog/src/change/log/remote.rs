//! Remotes in the log.

use rootstock_proto::catalog::v1::Remote;
use sqlx::PgConnection;

use super::{Keyed, Logged};
use crate::{
    failure::Failure,
    queries::remotes::{self, RemoteRow},
};

impl Logged for Remote {
    type Key = String;

    async fn load(connection: &mut PgConnection, names: &[String]) -> Result<Keyed<Self>, Failure> {
        Ok(keyed(remotes::by_names(connection, names).await?))
    }

    async fn page(
        connection: &mut PgConnection,
        after: Option<&String>,
        limit: i64,
    ) -> Result<Keyed<Self>, Failure> {
        let after = after.map_or("", String::as_str);
        Ok(keyed(remotes::page(connection, after, limit).await?))
    }

    /// How polling goes changes with every poll; certificates are many bytes that no watcher needs.
    fn trim(&mut self) {
        self.status = None;
        self.ca_pem.clear();
    }
}

fn keyed(rows: Vec<RemoteRow>) -> Keyed<Remote> {
    let rows = rows.into_iter();
    rows.map(|row| (row.remote.name.clone(), row.remote)).collect()
}
