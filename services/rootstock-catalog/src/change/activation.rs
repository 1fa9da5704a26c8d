//! Activation: how a version becomes visible.
//!
//! A version turns active in one transaction with its aliases, its image's default and the
//! retirement of what it displaces, and only when every blob is stored and its fingerprint is known
//! to be right (semantics §2.4, §2.5, §2.9).

use std::collections::{BTreeMap, BTreeSet};

use rootstock_model::{Digest, Status};
use rootstock_proto::catalog::v1::ChangeOperation;

use super::{retention, writer::Writer};
use crate::{
    failure::Failure,
    metrics,
    queries::{
        blobs,
        versions::{self, Waiting},
    },
    work::schedule::{self, NewTransfer},
};

/// Looks again at the queued versions that have one of these blobs: those that are whole turn
/// active, those that can never be turn into errors, and fingerprints that nobody computed yet are
/// queued for it. Answers how many turned active.
pub(crate) async fn reconcile(writer: &mut Writer, stored: &[Digest]) -> Result<i64, Failure> {
    let mut waiting = versions::waiting_for(writer.connection(), stored).await?;
    waiting.retain(|version| {
        version
            .files
            .iter()
            .all(|(.., stored_bytes)| stored_bytes.is_some())
    });
    let pairs: Vec<_> = waiting.iter().filter_map(pair).collect();
    let known = blobs::combinations(writer.connection(), &pairs).await?;
    let mut unknown = BTreeSet::new();
    let mut activated = Vec::new();
    for version in waiting {
        match judge(&version, &known) {
            Verdict::Wrong(message) => fail_version(writer, &version, &message).await?,
            Verdict::Unverified(pair) => {
                unknown.insert(pair);
            }
            Verdict::Whole(fingerprint) => {
                if version.fingerprint != Some(fingerprint) {
                    versions::set_fingerprint(writer.connection(), version.id, &fingerprint).await?;
                }
                activated.push(version);
            }
        }
    }
    schedule::queue_verifications(writer.connection(), &unknown).await?;
    activate(writer, &activated).await?;
    Ok(i64::try_from(activated.len()).unwrap_or(i64::MAX))
}

enum Verdict {
    Whole(Digest),
    Unverified((Digest, Digest)),
    Wrong(String),
}

fn judge(version: &Waiting, known: &BTreeMap<(Digest, Digest), Digest>) -> Verdict {
    for (sha256, claimed_bytes, stored_bytes) in &version.files {
        if stored_bytes.is_some_and(|stored_bytes| stored_bytes != *claimed_bytes) {
            let stored_bytes = stored_bytes.unwrap_or_default();
            return Verdict::Wrong(format!(
                "the remote claims {claimed_bytes} bytes for {sha256}, which has {stored_bytes}"
            ));
        }
    }
    let computed = match (pair(version), &version.files[..]) {
        (Some(pair), _) => match known.get(&pair) {
            Some(computed) => *computed,
            None => return Verdict::Unverified(pair),
        },
        (None, [(sha256, ..), ..]) => *sha256,
        (None, []) => return Verdict::Wrong("it has no files".to_owned()),
    };
    match version.fingerprint {
        Some(claimed) if claimed != computed => Verdict::Wrong(format!(
            "the remote claims the fingerprint {claimed}, and the files have {computed}"
        )),
        _ => Verdict::Whole(computed),
    }
}

/// Metadata and root of a split image.
fn pair(version: &Waiting) -> Option<(Digest, Digest)> {
    match &version.files[..] {
        [(metadata, ..), (root, ..)] => Some((*metadata, *root)),
        _ => None,
    }
}

async fn fail_version(writer: &mut Writer, version: &Waiting, message: &str) -> Result<(), Failure> {
    tracing::warn!(image.id = version.image_id, error = message, "version refused");
    metrics::refused();
    versions::set_status(writer.connection(), &[version.id], Status::Error, message).await?;
    writer.version(version.id, ChangeOperation::Updated);
    writer.image(&version.image_id, ChangeOperation::Updated);
    Ok(())
}

