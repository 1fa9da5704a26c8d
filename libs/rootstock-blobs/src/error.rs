//! What can go wrong, and what the caller may conclude from it.

use std::{error::Error as StdError, fmt, io};

use object_store::client::{HttpError, HttpErrorKind};
use rootstock_model::Digest;

/// A boxed cause, for the log.
pub(crate) type Source = Box<dyn StdError + Send + Sync + 'static>;

/// Why a blob operation did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// There is no such blob.
    #[error("blob {digest} is not in the store")]
    NotFound {
        /// The blob asked for.
        digest: Digest,
    },
    /// The range is empty or starts at or after the end of the blob.
    #[error("the range holds no byte of the blob, which has {size_bytes} bytes")]
    RangeNotSatisfiable {
        /// The size of the whole blob.
        size_bytes: u64,
    },
    /// The content is not what its name says. The upload is gone, and nothing became visible.
    #[error("content has SHA-256 {actual}, expected {expected}")]
    Mismatch {
        /// The digest that the upload was begun with.
        expected: Digest,
        /// The digest of what was written.
        actual: Digest,
    },
    /// The content is longer or shorter than announced. The upload is gone, and nothing became visible.
    #[error("content has {actual_bytes} bytes, expected {expected_bytes}")]
    SizeMismatch {
        /// The size that the upload was begun with.
        expected_bytes: u64,
        /// What was written; when it is more than expected, what was written until that was seen.
        actual_bytes: u64,
    },
    /// No blob of this size can be stored.
    #[error("a blob of {size_bytes} bytes cannot be stored, the limit is {limit_bytes}")]
    TooLarge {
        /// The size announced.
        size_bytes: u64,
        /// The largest size this store takes.
        limit_bytes: u64,
    },
    /// The upload cannot be continued: forget its journal and begin anew.
    #[error("the upload cannot be resumed: {0}")]
    JournalUnusable(JournalProblem),
    /// An earlier call on this upload failed or was cancelled half-way, so its state is unknown: drop
    /// it and resume from the last journal.
    #[error("an earlier write of this upload did not complete; resume it from its journal")]
    Interrupted,
    /// The store understood and said no (permissions, a missing bucket, a full disk): certainly
    /// failed, and it will fail again until somebody changes something.
    #[error("the blob store refused to {operation}: {cause}")]
    Refused {
        /// What was being done.
        operation: Operation,
        /// The whole chain of what went wrong, for the log.
        cause: Source,
    },
    /// The store could not be reached or is in trouble. Certainly nothing was changed that matters.
    #[error("the blob store is not available to {operation}: {cause}")]
    Unavailable {
        /// What was being done.
        operation: Operation,
        /// The whole chain of what went wrong, for the log.
        cause: Source,
    },
    /// The request was sent and its answer is missing or says nothing: it may have taken effect.
    /// Everything this crate offers can be repeated, so repeating settles it.
    #[error("the blob store did not answer whether it could {operation}: {cause}")]
    OutcomeUnknown {
        /// What was being done.
        operation: Operation,
        /// The whole chain of what went wrong, for the log.
        cause: Source,
    },
    /// The configuration cannot work.
    #[error("blob store configuration: {0}")]
    Config(String),
}

/// What a failure says about the store's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The operation certainly had no effect.
    Failed,
    /// The operation may have had its effect.
    Unknown,
}

/// Why an upload cannot be continued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JournalProblem {
    /// The bytes are not an intact journal.
    #[error("its journal is damaged")]
    Damaged,
    /// The journal was written by a version that hashed or wrote differently.
    #[error("its journal has a format that this version does not read")]
    OtherFormat,
    /// The journal belongs to another kind of store.
    #[error("its journal belongs to another store")]
    OtherStore,
    /// The staging file or the multipart upload does not exist any more.
    #[error("it was aborted or finished")]
    Gone,
    /// The staging file is shorter than the journal says.
    #[error("its staging file is shorter than its journal says")]
    Shorter,
    /// Somebody else is writing to it.
    #[error("another writer holds it")]
    InUse,
}

