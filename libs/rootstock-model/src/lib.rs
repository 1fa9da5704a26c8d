//! The vocabulary of the catalog, and its rules as pure functions.
//!
//! Owns: what a digest, a name, an architecture, a snapshot, a selection and a plan *are*, and
//! every decision that needs nothing but its arguments. Refuses to know: I/O, wire formats, SQL
//! and HTTP. Start reading at [`snapshot`] (what a remote offers), [`plan`](mod@plan) (what the
//! catalog makes of it) and [`image`] (what comes out).

pub mod architecture;
pub mod artifact;
pub mod constraint;
pub mod credentials;
pub mod default_image;
pub mod deletion;
pub mod digest;
pub mod duration;
pub mod endpoint;
pub mod explain;
pub mod ftype;
pub mod hold;
pub mod id;
pub mod image;
pub mod left_out;
pub mod limits;
pub mod name;
pub mod pattern;
pub mod plan;
pub mod properties;
pub mod reference;
pub mod release;
pub mod requirements;
pub mod selection;
pub mod serial;
pub mod settings;
pub mod snapshot;

pub use architecture::Architecture;
pub use artifact::{ArtifactLocation, ArtifactRef, ImagePart};
pub use constraint::VersionConstraint;
pub use credentials::Credentials;
pub use digest::Digest;
pub use endpoint::{Endpoint, Protocol};
pub use ftype::{MetadataFtype, RootFtype};
pub use id::Id;
pub use image::{ImageType, Status};
pub use left_out::{LeftOut, Reason};
pub use name::{AliasName, ApplicationName, ImageName, RemoteName, WebhookName};
pub use pattern::NamePattern;
