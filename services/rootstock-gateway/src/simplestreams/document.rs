//! A document as it is handed out: its bytes, packed and plain, and what caches need to know.

use std::io::Write as _;

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::HeaderValue;
use rootstock_model::Digest;
use time::OffsetDateTime;

use crate::http::conditional::{Validators, http_date};

/// A document in both its forms. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    plain: Form,
    /// None when packing it failed, which memory alone can make it.
    gzip: Option<Form>,
}

/// A document's bytes in one encoding.
#[derive(Debug, Clone)]
pub(crate) struct Form {
    pub(crate) bytes: Bytes,
    pub(crate) validators: Validators,
}

impl Document {
    /// The document of these bytes. When they are those of the document `before`, it is that one:
    /// same validators, so that nobody fetches it again.
    pub(crate) fn new(bytes: Vec<u8>, before: Option<&Self>, now: OffsetDateTime) -> Self {
        if let Some(before) = before.filter(|before| before.plain.bytes == bytes) {
            return before.clone();
        }
        let modified = http_date(now);
        // A date is only as fine as a second: of two documents within one, the later goes without,
        // or whoever has the earlier would be told that it is current.
        let is_new =
            before.is_none_or(|before| before.plain.validators.last_modified.as_ref() != Some(&modified));
        let last_modified = Some(modified).filter(|_| is_new);
        let gzip = gzip(&bytes).ok();
        Self {
            plain: Form::new(bytes, last_modified.clone()),
            gzip: gzip.map(|packed| Form::new(packed, last_modified)),
        }
    }

    /// The form for a client that takes gzip, or does not.
    pub(crate) fn form(&self, takes_gzip: bool) -> (&Form, bool) {
        match &self.gzip {
            Some(form) if takes_gzip => (form, true),
            _ => (&self.plain, false),
        }
    }

    /// Bytes of the plain form.
    pub(crate) fn len(&self) -> usize {
        self.plain.bytes.len()
    }
}

impl Form {
    fn new(bytes: Vec<u8>, last_modified: Option<HeaderValue>) -> Self {
        let validators = Validators {
            etag: Validators::etag_of(&Digest::of(&bytes)),
            last_modified,
        };
        Self {
            bytes: bytes.into(),
            validators,
        }
    }
}

fn gzip(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    // The header bears no time: the same bytes packed twice are the same.
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes)?;
    encoder.finish()
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-11-22 05:24:00.1 UTC);
    const SAME_SECOND: OffsetDateTime = datetime!(2026-11-22 05:24:00.9 UTC);

    #[test]
    fn the_same_bytes_are_the_same_document_whenever_rendered() {
        let first = Document::new(b"x".to_vec(), None, NOW);
        let again = Document::new(b"x".to_vec(), Some(&first), NOW + time::Duration::HOUR);
        assert_eq!(again.plain.validators, first.plain.validators);
        let elsewhere = Document::new(b"x".to_vec(), None, NOW + time::Duration::HOUR);
        assert_eq!(
            elsewhere.plain.validators.etag, first.plain.validators.etag,
            "gateways agree"
        );
        let (packed, is_packed) = first.form(true);
        assert!(is_packed);
        assert_ne!(packed.validators.etag, first.plain.validators.etag);
        assert_eq!(packed.bytes, elsewhere.form(true).0.bytes);
    }

    #[test]
    fn two_documents_of_one_second_do_not_share_a_date() {
        let first = Document::new(b"x".to_vec(), None, NOW);
        assert!(first.plain.validators.last_modified.is_some());
        let second = Document::new(b"y".to_vec(), Some(&first), SAME_SECOND);
        assert_eq!(second.plain.validators.last_modified, None);
    }
}
