//! Content-addressed blobs on S3 or local disk.
//!
//! Owns: where a blob lies and under which headers (`key`), verified and resumable upload
//! ([`Upload`], [`UploadJournal`]), ranged reading ([`BlobReader`]), presigned URLs, and finding and
//! removing uploads that nobody finished. It is the only crate that writes objects. Refuses to know:
//! what an image is, SQL, gRPC, and where bytes come from.
//!
//! Start reading at [`BlobStore`], then [`Upload`]: one pass feeds the hashes and a *sink*. A store and a
//! sink are the traits `Backend` and `PartSink` (`backend`); `backends::local` writes staging files,
//! `backends::s3` multipart uploads. For tests (feature `test-support`) there are `backends::memory` and
//! `backends::faulty`, a store that fails where a test wants it to; no configuration leads to either.
//!
//! What holds for every backend:
//!
//! - A blob becomes visible in one step, and only after its size and SHA-256 were found right.
//! - Memory does not grow with the blob: see [`Upload`] for the bound.
//! - Every wait is bounded. S3 requests are retried here and nowhere above (`backends::s3::client`), never nested.
//! - A rustls crypto provider must be installed by the program before [`BlobStore::open`] sees an S3
//!   configuration (`rustls::crypto::ring::default_provider().install_default()`): a library that
//!   chose one would choose for the whole process.
//!
//! Metrics (the `store` label is the backend: `local` or `s3`):
//!
//! | name | kind | labels |
//! |---|---|---|
//! | `rootstock_blob_operations_total` | counter | `store`, `operation`, `outcome` |
//! | `rootstock_blob_operation_duration_seconds` | histogram | `store`, `operation` |
//! | `rootstock_blob_written_bytes_total` | counter | `store` |
//! | `rootstock_blob_read_bytes_total` | counter | `store` |
//! | `rootstock_blob_uploads_active` | gauge | `store` |

mod backend;
mod backends;
mod batch;
mod blob;
mod config;
mod error;
mod hash;
mod journal;
mod key;
mod read;
mod store;
mod telemetry;
mod upload;

#[cfg(feature = "test-support")]
pub use backends::faulty::{Fault, FaultPoint, Faults};
pub use blob::{BlobInfo, OpenUpload, PresignOptions, StoredBlob};
pub use config::{LocalConfig, PartIntegrity, S3Config, StoreConfig};
pub use error::{BlobError, JournalProblem, Operation, Outcome};
pub use hash::PrefixHash;
pub use journal::UploadJournal;
pub use read::BlobReader;
pub use rootstock_secret::Secret;
pub use store::BlobStore;
pub use upload::{Finished, Upload};
