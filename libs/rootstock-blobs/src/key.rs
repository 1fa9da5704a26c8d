//! Every key and its headers, spelled once.

use std::path::PathBuf;

use object_store::{Attribute, Attributes, path::Path};
use rootstock_model::Digest;

/// The folder of finished blobs, below the store's root or prefix.
const BLOBS: &str = "blobs/sha256";
/// The folder of staging files of the local store.
const UPLOADS: &str = "uploads";
/// The file that only proves that the store can be written.
const PROBE: &str = "uploads/.probe";

/// A place in a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key<'a> {
    /// A finished blob.
    Blob(&'a Digest),
    /// The folder that all finished blobs are in.
    Blobs,
    /// The folder of the blobs whose digests begin with this byte.
    BlobFolder(u8),
    /// The folder that all staging files are in (local only).
    Uploads,
    /// A staging file (local only).
    Upload(&'a UploadName),
    /// A file that proves that the store can be written (local only).
    Probe,
}

impl Key<'_> {
    /// The key in a bucket, or the path below the local root.
    pub(crate) fn relative(self) -> String {
        match self {
            Self::Blob(digest) => {
                let hex = digest.to_hex();
                format!("{BLOBS}/{}/{hex}", &hex[..2])
            }
            Self::Blobs => BLOBS.to_owned(),
            Self::BlobFolder(first) => format!("{BLOBS}/{first:02x}"),
            Self::Uploads => UPLOADS.to_owned(),
            Self::Upload(name) => format!("{UPLOADS}/{}", name.as_str()),
            Self::Probe => PROBE.to_owned(),
        }
    }

    /// The path below the local `root`.
    pub(crate) fn file(self, root: &std::path::Path) -> PathBuf {
        root.join(self.relative())
    }

    /// The key in a bucket whose keys all begin with `prefix`.
    pub(crate) fn object(self, prefix: &Path) -> Path {
        Path::from_iter(prefix.parts().chain(Path::from(self.relative()).parts()))
    }

    /// The headers that an object is stored with. Never a Content-Encoding: clients hash what they get.
    pub(crate) fn attributes() -> Attributes {
        Attributes::from_iter([(Attribute::ContentType, "application/octet-stream")])
    }
}

/// The digest that a blob's key in a bucket ends with.
pub(crate) fn digest_of_object(key: &str) -> Option<Digest> {
    let (folders, hex) = key.rsplit_once('/')?;
    let digest: Digest = hex.parse().ok()?;
    let expected = Key::Blob(&digest).relative();
    (hex == digest.to_hex() && folders.ends_with(expected.strip_suffix(hex)?.trim_end_matches('/')))
        .then_some(digest)
}

/// The name of a staging file: `<hex digest>.<nonce>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UploadName(String);

impl UploadName {
    /// A new name that no other upload has.
    pub(crate) fn new(digest: &Digest) -> Self {
        Self(format!("{digest}.{}", nonce()))
    }

    /// Takes a name found in the folder or in a journal; refuses what [`UploadName::new`] cannot have
    /// made, so that no text from outside leads to another file.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (hex, nonce) = text.split_once('.')?;
        let known = hex.parse::<Digest>().is_ok()
            && nonce.len() == NONCE_CHARS
            && nonce.bytes().all(|byte| byte.is_ascii_hexdigit());
        known.then(|| Self(text.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn digest(&self) -> Option<Digest> {
        self.0.split_once('.').and_then(|(hex, _)| hex.parse().ok())
    }
}

const NONCE_CHARS: usize = 16;

/// Sixteen random hex characters.
fn nonce() -> String {
    format!("{:016x}", rand::random::<u64>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_lies_in_a_folder_of_its_first_two_characters() {
        let digest = Digest::of(b"");
        let relative = Key::Blob(&digest).relative();
        assert_eq!(relative, format!("blobs/sha256/e3/{digest}"));
        assert_eq!(Key::Blob(&digest).object(&Path::default()).as_ref(), relative);
        let prefixed = Key::Blob(&digest).object(&Path::from("site/a"));
        assert_eq!(prefixed.as_ref(), format!("site/a/{relative}"));
        assert_eq!(digest_of_object(prefixed.as_ref()), Some(digest));
    }

    #[test]
    fn other_keys_have_no_digest() {
        let digest = Digest::of(b"");
        for key in [
            "",
            "blobs/sha256/e3/x",
            &format!("blobs/sha256/e4/{digest}"),
            &format!("other/{digest}"),
            &format!("blobs/sha256/e3/{}", digest.to_hex().to_uppercase()),
        ] {
            assert_eq!(digest_of_object(key), None, "{key}");
        }
    }

    #[test]
    fn only_names_of_staging_files_are_taken() {
        let digest = Digest::of(b"x");
        let name = UploadName::new(&digest);
        assert_eq!(UploadName::parse(name.as_str()), Some(name.clone()));
        assert_eq!(name.digest(), Some(digest));
        for text in [
            "",
            "..",
            "../x",
            ".probe",
            &format!("{digest}.short"),
            &format!("{digest}./../../../etc/a"),
        ] {
            assert_eq!(UploadName::parse(text), None, "{text}");
        }
    }
}
