//! Generated gRPC code, and the only place where wire meets model.
//!
//! Owns: the code made from `proto/`, the conversions between messages and the model's types
//! ([`convert`]), messages by descriptor ([`descriptor`]; as JSON: [`json`]; updates by field mask:
//! [`update`]), how secrets are kept from answers, the log and printing ([`redact`]), and what an error
//! looks like on the wire ([`error`]). Refuses to know: SQL, objects, and what any service does. Start
//! reading at [`error`].

pub mod changes;
pub mod codec;
pub mod convert;
pub mod descriptor;
pub mod error;
pub mod json;
pub mod redact;
pub mod update;

pub use error::{Error, FieldViolation, Refusal, RequirementViolation, ResourceKind};
pub use redact::Redact;

/// The public API.
pub mod catalog {
    /// Version 1.
    #[allow(missing_docs, unreachable_pub, clippy::all)]
    pub mod v1 {
        tonic::include_proto!("rootstock.catalog.v1");
    }
}

/// The workers' API: internal, never served at the edge.
pub mod sync {
    /// Version 1.
    #[allow(missing_docs, unreachable_pub, clippy::all)]
    pub mod v1 {
        tonic::include_proto!("rootstock.sync.v1");
    }
}

/// Descriptors of everything that may be seen at the edge, for reflection there.
pub const PUBLIC_DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/public.binpb"));

/// Descriptors of everything, for reflection on the catalog's own listener.
pub const ALL_DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/all.binpb"));
