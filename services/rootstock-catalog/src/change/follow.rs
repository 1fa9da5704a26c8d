//! How added images follow the synced images that they are made of.

use rootstock_model::{Status, serial};
use rootstock_proto::catalog::v1::ChangeOperation;

use super::{retention, writer::Writer};
use crate::{
    failure::Failure,
    queries::{added, versions},
};

/// Lets the added images that follow these images take what those show now, if it is newer than all
/// they have or had deleted. It is stored already, so it is active at once. Answers those that did.
pub(crate) async fn follow_shown(writer: &mut Writer, origins: &[String]) -> Result<Vec<String>, Failure> {
    let mut followers = vec![];
    if origins.is_empty() {
        return Ok(followers);
    }
    for behind in added::behind(writer.connection(), origins).await? {
        let is_newer = |own: &String| serial::compare(own, &behind.serial).is_lt();
        if !behind.own_serials.iter().all(is_newer) {
            continue;
        }
        let copies =
            added::copy_versions(writer.connection(), &behind.image_id, &[behind.version_id]).await?;
        versions::set_status(writer.connection(), &copies, Status::Active, "").await?;
        versions::hide_arrivals(writer.connection(), &copies).await?;
        for copy in copies {
            writer.version(copy, ChangeOperation::Created);
        }
        writer.image(&behind.image_id, ChangeOperation::Updated);
        retention::enforce(writer, std::slice::from_ref(&behind.image_id)).await?;
        followers.push(behind.image_id);
    }
    Ok(followers)
}
