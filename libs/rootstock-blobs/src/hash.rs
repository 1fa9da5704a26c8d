//! The hashes of one upload: the blob's own and the combined fingerprints, fed in one pass, off the
//! runtime's threads, and saved in mid-stream.

use bytes::Bytes;
use rootstock_model::Digest;
use sha2::{
    Digest as _, Sha256,
    digest::common::hazmat::{SerializableState, SerializedState},
};
use tokio::task::JoinHandle;

use crate::error::BlobError;

/// Names the layout of a saved state. It is sha2's own and may change with its minor version: change
/// this text then, and journals of older versions are begun anew instead of being misread.
pub(crate) const STATE_LAYOUT: &str = "sha2-0.11";

/// What is hashed at once on the calling task. Anything larger goes to a blocking thread: SHA-256 does
/// some 1.7 GB/s with the CPU's own instructions and 0.3 GB/s without, so 64 KiB hold a runtime thread
/// for 40 to 200 µs.
const INLINE_BYTES: usize = 64 * 1024;

/// The hash of bytes that come before a blob's own: an image's fingerprint is the SHA-256 of its
/// metadata followed by its root, and only the root is being uploaded.
#[derive(Clone, Debug)]
pub struct PrefixHash {
    prefix: Digest,
    state: Sha256,
}

impl PrefixHash {
    /// Begins with the whole of `metadata`.
    pub fn over(metadata: &[u8]) -> Self {
        let state = Sha256::new_with_prefix(metadata);
        Self {
            prefix: digest_of(&state),
            state,
        }
    }

    /// The SHA-256 of the prefix alone: the name of the metadata's blob.
    pub fn prefix(&self) -> &Digest {
        &self.prefix
    }
}

fn digest_of(state: &Sha256) -> Digest {
    Digest::new(state.clone().finalize().into())
}

/// The running hashes of one upload.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hashes {
    blob: Sha256,
    combined: Vec<PrefixHash>,
}

/// The running hashes as a journal keeps them.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct SavedHashes {
    layout: String,
    blob: String,
    combined: Vec<SavedPrefix>,
}

#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct SavedPrefix {
    prefix: Digest,
    state: String,
}

impl Hashes {
    pub(crate) fn with_prefixes(combined: Vec<PrefixHash>) -> Self {
        Self {
            blob: Sha256::default(),
            combined,
        }
    }

    /// What was fed becomes the prefix of something else.
    pub(crate) fn into_prefix(self) -> PrefixHash {
        PrefixHash {
            prefix: self.blob(),
            state: self.blob,
        }
    }

    pub(crate) fn add(&mut self, prefix: PrefixHash) {
        self.combined.push(prefix);
    }

    /// The digest of what was fed.
    pub(crate) fn blob(&self) -> Digest {
        digest_of(&self.blob)
    }

    /// The digest of each prefix followed by what was fed.
    pub(crate) fn combined(&self) -> Vec<Digest> {
        self.combined
            .iter()
            .map(|combined| digest_of(&combined.state))
            .collect()
    }

    pub(crate) fn save(&self) -> SavedHashes {
        SavedHashes {
            layout: STATE_LAYOUT.to_owned(),
            blob: save(&self.blob),
            combined: self
                .combined
                .iter()
                .map(|combined| SavedPrefix {
                    prefix: combined.prefix,
                    state: save(&combined.state),
                })
                .collect(),
        }
    }

    fn feed(&mut self, pieces: &[Bytes]) {
        for piece in pieces {
            self.blob.update(piece);
            for combined in &mut self.combined {
                combined.state.update(piece);
            }
        }
    }
}

impl SavedHashes {
    /// The hashes to go on with; none when they were saved by another version or make no sense.
    pub(crate) fn restore(&self) -> Option<Hashes> {
        if self.layout != STATE_LAYOUT {
            return None;
        }
        let combined = self.combined.iter().map(|saved| {
            Some(PrefixHash {
                prefix: saved.prefix,
                state: restore(&saved.state)?,
            })
        });
        Some(Hashes {
            blob: restore(&self.blob)?,
            combined: combined.collect::<Option<_>>()?,
        })
    }

