//! What workers and gateways report of blobs, recorded in the same way for both.

use rootstock_model::Digest;
use rootstock_proto::{Error, convert, sync::v1 as wire};

use super::{Lease, schedule};
use crate::{
    change::{Writer, activation},
    failure::Failure,
    queries::{
        blobs::{self, Combination},
        versions,
    },
};

/// The fingerprints of a message.
pub(crate) fn combinations(field: &str, messages: &[wire::Combination]) -> Result<Vec<Combination>, Error> {
    let digest =
        |index: usize, name: &str, bytes: &[u8]| convert::digest(&format!("{field}[{index}].{name}"), bytes);
    let facts = messages.iter().enumerate().map(|(index, message)| {
        Ok(Combination {
            metadata: digest(index, "metadata_sha256", &message.metadata_sha256)?,
            root: digest(index, "root_sha256", &message.root_sha256)?,
            fingerprint: digest(index, "fingerprint", &message.fingerprint)?,
        })
    });
    facts.collect()
}

/// Records that a blob is stored, ends the work that brought it, and unblocks what waited for the blob.
/// Returns how many versions turned active.
pub(crate) async fn record_blob(
    writer: &mut Writer,
    lease: Lease,
    sha256: &Digest,
    size_bytes: i64,
    facts: &[Combination],
) -> Result<i64, Failure> {
    blobs::record(writer.connection(), sha256, size_bytes).await?;
    blobs::record_combinations(writer.connection(), facts).await?;
    schedule::remove(writer.connection(), lease.work_id).await?;
    let roots = versions::roots_after(writer.connection(), sha256).await?;
    schedule::unblock_transfers(writer.connection(), &roots).await?;
    activation::reconcile(writer, &[*sha256]).await
}
