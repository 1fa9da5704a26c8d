//! What can go wrong inside, and what callers see of it. Database errors are translated here, once,
//! by their SQLSTATE and constraint.

use rootstock_proto::Error;
use tonic::Status;

/// Why the catalog could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The URL is none.
    #[error("catalog.database_url is not a Postgres URL: {0}")]
    DatabaseUrl(sqlx::Error),
    /// The database cannot be reached or refused us.
    #[error("the database cannot be used: {0}")]
    Database(sqlx::Error),
    /// The schema is not the one this binary was made for.
    #[error("the database's schema does not fit: {0}; run `rootstock migrate`")]
    Schema(sqlx::migrate::MigrateError),
    /// The listener failed.
    #[error("the catalog's listener failed: {0}")]
    Serve(String),
}

/// Why a call failed: something to tell the caller, or a fault to log.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The caller is told as it is.
    Refused(Error),
    /// The database failed.
    Database(sqlx::Error),
    /// What the database holds makes no sense.
    Corrupt(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(error) => error.into(),
            Failure::Database(error) if is_transient(&error) => {
                tracing::warn!(error = %error, "database not usable");
                Error::Unavailable("the catalog's database is not usable right now; try again".to_owned())
                    .into()
            }
            Failure::Database(error) => {
                tracing::error!(error = %error, "database error");
                Error::Internal.into()
            }
            Failure::Corrupt(message) => {
                tracing::error!(
                    error = message,
                    "the database holds something that makes no sense"
                );
                Error::Internal.into()
            }
        }
    }
}

/// Whether the same transaction may well succeed when it is run again.
pub(crate) fn is_transient(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Tls(_) => {
            true
        }
        sqlx::Error::Protocol(_) => true,
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            // Connection exceptions, lost races, lock timeouts, cancelled statements, shutdowns, no room.
            ["08", "40", "55P03", "57014", "57P", "53"]
                .iter()
                .any(|class| code.starts_with(class))
        }),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_internal_reaches_a_caller() {
        for (failure, code) in [
            (
                Failure::Corrupt("row 7 of images".to_owned()),
                tonic::Code::Internal,
            ),
            (Failure::Database(sqlx::Error::RowNotFound), tonic::Code::Internal),
            (
                Failure::Database(sqlx::Error::PoolTimedOut),
                tonic::Code::Unavailable,
            ),
            (
                Failure::Database(sqlx::Error::Protocol("secret".to_owned())),
                tonic::Code::Unavailable,
            ),
        ] {
            let status = Status::from(failure);
            assert_eq!(status.code(), code, "{status}");
            for internal in ["row", "pool", "secret"] {
                assert!(!status.message().contains(internal), "{status}");
            }
        }
        let refused = Failure::from(Error::invalid("name", "is required"));
        assert_eq!(Status::from(refused).code(), tonic::Code::InvalidArgument);
    }
}
