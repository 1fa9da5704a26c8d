//! Applications in the log.

use rootstock_proto::catalog::v1::{Application, Status};
use sqlx::PgConnection;

use super::{Keyed, Logged};
use crate::{failure::Failure, queries::applications};

impl Logged for Application {
    type Key = String;

    async fn load(connection: &mut PgConnection, names: &[String]) -> Result<Keyed<Self>, Failure> {
        Ok(keyed(applications::by_names(connection, names).await?))
    }

    async fn page(
        connection: &mut PgConnection,
        after: Option<&String>,
        limit: i64,
    ) -> Result<Keyed<Self>, Failure> {
        let after = after.map_or("", String::as_str);
        Ok(keyed(applications::page(connection, after, limit).await?))
    }

    /// The state of its version has the version's own changes: the application does not change with it.
    fn trim(&mut self) {
        if let Some(version) = &mut self.version {
            version.set_status(Status::Unspecified);
            version.error_message.clear();
            version.hidden = false;
            (version.deleted_at, version.delisted_at) = (None, None);
        }
    }
}

fn keyed(applications: Vec<Application>) -> Keyed<Application> {
    let applications = applications.into_iter();
    applications
        .map(|application| (application.name.clone(), application))
        .collect()
}
