//! The files that make an image, as users have them: what a file is ([`FileKind`]), what the metadata
//! in an archive says ([`inspect`]), and an archive with metadata of one's own ([`Metadata::to_tar_xz`]).
//!
//! Owns: the formats. Refuses to know: where bytes come from or go to, and what becomes of an image.
//! Nothing is ever unpacked: an archive is walked through, within [`Limits`], for the one file that
//! counts. Start reading at [`inspect`]; `walk` has the archive's entries, `decompress` what is around
//! them, `metadata` what is in the file.
//!
//! Archives come from anywhere. What holds whatever they hold: memory is bounded (some 70 MiB for the
//! worst xz), so is the work, and no name leads out of the archive.

mod decompress;
mod detect;
mod error;
mod inspect;
mod metadata;
mod walk;

pub use detect::{Compression, FileKind, HEAD_BYTES};
pub use error::ArchiveError;
pub use inspect::{Contents, Limits, inspect};
pub use metadata::Metadata;
