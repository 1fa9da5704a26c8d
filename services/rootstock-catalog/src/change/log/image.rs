//! Images in the log.

use rootstock_proto::catalog::v1::{Image, Status};
use sqlx::PgConnection;

use super::{Keyed, Logged};
use crate::{failure::Failure, queries::images};

impl Logged for Image {
    /// Its id.
    type Key = String;

    async fn load(connection: &mut PgConnection, ids: &[String]) -> Result<Keyed<Self>, Failure> {
        Ok(keyed(images::by_ids(connection, ids).await?))
    }

    async fn page(
        connection: &mut PgConnection,
        after: Option<&String>,
        limit: i64,
    ) -> Result<Keyed<Self>, Failure> {
        let after = after.map_or("", String::as_str);
        Ok(keyed(images::page_by_id(connection, after, limit).await?))
    }

    /// Aliases have changes of their own; uses and the applications of an image have none. An image
    /// that was deleted and is remembered for its blobs is as good as gone.
    fn trim(&mut self) {
        self.aliases.clear();
        self.used_by.clear();
        self.last_used_at = None;
        if self.status() == Status::Deleted {
            self.trim_deleted();
        }
    }

    /// Properties are most of an image's bytes, and describe what can no longer be had.
    fn trim_deleted(&mut self) {
        self.properties.clear();
    }
}

fn keyed(images: Vec<Image>) -> Keyed<Image> {
    let images = images.into_iter();
    images.map(|image| (image.id.clone(), image)).collect()
}
