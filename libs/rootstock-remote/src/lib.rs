//! Image servers behind one trait: what they offer, and the bytes of their files.
//!
//! Owns: the trait [`RemoteSource`], the protocols that implement it (one directory each), the HTTP
//! that they share, and the words for everything that can go wrong on the way. Refuses to know: the
//! catalog and its messages (offers are in the model's types), where the bytes go,
//! and SQL. Nothing is retried here: the next claim of the work is the retry.
//!
//! Start reading at [`RemoteSource`], then `protocols` (the registry) and `simplestreams`. `http` is
//! what every protocol over HTTP stands on.
//!
//! A new protocol is a variant of [`Protocol`](rootstock_model::Protocol), a directory beside
//! `simplestreams`, and a line for each capability in `protocols`.

pub mod http;
mod limits;
mod protocols;
pub mod simplestreams;
mod source;

pub use limits::{MAX_DOCUMENT_BYTES, RemoteLimits};
pub use protocols::{RemoteSources, probe};
pub use source::{KnownState, Opened, Polled, RemoteSource, Resume, Validators};