/// What was being done, for messages and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Open the store or ask whether it works.
    Check,
    /// Ask for a blob's size.
    Head,
    /// Read a blob.
    Read,
    /// Sign a URL.
    Presign,
    /// Delete a blob.
    Delete,
    /// Begin an upload.
    Begin,
    /// Continue an upload.
    Resume,
    /// Store a part of an upload.
    Write,
    /// Make an upload visible.
    Publish,
    /// Abort an upload.
    Abort,
    /// List unfinished uploads.
    ListUploads,
    /// List blobs.
    List,
}

impl Operation {
    /// The word used as the metrics label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Head => "head",
            Self::Read => "read",
            Self::Presign => "presign",
            Self::Delete => "delete",
            Self::Begin => "begin",
            Self::Resume => "resume",
            Self::Write => "write",
            Self::Publish => "publish",
            Self::Abort => "abort",
            Self::ListUploads => "list_uploads",
            Self::List => "list",
        }
    }

    /// Whether a lost answer leaves open what the store holds.
    const fn changes_the_store(self) -> bool {
        match self {
            Self::Delete | Self::Begin | Self::Write | Self::Publish | Self::Abort => true,
            Self::Check
            | Self::Head
            | Self::Read
            | Self::Presign
            | Self::Resume
            | Self::ListUploads
            | Self::List => false,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Check => "be checked",
            Self::Head => "look up a blob",
            Self::Read => "read a blob",
            Self::Presign => "sign a URL",
            Self::Delete => "delete a blob",
            Self::Begin => "begin an upload",
            Self::Resume => "resume an upload",
            Self::Write => "store a part",
            Self::Publish => "publish a blob",
            Self::Abort => "abort an upload",
            Self::ListUploads => "list uploads",
            Self::List => "list blobs",
        })
    }
}

impl BlobError {
    /// Whether the operation certainly had no effect, or may have had it.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::OutcomeUnknown { .. } => Outcome::Unknown,
            Self::NotFound { .. }
            | Self::RangeNotSatisfiable { .. }
            | Self::Mismatch { .. }
            | Self::SizeMismatch { .. }
            | Self::TooLarge { .. }
            | Self::JournalUnusable(_)
            | Self::Interrupted
            | Self::Refused { .. }
            | Self::Unavailable { .. }
            | Self::Config(_) => Outcome::Failed,
        }
    }

    /// Whether the same work may succeed when it is taken up again later: resumed from its last
    /// journal, or begun anew after [`BlobError::JournalUnusable`]. Not at once: the requests inside
    /// were already repeated.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Unavailable { .. }
            | Self::OutcomeUnknown { .. }
            | Self::JournalUnusable(_)
            | Self::Interrupted => true,
            Self::NotFound { .. }
            | Self::RangeNotSatisfiable { .. }
            | Self::Mismatch { .. }
            | Self::SizeMismatch { .. }
            | Self::TooLarge { .. }
            | Self::Refused { .. }
            | Self::Config(_) => false,
        }
    }

    /// The word used as the metrics label.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "not_found",
            Self::RangeNotSatisfiable { .. } => "range_not_satisfiable",
            Self::Mismatch { .. } | Self::SizeMismatch { .. } => "mismatch",
            Self::TooLarge { .. } => "too_large",
            Self::JournalUnusable(_) => "journal_unusable",
            Self::Interrupted => "interrupted",
            Self::Refused { .. } => "refused",
            Self::Unavailable { .. } => "unavailable",
            Self::OutcomeUnknown { .. } => "outcome_unknown",
            Self::Config(_) => "config",
        }
    }

    /// Translates an error of the file system. A file that is missing is the caller's to interpret.
    pub(crate) fn from_io(operation: Operation, error: io::Error) -> Self {
        let refused = matches!(
            error.kind(),
            io::ErrorKind::PermissionDenied
                | io::ErrorKind::ReadOnlyFilesystem
                | io::ErrorKind::StorageFull
                | io::ErrorKind::QuotaExceeded
                | io::ErrorKind::FileTooLarge
                | io::ErrorKind::NotFound
                | io::ErrorKind::NotADirectory
        );
        match refused {
            true => Self::Refused {
                operation,
                cause: error.into(),
            },
            false => Self::Unavailable {
                operation,
                cause: error.into(),
            },
        }
    }

    /// Translates an error of S3. An object or upload that is missing is the caller's to interpret.
    pub(crate) fn from_object_store(operation: Operation, error: object_store::Error) -> Self {
        use object_store::Error;
        let refused = match &error {
            Error::PermissionDenied { .. }
            | Error::Unauthenticated { .. }
            | Error::NotFound { .. }
            | Error::InvalidPath { .. }
            | Error::NotSupported { .. }
            | Error::NotImplemented { .. }
            | Error::Precondition { .. }
            | Error::UnknownConfigurationKey { .. } => true,
            _ => status_of(&error).is_some_and(|status| (400..500).contains(&status) && status != 429),
        };
        if refused {
            return Self::Refused {
                operation,
                cause: error.into(),
            };
        }
        match operation.changes_the_store() && !never_sent(&error) {
            true => Self::OutcomeUnknown {
                operation,
                cause: error.into(),
            },
            false => Self::Unavailable {
                operation,
                cause: error.into(),
            },
        }
    }
}

