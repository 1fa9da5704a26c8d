//! The kinds of work: one table. `work::kinds` has the rules of each.

use super::subject::SubjectType;

/// Declares [`Kind`] from a table with one line for each kind of work.
macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $label:literal, $subject:ident;)*) => {
        /// A kind of work. Its number is what the column `work.kind` holds, and stays; for kinds that go over
        /// the wire it is that of `rootstock.sync.v1.WorkKind`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Kind {
            $($(#[$doc])* $name = $code,)*
        }

        impl Kind {
            /// All of them.
            pub(crate) const ALL: &[Self] = &[$(Self::$name,)*];

            /// The name in metrics and logs.
            pub(crate) const fn label(self) -> &'static str {
                match self {
                    $(Self::$name => $label,)*
                }
            }

            /// What a piece of this work is about.
            pub(crate) const fn subject_type(self) -> SubjectType {
                match self {
                    $(Self::$name => SubjectType::$subject,)*
                }
            }
        }
    };
}

kinds! {
    /// Fetch a remote's index.
    Poll = 1, "poll", RemoteOrPlanRun;
    /// Fetch a blob from a remote.
    Transfer = 2, "transfer", Blob;
    /// Compute the fingerprint of two stored blobs.
    Verify = 3, "verify", BlobPair;
    /// Find abandoned uploads and unknown objects in the store.
    Sweep = 4, "sweep", Store;
    /// Look for newer versions of images that follow by checks.
    AutoUpdate = 5, "auto-update", Store;
    /// End what has run out: cached images, holds, kept rows of what was deleted.
    Expire = 6, "expire", Store;
    /// Remove unreferenced blobs from the store.
    Collect = 7, "collect", Store;
    /// Deliver changes to a webhook.
    Deliver = 8, "deliver", Webhook;
    /// Receive a blob from a client at a gateway.
    Upload = 9, "upload", Blob;
    /// Remove old changes from the log.
    Compact = 10, "compact", Store;
}

impl Kind {
    /// The number in the column `work.kind`.
    pub(crate) const fn code(self) -> i16 {
        self as i16
    }

    /// The kind with this number.
    pub(crate) fn from_code(code: i16) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.code() == code)
    }

    /// Kinds of work that have one piece, which comes round for as long as the catalog exists.
    pub(crate) fn recurring() -> impl Iterator<Item = Self> {
        Self::ALL
            .iter()
            .copied()
            .filter(|kind| kind.subject_type() == SubjectType::Store)
    }
}
