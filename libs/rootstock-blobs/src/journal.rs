//! What is saved so that another process can continue an upload.

use std::collections::BTreeMap;

use rootstock_model::Digest;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    error::{BlobError, JournalProblem},
    hash::SavedHashes,
    telemetry::StoreKind,
};

/// Begins every journal.
const MAGIC: &[u8; 4] = b"RSUJ";
/// The format; another one is refused, and the upload starts over.
const VERSION: u8 = 1;
const CHECKSUM_BYTES: usize = 32;
const HEADER_BYTES: usize = MAGIC.len() + 1 + CHECKSUM_BYTES;

/// The state of an upload at the end of a part: which parts are stored, and every hash so far.
///
/// It is good until the upload is finished or aborted, for the store that it came from. Its size is
/// some 600 bytes, 300 more per combined fingerprint and, on S3, some 40 per part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UploadJournal {
    pub(crate) digest: Digest,
    pub(crate) size_bytes: u64,
    pub(crate) part_size_bytes: u64,
    pub(crate) offset: u64,
    pub(crate) hashes: SavedHashes,
    pub(crate) place: Place,
    pub(crate) validator: Option<String>,
}

/// Where the stored parts are, in the backend's own terms: one entry, from the kind of the store to whatever
/// that backend reads again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Place(BTreeMap<String, serde_json::Value>);

impl Place {
    pub(crate) fn new(kind: StoreKind, place: &impl Serialize) -> Self {
        // Structs of strings and numbers always have a JSON form.
        let place = serde_json::to_value(place).unwrap_or_default();
        Self(BTreeMap::from([(kind.label().to_owned(), place)]))
    }

    /// What a backend of this kind wrote.
    pub(crate) fn read<T: DeserializeOwned>(&self, kind: StoreKind) -> Result<T, BlobError> {
        let place = self
            .0
            .get(kind.label())
            .ok_or(BlobError::JournalUnusable(JournalProblem::OtherStore))?;
        T::deserialize(place).map_err(|_| BlobError::JournalUnusable(JournalProblem::OtherFormat))
    }
}

impl UploadJournal {
    /// The blob being uploaded.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The size of the whole blob.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// How many bytes are stored: where the source must go on.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// What the caller attached with [`Upload::set_validator`](crate::Upload::set_validator): the
    /// source's ETag, say, to ask for the rest of the same content.
    pub fn validator(&self) -> Option<&str> {
        self.validator.as_deref()
    }

    /// The SHA-256 of each prefix that a combined digest is computed for, in the order in which
    /// [`Finished::combined`](crate::Finished) will hold them.
    pub fn prefixes(&self) -> Vec<Digest> {
        self.hashes.prefixes()
    }

    /// The journal as bytes to be saved: a header, a SHA-256 over the rest, and the rest.
    pub fn to_bytes(&self) -> Vec<u8> {
        // A struct of strings and numbers always has a JSON form.
        let body = serde_json::to_vec(self).unwrap_or_default();
        let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
        bytes.extend_from_slice(MAGIC);
        bytes.push(VERSION);
        bytes.extend_from_slice(Digest::of(&body).as_bytes());
        bytes.extend_from_slice(&body);
        bytes
    }

    /// Reads what [`UploadJournal::to_bytes`] wrote. A single changed bit is noticed.
    ///
    /// # Errors
    ///
    /// [`BlobError::JournalUnusable`]: start the upload over.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BlobError> {
        let damaged = || BlobError::JournalUnusable(JournalProblem::Damaged);
        let (header, body) = bytes.split_at_checked(HEADER_BYTES).ok_or_else(damaged)?;
        let (magic, rest) = header.split_at(MAGIC.len());
        let (version, checksum) = rest.split_at(1);
        if magic != MAGIC || checksum != Digest::of(body).as_bytes() {
            return Err(damaged());
        }
        if version != [VERSION] {
            return Err(BlobError::JournalUnusable(JournalProblem::OtherFormat));
        }
        let journal: Self = serde_json::from_slice(body)
            .map_err(|_| BlobError::JournalUnusable(JournalProblem::OtherFormat))?;
        match journal.is_plausible() {
            true => Ok(journal),
            false => Err(damaged()),
        }
    }

    fn is_plausible(&self) -> bool {
        self.part_size_bytes > 0 && self.offset <= self.size_bytes && self.place.0.len() == 1
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::hash::{Hashes, PrefixHash};

    const S3: StoreKind = StoreKind::new("s3");

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Parts {
        upload_id: String,
        parts: Vec<String>,
    }

    fn parts() -> Parts {
        Parts {
            upload_id: "id".into(),
            parts: vec!["\"a\"".into(), "\"b\"".into()],
        }
    }

    fn journal() -> UploadJournal {
        let mut hashes = Hashes::default();
        hashes.add(PrefixHash::over(b"metadata"));
        UploadJournal {
            digest: Digest::of(b"blob"),
            size_bytes: 100,
            part_size_bytes: 16,
            offset: 32,
            hashes: hashes.save(),
            place: Place::new(S3, &parts()),
            validator: Some("W/\"1\"".into()),
        }
    }

    #[test]
    fn bytes_and_back() {
        assert_eq!(
            UploadJournal::from_bytes(&journal().to_bytes()).unwrap(),
            journal()
        );
    }

    #[test]
    fn a_place_is_read_by_its_own_kind_of_store_only() {
        let place: Place =
            serde_json::from_str(r#"{"s3":{"upload_id":"id","parts":["\"a\"","\"b\""]}}"#).unwrap();
        assert_eq!(
            place,
            Place::new(S3, &parts()),
            "journals that are saved have this form"
        );
        assert_eq!(place.read::<Parts>(S3).unwrap(), parts());
        let problem = |result: Result<Parts, BlobError>| match result.unwrap_err() {
            BlobError::JournalUnusable(problem) => problem,
            other => panic!("{other}"),
        };
        assert_eq!(
            problem(place.read(StoreKind::new("local"))),
            JournalProblem::OtherStore
        );
        let unknown = Place::new(S3, &serde_json::json!({"upload_id": "id"}));
        assert_eq!(problem(unknown.read(S3)), JournalProblem::OtherFormat);
    }

    #[test]
    fn a_later_format_is_not_read() {
        let mut bytes = journal().to_bytes();
        bytes[MAGIC.len()] = VERSION + 1;
        let error = UploadJournal::from_bytes(&bytes).unwrap_err();
        assert!(
            matches!(error, BlobError::JournalUnusable(JournalProblem::OtherFormat)),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn any_flipped_bit_is_noticed(position in any::<prop::sample::Index>(), bit in 0..8_u32) {
            let mut bytes = journal().to_bytes();
            let position = position.index(bytes.len());
            bytes[position] ^= 1_u8 << bit;
            prop_assert!(matches!(UploadJournal::from_bytes(&bytes), Err(BlobError::JournalUnusable(_))));
        }

        #[test]
        fn a_cut_journal_is_noticed(length in any::<prop::sample::Index>()) {
            let bytes = journal().to_bytes();
            prop_assert!(UploadJournal::from_bytes(&bytes[..length.index(bytes.len())]).is_err());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(UploadJournal::from_bytes(&bytes).is_err());
        }
    }
}
