//! The images of a listing.

use rootstock_model::NamePattern;
use rootstock_proto::catalog::v1 as wire;
use sqlx::PgConnection;

use super::row::{image_columns, into_wire};
use crate::{failure::Failure, queries::select::Select};

/// Which images a listing wants.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    pub name: Option<NamePattern>,
    pub image_type: Option<&'static str>,
    pub remote: Option<String>,
    pub status: Option<i16>,
    pub alias: Option<String>,
    /// By the kernel's name.
    pub architecture: Option<&'static str>,
    /// An object of the properties that an image must have.
    pub properties: Option<serde_json::Value>,
    pub cached: Option<bool>,
    pub is_default: Option<bool>,
}

/// At most `rows` images of a listing in the order of (name, type), after `after`.
pub(crate) async fn list(
    connection: &mut PgConnection,
    filter: &Filter,
    after: (&str, &str),
    rows: usize,
) -> Result<Vec<wire::Image>, Failure> {
    const SELECT: &str = concat!(
        "SELECT ",
        image_columns!(),
        " FROM image_details WHERE status <> 4 AND (name, type) > ("
    );
    let mut select = Select::new(SELECT);
    if filter.properties.is_some() {
        // Whether their index or the order of names finds a page sooner depends on how many have them.
        select = select.plan_for_values();
    }
    select = select
        .bind(after.0, ", ")
        .bind(after.1, ")")
        .and_matches("name", filter.name.as_ref())
        .and(" AND type = ", filter.image_type, "")
        .and(" AND remote = ", filter.remote.as_deref(), "")
        .and(" AND status = ", filter.status, "")
        .and(
            " AND id = ANY(ARRAY(SELECT a.image_id FROM aliases a WHERE a.name = ",
            filter.alias.as_deref(),
            "))",
        )
        .and(" AND architecture = ", filter.architecture, "")
        .and(" AND properties @> ", filter.properties.as_ref(), "");
    // Few images are cached, and one of a type is the default: the indexes of these are for TRUE alone.
    select = match filter.cached {
        Some(true) => select.text(" AND cached"),
        Some(false) => select.text(" AND NOT cached"),
        None => select,
    };
    select = match filter.is_default {
        Some(true) => select.text(" AND is_default"),
        Some(false) => select.text(" AND NOT is_default"),
        None => select,
    };
    into_wire(
        select
            .text(" ORDER BY name, type")
            .fetch(connection, rows)
            .await?,
    )
}
