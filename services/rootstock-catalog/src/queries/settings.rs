//! Settings.

use rootstock_model::settings::Settings;
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

/// The settings in force, as they are shown.
pub(crate) fn as_wire(settings: &Settings) -> Vec<Setting> {
    let defaults = Settings::default().pairs().into_iter();
    let pairs = settings.pairs().into_iter().zip(defaults);
    pairs
        .map(|((key, value), (_, default_value))| Setting {
            key: key.to_owned(),
            value,
            default_value,
            description: String::new(),
        })
        .collect()
}
