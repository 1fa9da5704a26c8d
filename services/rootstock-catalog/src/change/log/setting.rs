//! Settings in the log. There are no others than there ever were: they are only updated.

use rootstock_proto::catalog::v1::Setting;
use sqlx::PgConnection;

use super::{Keyed, Logged};
use crate::{failure::Failure, queries};

impl Logged for Setting {
    type Key = String;

    async fn load(connection: &mut PgConnection, keys: &[String]) -> Result<Keyed<Self>, Failure> {
        let mut settings = all(connection).await?;
        settings.retain(|(key, _)| keys.contains(key));
        Ok(settings)
    }

    /// Few, and bounded: all of them are the first page.
    async fn page(
        connection: &mut PgConnection,
        after: Option<&String>,
        _: i64,
    ) -> Result<Keyed<Self>, Failure> {
        match after {
            None => all(connection).await,
            Some(_) => Ok(vec![]),
        }
    }
}

async fn all(connection: &mut PgConnection) -> Result<Keyed<Setting>, Failure> {
    let settings = queries::settings::load(connection).await?;
    let as_shown = queries::settings::as_wire(&settings).into_iter();
    Ok(as_shown.map(|setting| (setting.key.clone(), setting)).collect())
}
