//! An image as it is read: its columns, and the message made of them.

use std::collections::HashMap;

use rootstock_model::Status;
use rootstock_proto::{catalog::v1 as wire, convert};
use sqlx::types::Json;
use time::OffsetDateTime;

use crate::{
    failure::Failure,
    queries::{digest, status, wire_image_type},
};

/// The columns of `image_details` that an [`ImageRow`] is made of: whatever reads images selects these.
macro_rules! image_columns {
    () => {
        "id, name, type, architecture, status, is_default, immutable, public, cached, source_product, properties, \
         expires_at, created_at, version_count, newest_version, auto_update, origin_id, release, hold_version, \
         hold_reason, hold_until, held_at, generation, last_used_at, remote, fingerprint, aliases, used_by"
    };
}
pub(in crate::queries) use image_columns;

/// An image as the view shows it.
#[derive(Debug, sqlx::FromRow)]
pub(in crate::queries) struct ImageRow {
    id: String,
    name: String,
    #[sqlx(rename = "type")]
    pub(in crate::queries) image_type: String,
    pub(in crate::queries) architecture: String,
    status: i16,
    is_default: bool,
    immutable: bool,
    public: bool,
    cached: bool,
    source_product: String,
    properties: Json<HashMap<String, String>>,
    expires_at: Option<OffsetDateTime>,
    created_at: OffsetDateTime,
    version_count: i32,
    newest_version: Option<i32>,
    auto_update: bool,
    origin_id: Option<String>,
    release: String,
    hold_version: Option<i32>,
    hold_reason: String,
    hold_until: Option<OffsetDateTime>,
    held_at: Option<OffsetDateTime>,
    generation: i64,
    last_used_at: Option<OffsetDateTime>,
    remote: Option<String>,
    fingerprint: Option<Vec<u8>>,
    aliases: Vec<String>,
    used_by: Vec<String>,
}

impl ImageRow {
    pub(in crate::queries) fn into_wire(self) -> Result<wire::Image, Failure> {
        let fingerprint = self.fingerprint.as_deref().map(digest).transpose()?;
        let (product, image_id, release) = (
            self.source_product,
            self.origin_id.unwrap_or_default(),
            self.release,
        );
        let source = self.remote.map(|remote| wire::ImageSource {
            remote,
            product,
            image_id,
            release,
        });
        let hold = self.hold_version.map(|version| wire::Hold {
            version,
            reason: self.hold_reason,
            until: self.hold_until.map(convert::timestamp),
            since: self.held_at.map(convert::timestamp),
        });
        let status = status(self.status)?;
        let variant = self.properties.get("variant").cloned().unwrap_or_default();
        let properties = match status {
            // One that may be taken up again still has them, and nobody is to be sent them until then.
            Status::Deleted => HashMap::new(),
            _ => self.properties.0,
        };
        Ok(wire::Image {
            id: self.id,
            name: self.name,
            r#type: wire_image_type(&self.image_type)?,
            architecture: self.architecture,
            variant,
            status: wire::Status::from(status).into(),
            default: self.is_default,
            immutable: self.immutable,
            public: self.public,
            cached: self.cached,
            source,
            properties,
            aliases: self.aliases,
            expires_at: self.expires_at.map(convert::timestamp),
            created_at: Some(convert::timestamp(self.created_at)),
            version_count: self.version_count,
            fingerprint: fingerprint
                .map(|fingerprint| fingerprint.to_hex())
                .unwrap_or_default(),
            versions: vec![],
            last_used_at: self.last_used_at.map(convert::timestamp),
            used_by: self.used_by,
            auto_update: self.auto_update,
            hold,
            etag: self.generation.to_string(),
            current_version: self.newest_version,
        })
    }
}

/// Images as they are shown.
pub(super) fn into_wire(rows: Vec<ImageRow>) -> Result<Vec<wire::Image>, Failure> {
    rows.into_iter().map(ImageRow::into_wire).collect()
}