/// Whether the request failed before the server can have seen it.
fn never_sent(error: &object_store::Error) -> bool {
    chain(error).any(|cause| {
        cause
            .downcast_ref::<HttpError>()
            .is_some_and(|error| matches!(error.kind(), HttpErrorKind::Connect))
    })
}

/// The HTTP status that the server answered with. The error type that holds it is private to
/// `object_store`, so it is read from the text; a changed wording only makes an error less precise.
fn status_of(error: &object_store::Error) -> Option<u16> {
    chain(error).find_map(|cause| {
        let text = cause.to_string();
        let (_, rest) = text.split_once("status code: ")?;
        rest.get(..3)?.parse().ok()
    })
}

/// The error with everything that caused it, for types whose text holds only the outermost.
pub(crate) fn full_text(error: &(dyn StdError + 'static)) -> String {
    chain(error)
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn StdError + 'static)| {
        (*error).source()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(source: impl Into<Source>) -> object_store::Error {
        object_store::Error::Generic {
            store: "S3",
            source: source.into(),
        }
    }

    fn http(kind: HttpErrorKind) -> object_store::Error {
        generic(HttpError::new(kind, io::Error::other("boom")))
    }

    #[test]
    fn a_lost_answer_is_unknown_only_where_something_may_have_changed() {
        let classify = |operation, error| BlobError::from_object_store(operation, error).outcome();
        assert_eq!(
            classify(Operation::Publish, http(HttpErrorKind::Timeout)),
            Outcome::Unknown
        );
        assert_eq!(
            classify(Operation::Publish, http(HttpErrorKind::Connect)),
            Outcome::Failed
        );
        assert_eq!(
            classify(Operation::Read, http(HttpErrorKind::Timeout)),
            Outcome::Failed
        );
    }

    #[test]
    fn a_status_decides_between_refused_and_trouble() {
        let text = |status: &str| generic(format!("Server returned non-2xx status code: {status}: <Error/>"));
        for (status, retryable) in [
            ("400 Bad Request", false),
            ("429 Slow Down", true),
            ("503 x", true),
        ] {
            let error = BlobError::from_object_store(Operation::Write, text(status));
            assert_eq!(error.retryable(), retryable, "{status}");
        }
    }

    #[test]
    fn a_full_disk_is_refused_and_a_broken_one_is_not_available() {
        let classify = |kind: io::ErrorKind| BlobError::from_io(Operation::Write, kind.into());
        assert!(matches!(
            classify(io::ErrorKind::StorageFull),
            BlobError::Refused { .. }
        ));
        assert!(matches!(
            classify(io::ErrorKind::Other),
            BlobError::Unavailable { .. }
        ));
    }
}
