//! Who may see what. Everything that shows an image, or gives out its bytes, asks here: the index, blobs
//! over HTTP, and `ContentService`.
//!
//! An audience is one file below `audience/` and one line of [`AUDIENCES`]. There are no identities yet: which
//! audience a client belongs to follows from the listener and the path that it comes to.

mod operator;
mod public;

use std::fmt;

use rootstock_model::Digest;
use time::OffsetDateTime;

use crate::read_model::{Image, ReadModel};

/// Every audience.
pub(crate) static AUDIENCES: &[&dyn Audience] = &[&public::Public, &operator::Operator];

/// A group of clients that see the same images.
pub(crate) trait Audience: fmt::Debug + Send + Sync {
    /// Names it, in configuration and logs.
    fn name(&self) -> &'static str;

    /// Whether it may see an image, and read the blobs of its versions.
    fn shows(&self, image: &Image) -> bool;

    /// The path below the HTTPS listener's root at which it finds its image server, such as `/view`; the
    /// root itself is empty. `None` for an audience that comes over gRPC alone.
    fn http_path(&self) -> Option<&'static str>;

    /// Whether it sees every image, and may make calls whose answers the gateway cannot narrow to an
    /// audience.
    fn is_unrestricted(&self) -> bool {
        false
    }

    /// The exact length of a blob that it may read: one of an image that it sees, in a version that is
    /// stored, was listed until less than the deletion grace ago, or is held by an application.
    fn grants(&self, model: &ReadModel, blob: &Digest, now: OffsetDateTime) -> Option<u64> {
        model.readable_blob(blob, |image| self.shows(image), now)
    }

    /// The images that a download of this blob is a use of.
    fn used_by_download_of(&self, model: &ReadModel, blob: &Digest) -> Vec<String> {
        model.used_by_download_of(blob, |image| self.shows(image))
    }
}

/// The audience of this name.
pub(crate) fn by_name(name: &str) -> Option<&'static dyn Audience> {
    AUDIENCES.iter().copied().find(|audience| audience.name() == name)
}

/// The audience that every client belongs to.
pub(crate) fn public() -> &'static dyn Audience {
    &public::Public
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn audiences_have_names_and_paths_of_their_own() {
        let names: BTreeSet<_> = AUDIENCES.iter().map(|audience| audience.name()).collect();
        assert_eq!(names.len(), AUDIENCES.len());
        let paths: Vec<_> = AUDIENCES
            .iter()
            .filter_map(|audience| audience.http_path())
            .collect();
        assert_eq!(paths.iter().collect::<BTreeSet<_>>().len(), paths.len());
        assert!(by_name(public().name()).is_some());
        assert!(!public().is_unrestricted(), "what everyone sees is narrowed");
    }
}
