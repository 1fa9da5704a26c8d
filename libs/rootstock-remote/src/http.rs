//! HTTP towards image servers: connections, documents, files, and what can go wrong.
//!
//! Every wait has an end: connecting, the head of an answer, each read of a body, and a body that
//! trickles.

mod body;
mod cause;
mod clients;
mod document;
mod error;
mod file;
mod low_speed;
mod probe;
mod redirect;
mod retry_after;
mod server;

pub use body::Body;
pub use cause::root_cause;
pub use clients::OldestTls;
pub use error::{FetchError, FetchErrorKind, Problem, Target, TlsProblem};
pub use probe::ProbedFile;
pub use retry_after::of as retry_after;

pub(crate) use clients::HttpClients;
pub(crate) use document::{Fetched, FetchedDocument};
pub(crate) use server::HttpServer;
