//! Verifying: the fingerprint of two blobs that were stored without it being computed.

use rootstock_ingest::LeaseGuard;
use rootstock_proto::{
    convert,
    sync::v1::{Combination, VerifyTask},
};

use crate::{work::WorkError, worker::Worker};

/// Reads the metadata blob, then the root, through one SHA-256, and reports the fingerprint.
pub(crate) async fn verify(
    worker: &Worker,
    held: &LeaseGuard,
    task: VerifyTask,
) -> Result<&'static str, WorkError> {
    let of_wire =
        |field, bytes| convert::digest(field, bytes).map_err(|error| WorkError::failed(error.to_string()));
    let metadata = of_wire("metadata_sha256", &task.metadata_sha256)?;
    let root = of_wire("root_sha256", &task.root_sha256)?;
    let prefix = worker.blobs.prefix_hash(&metadata).await?;
    let fingerprints = worker.blobs.combined_digests(vec![prefix], &root).await?;
    let [fingerprint] = fingerprints[..] else {
        return Err(WorkError::failed("the blob store computed no fingerprint"));
    };
    let combination = Combination {
        metadata_sha256: task.metadata_sha256,
        root_sha256: task.root_sha256,
        fingerprint: convert::digest_bytes(&fingerprint),
    };
    held.reporting();
    let answer = worker.catalog.finish_verify(held.lease(), combination).await?;
    tracing::info!(
        metadata.sha256 = %metadata, image.fingerprint = %fingerprint,
        activated_versions = answer.activated_versions, "fingerprint computed"
    );
    Ok("verified")
}
