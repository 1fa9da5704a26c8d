//! Settings.

use rootstock_model::settings::{self, Definition, Settings};
use rootstock_proto::catalog::v1::Setting;
use sqlx::PgConnection;

use crate::failure::Failure;

/// The settings in force.
pub(crate) async fn load(connection: &mut PgConnection) -> Result<Settings, Failure> {
    let rows = sqlx::query!("SELECT key, value FROM settings")
        .fetch_all(connection)
        .await?;
    Settings::from_pairs(rows.iter().map(|row| (row.key.as_str(), row.value.as_str())))
        .map_err(|error| Failure::Corrupt(error.to_string()))
}

/// Keeps what was set, or forgets it.
pub(crate) async fn store(
    connection: &mut PgConnection,
    key: &str,
    value: Option<&str>,
) -> Result<(), Failure> {
    match value {
        Some(value) => {
            sqlx::query!(
                "INSERT INTO settings (key, value) VALUES ($1, $2)
                 ON CONFLICT (key) DO UPDATE SET value = excluded.value WHERE settings.value <> excluded.value",
                key,
                value,
            )
            .execute(connection)
            .await?;
        }
        None => {
            sqlx::query!("DELETE FROM settings WHERE key = $1", key)
                .execute(connection)
                .await?;
        }
    }
    Ok(())
}

/// One setting in force, as it is shown.
pub(crate) fn one_as_wire(settings: &Settings, definition: &Definition) -> Setting {
    Setting {
        key: definition.key.to_owned(),
        value: settings.value(definition),
        default_value: Settings::default().value(definition),
        description: format!("{}: {}", definition.description, definition.expected),
    }
}

/// The settings in force, as they are shown.
pub(crate) fn as_wire(settings: &Settings) -> Vec<Setting> {
    settings::ALL
        .iter()
        .map(|definition| one_as_wire(settings, definition))
        .collect()
}