async fn activate(writer: &mut Writer, activated: &[Waiting]) -> Result<(), Failure> {
    if activated.is_empty() {
        return Ok(());
    }
    metrics::activated(activated.len());
    let ids: Vec<i64> = activated.iter().map(|version| version.id).collect();
    versions::set_status(writer.connection(), &ids, Status::Active, "").await?;
    versions::hide_arrivals(writer.connection(), &ids).await?;
    for version in activated {
        writer.version(version.id, ChangeOperation::Updated);
        writer.image(&version.image_id, ChangeOperation::Updated);
    }
    let images: BTreeSet<&String> = activated.iter().map(|version| &version.image_id).collect();
    retention::enforce(writer, &images.into_iter().cloned().collect::<Vec<_>>()).await
}

/// Has the blobs fetched that queued versions lack, and activates those that lack none. Answers how
/// many transfers were queued.
///
/// The transfer of a root waits for its metadata, a small file: then the fingerprint of both comes
/// out of the same pass over the root's bytes.
pub(crate) async fn request_blobs(
    writer: &mut Writer,
    files: &[Vec<Digest>],
    traceparent: &str,
) -> Result<i64, Failure> {
    let all: BTreeSet<Digest> = files.iter().flatten().copied().collect();
    let all: Vec<Digest> = all.into_iter().collect();
    let stored = blobs::stored(writer.connection(), &all).await?;
    // A blob that two versions want is held only if both hold it.
    let mut transfers: BTreeMap<Digest, bool> = BTreeMap::new();
    for version in files {
        for (position, sha256) in version.iter().enumerate() {
            if !stored.contains(sha256) {
                let held = position > 0 && version.first().is_some_and(|first| !stored.contains(first));
                let entry = transfers.entry(*sha256).or_insert(held);
                *entry = *entry && held;
            }
        }
    }
    let transfers = transfers
        .into_iter()
        .map(|(sha256, held)| NewTransfer {
            sha256,
            blocked: held,
        })
        .collect();
    let queued = schedule::queue_transfers(writer.connection(), &transfers, traceparent).await?;
    reconcile(writer, &all).await?;
    Ok(queued)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(of: &str) -> Digest {
        Digest::of(of.as_bytes())
    }

    fn waiting(fingerprint: Option<Digest>, files: &[(&str, i64, Option<i64>)]) -> Waiting {
        Waiting {
            id: 1,
            image_id: "one".to_owned(),
            fingerprint,
            files: files
                .iter()
                .map(|(of, claimed, stored)| (digest(of), *claimed, *stored))
                .collect(),
        }
    }

    /// What is made of the version, in a word and what goes with it.
    fn verdict(version: &Waiting) -> (&'static str, String) {
        let known = BTreeMap::from([((digest("metadata"), digest("root")), digest("both"))]);
        match judge(version, &known) {
            Verdict::Whole(fingerprint) => ("whole", fingerprint.to_string()),
            Verdict::Unverified((metadata, root)) => ("unverified", format!("{metadata} {root}")),
            Verdict::Wrong(message) => ("wrong", message),
        }
    }

    #[test]
    fn a_version_is_whole_only_when_every_claim_is_known_to_be_true() {
        let split = [("metadata", 1, Some(1)), ("root", 2, Some(2))];
        let both = ("whole", digest("both").to_string());
        assert_eq!(verdict(&waiting(None, &split)), both, "nothing was claimed");
        assert_eq!(verdict(&waiting(Some(digest("both")), &split)), both);
        let (word, message) = verdict(&waiting(Some(digest("else")), &split));
        assert_eq!(word, "wrong");
        assert!(
            message.contains(&digest("else").to_string()) && message.contains(&both.1),
            "{message}"
        );

        let unknown = [("metadata", 1, Some(1)), ("other root", 2, Some(2))];
        let expected = format!("{} {}", digest("metadata"), digest("other root"));
        assert_eq!(verdict(&waiting(None, &unknown)), ("unverified", expected));

        let unified = [("unified", 3, Some(3))];
        assert_eq!(
            verdict(&waiting(None, &unified)),
            ("whole", digest("unified").to_string())
        );
        assert_eq!(verdict(&waiting(Some(digest("else")), &unified)).0, "wrong");
        assert_eq!(
            verdict(&waiting(None, &[])),
            ("wrong", "it has no files".to_owned())
        );
    }

    #[test]
    fn a_wrong_size_is_wrong_whatever_the_fingerprint() {
        let files = [("metadata", 1, Some(1)), ("root", 2, Some(5))];
        let (word, message) = verdict(&waiting(Some(digest("both")), &files));
        assert_eq!(word, "wrong");
        let expected = format!("the remote claims 2 bytes for {}, which has 5", digest("root"));
        assert_eq!(message, expected);
    }
}
