//! How large things may be: what the catalog accepts, every reader can take.
//!
//! gRPC clients refuse messages of more than 4 MiB unless they are told otherwise, so a message holds at
//! most [`MAX_MESSAGE_BYTES`] of resources, and no single resource is larger than that.

/// Bytes of resources in one message. A message with one resource more than fits would still be half of
/// what every client takes.
pub const MAX_MESSAGE_BYTES: usize = 1024 * 1024;