    pub(crate) fn prefixes(&self) -> Vec<Digest> {
        self.combined.iter().map(|saved| saved.prefix).collect()
    }
}

fn save(state: &Sha256) -> String {
    hex::encode(state.serialize())
}

fn restore(hex: &str) -> Option<Sha256> {
    let bytes = hex::decode(hex).ok()?;
    let state = <&SerializedState<Sha256>>::try_from(bytes.as_slice()).ok()?;
    Sha256::deserialize(state).ok()
}

/// Feeds the hashes on a blocking thread, one batch at a time, while the caller fetches the next.
#[derive(Debug)]
pub(crate) struct HashStage {
    idle: Hashes,
    running: Option<JoinHandle<Hashes>>,
}

impl HashStage {
    pub(crate) fn new(hashes: Hashes) -> Self {
        Self {
            idle: hashes,
            running: None,
        }
    }

    /// Waits for the batch before and starts with this one.
    pub(crate) async fn feed(&mut self, pieces: Vec<Bytes>) -> Result<(), BlobError> {
        let mut hashes = std::mem::take(self.join().await?);
        if pieces.iter().map(Bytes::len).sum::<usize>() <= INLINE_BYTES {
            hashes.feed(&pieces);
            self.idle = hashes;
        } else {
            self.running = Some(tokio::task::spawn_blocking(move || {
                hashes.feed(&pieces);
                hashes
            }));
        }
        Ok(())
    }

    /// The hashes, unless a batch is being hashed.
    pub(crate) fn idle(&mut self) -> Option<&mut Hashes> {
        self.running.is_none().then_some(&mut self.idle)
    }

    /// Waits until everything fed so far is hashed.
    pub(crate) async fn join(&mut self) -> Result<&mut Hashes, BlobError> {
        if let Some(running) = &mut self.running {
            self.idle = running.await.map_err(|_| BlobError::Interrupted)?;
            self.running = None;
        }
        Ok(&mut self.idle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn saved_in_mid_stream_and_restored_gives_the_same_digests() {
        let content: Vec<u8> = (0..1000_u32).flat_map(u32::to_le_bytes).collect();
        for split in [0, 1, 63, 64, 65, 1000, content.len()] {
            let (head, tail) = content.split_at(split);
            let mut hashes = Hashes::default();
            hashes.add(PrefixHash::over(b"metadata"));
            hashes.feed(&[Bytes::copy_from_slice(head)]);
            let mut restored = hashes.save().restore().unwrap();
            restored.feed(&[Bytes::copy_from_slice(tail)]);
            assert_eq!(restored.blob(), Digest::of(&content), "{split}");
            let image = [b"metadata".as_slice(), &content].concat();
            assert_eq!(restored.combined(), vec![Digest::of(&image)], "{split}");
            assert_eq!(hashes.save().prefixes(), vec![Digest::of(b"metadata")]);
        }
    }

    #[test]
    fn states_that_make_no_sense_are_refused() {
        let good = Hashes::default().save();
        for change in [
            |saved: &mut SavedHashes| saved.layout = "sha2-0.12".to_owned(),
            |saved: &mut SavedHashes| saved.blob = saved.blob[2..].to_owned(),
            |saved: &mut SavedHashes| saved.blob = "ff".repeat(104),
            |saved: &mut SavedHashes| saved.blob = "no".to_owned(),
        ] {
            let mut saved = good.clone();
            change(&mut saved);
            assert!(saved.restore().is_none(), "{saved:?}");
        }
    }

    #[tokio::test]
    async fn the_stage_hashes_small_and_large_batches_in_order() {
        let mut stage = HashStage::new(Hashes::default());
        let mut all = Vec::new();
        for (fill, len) in [
            (1, 10),
            (2, 3 * INLINE_BYTES),
            (3, INLINE_BYTES),
            (4, 2 * INLINE_BYTES),
        ] {
            let piece = vec![fill; len];
            all.extend_from_slice(&piece);
            stage.feed(vec![Bytes::from(piece)]).await.unwrap();
        }
        assert_eq!(stage.join().await.unwrap().blob(), Digest::of(&all));
    }
}
