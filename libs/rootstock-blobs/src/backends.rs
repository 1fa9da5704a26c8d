//! The backends: each implements [`Backend`], and none knows another.

#[cfg(feature = "test-support")]
pub(crate) mod faulty;
mod local;
#[cfg(feature = "test-support")]
pub(crate) mod memory;
mod s3;

use std::sync::Arc;

use crate::{backend::Backend, config::StoreConfig, error::BlobError};

/// Opens the configured backend. `memory` is not among them: nothing would outlive the process.
pub(crate) async fn open(config: &StoreConfig) -> Result<Arc<dyn Backend>, BlobError> {
    Ok(match config {
        StoreConfig::Local(config) => Arc::new(local::LocalStore::open(config).await?),
        StoreConfig::S3(config) => Arc::new(s3::S3Store::open(config).await?),
    })
}
