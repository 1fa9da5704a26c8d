//! A stream of bytes into the blob store: verified, under a lease, resumable from its journal.
//!
//! Owns: the leases that a process holds and the heartbeat that keeps them ([`Leases`]), saving an
//! upload's journal through the catalog while bytes flow (`journal`), and the one loop that moves bytes
//! from a stream into an upload ([`Ingest`]). Transfers and uploads at a gateway both use it. Refuses to
//! know: where the bytes come from (any [`Stream`](futures::Stream)), how a failure is reported to their
//! sender, what other work there is, HTTP and SQL.
//!
//! Start reading at [`Ingest::receive`].

mod catalog;
mod ingest;
mod journal;
mod lease;

pub use catalog::{CatalogError, LeaseClient};
pub use ingest::{Ingest, Partial, Stopped, Stored, remove};
pub use lease::{LeaseGuard, LeaseLoss, Leases};
