//! What a piece of work is about, and how the column `work.subject` spells it.

use rootstock_model::Digest;

use super::Kind;
use crate::failure::Failure;

/// What the pieces of work of a kind are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SubjectType {
    /// A remote each, or a sync run that only makes a plan.
    RemoteOrPlanRun,
    /// A blob each.
    Blob,
    /// The two blobs of a split image each.
    BlobPair,
    /// A webhook each.
    Webhook,
    /// Everything there is: one piece of work, which comes round for as long as the catalog exists.
    Store,
}

/// What a piece of work is about. With its kind it names the piece of work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Subject {
    /// A remote, by its row.
    Remote(i64),
    /// A sync run that only makes a plan, by its id.
    PlanRun(String),
    /// A blob.
    Blob(Digest),
    /// The two blobs of a split image.
    BlobPair {
        /// Comes first in the fingerprint.
        metadata: Digest,
        /// Comes second.
        root: Digest,
    },
    /// A webhook, by its row.
    Webhook(i64),
    /// Everything there is.
    Store,
}

impl Subject {
    /// What the column `work.subject` holds.
    pub(crate) fn to_column(&self) -> String {
        match self {
            Self::Remote(id) | Self::Webhook(id) => id.to_string(),
            Self::PlanRun(id) => id.clone(),
            Self::Blob(sha256) => sha256.to_hex(),
            Self::BlobPair { metadata, root } => format!("{metadata}+{root}"),
            Self::Store => "store".to_owned(),
        }
    }

    /// The subject of work of this kind, from its column.
    pub(crate) fn from_column(kind: Kind, column: &str) -> Result<Self, Failure> {
        let subject = match kind.subject_type() {
            SubjectType::RemoteOrPlanRun => Some(match column.parse() {
                Ok(id) => Self::Remote(id),
                Err(_) => Self::PlanRun(column.to_owned()),
            }),
            SubjectType::Blob => column.parse().ok().map(Self::Blob),
            SubjectType::BlobPair => blob_pair(column),
            SubjectType::Webhook => column.parse().ok().map(Self::Webhook),
            SubjectType::Store => (column == "store").then_some(Self::Store),
        };
        subject.ok_or_else(|| Failure::Corrupt(format!("{} of {column:?}", kind.label())))
    }

    /// The remote's row, of work on one.
    pub(crate) fn remote(&self) -> Result<i64, Failure> {
        match self {
            Self::Remote(id) => Ok(*id),
            other => Err(Failure::Corrupt(format!("work on a remote, about {other:?}"))),
        }
    }

    /// The blob, of work on one.
    pub(crate) fn blob(&self) -> Result<Digest, Failure> {
        match self {
            Self::Blob(sha256) => Ok(*sha256),
            other => Err(Failure::Corrupt(format!("work on one blob, about {other:?}"))),
        }
    }

    /// Metadata and root, of work on a pair.
    pub(crate) fn blob_pair(&self) -> Result<(Digest, Digest), Failure> {
        match self {
            Self::BlobPair { metadata, root } => Ok((*metadata, *root)),
            other => Err(Failure::Corrupt(format!(
                "work on a pair of blobs, about {other:?}"
            ))),
        }
    }

    /// The webhook's row, of work on one.
    pub(crate) fn webhook(&self) -> Result<i64, Failure> {
        match self {
            Self::Webhook(id) => Ok(*id),
            other => Err(Failure::Corrupt(format!("work on a webhook, about {other:?}"))),
        }
    }
}

fn blob_pair(column: &str) -> Option<Subject> {
    let (metadata, root) = column.split_once('+')?;
    Some(Subject::BlobPair {
        metadata: metadata.parse().ok()?,
        root: root.parse().ok()?,
    })
}

/// The columns of work on these blobs.
pub(crate) fn blob_columns(blobs: &[Digest]) -> Vec<String> {
    blobs
        .iter()
        .map(|sha256| Subject::Blob(*sha256).to_column())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_survives_its_column_and_nonsense_is_refused() {
        let (metadata, root) = (Digest::of(b"metadata"), Digest::of(b"root"));
        for (kind, subject) in [
            (Kind::Poll, Subject::Remote(7)),
            (Kind::Poll, Subject::PlanRun("d2qk".to_owned())),
            (Kind::Transfer, Subject::Blob(root)),
            (Kind::Upload, Subject::Blob(root)),
            (Kind::Verify, Subject::BlobPair { metadata, root }),
            (Kind::Deliver, Subject::Webhook(3)),
            (Kind::Sweep, Subject::Store),
        ] {
            assert_eq!(Subject::from_column(kind, &subject.to_column()).unwrap(), subject);
        }
        for (kind, column) in [
            (Kind::Transfer, "7"),
            (Kind::Verify, &root.to_hex()),
            (Kind::Deliver, "store"),
            (Kind::Expire, "7"),
        ] {
            assert!(Subject::from_column(kind, column).is_err(), "{kind:?} {column}");
        }
    }
}
